"""Undoing a job in the database: its shapes go, and what it took away comes back.

Where jobs ran one after another, a later one that replaced shapes of an earlier one is undone first. Jobs on one task
can also have worked in turns (one was cancelled, another ran, the first was resumed), so that each has replaced
shapes of the other; then neither is the later one, and either may be undone.
"""

from __future__ import annotations

from collections import defaultdict

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.keeping import looked_at
from bridge.store.jobs import get_job
from bridge.store.shapes import cleaned, count_change, shapes_where
from bridge.store.tables import jobs, shapes
from bridge.store.tasks import get_frame


async def later_job_on_shapes_of(connection: AsyncConnection, job_id: int) -> int | None:
    """A job that has taken away shapes which this job made and that does not itself wait for this one to be undone."""
    takers: dict[int, set[int]] = {}

    async def taken_by(job: int) -> set[int]:
        if job not in takers:
            query = (
                sa.select(shapes.c.removed_by)
                .distinct()
                .where(shapes.c.job_id == job, shapes.c.removed_by.is_not(None))
            )
            takers[job] = {row[0] for row in await connection.execute(query)}
        return takers[job]

    for taker in sorted(await taken_by(job_id)):
        reached, ahead = set[int](), [taker]
        while ahead:
            job = ahead.pop()
            if job not in reached:
                reached.add(job)
                ahead += await taken_by(job)
        if job_id not in reached:
            return taker
    return None


async def undo_shapes(connection: AsyncConnection, job_id: int) -> tuple[int, int]:
    """Delete what a job made and bring back what it took away; (deleted, brought back), of shapes that are seen."""
    await _hand_on(connection, job_id)
    # Those that another job has taken away were not seen any more.
    gone = await connection.execute(sa.delete(shapes).where(shapes.c.job_id == job_id, shapes.c.removed_by.is_(None)))
    await connection.execute(sa.delete(shapes).where(shapes.c.job_id == job_id))
    back = await connection.execute(sa.update(shapes).where(shapes.c.removed_by == job_id).values(removed_by=None))
    task_id = await connection.scalar(sa.select(jobs.c.task_id).where(jobs.c.id == job_id))
    assert task_id is not None
    await count_change(connection, task_id, back.rowcount - gone.rowcount)
    return gone.rowcount, back.rowcount


async def _hand_on(connection: AsyncConnection, job_id: int) -> None:
    """On frames that another job has cleaned since, that one would have taken away what this one did, where it looked:
    now it has."""
    query = (
        sa.select(shapes.c.removed_by, shapes.c.frame)
        .distinct()
        .where(shapes.c.job_id == job_id, shapes.c.removed_by.is_not(None))
    )
    cleaned_since: dict[int, list[int]] = defaultdict(list)
    for taker, number in await connection.execute(query):
        cleaned_since[taker].append(number)
    for taker, numbers in cleaned_since.items():
        job = await get_job(connection, taker)
        task_id, roi = job.spec.target, job.spec.roi
        rule = (shapes.c.removed_by == job_id) & cleaned(job.spec.clean, job.spec.model_id)
        handed = sa.update(shapes).where(rule).values(removed_by=taker)
        if roi is None:
            on_frame = handed.where(shapes.c.task_id == task_id, shapes.c.frame == sa.bindparam("b_frame"))
            await connection.execute(on_frame, [{"b_frame": frame} for frame in numbers])
            continue
        for number in numbers:
            frame = await get_frame(connection, task_id, number)
            gone = looked_at(await shapes_where(connection, task_id, number, rule), roi, (frame.width, frame.height))
            if gone:
                await connection.execute(
                    handed.where(shapes.c.id == sa.bindparam("b_id")), [{"b_id": shape.id} for shape in gone]
                )
