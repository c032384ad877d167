"""A creating request that is sent twice with the same Idempotency-Key creates once, and is answered twice alike.

Only successes are kept: after an error the same key may be tried again. A request whose process died in the middle
leaves its key free; what it had made by then is found by its name.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from bridge.errors import Conflict, InvalidRequest
from bridge.owner import is_dead, owner_here
from bridge.store import Store
from bridge.store import idempotency as rows

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
MAX_KEY = 200
EXPIRES_S = 24 * 3600.0


async def once(
    store: Store, operation: str, request: web.Request, work: Callable[[], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Do the work, or answer again what it answered to the same request before. Raises Conflict."""
    keys = request.headers.getall(HEADER, [])
    if not keys:
        return await work()
    key = keys[0]
    if len(keys) > 1 or not 1 <= len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
        raise InvalidRequest(
            f"An {HEADER} has 1 to {MAX_KEY} printable ASCII characters and is given once.", hint="A UUID is usual."
        )
    known = await _begin(store, operation, key, await _fingerprint(request))
    if known is not None:
        return web.Response(
            status=known.status or 200,
            body=known.answer.encode(),
            content_type="application/json",
            headers={REPLAYED: "true"},
        )
    try:
        response = await work()
        assert isinstance(response, web.Response)
        assert isinstance(response.body, bytes)
        async with store.write() as connection:
            await rows.complete(connection, operation, key, response.status, response.body.decode())
    except BaseException:
        async with store.write() as connection:
            await rows.release(connection, operation, key)
        raise
    return response


async def _fingerprint(request: web.Request) -> str:
    """SHA-256 over method, path with query, and body: what must be alike for two requests to be the same one."""
    body = await request.read()
    return hashlib.sha256(f"{request.method} {request.path_qs}\n".encode() + body).hexdigest()


async def _begin(store: Store, operation: str, key: str, fingerprint: str) -> rows.Kept | None:
    """What was answered before, or None where the key is ours from here on. Raises Conflict."""
    async with store.write() as connection:
        await rows.expire(connection, time.time() - EXPIRES_S)
        kept = await rows.get(connection, operation, key)
        if kept is not None and kept.status is None and is_dead(kept.owner):
            await rows.release(connection, operation, key)
            kept = None
        if kept is None:
            await rows.reserve(connection, operation, key, fingerprint, owner_here())
            return None
    if kept.body_hash != fingerprint:
        raise Conflict(
            f"This {HEADER} was used for another request.", hint="Use a new key.", code="idempotency_key_reused"
        )
    if kept.status is None:
        raise Conflict(
            f"The first request with this {HEADER} is still at work.",
            hint="Ask again in a moment.",
            code="idempotency_in_progress",
        )
    return kept
