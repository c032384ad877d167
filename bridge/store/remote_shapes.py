"""Shapes of tasks that live in another tool: where each stands there, and what a job has taken away from there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.store.shapes import count_change
from bridge.store.tables import jobs, shapes, tasks


@dataclass(frozen=True, slots=True)
class KnownShape:
    """A shape that one of our jobs wrote or took away; ``place`` is what its tool needs to find it."""

    row: int
    task_id: int
    frame: int
    job_id: int | None
    model_id: int | None
    place: Mapping[str, Any]


def packed(place: Mapping[str, Any]) -> str:
    return json.dumps(place, separators=(",", ":"))


async def tasks_of(connection: AsyncConnection, kind: str) -> dict[int, str]:
    """Task id -> ``remote_ref`` of the tasks that live in tools of this kind."""
    query = sa.select(tasks.c.id, tasks.c.remote_ref).where(tasks.c.remote_kind == kind)
    return {row.id: row.remote_ref for row in await connection.execute(query)}


async def standing(
    connection: AsyncConnection,
    task_ids: Sequence[int],
    *,
    job_id: int | None = None,
    frames: Sequence[int] | None = None,
) -> list[KnownShape]:
    """What our jobs, or one of them, wrote to these tasks (or to these frames of them) and nobody of us has taken away
    again."""
    meant = shapes.c.task_id.in_(task_ids) & shapes.c.removed_by.is_(None) & shapes.c.remote.is_not(None)
    if job_id is not None:
        meant &= shapes.c.job_id == job_id
    if frames is None:
        return await _known(connection, meant)
    if not frames:
        return []
    if len(frames) <= 500:  # SQLite bounds the number of parameters
        return await _known(connection, meant & shapes.c.frame.in_(frames))
    wanted, among = set(frames), shapes.c.frame.between(min(frames), max(frames))
    return [known for known in await _known(connection, meant & among) if known.frame in wanted]


async def taken_away(connection: AsyncConnection, job_id: int) -> list[KnownShape]:
    """What a job has taken away."""
    return await _known(connection, (shapes.c.removed_by == job_id) & shapes.c.remote.is_not(None))


async def _known(connection: AsyncConnection, meant: sa.ColumnElement[bool]) -> list[KnownShape]:
    query = (
        sa.select(shapes.c.id, shapes.c.task_id, shapes.c.frame, shapes.c.job_id, shapes.c.remote, jobs.c.model_id)
        .outerjoin(jobs, jobs.c.id == shapes.c.job_id)
        .where(meant)
        .order_by(shapes.c.id)
    )
    return [
        KnownShape(row.id, row.task_id, row.frame, row.job_id, row.model_id, json.loads(row.remote))
        for row in await connection.execute(query)
    ]


async def held(connection: AsyncConnection, job_id: int, after: int, most: int) -> list[tuple[int, int, int]]:
    """(row, frame, track) of the next shapes of a job, behind row ``after``, that stand nowhere in their tool yet."""
    query = (
        sa.select(shapes.c.id, shapes.c.frame, shapes.c.track_id)
        .where(shapes.c.job_id == job_id, shapes.c.removed_by.is_(None), shapes.c.remote.is_(None))
        .where(shapes.c.id > after)
        .order_by(shapes.c.id)
        .limit(most)
    )
    return [(row.id, row.frame, row.track_id) for row in await connection.execute(query)]


async def count_held(connection: AsyncConnection, job_id: int) -> int:
    """How many shapes of a job stand nowhere in their tool yet."""
    query = sa.select(sa.func.count()).where(shapes.c.job_id == job_id, shapes.c.removed_by.is_(None))
    return await connection.scalar(query.where(shapes.c.remote.is_(None))) or 0


async def put_places(connection: AsyncConnection, places: Mapping[int, Mapping[str, Any]]) -> None:
    """Note where shapes stand from now on: row -> place."""
    if places:
        query = sa.update(shapes).where(shapes.c.id == sa.bindparam("b_row")).values(remote=sa.bindparam("b_remote"))
        await connection.execute(query, [{"b_row": row, "b_remote": packed(at)} for row, at in places.items()])


async def drop(connection: AsyncConnection, task_id: int, rows: Sequence[int]) -> None:
    """Shapes that were held and do not stand in their tool after all."""
    await _delete(connection, rows)
    await count_change(connection, task_id, -len(rows))


async def take_away(
    connection: AsyncConnection, job_id: int, gone: Sequence[tuple[KnownShape, Mapping[str, Any]]]
) -> None:
    """Note that a job has taken away (shape, place with what stood there) pairs."""
    if not gone:
        return
    query = (
        sa.update(shapes)
        .where(shapes.c.id == sa.bindparam("b_row"), shapes.c.removed_by.is_(None))
        .values(removed_by=job_id, remote=sa.bindparam("b_remote"))
    )
    await connection.execute(query, [{"b_row": known.row, "b_remote": packed(place)} for known, place in gone])
    for task_id, count in Counter(known.task_id for known, _ in gone).items():
        await count_change(connection, task_id, -count)


async def bring_back(connection: AsyncConnection, back: Sequence[tuple[KnownShape, Mapping[str, Any]]]) -> None:
    """Note that (shape, new place) pairs stand in their tool again. Those that no job of ours made are forgotten."""
    ours = [(known, place) for known, place in back if known.job_id is not None]
    if ours:
        query = (
            sa.update(shapes)
            .where(shapes.c.id == sa.bindparam("b_row"))
            .values(removed_by=None, remote=sa.bindparam("b_remote"))
        )
        await connection.execute(query, [{"b_row": known.row, "b_remote": packed(place)} for known, place in ours])
        for task_id, count in Counter(known.task_id for known, _ in ours).items():
            await count_change(connection, task_id, count)
    await _delete(connection, [known.row for known, _ in back if known.job_id is None])


async def forget(connection: AsyncConnection, known: Sequence[KnownShape]) -> None:
    """Shapes that no longer stand in their tool, or that are people's now."""
    await _delete(connection, [each.row for each in known])
    for task_id, count in Counter(each.task_id for each in known).items():
        await count_change(connection, task_id, -count)


async def _delete(connection: AsyncConnection, rows: Sequence[int]) -> None:
    if rows:
        query = sa.delete(shapes).where(shapes.c.id == sa.bindparam("b_row"))
        await connection.execute(query, [{"b_row": row} for row in rows])
