"""What jobs are about to change in another tool, kept until it is known to have happened."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.domain import Intent
from bridge.store.models import moment
from bridge.store.tables import intents, jobs


@dataclass(frozen=True, slots=True)
class NewIntent:
    """See ``Intent``."""

    part: str
    frames: tuple[int, ...]
    body: Mapping[str, Any]


async def put_intents(
    connection: AsyncConnection, job_id: int, new: Sequence[NewIntent], purpose: Literal["write", "undo"] = "write"
) -> list[Intent]:
    """Belongs into a durable transaction, with the ledger rows that wait for them."""
    put = []
    for intent in new:
        values = {
            "job_id": job_id,
            "purpose": purpose,
            "part": intent.part,
            "frames": list(intent.frames),
            "body": json.dumps(intent.body, separators=(",", ":")),
            "created_at": time.time(),
        }
        result = await connection.execute(sa.insert(intents).values(**values))
        assert result.inserted_primary_key
        made = moment(values["created_at"])  # type: ignore[arg-type]
        put.append(
            Intent(result.inserted_primary_key[0], job_id, purpose, intent.part, intent.frames, intent.body, made)
        )
    return put


async def open_intents(
    connection: AsyncConnection, job_id: int, purpose: Literal["write", "undo"] = "write", *, part: str | None = None
) -> list[Intent]:
    """Of all parts, or of one of them, in the order in which they were put."""
    query = sa.select(intents).where(intents.c.job_id == job_id, intents.c.purpose == purpose).order_by(intents.c.id)
    if part is not None:
        query = query.where(intents.c.part == part)
    return [_intent(row) for row in await connection.execute(query)]


async def of_other_jobs(connection: AsyncConnection, job_id: int, task_ids: Sequence[int], part: str) -> list[Intent]:
    """What other jobs on these tasks have left half done in a part, writing or being undone."""
    query = (
        sa.select(intents)
        .join(jobs, jobs.c.id == intents.c.job_id)
        .where(jobs.c.task_id.in_(task_ids), jobs.c.id != job_id, intents.c.part == part)
        .order_by(intents.c.id)
    )
    return [_intent(row) for row in await connection.execute(query)]


def _intent(row: sa.Row[Any]) -> Intent:
    return Intent(
        id=row.id,
        job_id=row.job_id,
        purpose=row.purpose,
        part=row.part,
        frames=tuple(row.frames),
        body=json.loads(row.body),
        created_at=moment(row.created_at),
    )


async def note_sent(connection: AsyncConnection, intent_id: int) -> None:
    """A request for it is about to be sent: how long that may be at work is counted from now on."""
    await connection.execute(sa.update(intents).where(intents.c.id == intent_id).values(created_at=time.time()))


async def change_intent(connection: AsyncConnection, intent_id: int, body: Mapping[str, Any]) -> None:
    """Its first half has happened, and its frames no longer wait for it: what ``body`` says is left."""
    values = {"frames": [], "body": json.dumps(body, separators=(",", ":"))}
    await connection.execute(sa.update(intents).where(intents.c.id == intent_id).values(**values))


async def complete_intent(connection: AsyncConnection, intent_id: int) -> None:
    """Belongs into the transaction that stores what has come of it."""
    await connection.execute(sa.delete(intents).where(intents.c.id == intent_id))
