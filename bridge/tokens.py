"""API tokens, and browser sessions opened with them.

A token is 256 random bits, so it is stored as its SHA-256: nobody can try them through, and a slow password hash would
only make each request slow. Sessions are random and stored alike. Neither can be read back from the database.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from bridge.domain import ApiToken, Scope
from bridge.errors import BridgeError, InvalidRequest
from bridge.store import Store
from bridge.store import tokens as rows

PREFIX = "hubbridge_"  # so that secret scanners, and people, see what it is
MAX_NAME = 100
MOST_DAYS = 36_500
NOTE_USE_EVERY_S = 60.0


class Tokens:
    """Makes, checks and ends tokens and sessions. ``clock`` gives seconds since 1970."""

    def __init__(self, store: Store, *, session_s: float, clock: Callable[[], float] = time.time) -> None:
        self._store, self.session_s, self._clock = store, session_s, clock
        self._noted: dict[int, float] = {}  # token id -> when its use was last noted
        self._notes: set[asyncio.Task[None]] = set()
        self._any_made = False

    async def create(self, name: str, scope: Scope, lifetime: timedelta | None = None) -> tuple[ApiToken, str]:
        """A new token and its text, which is known to nobody afterwards. Raises InvalidRequest."""
        name = name.strip()
        if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
            raise InvalidRequest(
                f"A token's name has 1 to {MAX_NAME} printable characters.", hint="Name it after who will use it."
            )
        if scope is Scope.OPEN:
            raise InvalidRequest("A token needs a scope.", hint="Scopes are read, annotate and admin.")
        if lifetime is not None and not timedelta(0) < lifetime <= timedelta(days=MOST_DAYS):
            raise InvalidRequest(f"A token lives at least a moment and at most {MOST_DAYS} days.")
        text = PREFIX + secrets.token_urlsafe(32)
        now = self._clock()
        expires_at = None if lifetime is None else now + lifetime.total_seconds()
        async with self._store.write() as connection:
            return await rows.add(connection, name, digest(text), scope, now, expires_at), text

    async def list(self) -> list[ApiToken]:
        async with self._store.read() as connection:
            return await rows.list_all(connection)

    async def revoke(self, token_id: int) -> None:
        """End a token and its sessions, at once and for good. Raises NotFound."""
        async with self._store.write() as connection:
            await rows.revoke(connection, token_id, self._clock())

    async def any_made(self) -> bool:
        """Whether a token was ever made, by any process on this database."""
        if not self._any_made:  # never becomes untrue again
            async with self._store.read() as connection:
                self._any_made = await rows.any_made(connection)
        return self._any_made

    async def any_lives(self) -> bool:
        """Whether there is a token that somebody could get in with."""
        now = self._clock()
        return any(token.lives_at(now) for token in await self.list())

    async def check(self, text: str) -> ApiToken | None:
        """The token with that text; None where it is unknown, revoked or expired."""
        async with self._store.read() as connection:
            token = await rows.by_digest(connection, digest(text), self._clock())
        return self._in_use(token)

    async def open_session(self, token: ApiToken) -> str:
        """The secret of a new session, for a cookie. It ends with its token, or after ``session_s``."""
        secret = secrets.token_urlsafe(32)
        now = self._clock()
        async with self._store.write() as connection:
            await rows.add_session(connection, digest(secret), token.id, now, now + self.session_s)
        return secret

    async def check_session(self, secret: str) -> ApiToken | None:
        async with self._store.read() as connection:
            token = await rows.by_session(connection, digest(secret), self._clock())
        return self._in_use(token)

    async def close_session(self, secret: str) -> None:
        async with self._store.write() as connection:
            await rows.remove_session(connection, digest(secret))

    def _in_use(self, token: ApiToken | None) -> ApiToken | None:
        """Note in the background, at most once a minute, that a token was used."""
        now = self._clock()
        if token is not None and now - self._noted.get(token.id, 0.0) >= NOTE_USE_EVERY_S:
            self._noted[token.id] = now
            note = asyncio.create_task(self._note(token.id, now))
            self._notes.add(note)
            note.add_done_callback(self._notes.discard)
        return token

    async def _note(self, token_id: int, now: float) -> None:
        with suppress(BridgeError):  # a full disk must not keep anybody out
            async with self._store.write() as connection:
                await rows.used(connection, token_id, now)

    async def close(self) -> None:
        """Wait for what is being noted."""
        await asyncio.gather(*self._notes)


def digest(secret: str) -> str:
    """SHA-256 in hexadecimal, of a secret that is random."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def csrf_token(session: str) -> str:
    """What a page must send back with a request that changes something: only who can read the page knows it."""
    return hmac.digest(session.encode("utf-8", "surrogateescape"), b"hubbridge csrf", "sha256").hex()
