"""Connections that bring nothing are closed, and requests beyond what can be answered are turned away at once.

aiohttp waits for ever for the end of a request's head, and for its body. A watch looks at every connection once in a
while: one that has sent no whole head for ``HEAD_S``, or nothing more of a body for ``BODY_S``, is dropped, and so is
one whose body drips, one that has taken nothing more of its answer for ``ANSWER_S``, and one that was kept open for a
next request for ``KEPT_S``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from bridge.errors import Overloaded

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEAD_S = 30.0
KEPT_S = 75.0  # for the next request on a connection that has had one
BODY_S = 60.0
LEAST_BYTES_PER_S = 500.0  # of a body, beyond its first ``BODY_S``: Apache's mod_reqtimeout asks for as much
ANSWER_S = 60.0
LOOK_EVERY_S = 2.0
MOST_CONNECTIONS = 800  # below the 1024 files that most systems allow a process
MOST_REQUESTS = 400  # at work at the same time, event streams among them


@dataclass(slots=True)
class _Seen:
    """What is known of a connection: its request at work, if any, and since when it has kept us waiting.

    unsent   bytes of an answer that the system does not take, since the client does not; so many since ``stuck``
    """

    since: float
    request: web.Request | None = None
    began: float = 0.0
    received: int = 0
    unsent: int = 0
    stuck: float = 0.0


class SlowClients:
    """The watch of one server. ``middleware`` tells it of requests, ``watch`` runs beside the server."""

    def __init__(self) -> None:
        self._seen: WeakKeyDictionary[asyncio.Transport, _Seen] = WeakKeyDictionary()
        self._at_work = 0

    @property
    def middleware(self) -> Middleware:
        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self._at_work >= MOST_REQUESTS:
                raise Overloaded(
                    f"{MOST_REQUESTS} requests are at work already.", hint="Ask again in a moment, and fewer at once."
                )
            transport, clock = request.transport, asyncio.get_running_loop().time
            self._at_work += 1
            if transport is not None:
                self._seen[transport] = _Seen(clock(), request, began=clock())
            try:
                return await handler(request)
            finally:
                self._at_work -= 1
                if transport is not None:
                    self._seen[transport] = _Seen(clock() + KEPT_S - HEAD_S)

        return note

    async def watch(self, server: web.Server) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with suppress(RuntimeError):  # a connection came or went while they were listed
                self.look(server)

    def look(self, server: web.Server) -> None:
        """Drop who brings nothing, and where there are too many connections, those that wait without a request."""
        now = asyncio.get_running_loop().time()
        transports = [each.transport for each in list(server.connections) if each.transport is not None]
        idle = sorted((self._waits_since(transport, now), i) for i, transport in enumerate(transports))
        slow = [i for since, i in idle if now - since > HEAD_S]
        if (surplus := len(transports) - MOST_CONNECTIONS) > 0:
            slow = list({*slow, *(i for since, i in idle[:surplus] if since < now)})
        for i in slow:
            transports[i].abort()
        if slow:
            log.info("dropped slow connections", count=len(slow), left=len(transports) - len(slow))

    def _waits_since(self, transport: asyncio.Transport, now: float) -> float:
        """Since when a connection brings nothing that is waited for; ``now`` where it does not keep us waiting."""
        seen = self._seen.setdefault(transport, _Seen(now))
        if transport.get_write_buffer_size() > 0:
            return _answer_waits_since(seen, transport.get_write_buffer_size(), now)
        request = seen.request
        if seen.unsent and request is None:  # the answer has gone only now
            seen.since = now + KEPT_S - HEAD_S
        seen.unsent = 0
        if request is None:
            return seen.since
        if request.content.is_eof():
            return now  # the answer is our business
        if request.content.total_bytes != seen.received:
            seen.received, seen.since = request.content.total_bytes, now
        due = seen.began + seen.received / LEAST_BYTES_PER_S
        return min(now, min(seen.since, due) + BODY_S - HEAD_S)  # a body may pause for longer


def _answer_waits_since(seen: _Seen, unsent: int, now: float) -> float:
    if unsent != seen.unsent:
        seen.unsent, seen.stuck = unsent, now
    return min(now, seen.stuck + ANSWER_S - HEAD_S)
