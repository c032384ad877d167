"""What every writer of annotation files shares: the protocol, the summary, and never a half file."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from collections import Counter
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVarTuple

from bridge.domain import Shape, StoredFrame
from bridge.errors import InvalidRequest
from bridge.outlines import Box, box_around

Annotated = tuple[StoredFrame, Sequence[Shape]]
Entry = TypeVarTuple("Entry")
CHUNK = 64  # frames handed to a thread at once


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """``shapes`` were written; ``left_out`` counts those that the format cannot hold, by what they are.

    images, missing    how many images stand beside them, and how many could not be had; both 0 where none are wanted
    """

    frames: int
    shapes: int
    left_out: dict[str, int] = field(default_factory=dict)
    images: int = 0
    missing: int = 0


class Writer(Protocol):
    """Writes frame by frame; blocks. After an error only ``abort`` may be called."""

    def add(self, frame: StoredFrame, shapes: Sequence[Shape]) -> None: ...

    def finish(self) -> ExportSummary:
        """Complete the file and put it in its place."""
        ...

    def abort(self) -> None:
        """Take away what was written; what stood at the path before is untouched."""
        ...


class Tally:
    """Counts what was written and what was left out."""

    def __init__(self) -> None:
        self.frames = 0
        self.shapes = 0
        self._left_out: Counter[str] = Counter()

    def leave_out(self, what: str, count: int = 1) -> None:
        self._left_out[what] += count

    def boxed(self, parts: Sequence[Shape], size: tuple[int, int]) -> Box | None:
        """The box around an object, which counts as written; None, and counted so, where it has none."""
        kind = parts[0].type
        try:
            box = box_around(parts, size)
        except ValueError:
            self.leave_out("unreadable mask")
            return None
        if box is None:
            self.leave_out(kind if kind in ("tag", "points") else f"empty {kind}")
        else:
            self.shapes += len(parts)
        return box

    def summary(self) -> ExportSummary:
        return ExportSummary(self.frames, self.shapes, dict(sorted(self._left_out.items())))


class PendingPath:
    """A path beside ``final`` to write to; ``keep`` moves it into place, ``discard`` removes it.

    Raises InvalidRequest where the folder is missing or cannot be written to.
    """

    def __init__(self, final: Path, *, folder: bool = False) -> None:
        self.final = final.absolute()
        self.path = self.final.with_name(f".{self.final.name[:80]}.{secrets.token_hex(4)}.part")
        self._folder = folder
        if self.final.is_dir() and not (folder and not any(self.final.iterdir())):
            what = "is a folder that is not empty" if folder else "is a folder"
            raise InvalidRequest(f"{final} {what}.", hint="Name a file that does not exist yet.")
        try:
            self.final.parent.mkdir(parents=True, exist_ok=True)
            if folder:
                self.path.mkdir()
            else:
                self.path.touch(exist_ok=False)
        except OSError as error:
            raise InvalidRequest(f"{final} cannot be written: {error.strerror or error}.") from error

    def keep(self) -> None:
        if self._folder and self.final.is_dir():
            self.final.rmdir()  # an empty one, as was checked
        self.path.replace(self.final)

    def discard(self) -> None:
        if self._folder:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self.path.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Raise InvalidRequest where nothing could be written to ``path``; nothing stays behind."""
    folder = path.is_dir() and not any(path.iterdir())
    PendingPath(path, folder=folder).discard()


class _Writes(Protocol[*Entry]):
    """A ``Writer``, or one that is given more than shapes with each frame."""

    def add(self, *entry: *Entry) -> None: ...

    def finish(self) -> ExportSummary: ...

    def abort(self) -> None: ...


async def write_all(
    open_writer: Callable[[], _Writes[*Entry]], frames: AsyncIterable[tuple[*Entry]], at_once: int = CHUNK
) -> ExportSummary:
    """Everything through one writer, in threads, some frames at a time; its file is whole or absent."""
    writer = await asyncio.to_thread(open_writer)
    running: asyncio.Future[None] | None = None
    try:
        chunk: list[tuple[*Entry]] = []
        async for entry in frames:
            chunk.append(entry)
            if len(chunk) >= at_once:
                running = asyncio.ensure_future(asyncio.to_thread(_add, writer, chunk))
                await asyncio.shield(running)
                chunk = []
        running = asyncio.ensure_future(asyncio.to_thread(_add, writer, chunk))
        await asyncio.shield(running)
        return await asyncio.to_thread(writer.finish)
    except BaseException:
        if running is not None and not running.done():  # cancelled: the thread still writes, so wait for it
            with contextlib.suppress(Exception):
                await running
        writer.abort()
        raise


def _add(writer: _Writes[*Entry], chunk: Iterable[tuple[*Entry]]) -> None:
    for entry in chunk:
        writer.add(*entry)
