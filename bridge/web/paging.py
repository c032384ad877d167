"""Lists by opaque cursor: ``next_cursor`` of one page is ``cursor`` of the next, and null at the end."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from bridge.errors import InvalidRequest

T = TypeVar("T")
_BIGGEST = 2**63 - 1


class Paging(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cursor: str | None = Field(
        default=None, max_length=200, description="`next_cursor` of the page before; leave it out for the first page."
    )
    limit: int = Field(default=100, ge=1, le=1000, description="Entries of a page, at most.")

    def after(self, kind: str, first: int = 0) -> int:
        """The number behind which this page begins. Raises InvalidRequest for a cursor of another list."""
        if self.cursor is None:
            return first
        try:
            text = base64.urlsafe_b64decode(self.cursor.encode("ascii")).decode("ascii")
            name, _, number = text.partition(":")
            after = int(number)
        except (ValueError, binascii.Error):
            name, after = "", -1
        if name != kind or not first <= after <= _BIGGEST:
            raise InvalidRequest(
                "The cursor is not one of this list.", hint="Take next_cursor as it was given.", code="invalid_cursor"
            )
        return after


def cut(found: Sequence[T], limit: int, kind: str, number: Callable[[T], int]) -> tuple[list[T], str | None]:
    """A page of at most ``limit`` out of up to ``limit + 1`` entries, and the cursor of the next one."""
    page = list(found[:limit])
    return page, None if len(found) <= limit else cursor_behind(kind, number(page[-1]))


def cursor_behind(kind: str, number: int) -> str:
    """The cursor of the page that begins behind this number."""
    return base64.urlsafe_b64encode(f"{kind}:{number}".encode()).decode()
