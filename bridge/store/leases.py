"""The lease on a running job: which process runs it, and so may write for it.

queued -> running is claiming, running -> succeeded | failed | cancelled is finishing. The fence counts the claims: a
process whose lease was taken over writes nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.domain import Job, JobState
from bridge.store.tables import jobs


class LeaseLost(Exception):
    """Another process has taken the job over, or it was removed: nothing more may be written for it."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write for a running job."""

    job_id: int
    fence: int


async def claim(connection: AsyncConnection, job_id: int, owner: str, lease_s: float) -> Lease | None:
    """Take a queued job, or a running one whose lease has run out; None where another process has it."""
    now = time.time()
    free = (jobs.c.state == str(JobState.QUEUED)) | (
        (jobs.c.state == str(JobState.RUNNING)) & (jobs.c.lease_until < now)
    )
    query = (
        sa.update(jobs)
        .where(jobs.c.id == job_id, free)
        .values(
            state=str(JobState.RUNNING),
            owner=owner,
            lease_until=now + lease_s,
            fence=jobs.c.fence + 1,
            started_at=sa.func.coalesce(jobs.c.started_at, now),
            finished_at=None,
            error=None,
            waiting=None,
        )
        .returning(jobs.c.fence)
    )
    fence = (await connection.execute(query)).scalar_one_or_none()
    return None if fence is None else Lease(job_id, fence)


def held(lease: Lease) -> sa.ColumnElement[bool]:
    """The condition on the table ``jobs`` that a lease is still good."""
    running = jobs.c.state == str(JobState.RUNNING)
    return sa.and_(jobs.c.id == lease.job_id, jobs.c.fence == lease.fence, running)


async def renew(connection: AsyncConnection, lease: Lease, lease_s: float) -> bool:
    """Keep a lease; True where somebody asked for the job to be cancelled. Raises LeaseLost."""
    query = sa.update(jobs).where(held(lease)).values(lease_until=time.time() + lease_s)
    asked = (await connection.execute(query.returning(jobs.c.abort_requested))).scalar_one_or_none()
    if asked is None:
        raise LeaseLost
    return bool(asked)


async def finish(connection: AsyncConnection, lease: Lease, state: JobState, error: str | None = None) -> None:
    """End the run that holds the lease. Raises LeaseLost.

    With state QUEUED it is given back for another process, but not where it was asked to end: then it is cancelled.
    """
    if state is JobState.QUEUED and await connection.scalar(sa.select(jobs.c.abort_requested).where(held(lease))):
        state = JobState.CANCELLED
    ended = None if state is JobState.QUEUED else time.time()
    values = {"state": str(state), "error": error, "owner": None, "lease_until": None, "finished_at": ended}
    result = await connection.execute(sa.update(jobs).where(held(lease)).values(abort_requested=False, **values))
    if result.rowcount == 0:
        raise LeaseLost


def has_run_out(job: Job) -> bool:
    """Whether the process that runs a job has let its lease run out."""
    return job.lease_until is not None and job.lease_until.timestamp() < time.time()
