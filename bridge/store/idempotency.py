"""Answers to requests that carried an Idempotency-Key, in the database."""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.store.tables import idempotency_keys as keys


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a key; ``status`` is None while its first request is at work in the process ``owner``.

    ``body_hash`` covers method, path and query as well.
    """

    body_hash: str
    status: int | None
    answer: str
    owner: str


def _is(operation: str, key: str) -> sa.ColumnElement[bool]:
    return sa.and_(keys.c.operation == operation, keys.c.key == key)


async def get(connection: AsyncConnection, operation: str, key: str) -> Kept | None:
    row = (await connection.execute(sa.select(keys).where(_is(operation, key)))).one_or_none()
    return None if row is None else Kept(row.body_hash, row.status, row.answer or "", row.owner)


async def reserve(connection: AsyncConnection, operation: str, key: str, body_hash: str, owner: str) -> None:
    values = {"operation": operation, "key": key, "body_hash": body_hash, "owner": owner, "created_at": time.time()}
    await connection.execute(sa.insert(keys).values(**values))


async def complete(connection: AsyncConnection, operation: str, key: str, status: int, answer: str) -> None:
    await connection.execute(sa.update(keys).where(_is(operation, key)).values(status=status, answer=answer))


async def release(connection: AsyncConnection, operation: str, key: str) -> None:
    """Forget a key whose request did not succeed."""
    await connection.execute(sa.delete(keys).where(_is(operation, key), keys.c.status.is_(None)))


async def expire(connection: AsyncConnection, before: float) -> None:
    await connection.execute(sa.delete(keys).where(keys.c.created_at < before))
