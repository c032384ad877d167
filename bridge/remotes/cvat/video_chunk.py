"""A stretch of a video as CVAT gives it out: an mp4 that is decoded frame by frame, as far as it is looked at."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import Any

from adapters.errors import BadFrame
from adapters.frame import MAX_PIXELS, Frame
from bridge.domain import StoredFrame
from bridge.errors import RemoteRefused

_BOUND = {"max_pixels": str(MAX_PIXELS)}  # of a frame; larger ones are not decoded


class VideoChunk:
    """The frames from ``first`` on, asked for in rising order; one picture is held at a time."""

    def __init__(self, data: bytes, first: int) -> None:
        self.size = len(data)
        self._data, self._next = data, first
        self._container: Any = None
        self._pictures: Iterator[Any] = iter(())

    async def frame(self, row: StoredFrame) -> Frame | BadFrame:
        """Raises RemoteRefused where it is a picture of another size: then it is another picture."""
        return await asyncio.to_thread(self._frame, row)

    def _frame(self, row: StoredFrame) -> Frame | BadFrame:
        import av  # noqa: PLC0415  (heavy, and only for videos)

        try:
            if self._container is None:
                self._container = av.open(io.BytesIO(self._data), format="mp4", options=_BOUND)
                self._container.streams.video[0].codec_context.options = _BOUND
                self._container.streams.video[0].thread_type = "AUTO"
                self._pictures = self._container.decode(video=0)
            picture = None
            while self._next <= row.number:
                picture = next(self._pictures)
                self._next += 1
            if picture is None:
                return BadFrame(row.name, f"{row.name} was asked for out of order.")
            if (picture.width, picture.height) != (row.width, row.height):
                raise _another_picture(row, picture.width, picture.height)
            pixels = picture.to_ndarray(format="rgb24")
        except StopIteration:
            return BadFrame(row.name, f"{row.name} is missing in the video that CVAT gave out.")
        except (av.FFmpegError, ValueError, IndexError) as error:
            return BadFrame(row.name, f"{row.name} cannot be decoded: {str(error).rstrip('.')}.")
        return Frame(row.name, row.width, row.height, pixels=pixels)

    async def close(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            await asyncio.to_thread(container.close)


def _another_picture(row: StoredFrame, width: int, height: int) -> RemoteRefused:
    return RemoteRefused(
        422,
        f"CVAT gave out a picture of {width} x {height} for {row.name}, which is {row.width} x {row.height}.",
        hint="Rather than to annotate a wrong picture the job ends. Does the task open in CVAT itself?",
    )
