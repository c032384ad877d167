"""Raw results that a job left behind, for a later job that reads them instead of asking the model."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.store.tables import frames, jobs, results


def frames_with_results(job_id: int) -> sa.Select[tuple[int]]:
    """A query for the numbers of the frames of which a job has left a result, without those deleted elsewhere since."""
    query = sa.select(results.c.frame.label("number")).join(jobs, jobs.c.id == results.c.job_id)
    query = query.join(frames, (frames.c.task_id == jobs.c.task_id) & (frames.c.number == results.c.frame))
    return query.where(results.c.job_id == job_id, frames.c.remote_state.is_distinct_from("deleted"))


async def results_of(connection: AsyncConnection, job_id: int, names: Sequence[str]) -> dict[str, bytes]:
    """Frame name -> raw result, of those of these frames that have one."""
    query = (
        sa.select(frames.c.name, results.c.body)
        .join(jobs, jobs.c.id == results.c.job_id)
        .join(frames, (frames.c.task_id == jobs.c.task_id) & (frames.c.number == results.c.frame))
        .where(results.c.job_id == job_id, frames.c.name.in_(names))
    )
    return {row.name: row.body for row in await connection.execute(query)}
