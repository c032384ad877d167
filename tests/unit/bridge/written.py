"""Annotation files, written as an export writes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

from bridge import formats
from bridge.domain import Shape, StoredFrame, TaskLabel
from bridge.formats import ExportSummary


def write_file(
    name: str,
    path: Path,
    labels: Sequence[TaskLabel],
    frames: Iterable[tuple[StoredFrame, Sequence[Shape]]],
    **options: Any,
) -> ExportSummary:
    """Write frames in this format; not to be called where an event loop runs."""

    async def coming() -> AsyncIterator[tuple[StoredFrame, Sequence[Shape]]]:
        for each in frames:
            yield each

    return asyncio.run(formats.find(name).write(path, labels, coming(), **options))
