"""Names of frames: natural order, printable, and unique within a task."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_DIGITS = re.compile(r"([0-9]+)")


def natural_key(name: str) -> tuple[tuple[str | tuple[int, str], ...], ...]:
    """Sorts ``img2`` before ``img10`` and folder by folder; ties are left to the caller.

    A number is compared by its length without leading zeros, then as text: any length is fine, no int is made.
    """

    def part_key(part: str) -> tuple[str | tuple[int, str], ...]:
        pieces = _DIGITS.split(part.casefold())  # text and digits in turn, so that like meets like
        return tuple((len(piece.lstrip("0")), piece.lstrip("0")) if i % 2 else piece for i, piece in enumerate(pieces))

    return tuple(part_key(part) for part in name.split("/"))


def printable(name: str) -> str:
    """The name with everything replaced by ``_`` that no file format, terminal or database has to bear."""
    return "".join(char if char.isprintable() and not "\ud800" <= char <= "\udfff" else "_" for char in name)


class UniqueNames:
    """Hands out each name once: a second ``1.jpg`` becomes ``folder/1.jpg``, a third one ``folder/1-2.jpg``."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}  # name that was taken -> the number to try next

    def claim(self, name: str, parent: str = "") -> str:
        """``name`` if it is free, else ``parent/name``, else that with a number before its suffix."""
        wanted = name
        if wanted in self._taken and parent:
            wanted = f"{parent}/{name}"
        path, base = PurePosixPath(wanted), wanted
        while wanted in self._taken:
            number = self._next.get(base, 2)
            self._next[base] = number + 1
            wanted = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
        self._taken.add(wanted)
        return wanted
