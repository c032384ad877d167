"""Annotation jobs and their ledger in the database: every transition of a job's state is here.

queued -> running -> succeeded | failed | cancelled; resume and retry lead back to queued. A running job belongs to
the process that holds its lease. The fence counts the claims: a process whose lease was taken over writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.domain import FrameState, Job, JobState, LedgerRow, StoredFrame
from bridge.errors import Conflict, NotFound
from bridge.job_spec import JobSpec
from bridge.store.engine import insert_rows
from bridge.store.models import moment
from bridge.store.results import copy_ledger
from bridge.store.tables import frames, intents, job_frames, jobs, results
from bridge.store.tasks import selected_frames

FINISHED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class LeaseLost(Exception):
    """Another process has taken the job over, or it was removed: nothing more may be written for it."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write for a running job."""

    job_id: int
    fence: int


@dataclass(frozen=True, slots=True)
class FrameOutcome:
    """How one frame of a job ended: with a result to keep, or with an error."""

    frame: int
    result: bytes | None = None
    error_code: str | None = None
    error: str | None = None
    attempts: int = 1


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
    if source_job_id is not None:
        await copy_ledger(connection, job_id, source_job_id)
        return await get_job(connection, job_id)
    chosen = selected_frames(spec.target, spec.frames).subquery()
    ledger = sa.select(
        sa.literal(job_id), chosen.c.number, sa.literal(str(FrameState.PENDING)), sa.literal(0, sa.Integer)
    )
    columns = ["job_id", "frame", "state", "attempts"]
    inserted = await connection.execute(sa.insert(job_frames).from_select(columns, ledger))
    await connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(frames_total=inserted.rowcount))
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


async def count_jobs(connection: AsyncConnection) -> dict[JobState, int]:
    """How many jobs are in each state; states without one are left out."""
    rows = await connection.execute(sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state))
    return {JobState(row[0]): row[1] for row in rows}


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
        )
        .returning(jobs.c.fence)
    )
    fence = (await connection.execute(query)).scalar_one_or_none()
    return None if fence is None else Lease(job_id, fence)


def _held(lease: Lease) -> sa.ColumnElement[bool]:
    running = jobs.c.state == str(JobState.RUNNING)
    return sa.and_(jobs.c.id == lease.job_id, jobs.c.fence == lease.fence, running)


async def renew(connection: AsyncConnection, lease: Lease, lease_s: float) -> bool:
    """Keep a lease; True where somebody asked for the job to be cancelled. Raises LeaseLost."""
    query = sa.update(jobs).where(_held(lease)).values(lease_until=time.time() + lease_s)
    asked = (await connection.execute(query.returning(jobs.c.abort_requested))).scalar_one_or_none()
    if asked is None:
        raise LeaseLost
    return bool(asked)


async def finish(connection: AsyncConnection, lease: Lease, state: JobState, error: str | None = None) -> None:
    """End the run that holds the lease. Raises LeaseLost.

    With state QUEUED it is given back for another process, but not where it was asked to end: then it is cancelled.
    """
    if state is JobState.QUEUED and await connection.scalar(sa.select(jobs.c.abort_requested).where(_held(lease))):
        state = JobState.CANCELLED
    ended = None if state is JobState.QUEUED else time.time()
    values = {"state": str(state), "error": error, "owner": None, "lease_until": None, "finished_at": ended}
    result = await connection.execute(sa.update(jobs).where(_held(lease)).values(abort_requested=False, **values))
    if result.rowcount == 0:
        raise LeaseLost


async def note_fallback(connection: AsyncConnection, lease: Lease, why: str) -> None:
    """Keep with the job that another model than its own answers from here on. Raises LeaseLost."""
    resolved = (await connection.execute(sa.select(jobs.c.resolved).where(_held(lease)))).scalar_one_or_none()
    if resolved is None:
        raise LeaseLost
    await connection.execute(sa.update(jobs).where(_held(lease)).values(resolved={**resolved, "fell_back": why}))


async def pending_frames(connection: AsyncConnection, job_id: int, after: int, most: int) -> list[StoredFrame]:
    """The next frames of a job that are still to be done, in order of their numbers."""
    query = (
        sa.select(frames)
        .join(jobs, jobs.c.task_id == frames.c.task_id)
        .join(job_frames, (job_frames.c.job_id == jobs.c.id) & (job_frames.c.frame == frames.c.number))
        .where(jobs.c.id == job_id, job_frames.c.frame > after, job_frames.c.state == str(FrameState.PENDING))
        .order_by(job_frames.c.frame)
        .limit(most)
    )
    return [StoredFrame(**row._mapping) for row in await connection.execute(query)]


async def frames_of(connection: AsyncConnection, job_id: int, after: int, most: int) -> list[StoredFrame]:
    """The next frames of a job behind ``after``, whatever became of them, in order of their numbers."""
    query = (
        sa.select(frames)
        .join(jobs, jobs.c.task_id == frames.c.task_id)
        .join(job_frames, (job_frames.c.job_id == jobs.c.id) & (job_frames.c.frame == frames.c.number))
        .where(jobs.c.id == job_id, job_frames.c.frame > after)
        .order_by(job_frames.c.frame)
        .limit(most)
    )
    return [StoredFrame(**row._mapping) for row in await connection.execute(query)]


