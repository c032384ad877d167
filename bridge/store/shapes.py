"""Shapes in the database: reading, importing, replacing frame by frame, and undoing a job."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.domain import Shape, Source
from bridge.job_spec import Clean
from bridge.store.engine import insert_rows
from bridge.store.tables import jobs, labels, shapes, tasks

_AT_ONCE = 10_000  # ids in one statement
_LIVE = shapes.c.removed_by.is_(None)


_COLUMNS = (
    "task_id", "frame", "label_id", "type", "points", "rle", "rotation", "score", "source", "attributes",
    "shape_group", "track_id", "job_id", "removed_by", "remote",
)  # fmt: skip


def _row(
    task_id: int, frame: int, label_id: int, shape: Shape, job_id: int | None, removed_by: int | None = None
) -> tuple[Any, ...]:
    """In the order of ``_COLUMNS``."""
    return (
        task_id,
        frame,
        label_id,
        shape.type,
        struct.pack(f"<{len(shape.points)}d", *shape.points),
        shape.rle,
        shape.rotation,
        shape.score,
        shape.source.value,
        json.dumps(dict(shape.attributes)) if shape.attributes else None,
        shape.group,
        shape.track_id,
        job_id,
        removed_by,
        shape.remote,
    )


def _shape(row: sa.Row[Any], names: Mapping[int, str]) -> Shape:
    return Shape(
        label=names[row.label_id],
        type=row.type,
        points=tuple(np.frombuffer(row.points, "<f8").tolist()),
        rle=row.rle,
        rotation=row.rotation,
        score=row.score,
        source=Source(row.source),
        attributes=json.loads(row.attributes) if row.attributes else {},
        group=row.shape_group,
        track_id=row.track_id,
        job_id=row.job_id,
        id=row.id,
        remote=row.remote,
    )


async def add_shapes(
    connection: AsyncConnection,
    task_id: int,
    label_ids: Mapping[str, int],
    changes: Iterable[tuple[int, Sequence[Shape]]],
    *,
    job_id: int | None = None,
) -> int:
    """Insert the shapes of (frame, shapes) pairs; the number inserted."""
    rows = [_row(task_id, frame, label_ids[shape.label], shape, job_id) for frame, new in changes for shape in new]
    if rows:
        await insert_rows(connection, shapes, _COLUMNS, rows)
        await count_change(connection, task_id, len(rows))
    return len(rows)


async def add_removed_shapes(
    connection: AsyncConnection,
    task_id: int,
    label_ids: Mapping[str, int],
    gone: Iterable[tuple[int, Shape]],
    *,
    removed_by: int,
) -> None:
    """Keep (frame, shape) pairs that a job has taken away from where its task lives, for undo."""
    rows = [_row(task_id, frame, label_ids[shape.label], shape, None, removed_by) for frame, shape in gone]
    if rows:
        await insert_rows(connection, shapes, _COLUMNS, rows)


async def count_change(connection: AsyncConnection, task_id: int, change: int) -> None:
    """Keep ``tasks.shape_count``, the number of live shapes, true."""
    if change:
        query = sa.update(tasks).where(tasks.c.id == task_id).values(shape_count=tasks.c.shape_count + change)
        await connection.execute(query)


async def retire_shapes(
    connection: AsyncConnection,
    task_id: int,
    frames: Sequence[int],
    *,
    job_id: int,
    model_id: int,
    clean: Clean,
    only: Sequence[int] | None = None,
) -> None:
    """Take away what a job cleans from these frames; it stays in the database for undo. ``only``: of these shapes."""
    if clean is Clean.NONE or not frames:
        return
    query = sa.update(shapes).where(shapes.c.task_id == task_id, shapes.c.frame.in_(frames), _LIVE)
    query = query.where(cleaned(clean, model_id))
    # A job's own shapes are the new ones.
    query = query.where(shapes.c.job_id.is_distinct_from(job_id)).values(removed_by=job_id)
    if only is None:
        queries = [query]
    else:  # a statement has room for some 32,000 values
        queries = [query.where(shapes.c.id.in_(only[at : at + _AT_ONCE])) for at in range(0, len(only), _AT_ONCE)]
    for each in queries:
        await count_change(connection, task_id, -(await connection.execute(each)).rowcount)


def cleaned(clean: Clean, model_id: int) -> sa.ColumnElement[bool]:
    """Which of a frame's shapes a job of this model takes away."""
    if clean is Clean.NONE:
        return sa.false()
    if clean is Clean.MODEL:
        return shapes.c.job_id.in_(sa.select(jobs.c.id).where(jobs.c.model_id == model_id))
    if clean is Clean.AUTOMATIC:
        return shapes.c.source == str(Source.AUTOMATIC)
    return sa.true()


