"""What must always hold in the database, as questions to it, and the sums that can be set right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Invariant:
    """``broken`` selects an id for each place where it does not hold; ``mend`` sets it right, where that is safe."""

    name: str
    says: str
    broken: str
    mend: Sequence[str] = ()


_LIVE = "(SELECT count(*) FROM shapes s WHERE s.task_id = tasks.id AND s.removed_by IS NULL)"
_FRAMES = "(SELECT count(*) FROM frames f WHERE f.task_id = tasks.id)"


def _ledger(state: str) -> str:
    return f"(SELECT count(*) FROM job_frames r WHERE r.job_id = jobs.id AND r.state = '{state}')"  # noqa: S608


_ROWS = "(SELECT count(*) FROM job_frames r WHERE r.job_id = jobs.id)"
_ENDED = "jobs.state NOT IN ('queued', 'running')"

INVARIANTS: tuple[Invariant, ...] = (
    Invariant(
        "frames counted",
        "tasks whose number of frames is wrong",
        f"SELECT id FROM tasks WHERE frame_count <> {_FRAMES}",  # noqa: S608
        (f"UPDATE tasks SET frame_count = {_FRAMES}",),  # noqa: S608
    ),
    Invariant(
        "shapes counted",
        "tasks whose number of shapes is wrong",
        f"SELECT id FROM tasks WHERE shape_count <> {_LIVE}",  # noqa: S608
        (f"UPDATE tasks SET shape_count = {_LIVE}",),  # noqa: S608
    ),
    Invariant(
        "ledger complete",
        "jobs whose ledger has another number of frames than the job",
        f"SELECT id FROM jobs WHERE frames_total <> {_ROWS}",  # noqa: S608
    ),
    Invariant(
        "ledger counted",
        "ended jobs whose counts of frames are not those of their ledger",
        f"SELECT id FROM jobs WHERE {_ENDED} AND "  # noqa: S608
        f"(frames_done <> {_ledger('done')} OR frames_failed <> {_ledger('failed')})",
        (
            f"UPDATE jobs SET frames_done = {_ledger('done')}, frames_failed = {_ledger('failed')} "  # noqa: S608
            f"WHERE {_ENDED}",
        ),
    ),
    Invariant(
        "succeeded means done",
        "jobs that succeeded with frames still to do",
        "SELECT DISTINCT jobs.id FROM jobs JOIN job_frames r ON r.job_id = jobs.id "
        "WHERE jobs.state = 'succeeded' AND r.state NOT IN ('done', 'failed')",
    ),
    Invariant(
        "shapes on frames",
        "shapes on frames that are not there",
        "SELECT s.id FROM shapes s LEFT JOIN frames f ON f.task_id = s.task_id AND f.number = s.frame "
        "WHERE f.task_id IS NULL",
    ),
    Invariant(
        "labels of the task",
        "shapes with a label of another task",
        "SELECT s.id FROM shapes s JOIN labels l ON l.id = s.label_id WHERE l.task_id <> s.task_id",
    ),
    Invariant(
        "results of done frames",
        "raw results of frames that are not done",
        "SELECT x.job_id FROM results x LEFT JOIN job_frames r ON r.job_id = x.job_id AND r.frame = x.frame "
        "WHERE r.state IS NULL OR r.state = 'pending'",
    ),
    Invariant(
        "a job has an owner",
        "running jobs that nobody owns",
        "SELECT id FROM jobs WHERE state = 'running' AND owner IS NULL",
        ("UPDATE jobs SET state = 'queued' WHERE state = 'running' AND owner IS NULL",),
    ),
)


async def broken(connection: AsyncConnection, invariant: Invariant) -> list[int]:
    """Ids, at most a thousand, of where an invariant does not hold."""
    rows = await connection.execute(sa.text(f"{invariant.broken} LIMIT 1000"))
    return [int(row[0]) for row in rows]


async def mend(connection: AsyncConnection, invariant: Invariant) -> None:
    for statement in invariant.mend:
        await connection.execute(sa.text(statement))


async def integrity(connection: AsyncConnection) -> list[str]:
    """What SQLite finds wrong with its file; other databases look after themselves."""
    if connection.dialect.name != "sqlite":
        return []
    found = [str(row[0]) for row in await connection.execute(sa.text("PRAGMA integrity_check(20)"))]
    foreign = [
        f"a row of {row[0]} points at a row of {row[2]} that is not there"
        for row in await connection.execute(sa.text("PRAGMA foreign_key_check"))
    ]
    return [text for text in found if text != "ok"] + foreign[:20]


async def frame_paths(connection: AsyncConnection) -> list[tuple[int, str]]:
    """Task and file of every frame that has one on this machine; those of other tools are fetched when needed."""
    query = "SELECT task_id, path FROM frames JOIN tasks ON tasks.id = task_id WHERE path <> '' AND remote_kind IS NULL"
    rows = await connection.execute(sa.text(query))
    return [(int(row[0]), str(row[1])) for row in rows]


async def task_ids(connection: AsyncConnection) -> set[int]:
    return {int(row[0]) for row in await connection.execute(sa.text("SELECT id FROM tasks"))}
