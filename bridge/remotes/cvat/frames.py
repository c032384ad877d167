"""The frames of a CVAT task: fetched by chunks, several ahead, in the quality in which they were uploaded.

A chunk is a zip of the uploaded files or, of a video, an mp4. Where only a frame or two of a chunk are wanted, they are
fetched one by one.
"""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from adapters.errors import BadFrame, PredictorError
from adapters.frame import Frame, read_info
from bridge.domain import StoredFrame
from bridge.errors import RemoteGone, RemoteRefused
from bridge.remotes.cvat.client import CvatClient, RemoteFailed
from bridge.remotes.cvat.description import Data
from bridge.remotes.cvat.video_chunk import VideoChunk
from bridge.sources.frame_source import Picture

CHUNKS_AHEAD = 3  # of which several are under way at once
MOST_BYTES_AHEAD = 192 * 2**20  # after which fewer are
FEW = 2  # wanted frames of a chunk that are rather fetched one by one
TRIES = 3  # of what CVAT fails at, before it is looked whether it fails at everything


class CannotServe(RemoteRefused):
    """CVAT gives out other frames and not this one (or not this chunk, because of one in it)."""


class Chunk(Protocol):
    """Fetched frames, asked for in rising order."""

    size: int  # bytes that it holds

    async def frame(self, row: StoredFrame) -> Frame | BadFrame: ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class CvatFrames:
    """The source of one task, whose data is as ``data`` says."""

    client: CvatClient
    task: int
    data: Data
    _checked: bool = False
    _served: int | None = None  # a frame that was had

    async def read(self, rows: AsyncIterable[StoredFrame]) -> AsyncGenerator[Picture, None]:
        groups = self._groups(rows)
        ahead: deque[tuple[list[StoredFrame], asyncio.Task[Chunk]]] = deque()
        most, ended = 1, False  # the first chunk says how large they are
        chunk: Chunk | None = None
        try:
            while True:
                while not ended and len(ahead) < most:
                    group = await anext(groups, None)
                    if group is None:
                        ended = True
                    else:
                        ahead.append((group, asyncio.create_task(self._fetch(group))))
                if not ahead:
                    return
                group, fetching = ahead[0]
                chunk = await fetching
                ahead.popleft()
                most = max(1, min(CHUNKS_AHEAD, MOST_BYTES_AHEAD // max(1, chunk.size)))
                while not ended and len(ahead) < most:  # under way while these are looked at
                    following = await anext(groups, None)
                    ended = following is None
                    if following is not None:
                        ahead.append((following, asyncio.create_task(self._fetch(following))))
                for row in group:
                    yield row, await chunk.frame(row)
                await chunk.close()
        finally:
            for _, fetching in ahead:
                fetching.cancel()
            await asyncio.gather(*(fetching for _, fetching in ahead), return_exceptions=True)
            if chunk is not None:
                await chunk.close()

    async def _groups(self, rows: AsyncIterable[StoredFrame]) -> AsyncIterator[list[StoredFrame]]:
        """Rows of the same chunk together."""
        group: list[StoredFrame] = []
        async for row in rows:
            if group and row.number // self.data.chunk_size != group[0].number // self.data.chunk_size:
                yield group
                group = []
            group.append(row)
        if group:
            yield group

    async def _fetch(self, group: Sequence[StoredFrame]) -> Chunk:
        """Raises PredictorError where CVAT gives out something else than what was asked for."""
        number = group[0].number // self.data.chunk_size
        if len(group) <= FEW and min(self.data.chunk_size, self.data.size) > FEW:
            return await self._singles(group)
        try:
            data = await self._read("chunk", number)
        except CannotServe:  # because of one of its frames
            return await self._singles(group)
        first = number * self.data.chunk_size
        count = min(self.data.chunk_size, self.data.size - first)
        if self.data.video and not data.startswith(b"PK"):
            return VideoChunk(data, first)
        chunk = await asyncio.to_thread(ImageChunk.of, data, first, count, number)
        if self.data.cut and not self._checked:
            await self._check(chunk, group[0])
        return chunk

    async def _singles(self, group: Sequence[StoredFrame]) -> SingleFrames:
        return SingleFrames({row.number: await self._single(row) for row in group})

    async def _single(self, row: StoredFrame) -> bytes | BadFrame:
        try:
            return await self._read("frame", row.number)
        except RemoteRefused as error:
            return BadFrame(row.name, f"{row.name} cannot be had: {error.message}")

    async def _read(self, kind: str, number: int) -> bytes:
        try:
            found = await self._read_patiently(kind, number)
        except CannotServe:
            raise
        except (RemoteGone, RemoteRefused) as error:
            if not self.data.cut:
                raise
            raise _mistaken(f"it does not give out {kind} {number}") from error
        self._served = self._first(kind, number)
        return found

    def _first(self, kind: str, number: int) -> int:
        """The frame with which this begins."""
        return number * self.data.chunk_size if kind == "chunk" else number

    async def _read_patiently(self, kind: str, number: int) -> bytes:
        """Raises CannotServe where CVAT fails at this again and again, and not at another frame."""
        failed = 0

        async def attempt() -> bytes:
            nonlocal failed
            try:
                return await self._read_once(kind, number)
            except RemoteFailed as error:
                failed += 1
                if failed < TRIES or not await self._serves_another(kind, number):
                    raise
                raise CannotServe(500, error.message) from error
            except RemoteRefused as error:
                if self.data.cut or kind == "frame" or not await self._serves_another(kind, number):
                    raise
                raise CannotServe(error.http_status, error.message) from error

        return await self.client.patience.ask("CVAT", attempt)

    async def _read_once(self, kind: str, number: int) -> bytes:
        subject = f"{kind} {number} of task {self.task}"
        return await self.client.read_once(
            f"/api/tasks/{self.task}/data", subject, type=kind, number=number, quality="original"
        )

    async def _serves_another(self, kind: str, number: int) -> bool:
        """Whether CVAT gives out frames: one that it gave out before, or one far from what it fails at."""
        asked = self._first(kind, number)
        other = self._served if self._served is not None else (asked + self.data.chunk_size) % self.data.size
        if other == asked:
            other = (asked + 1) % self.data.size
        try:
            return bool(await self._read_once("frame", other))
        except PredictorError:
            return False

    async def _check(self, chunk: ImageChunk, row: StoredFrame) -> None:
        """Whether a frame by its own number is the same picture as in its chunk."""
        alone = await self._single(row)
        if isinstance(alone, BadFrame) or alone != chunk.data_of(row):
            same = not isinstance(alone, BadFrame) and await asyncio.to_thread(_look_alike, alone, chunk.data_of(row))
            if not same:
                raise _mistaken(f"frame {row.number} and its chunk are different pictures")
        self._checked = True


def _mistaken(why: str) -> RemoteRefused:
    return RemoteRefused(
        422,
        f"This CVAT counts the frames of a task with a start frame or a step wrongly: {why}.",
        hint="Make the task without start frame, stop frame and step, or use a newer CVAT.",
    )


def _look_alike(one: bytes, other: bytes) -> bool:
    """The same picture, though perhaps packed differently."""
    with suppress(BadFrame):
        left, right = Frame.from_bytes("one", one).pixels, Frame.from_bytes("other", other).pixels
        return left.shape == right.shape and float(abs(left.astype(int) - right.astype(int)).mean()) < 8
    return False


def _frame(row: StoredFrame, data: bytes) -> Frame | BadFrame:
    """Raises RemoteRefused where it is a picture of another size: then it is another picture."""
    try:
        info = read_info(row.name, data)
    except BadFrame as error:
        return error
    if (info.width, info.height) != (row.width, row.height):
        raise RemoteRefused(
            422,
            f"CVAT gave out a picture of {info.width} x {info.height} for {row.name}, which is {row.width} x "
            f"{row.height}.",
            hint="Rather than to annotate a wrong picture the job ends. Does the task open in CVAT itself?",
        )
    return Frame(row.name, row.width, row.height, encoded=data)


@dataclass(slots=True)
class SingleFrames:
    """Frames that were fetched one by one."""

    found: dict[int, bytes | BadFrame]
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = sum(len(data) for data in self.found.values() if isinstance(data, bytes))

    async def frame(self, row: StoredFrame) -> Frame | BadFrame:
        data = self.found.pop(row.number)
        return data if isinstance(data, BadFrame) else _frame(row, data)

    async def close(self) -> None:
        """Nothing is open."""


class ImageChunk:
    """A zip whose files are the frames from ``first`` on, in the order of their names."""

    def __init__(self, data: bytes, first: int, opened: zipfile.ZipFile, names: Sequence[str]) -> None:
        self.size = len(data)
        self._first, self._opened, self._names = first, opened, names

    @classmethod
    def of(cls, data: bytes, first: int, count: int, number: int) -> ImageChunk:
        """Raises RemoteRefused where it does not hold ``count`` frames: then its frames are others."""
        try:
            opened = zipfile.ZipFile(io.BytesIO(data))
            names = sorted(info.filename for info in opened.infolist() if not info.is_dir())
        except (zipfile.BadZipFile, ValueError, OSError) as error:
            raise RemoteRefused(422, f"Chunk {number} that CVAT gave out is no zip.", hint="Try again.") from error
        if len(names) != count:
            raise RemoteRefused(
                422,
                f"Chunk {number} that CVAT gave out holds {len(names)} frames and not {count}.",
                hint="Rather than to annotate wrong pictures the job ends. Does the task open in CVAT itself?",
            )
        return cls(data, first, opened, names)

    def data_of(self, row: StoredFrame) -> bytes:
        """Raises BadFrame."""
        try:
            return self._opened.read(self._names[row.number - self._first])
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError) as error:
            raise BadFrame(row.name, f"{row.name} is damaged in what CVAT gave out.") from error

    async def frame(self, row: StoredFrame) -> Frame | BadFrame:
        """The files are stored and not compressed: reading one is copying it."""
        try:
            return _frame(row, self.data_of(row))
        except BadFrame as error:
            return error

    async def close(self) -> None:
        self._opened.close()