_FINISH_FRAME = (
    sa.update(job_frames)
    .where(
        job_frames.c.job_id == sa.bindparam("b_job"),
        job_frames.c.frame == sa.bindparam("b_frame"),
        (job_frames.c.state == str(FrameState.PENDING)) | (job_frames.c.state == str(FrameState.WRITING)),
    )
    .values(
        state=sa.bindparam("b_state"),
        attempts=job_frames.c.attempts + sa.bindparam("b_attempts"),
        error_code=sa.bindparam("b_code"),
        error=sa.bindparam("b_error"),
    )
)


_BEGIN_WRITING = (
    sa.update(job_frames)
    .where(
        job_frames.c.job_id == sa.bindparam("b_job"),
        job_frames.c.frame == sa.bindparam("b_frame"),
        job_frames.c.state == str(FrameState.PENDING),
    )
    .values(state=str(FrameState.WRITING))
)


async def record_outcomes(
    connection: AsyncConnection, lease: Lease, outcomes: Sequence[FrameOutcome], shapes_created: int, lease_s: float
) -> None:
    """Close the ledger rows of these frames and keep their raw results, for the holder of the lease.

    Belongs into the transaction that stores their shapes. Raises LeaseLost.
    """
    failed = sum(outcome.error_code is not None for outcome in outcomes)
    counted = await connection.execute(
        sa.update(jobs)
        .where(_held(lease))
        .values(
            frames_done=jobs.c.frames_done + len(outcomes) - failed,
            frames_failed=jobs.c.frames_failed + failed,
            shapes_created=jobs.c.shapes_created + shapes_created,
            lease_until=time.time() + lease_s,
        )
    )
    if counted.rowcount == 0:
        raise LeaseLost
    rows = [
        {
            "b_job": lease.job_id,
            "b_frame": outcome.frame,
            "b_state": str(FrameState.FAILED if outcome.error_code else FrameState.DONE),
            "b_attempts": outcome.attempts,
            "b_code": outcome.error_code,
            "b_error": outcome.error,
        }
        for outcome in outcomes
    ]
    if rows:
        await connection.execute(_FINISH_FRAME, rows)
    await _keep_results(connection, lease.job_id, outcomes)


async def _keep_results(connection: AsyncConnection, job_id: int, outcomes: Sequence[FrameOutcome]) -> None:
    kept = [(job_id, outcome.frame, 1, outcome.result) for outcome in outcomes if outcome.result is not None]
    if kept:
        await insert_rows(connection, results, ("job_id", "frame", "format", "body"), kept)


async def begin_writing(
    connection: AsyncConnection, lease: Lease, outcomes: Sequence[FrameOutcome], lease_s: float
) -> None:
    """Keep the raw results of predicted frames and mark them as being written to another tool.

    Belongs into the durable transaction that stores the intents to do so. Raises LeaseLost.
    """
    await renew(connection, lease, lease_s)
    rows = [{"b_job": lease.job_id, "b_frame": outcome.frame} for outcome in outcomes]
    if rows:
        await connection.execute(_BEGIN_WRITING, rows)
    await _keep_results(connection, lease.job_id, outcomes)


async def drop_results(connection: AsyncConnection, job_id: int, numbers: Sequence[int]) -> None:
    """Of frames that were predicted and could not be written: they are predicted again when they are retried."""
    await connection.execute(sa.delete(results).where(results.c.job_id == job_id, results.c.frame.in_(numbers)))


async def done_frames(connection: AsyncConnection, job_id: int, numbers: Sequence[int]) -> set[int]:
    """Those of these frames that are done."""
    query = sa.select(job_frames.c.frame).where(
        job_frames.c.job_id == job_id, job_frames.c.frame.in_(numbers), job_frames.c.state == str(FrameState.DONE)
    )
    return set((await connection.execute(query)).scalars())


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


def has_run_out(job: Job) -> bool:
    """Whether the process that runs a job has let its lease run out."""
    return job.lease_until is not None and job.lease_until.timestamp() < time.time()


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
    if left == 0 and not await _intents(connection, job_id, "write") and job.state in FINISHED:
        hint = f"Try the failed frames again with: hubbridge job retry {job_id}" if job.frames_failed else ""
        raise Conflict(f"Annotation job {job_id} has no frames left to do.", hint=hint)
    if retry_failed:
        failed = (job_frames.c.job_id == job_id) & (job_frames.c.state == str(FrameState.FAILED))
        await connection.execute(
            sa.update(job_frames).where(failed).values(state=str(FrameState.PENDING), error=None, error_code=None)
        )
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


async def ledger(
    connection: AsyncConnection, job_id: int, *, state: FrameState | None = None, after: int = -1, most: int = 100
) -> list[LedgerRow]:
    """Rows of a job's ledger in order of the frames, those behind ``after``."""
    query = (
        sa.select(job_frames, frames.c.name)
        .join(jobs, jobs.c.id == job_frames.c.job_id)
        .join(frames, (frames.c.task_id == jobs.c.task_id) & (frames.c.number == job_frames.c.frame))
        .where(job_frames.c.job_id == job_id, job_frames.c.frame > after)
        .order_by(job_frames.c.frame)
        .limit(most)
    )
    if state is not None:
        query = query.where(job_frames.c.state == str(state))
    return [
        LedgerRow(row.frame, row.name, FrameState(row.state), row.attempts, row.error_code, row.error)
        for row in await connection.execute(query)
    ]
