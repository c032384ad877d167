"""Who writes to targets in other tools: one row for each target, taken all together or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.store.leases import LeaseLost
from bridge.store.tables import jobs
from bridge.store.tables import target_leases as leases

SOME = 500  # names in one query: SQLite bounds the number of parameters


@dataclass(frozen=True, slots=True)
class TargetHolder:
    """``holder`` names one run or undoing of a job; ``owner`` the process in which that happens."""

    job_id: int
    holder: str
    owner: str


async def take(
    connection: AsyncConnection,
    targets: Sequence[str],
    mine: TargetHolder,
    lease_s: float,
    is_dead: Callable[[str], bool],
) -> TargetHolder | None:
    """Hold these targets from now on; where somebody else has one of them, that holder is answered and nothing taken.

    Taken over is what a dead process held, or one whose time is up. Raises LeaseLost where the job was removed.
    """
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
        await connection.execute(sa.text("LOCK TABLE target_leases IN EXCLUSIVE MODE"))
    now = time.time()
    for some in _some(targets):
        for row in await connection.execute(sa.select(leases).where(leases.c.target.in_(some))):
            if row.holder != mine.holder and row.lease_until >= now and not is_dead(row.owner):
                return TargetHolder(row.job_id, row.holder, row.owner)
    for some in _some(targets):
        await connection.execute(sa.delete(leases).where(leases.c.target.in_(some)))
    values = {"job_id": mine.job_id, "holder": mine.holder, "owner": mine.owner, "lease_until": now + lease_s}
    try:
        await connection.execute(sa.insert(leases), [{"target": target, **values} for target in targets])
    except IntegrityError as error:
        raise LeaseLost from error
    return None


async def tell_waiting(connection: AsyncConnection, job_id: int, waiting: str | None) -> None:
    await connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(waiting=waiting))


async def renew(connection: AsyncConnection, holder: str, count: int, lease_s: float) -> bool:
    """Hold them for longer; whether all ``count`` targets are still held. Others take over what is not renewed."""
    query = sa.update(leases).where(leases.c.holder == holder).values(lease_until=time.time() + lease_s)
    return (await connection.execute(query)).rowcount == count


async def release(connection: AsyncConnection, holder: str) -> None:
    await connection.execute(sa.delete(leases).where(leases.c.holder == holder))


def _some(targets: Sequence[str]) -> list[Sequence[str]]:
    return [targets[start : start + SOME] for start in range(0, len(targets), SOME)]
