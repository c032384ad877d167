"""Frames whose files are here: images, opened by whoever looks at them, and frames of videos, decoded ahead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.errors import BadFrame
from adapters.frame import Frame
from bridge.domain import StoredFrame
from bridge.sources.frame_source import Picture

if TYPE_CHECKING:
    from bridge.sources.video import VideoReader

AHEAD_BYTES = 48 * 2**20  # of pictures that are decoded in one go; as many again may wait to be taken
MOST_AHEAD = 16  # frames in one go


class LocalFrames:
    """Images come as their path. Frames of a video are decoded once and in order, the next ones while these are used.

    Each ``read`` opens videos of its own, one at a time.
    """

    async def read(self, rows: AsyncIterable[StoredFrame]) -> AsyncGenerator[Picture, None]:
        videos = _OpenVideo()
        under_way: asyncio.Future[list[Picture]] | None = None
        try:
            async for some in _stretches(rows):
                ready = await under_way if under_way is not None else []
                under_way = asyncio.ensure_future(asyncio.to_thread(videos.pictures, some))
                for picture in ready:
                    yield picture
            if under_way is not None:
                for picture in await under_way:
                    yield picture
        finally:
            if under_way is not None and not under_way.done():  # a thread cannot be stopped, so wait for it
                await asyncio.wait((under_way,))
            await asyncio.to_thread(videos.close)


async def _stretches(rows: AsyncIterable[StoredFrame]) -> AsyncGenerator[list[StoredFrame], None]:
    """Rows that are read in one go: a single image, or some frames of one video."""
    some: list[StoredFrame] = []
    async for row in rows:
        if some and (row.path != some[0].path or len(some) >= _most(some[0])):
            yield some
            some = []
        some.append(row)
        if row.video_pts is None:
            yield some
            some = []
    if some:
        yield some


def _most(row: StoredFrame) -> int:
    return max(1, min(MOST_AHEAD, AHEAD_BYTES // (3 * row.width * row.height)))


class _OpenVideo:
    """The video that was read last; its methods block, and are called one after the other."""

    def __init__(self) -> None:
        self._path = ""
        self._reader: VideoReader | None = None

    def pictures(self, rows: Sequence[StoredFrame]) -> list[Picture]:
        return [(row, self._picture(row)) for row in rows]

    def close(self) -> None:
        if self._reader is not None:
            self._reader.__exit__(None, None, None)
            self._reader = None

    def _picture(self, row: StoredFrame) -> Frame | BadFrame:
        if row.video_pts is None:
            return Frame(row.name, row.width, row.height, path=Path(row.path))
        from bridge.sources.video import BadVideo, VideoReader  # noqa: PLC0415  (FFmpeg is loaded where it is needed)

        try:
            if self._reader is None or self._path != row.path:
                self.close()
                self._reader, self._path = VideoReader(Path(row.path), row.width * row.height), row.path
            pixels = self._reader.picture(row.video_pts)
        except BadVideo as error:
            return BadFrame(row.name, f"{row.name} {error}.")
        if pixels.shape[:2] != (row.height, row.width):
            actual = f"{pixels.shape[1]} x {pixels.shape[0]}"
            return BadFrame(row.name, f"{row.name} is {actual}, not {row.width} x {row.height} as recorded.")
        return Frame(row.name, row.width, row.height, pixels=pixels)
