"""Where the pictures of a task's frames come from, whatever holds them: files here, a video, CVAT, Label Studio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

from adapters.errors import BadFrame
from adapters.frame import Frame
from bridge.domain import StoredFrame

Picture = tuple[StoredFrame, Frame | BadFrame]


class FrameSource(Protocol):
    """Gives out the frames of one task.

    A source that reads many frames at once (a chunk, a stretch of video) takes as many ``rows`` ahead as it wants,
    fetches or decodes them as one piece, and may have the next pieces under way while it is waited for: how much it
    holds of them is bounded, whatever the task's size. It is used by one event loop, by several readers at a time.
    """

    def read(self, rows: AsyncIterable[StoredFrame]) -> AsyncGenerator[Picture, None]:
        """The frames in the order asked for, which is that of rising numbers, gaps among them; each row once.

        A frame that cannot be had comes as BadFrame, and the others go on. PredictorError is raised where none of the
        following can be had either. What is under way ends where the generator is closed: use ``aclosing``.
        """
        ...


class FileFrames:
    """Files here, opened by whoever looks at the frame: for images, and where nobody looks."""

    async def read(self, rows: AsyncIterable[StoredFrame]) -> AsyncGenerator[Picture, None]:
        async for row in rows:
            yield row, Frame(row.name, row.width, row.height, path=Path(row.path))


async def pictures(source: FrameSource, rows: Iterable[StoredFrame]) -> AsyncGenerator[Picture, None]:
    """As ``FrameSource.read``, of rows that are at hand."""

    async def each() -> AsyncIterator[StoredFrame]:
        for row in rows:
            yield row

    async with aclosing(source.read(each())) as found:
        async for picture in found:
            yield picture


async def picture(source: FrameSource, row: StoredFrame) -> Frame:
    """One frame. Raises BadFrame, and PredictorError where the source cannot be asked."""
    async with aclosing(pictures(source, [row])) as found:
        async for _, frame in found:
            if isinstance(frame, BadFrame):
                raise frame
            return frame
    raise BadFrame(row.name, f"{row.name} is missing.")
