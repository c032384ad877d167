"""API tokens and browser sessions in the database. Both are known by the SHA-256 of a secret that is not stored."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.domain import ApiToken, Scope
from bridge.errors import NotFound
from bridge.store.models import moment
from bridge.store.tables import sessions, tokens


def _maybe(seconds: float | None) -> Any:
    return None if seconds is None else moment(seconds)


def _token(row: sa.Row[Any]) -> ApiToken:
    return ApiToken(
        id=row.id,
        name=row.name,
        scope=Scope(row.scope),
        created_at=moment(row.created_at),
        expires_at=_maybe(row.expires_at),
        revoked_at=_maybe(row.revoked_at),
        last_used_at=_maybe(row.last_used_at),
    )


async def add(
    connection: AsyncConnection, name: str, digest: str, scope: Scope, now: float, expires_at: float | None
) -> ApiToken:
    values = {"name": name, "digest": digest, "scope": scope, "created_at": now, "expires_at": expires_at}
    result = await connection.execute(sa.insert(tokens).values(values))
    assert result.inserted_primary_key
    query = sa.select(tokens).where(tokens.c.id == int(result.inserted_primary_key[0]))
    return _token((await connection.execute(query)).one())


async def list_all(connection: AsyncConnection) -> list[ApiToken]:
    """Also those that have ended, in the order they were made."""
    return [_token(row) for row in await connection.execute(sa.select(tokens).order_by(tokens.c.id))]


async def any_made(connection: AsyncConnection) -> bool:
    """Whether a token was ever made; one that has ended counts."""
    return (await connection.execute(sa.select(tokens.c.id).limit(1))).first() is not None


async def by_digest(connection: AsyncConnection, digest: str, now: float) -> ApiToken | None:
    """The token of that digest, where it is neither revoked nor expired."""
    row = (await connection.execute(sa.select(tokens).where(tokens.c.digest == digest, _lives(now)))).one_or_none()
    return None if row is None else _token(row)


async def by_session(connection: AsyncConnection, digest: str, now: float) -> ApiToken | None:
    """The token that a session was opened with, where both still hold."""
    query = (
        sa.select(tokens)
        .join(sessions, sessions.c.token_id == tokens.c.id)
        .where(sessions.c.digest == digest, sessions.c.expires_at > now, _lives(now))
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _token(row)


def _lives(now: float) -> sa.ColumnElement[bool]:
    return sa.and_(tokens.c.revoked_at.is_(None), sa.or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now))


async def used(connection: AsyncConnection, token_id: int, now: float) -> None:
    await connection.execute(sa.update(tokens).where(tokens.c.id == token_id).values(last_used_at=now))


async def revoke(connection: AsyncConnection, token_id: int, now: float) -> None:
    """End a token and every session of it. Raises NotFound."""
    first = sa.func.coalesce(tokens.c.revoked_at, now)
    changed = await connection.execute(sa.update(tokens).where(tokens.c.id == token_id).values(revoked_at=first))
    if changed.rowcount == 0:
        raise NotFound(f"There is no token {token_id}.", hint="`hubbridge token list` shows all tokens.")
    await connection.execute(sa.delete(sessions).where(sessions.c.token_id == token_id))


async def add_session(connection: AsyncConnection, digest: str, token_id: int, now: float, expires_at: float) -> None:
    """Open a session; those that have expired are forgotten on the way."""
    await connection.execute(sa.delete(sessions).where(sessions.c.expires_at <= now))
    values = {"digest": digest, "token_id": token_id, "created_at": now, "expires_at": expires_at}
    await connection.execute(sa.insert(sessions).values(values))


async def remove_session(connection: AsyncConnection, digest: str) -> None:
    await connection.execute(sa.delete(sessions).where(sessions.c.digest == digest))
