"""Raw results that a job left behind, for a later job that reads them instead of asking the model."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.domain import FrameState
from bridge.store.tables import frames, job_frames, jobs, results


async def copy_ledger(connection: AsyncConnection, job_id: int, source_job_id: int) -> int:
    """A pending ledger row of ``job_id`` for every frame of which the source job has a result; how many."""
    known = sa.select(
        sa.literal(job_id), results.c.frame, sa.literal(str(FrameState.PENDING)), sa.literal(0, sa.Integer)
    ).where(results.c.job_id == source_job_id)
    columns = ["job_id", "frame", "state", "attempts"]
    inserted = await connection.execute(sa.insert(job_frames).from_select(columns, known))
    await connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(frames_total=inserted.rowcount))
    return inserted.rowcount


async def results_of(connection: AsyncConnection, job_id: int, names: Sequence[str]) -> dict[str, bytes]:
    """Frame name -> raw result, of those of these frames that have one."""
    query = (
        sa.select(frames.c.name, results.c.body)
        .join(jobs, jobs.c.id == results.c.job_id)
        .join(frames, (frames.c.task_id == jobs.c.task_id) & (frames.c.number == results.c.frame))
        .where(results.c.job_id == job_id, frames.c.name.in_(names))
    )
    return {row.name: row.body for row in await connection.execute(query)}
