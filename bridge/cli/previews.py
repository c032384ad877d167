"""Pictures of a task's frames with their shapes drawn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from PIL import Image

from adapters.errors import BadFrame
from adapters.frame import Frame
from bridge.app import App
from bridge.domain import Shape, StoredFrame, Task
from bridge.errors import translated
from bridge.preview import contact_sheet, draw
from bridge.sources.frame_source import picture


async def write_previews(service: App, task: Task, folder: Path, most: int) -> list[Path]:
    """Draw the first frames of a task; the paths written, the overview last. Unreadable frames are passed over."""
    return await write_pictures(service, service.tasks.annotated(task.id), task, folder, most)


async def write_pictures(
    service: App, frames: AsyncIterator[tuple[StoredFrame, Sequence[Shape]]], task: Task, folder: Path, most: int
) -> list[Path]:
    """Draw frames with the shapes given; otherwise as ``write_previews``."""
    colors = {label.name: label.color for label in task.labels}
    written: list[Path] = []
    drawn: list[Image.Image] = []
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    with translated():
        async with service.jobs.remotes.source(task) as source:
            async for row, shapes in frames:
                if len(drawn) == most:
                    break
                try:
                    shown = await asyncio.to_thread(_draw, await picture(source, row), shapes, colors)
                except BadFrame:
                    continue
                path = folder / f"{row.number:06d}_{Path(row.name).stem}.jpg"
                await asyncio.to_thread(shown.save, path, quality=90)
                written.append(path)
                shown.thumbnail((640, 640))
                drawn.append(shown)
    if drawn:
        overview = folder / "overview.jpg"
        sheet = await asyncio.to_thread(contact_sheet, drawn, 3 if len(drawn) > 4 else 2)
        await asyncio.to_thread(sheet.save, overview, quality=90)
        written.append(overview)
    return written


def _draw(frame: Frame, shapes: Sequence[Shape], colors: dict[str, str]) -> Image.Image:
    return draw(frame.pixels, shapes, colors)
