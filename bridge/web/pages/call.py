"""One request for a page, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from bridge.app import App
from bridge.web.reading import read_query
from bridge.web.state import State

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class PageCall:
    """``ids`` are the numbers in its path, by name."""

    request: web.Request
    state: State
    ids: Mapping[str, int]

    @property
    def service(self) -> App:
        return self.state.service

    def query(self, model: type[M]) -> M:
        """Raises InvalidRequest."""
        return read_query(self.request, model)


class Older(BaseModel):
    """Lists show the newest first; ``before`` is the id that the page before ended with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    before: int = Field(default=2**63 - 1, ge=1, le=2**63 - 1)