async def get_shapes(connection: AsyncConnection, task_id: int, frames: Sequence[int]) -> dict[int, list[Shape]]:
    """Frame number -> its shapes in the order in which they came; every frame asked for is there."""
    found: dict[int, list[Shape]] = {frame: [] for frame in frames}
    if not frames:
        return found
    rows = await connection.execute(sa.select(labels.c.id, labels.c.name).where(labels.c.task_id == task_id))
    names = {row.id: row.name for row in rows}
    query = sa.select(shapes).where(shapes.c.task_id == task_id, _LIVE)
    if len(frames) > 500:  # SQLite bounds the number of parameters
        query = query.where(shapes.c.frame.between(min(frames), max(frames)))
    else:
        query = query.where(shapes.c.frame.in_(frames))
    for row in await connection.execute(query.order_by(shapes.c.frame, shapes.c.id)):
        if row.frame in found:
            found[row.frame].append(_shape(row, names))
    return found


async def get_shapes_by_id(
    connection: AsyncConnection, task_id: int, ids: Sequence[int]
) -> dict[int, tuple[int, Shape]]:
    """Id -> (frame, shape), of those of a task's shapes that there are."""
    rows = await connection.execute(sa.select(labels.c.id, labels.c.name).where(labels.c.task_id == task_id))
    names = {row.id: row.name for row in rows}
    found: dict[int, tuple[int, Shape]] = {}
    for at in range(0, len(ids), _AT_ONCE):
        query = sa.select(shapes).where(shapes.c.task_id == task_id, shapes.c.id.in_(ids[at : at + _AT_ONCE]))
        found |= {row.id: (row.frame, _shape(row, names)) for row in await connection.execute(query)}
    return found


async def shapes_where(
    connection: AsyncConnection, task_id: int, frame: int, rule: sa.ColumnElement[bool]
) -> list[Shape]:
    """A frame's shapes for which the rule holds, removed ones among them, in the order in which they came."""
    rows = await connection.execute(sa.select(labels.c.id, labels.c.name).where(labels.c.task_id == task_id))
    names = {row.id: row.name for row in rows}
    query = sa.select(shapes).where(shapes.c.task_id == task_id, shapes.c.frame == frame, rule)
    return [_shape(row, names) for row in await connection.execute(query.order_by(shapes.c.id))]


async def shapes_without_job(connection: AsyncConnection, task_id: int, frame: int, job_id: int) -> list[Shape]:
    """A frame's shapes as undoing a job would leave them."""
    rule = shapes.c.job_id.is_distinct_from(job_id) & (_LIVE | (shapes.c.removed_by == job_id))
    return await shapes_where(connection, task_id, frame, rule)


async def last_track(connection: AsyncConnection, task_id: int, *, but_job: int | None = None) -> int:
    """The highest number of a track in a task, of removed shapes as well but not of ``but_job``; 0 for none."""
    query = sa.select(sa.func.max(shapes.c.track_id)).where(shapes.c.task_id == task_id)
    if but_job is not None:
        query = query.where(shapes.c.job_id.is_distinct_from(but_job))
    return await connection.scalar(query) or 0


async def count_tracks(connection: AsyncConnection, job_id: int) -> int:
    """How many tracks a job's live shapes make."""
    query = sa.select(sa.func.count(sa.distinct(shapes.c.track_id)))
    return await connection.scalar(query.where(shapes.c.job_id == job_id, shapes.c.track_id > 0, _LIVE)) or 0


async def set_tracks(connection: AsyncConnection, job_id: int, tracks: Sequence[tuple[int, int]]) -> None:
    """Tell shapes of a job which track they are of: (id of the shape, number of the track or 0)."""
    query = sa.update(shapes).where(
        shapes.c.id == sa.bindparam("b_id"), shapes.c.job_id == job_id, shapes.c.track_id != sa.bindparam("b_track")
    )
    rows = [{"b_id": shape, "b_track": track} for shape, track in tracks]
    if rows:
        await connection.execute(query.values(track_id=sa.bindparam("b_track")), rows)


async def count_shapes(connection: AsyncConnection, task_id: int, *, job_id: int | None = None) -> dict[str, int]:
    """Label name -> number of shapes, of the whole task or of those that one job made; most first."""
    query = (
        sa.select(labels.c.name, sa.func.count())
        .join(labels, labels.c.id == shapes.c.label_id)
        .where(shapes.c.task_id == task_id, _LIVE)
        .group_by(labels.c.name)
        .order_by(sa.func.count().desc(), labels.c.name)
    )
    if job_id is not None:
        query = query.where(shapes.c.job_id == job_id)
    return {row[0]: row[1] for row in await connection.execute(query)}
