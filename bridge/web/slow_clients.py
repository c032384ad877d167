"""Connections that bring nothing are closed, and requests beyond what can be answered are turned away at once.

aiohttp waits for ever for the end of a request's head, and for its body. A watch looks at every connection once in a
while: one that has sent no whole head for ``HEAD_S``, or nothing more of a body for ``BODY_S``, is dropped, and so is
one whose body drips, one that has taken nothing more of its answer for ``ANSWER_S``, and one that was kept open for a
next request for ``KEPT_S``.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from bridge.domain import Scope
from bridge.errors import Overloaded
from bridge.web.authentication import scope_of

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
MOST_UNKNOWN = 50  # of them, that bring a body to where nobody is asked for a token: logins
ALIVE = "/healthz"  # asks for nothing that could be taken, and whoever hears 503 there may end the process


@dataclass(slots=True)
class _Seen:
    """What is known of a connection: its request at work, if any, and since when it has kept us waiting.

    unsent   bytes of an answer that the client has not taken; so many since ``stuck``
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
        self._unknown = 0

    @property
    def middleware(self) -> Middleware:
        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            unknown = request.can_read_body and scope_of(request.match_info.handler) is Scope.OPEN
            if request.path != ALIVE:
                self._check_room(unknown=unknown)
            transport = request.transport
            self._at_work += 1
            self._unknown += unknown
            if transport is not None:
                self._seen[transport] = _Seen(_now(), request, began=_now())
            try:
                return await handler(request)
            finally:
                self._at_work -= 1
                self._unknown -= unknown
                if transport is not None:
                    self._seen[transport] = _Seen(_now() + KEPT_S - HEAD_S)

        return note

    def _check_room(self, *, unknown: bool) -> None:
        """Raises Overloaded. Who has shown no token cannot take every place of those who have."""
        for at_work, most, what in (
            (self._at_work, MOST_REQUESTS, "requests"),
            (self._unknown if unknown else 0, MOST_UNKNOWN, "logins"),
        ):
            if at_work >= most:
                raise Overloaded(f"{most} {what} are at work already.", hint="Ask again soon, and fewer at once.")

    async def watch(self, server: web.Server) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with suppress(RuntimeError):  # a connection came or went while they were listed
                self.look(server)

    def look(self, server: web.Server) -> None:
        """Drop who brings nothing, and where there are too many connections, those that wait without a request."""
        now = _now()
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
        if (unsent := _unsent(transport)) > 0:
            return _answer_waits_since(seen, unsent, now)
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


def _now() -> float:
    return asyncio.get_running_loop().time()


def _unsent(transport: asyncio.Transport) -> int:
    """Bytes that the client has not acknowledged, those in the system's buffer among them where it says so.

    That buffer has up to 4 MB, and takes more only when a third of it is free: for a client of 20 KB/s, a minute.
    """
    held, client = transport.get_write_buffer_size(), transport.get_extra_info("socket")
    try:
        import fcntl  # noqa: PLC0415  (not on every system)
        import termios  # noqa: PLC0415

        sent = fcntl.ioctl(client.fileno(), termios.TIOCOUTQ, bytes(4))
    except (ImportError, OSError, ValueError, AttributeError):
        return held
    return held + int.from_bytes(sent, sys.byteorder)


def _answer_waits_since(seen: _Seen, unsent: int, now: float) -> float:
    if unsent != seen.unsent:
        seen.unsent, seen.stuck = unsent, now
    return min(now, seen.stuck + ANSWER_S - HEAD_S)
