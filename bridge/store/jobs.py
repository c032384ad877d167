"""Annotation jobs in the database: making and finding them, and what users ask of them.

queued -> running -> succeeded | failed | cancelled; resume and retry lead back to queued. The two steps of the process
that runs a job, claiming and finishing, are in ``leases``; its frames are in ``ledger``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.domain import Job, JobState
from bridge.errors import Conflict, NotFound
from bridge.job_spec import JobSpec
from bridge.store import ledger
from bridge.store.leases import Lease, LeaseLost, has_run_out, held
from bridge.store.models import moment
from bridge.store.results import frames_with_results
from bridge.store.tables import intents, jobs
from bridge.store.tasks import selected_frames

FINISHED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


def _job(row: sa.Row[Any]) -> Job:
    def when(seconds: float | None) -> Any:
        return None if seconds is None else moment(seconds)

    return Job(
        id=row.id,
        state=JobState(row.state),
        spec=JobSpec.model_validate_json(row.spec),
        resolved=row.resolved,
        frames_total=row.frames_total,
        frames_done=row.frames_done,
        frames_failed=row.frames_failed,
        shapes_created=row.shapes_created,
        error=row.error,
        created_at=moment(row.created_at),
        started_at=when(row.started_at),
        finished_at=when(row.finished_at),
        undone_at=when(row.undone_at),
        abort_requested=row.abort_requested,
        owner=row.owner,
        lease_until=when(row.lease_until),
        source_job_id=row.source_job_id,
        waiting=row.waiting if row.state == JobState.RUNNING else None,
    )


async def add_job(
    connection: AsyncConnection, spec: JobSpec, resolved: Mapping[str, Any], *, source_job_id: int | None = None
) -> Job:
    """A queued job with a ledger row for every frame that its selection means at this moment.

    With ``source_job_id`` instead for every frame of which that job has left a raw result.
    """
    result = await connection.execute(
        sa.insert(jobs).values(
            task_id=spec.target,
            model_id=spec.model_id,
            source_job_id=source_job_id,
            state=str(JobState.QUEUED),
            spec=spec.model_dump_json(),
            resolved=dict(resolved),
            frames_total=0,
            created_at=time.time(),
        )
    )
    assert result.inserted_primary_key
    job_id = int(result.inserted_primary_key[0])
    chosen = selected_frames(spec.target, spec.frames) if source_job_id is None else frames_with_results(source_job_id)
    frames_total = await ledger.open_ledger(connection, job_id, chosen)
    await connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(frames_total=frames_total))
    return await get_job(connection, job_id)


async def get_job(connection: AsyncConnection, job_id: int) -> Job:
    row = (await connection.execute(sa.select(jobs).where(jobs.c.id == job_id))).one_or_none()
    if row is None:
        raise NotFound(f"There is no annotation job {job_id}.", hint="`hubbridge job list` shows all jobs.")
    return _job(row)


async def list_jobs(
    connection: AsyncConnection,
    *,
    task_id: int | None = None,
    state: JobState | None = None,
    after: int = 0,
    before: int | None = None,
    most: int | None = None,
) -> list[Job]:
    """In the order of their ids, those behind ``after``; with ``before`` the newest first, those older than that."""
    query = sa.select(jobs).where(jobs.c.id > after).order_by(jobs.c.id).limit(most)
    if before is not None:
        query = sa.select(jobs).where(jobs.c.id < before).order_by(jobs.c.id.desc()).limit(most)
    if task_id is not None:
        query = query.where(jobs.c.task_id == task_id)
    if state is not None:
        query = query.where(jobs.c.state == str(state))
    return [_job(row) for row in await connection.execute(query)]


async def queued_jobs(connection: AsyncConnection) -> set[int]:
    query = sa.select(jobs.c.id).where(jobs.c.state == str(JobState.QUEUED))
    return set((await connection.execute(query)).scalars())


async def count_jobs(connection: AsyncConnection) -> dict[JobState, int]:
    """How many jobs are in each state; states without one are left out."""
    rows = await connection.execute(sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state))
    return {JobState(row[0]): row[1] for row in rows}


async def note(connection: AsyncConnection, lease: Lease, **found_out: Any) -> None:
    """Keep with the job, in ``resolved``, what only its run could find out. Raises LeaseLost."""
    resolved = (await connection.execute(sa.select(jobs.c.resolved).where(held(lease)))).scalar_one_or_none()
    if resolved is None:
        raise LeaseLost
    await connection.execute(sa.update(jobs).where(held(lease)).values(resolved={**resolved, **found_out}))


async def request_abort(connection: AsyncConnection, job_id: int) -> Job:
    """Cancel: a queued job at once, a running one by asking its process. Raises Conflict where it has ended."""
    job = await get_job(connection, job_id)
    if job.state in FINISHED:
        raise Conflict(f"Annotation job {job_id} has already {job.state}.")
    if job.state is JobState.QUEUED:
        values: dict[str, Any] = {"state": str(JobState.CANCELLED), "finished_at": time.time()}
    else:
        values = {"abort_requested": True}
    await connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(**values))
    return await get_job(connection, job_id)


async def cancel_abandoned(connection: AsyncConnection, job_id: int) -> Job:
    """Cancel a running job whose process is no more: nobody is left to hear of the request."""
    await connection.execute(
        sa.update(jobs)
        .where(jobs.c.id == job_id, jobs.c.state == str(JobState.RUNNING))
        .values(
            state=str(JobState.CANCELLED),
            abort_requested=False,
            owner=None,
            lease_until=None,
            finished_at=time.time(),
            fence=jobs.c.fence + 1,
        )
    )
    return await get_job(connection, job_id)


async def requeue(connection: AsyncConnection, job_id: int, *, retry_failed: bool, owner_is_dead: bool = False) -> Job:
    """Queue an ended job again for its pending frames and, with ``retry_failed``, its failed ones.

    A running job is taken back only where its owner is dead or its lease has run out. Raises Conflict where there
    is nothing to do, or where the job runs or was undone.
    """
    job = await get_job(connection, job_id)
    _refuse_undone(job)
    if job.state is JobState.RUNNING and not (owner_is_dead or has_run_out(job)):
        raise Conflict(f"Annotation job {job_id} is running.", hint=f"Watch it with: hubbridge job watch {job_id}")
    left = job.frames_total - job.frames_done - (0 if retry_failed else job.frames_failed)
    if await _intents(connection, job_id, "undo"):
        raise Conflict(
            f"Undoing annotation job {job_id} was broken off.", hint=f"Go on with: hubbridge job undo {job_id}"
        )
    # Of one that tracks, the last step may be missing.
    ended = job.state is JobState.SUCCEEDED or (job.state in FINISHED and job.spec.track is None)
    if left == 0 and ended and not await _intents(connection, job_id, "write"):
        hint = f"Try the failed frames again with: hubbridge job retry {job_id}" if job.frames_failed else ""
        raise Conflict(f"Annotation job {job_id} has no frames left to do.", hint=hint)
    if retry_failed:
        await ledger.retry_failed(connection, job_id)
    await connection.execute(
        sa.update(jobs)
        .where(jobs.c.id == job_id)
        .values(
            state=str(JobState.QUEUED),
            abort_requested=False,
            owner=None,
            lease_until=None,
            finished_at=None,
            error=None,
            fence=jobs.c.fence + 1,  # whoever still believes to hold it is shut out
            frames_failed=0 if retry_failed else jobs.c.frames_failed,
        )
    )
    return await get_job(connection, job_id)


async def mark_undone(connection: AsyncConnection, job_id: int) -> Job:
    """Note that a job was undone; raises as ``refuse_undo``."""
    await refuse_undo(connection, job_id)
    await connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(undone_at=time.time()))
    return await get_job(connection, job_id)


async def refuse_undo(connection: AsyncConnection, job_id: int) -> Job:
    """Raises Conflict while a job is queued or running, where it was undone, or has to be resumed first."""
    job = await get_job(connection, job_id)
    _refuse_undone(job)
    if job.state not in FINISHED:
        raise Conflict(
            f"Annotation job {job_id} is {job.state}.", hint=f"Cancel it first: hubbridge job cancel {job_id}"
        )
    if await _intents(connection, job_id, "write"):
        raise Conflict(
            f"Annotation job {job_id} was broken off while it wrote.",
            hint=f"Resume it first, and it will find out what was written: hubbridge job resume {job_id}",
        )
    return job


async def _intents(connection: AsyncConnection, job_id: int, purpose: str) -> int:
    query = sa.select(sa.func.count()).where(intents.c.job_id == job_id, intents.c.purpose == purpose)
    return await connection.scalar(query) or 0


def _refuse_undone(job: Job) -> None:
    if job.undone_at is not None:
        raise Conflict(f"Annotation job {job.id} was undone.", hint="Start a new job instead.")
