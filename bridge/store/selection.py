"""The frames that a selection means: their sizes, and some of them to look at."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.domain import StoredFrame
from bridge.job_spec import FrameSelection
from bridge.store.tables import frames
from bridge.store.tasks import selected_frames


async def frame_sizes(
    connection: AsyncConnection, task_id: int, selection: FrameSelection
) -> dict[tuple[int, int], int]:
    """(width, height) -> how many of the selected frames are of this size."""
    query = (
        sa.select(frames.c.width, frames.c.height, sa.func.count())
        .where(frames.c.task_id == task_id, frames.c.number.in_(selected_frames(task_id, selection)))
        .group_by(frames.c.width, frames.c.height)
    )
    return {(row[0], row[1]): row[2] for row in await connection.execute(query)}


async def spread_frames(
    connection: AsyncConnection, task_id: int, selection: FrameSelection, most: int
) -> list[StoredFrame]:
    """At most so many of the selected frames, evenly spread from the first to the last."""
    chosen = selected_frames(task_id, selection)
    count = await connection.scalar(sa.select(sa.func.count()).select_from(chosen.subquery())) or 0
    wanted = min(most, count)
    places = {round(place * (count - 1) / max(1, wanted - 1)) for place in range(wanted)}
    ordered = chosen.order_by(frames.c.number)
    numbers = [await connection.scalar(ordered.offset(place).limit(1)) for place in sorted(places)]
    query = sa.select(frames).where(frames.c.task_id == task_id, frames.c.number.in_(numbers))
    return [StoredFrame(**row._mapping) for row in await connection.execute(query.order_by(frames.c.number))]


async def sizes_of(connection: AsyncConnection, task_id: int, numbers: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Number -> (width, height), of those of these frames that there are."""
    if not numbers:
        return {}
    wanted, among = set(numbers), frames.c.number.between(min(numbers), max(numbers))
    query = sa.select(frames.c.number, frames.c.width, frames.c.height).where(frames.c.task_id == task_id, among)
    return {row[0]: (row[1], row[2]) for row in await connection.execute(query) if row[0] in wanted}
