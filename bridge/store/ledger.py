"""The ledger of an annotation job: a row for each of its frames, and the raw results that stand beside them.

pending -> done | failed in one transaction with the frame's shapes; where these go to another tool, it is ``writing``
in between. Retrying leads back from failed to pending.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.domain import FrameState, LedgerRow, StoredFrame
from bridge.store.engine import insert_rows
from bridge.store.leases import Lease, LeaseLost, held, renew
from bridge.store.tables import frames, job_frames, jobs, results


@dataclass(frozen=True, slots=True)
class FrameOutcome:
    """How one frame of a job ended: with a result to keep, or with an error."""

    frame: int
    result: bytes | None = None
    error_code: str | None = None
    error: str | None = None
    attempts: int = 1


async def open_ledger(connection: AsyncConnection, job_id: int, chosen: sa.Select[Any]) -> int:
    """A pending row for every frame of the query's column ``number``; how many."""
    numbers = chosen.subquery()
    rows = sa.select(
        sa.literal(job_id), numbers.c.number, sa.literal(str(FrameState.PENDING)), sa.literal(0, sa.Integer)
    )
    columns = ["job_id", "frame", "state", "attempts"]
    inserted = await connection.execute(sa.insert(job_frames).from_select(columns, rows))
    return inserted.rowcount


async def pending_frames(connection: AsyncConnection, job_id: int, after: int, most: int) -> list[StoredFrame]:
    """The next frames of a job that are still to be done, in order of their numbers."""
    query = _frames(job_id, after, most).where(job_frames.c.state == str(FrameState.PENDING))
    return [StoredFrame(**row._mapping) for row in await connection.execute(query)]


async def frames_of(connection: AsyncConnection, job_id: int, after: int, most: int) -> list[StoredFrame]:
    """The next frames of a job behind ``after``, whatever became of them, in order of their numbers."""
    return [StoredFrame(**row._mapping) for row in await connection.execute(_frames(job_id, after, most))]


async def numbers_of(connection: AsyncConnection, job_id: int) -> list[int]:
    """The numbers of all frames of a job, in order."""
    query = sa.select(job_frames.c.frame).where(job_frames.c.job_id == job_id).order_by(job_frames.c.frame)
    return list((await connection.execute(query)).scalars())


def _frames(job_id: int, after: int, most: int) -> sa.Select[Any]:
    return (
        sa.select(frames)
        .join(jobs, jobs.c.task_id == frames.c.task_id)
        .join(job_frames, (job_frames.c.job_id == jobs.c.id) & (job_frames.c.frame == frames.c.number))
        .where(jobs.c.id == job_id, job_frames.c.frame > after)
        .order_by(job_frames.c.frame)
        .limit(most)
    )


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
        .where(held(lease))
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
    if not numbers:
        return set()
    among = job_frames.c.frame.between(min(numbers), max(numbers))  # SQLite bounds the number of parameters
    query = sa.select(job_frames.c.frame).where(
        job_frames.c.job_id == job_id, among, job_frames.c.state == str(FrameState.DONE)
    )
    return set((await connection.execute(query)).scalars()) & set(numbers)


async def retry_failed(connection: AsyncConnection, job_id: int) -> None:
    """Make a job's failed frames pending again."""
    failed = (job_frames.c.job_id == job_id) & (job_frames.c.state == str(FrameState.FAILED))
    await connection.execute(
        sa.update(job_frames).where(failed).values(state=str(FrameState.PENDING), error=None, error_code=None)
    )


async def list_rows(
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
