"""What people said of pairs of labels, in the database: accepted or refused, and by which mapping."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.store.tables import learned_pairs, mappings

APART_S = 1e-5  # between pairs that are learned at once: their time is their order


@dataclass(frozen=True, slots=True)
class LearnedRow:
    """One pair; ``mapping_id`` and ``mapping_version`` are None where it was imported or its mapping is gone."""

    model_label: str
    task_label: str
    accepted: bool
    mapping_id: int | None = None
    mapping_version: int | None = None


async def learn(
    connection: AsyncConnection, pairs: Iterable[tuple[str, str, bool]], *, mapping_id: int | None = None
) -> int:
    """Remember (model label, task label, accepted), oldest first; a later word on a pair replaces an earlier one.

    How many.
    """
    latest: dict[tuple[str, str], bool] = {}
    for m, t, accepted in pairs:
        latest.pop((m, t), None)  # so that it stands where it was said last
        latest[m, t] = accepted
    if not latest:
        return 0
    newest: float | None = (await connection.execute(sa.select(sa.func.max(learned_pairs.c.updated_at)))).scalar()
    first = max(time.time(), (newest or 0.0) + APART_S)
    times = (first + number * APART_S for number in range(len(latest)))
    both = (learned_pairs.c.model_label == sa.bindparam("m")) & (learned_pairs.c.task_label == sa.bindparam("t"))
    await connection.execute(sa.delete(learned_pairs).where(both), [{"m": m, "t": t} for m, t in latest])
    rows = [
        {"model_label": m, "task_label": t, "accepted": accepted, "mapping_id": mapping_id, "updated_at": at}
        for at, ((m, t), accepted) in zip(times, latest.items(), strict=True)
    ]
    await connection.execute(sa.insert(learned_pairs), rows)
    return len(rows)


def _row(row: sa.Row[Any]) -> LearnedRow:
    return LearnedRow(row.model_label, row.task_label, row.accepted, row.mapping_id, row.version)


def _query() -> sa.Select[Any]:
    return (
        sa.select(learned_pairs, mappings.c.version)
        .outerjoin(mappings, mappings.c.id == learned_pairs.c.mapping_id)
        .order_by(learned_pairs.c.updated_at, learned_pairs.c.model_label, learned_pairs.c.task_label)
    )


async def everything(connection: AsyncConnection) -> list[LearnedRow]:
    """All that was learned, oldest first."""
    return [_row(row) for row in await connection.execute(_query())]


async def forget(connection: AsyncConnection, model_label: str | None, task_label: str | None) -> int:
    """Forget the pairs with these labels, None standing for any; how many there were."""
    query = sa.delete(learned_pairs)
    if model_label is not None:
        query = query.where(learned_pairs.c.model_label == model_label)
    if task_label is not None:
        query = query.where(learned_pairs.c.task_label == task_label)
    return (await connection.execute(query)).rowcount
