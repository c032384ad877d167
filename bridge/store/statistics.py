"""Counts over shapes and results: what charts show, and what "clean old annotations" would take away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.domain import StoredFrame
from bridge.job_spec import FrameSelection
from bridge.store.tables import frames, jobs, labels, results, shapes
from bridge.store.tasks import selected_frames

BINS = 20  # of scores, from 0 to 1
_LIVE = shapes.c.removed_by.is_(None)


async def annotated_frames(connection: AsyncConnection, task_id: int) -> int:
    """How many frames of a task have a shape: a look into an index for each frame, however many shapes there are."""
    some = sa.exists().where(shapes.c.task_id == task_id, shapes.c.frame == frames.c.number, _LIVE)
    query = sa.select(sa.func.count()).select_from(frames).where(frames.c.task_id == task_id, some)
    return await connection.scalar(query) or 0


async def count_on_frames(connection: AsyncConnection, task_id: int, numbers: Sequence[int]) -> dict[int, int]:
    """Frame number -> shapes, of those of these frames that have some."""
    query = (
        sa.select(shapes.c.frame, sa.func.count())
        .where(shapes.c.task_id == task_id, shapes.c.frame.in_(numbers), _LIVE)
        .group_by(shapes.c.frame)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


async def annotated_by_job(connection: AsyncConnection, job_id: int) -> int:
    """How many frames have a shape that a job made."""
    query = sa.select(sa.func.count(shapes.c.frame.distinct())).where(shapes.c.job_id == job_id, _LIVE)
    return await connection.scalar(query) or 0


async def count_by_kind(
    connection: AsyncConnection, task_id: int, *, job_id: int | None = None
) -> list[tuple[str, str, str, int | None, int]]:
    """(label, type, source, bin of the score, shapes) of a task, or of what one job made of it."""
    place = sa.cast(sa.func.round(shapes.c.score * BINS - 0.5), sa.Integer)
    query = (
        sa.select(labels.c.name, shapes.c.type, shapes.c.source, place, sa.func.count())
        .join(labels, labels.c.id == shapes.c.label_id)
        .where(shapes.c.task_id == task_id, _LIVE)
        .group_by(labels.c.name, shapes.c.type, shapes.c.source, place)
    )
    if job_id is not None:
        query = query.where(shapes.c.job_id == job_id)
    return [(row[0], row[1], row[2], _bin(row[3]), row[4]) for row in await connection.execute(query)]


def _bin(place: int | None) -> int | None:
    return None if place is None else min(max(place, 0), BINS - 1)


async def count_by_origin(
    connection: AsyncConnection, task_id: int, model_id: int, selection: FrameSelection
) -> list[tuple[str, bool, int]]:
    """(source, whether a job of this model made it, shapes) on the selected frames."""
    own = sa.func.coalesce(shapes.c.job_id.in_(sa.select(jobs.c.id).where(jobs.c.model_id == model_id)), sa.false())
    query = (
        sa.select(shapes.c.source, own, sa.func.count())
        .where(shapes.c.task_id == task_id, _LIVE)
        .group_by(shapes.c.source, own)
    )
    if selection != FrameSelection():
        query = query.where(shapes.c.frame.in_(selected_frames(task_id, selection)))
    return [(row[0], bool(row[1]), row[2]) for row in await connection.execute(query)]


async def selected_with_shapes(
    connection: AsyncConnection, task_id: int, selection: FrameSelection, after: int, most: int
) -> list[StoredFrame]:
    """The next of the selected frames behind ``after`` that hold shapes, in order of their numbers."""
    holding = sa.select(shapes.c.frame).where(shapes.c.task_id == task_id, _LIVE, shapes.c.frame > after)
    query = sa.select(frames).where(frames.c.task_id == task_id, frames.c.number > after)
    query = query.where(frames.c.number.in_(selected_frames(task_id, selection)), frames.c.number.in_(holding))
    return [
        StoredFrame(**row._mapping) for row in await connection.execute(query.order_by(frames.c.number).limit(most))
    ]


async def jobs_of_model(connection: AsyncConnection, model_id: int) -> set[int]:
    return set((await connection.execute(sa.select(jobs.c.id).where(jobs.c.model_id == model_id))).scalars())


async def count_selected(connection: AsyncConnection, task_id: int, selection: FrameSelection) -> int:
    chosen = selected_frames(task_id, selection).subquery()
    return await connection.scalar(sa.select(sa.func.count()).select_from(chosen)) or 0


async def sample_results(connection: AsyncConnection, job_id: int, most: int) -> tuple[list[bytes], int]:
    """At most ``most`` raw results of a job, evenly spread over its frames, and how many there are."""
    count = await connection.scalar(sa.select(sa.func.count()).where(results.c.job_id == job_id)) or 0
    step = max(1, -(-count // most))
    numbered = sa.select(
        results.c.frame, sa.func.row_number().over(order_by=results.c.frame).label("place")
    ).where(results.c.job_id == job_id)  # fmt: skip
    chosen = numbered.subquery()
    query = sa.select(results.c.body).where(
        results.c.job_id == job_id,
        results.c.frame.in_(sa.select(chosen.c.frame).where((chosen.c.place - 1) % step == 0)),
    )
    return [row.body for row in await connection.execute(query)], count


def tally(rows: list[tuple[str, str, str, int | None, int]]) -> Mapping[str, Any]:
    """The rows of ``count_by_kind`` summed up: by label (most first), by type, by source, and by bin of the score."""
    by_label: dict[str, int] = {}
    by_type: dict[str, int] = {}
    by_source: dict[str, int] = {}
    scores = [0] * BINS
    for label, kind, source, place, count in rows:
        for sums, name in ((by_label, label), (by_type, kind), (by_source, source)):
            sums[name] = sums.get(name, 0) + count
        if place is not None:
            scores[place] += count
    ordered = dict(sorted(by_label.items(), key=lambda entry: (-entry[1], entry[0])))
    return {"labels": ordered, "types": by_type, "sources": by_source, "scores": scores}
