"""No client takes every place: so many requests at work and so many queued jobs of one token, or of one address."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from bridge.caller import caller
from bridge.errors import TooManyRequests

JOBS_RETRY_S = 10.0


@dataclass(slots=True)
class _Jobs:
    """Those that a client made, and that were queued at the last look."""

    ids: set[int] = field(default_factory=set)
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)


class ClientShares:
    """Of one server; what is at work is forgotten with it."""

    def __init__(self, most_requests: int, most_jobs: int = 0) -> None:
        self._most_requests, self._most_jobs = most_requests, most_jobs
        self._at_work: Counter[str] = Counter()
        self._jobs: dict[str, _Jobs] = {}

    @contextmanager
    def request(self, client: str) -> Iterator[None]:
        """A place for a request of ``client``, who is ``caller`` meanwhile. Raises TooManyRequests."""
        if self._at_work[client] >= self._most_requests:
            raise TooManyRequests(
                f"{self._most_requests} requests of yours are at work already.",
                hint="Wait for some of them; [server] requests_per_client allows more.",
            )
        caller.set(client)  # a connection's requests share a context
        self._at_work[client] += 1
        try:
            yield
        finally:
            self._at_work[client] -= 1
            if not self._at_work[client]:
                del self._at_work[client]

    @asynccontextmanager
    async def job(self, queued: Callable[[], Awaitable[Collection[int]]]) -> AsyncIterator[set[int]]:
        """A place for a job of the caller, whose id is to be added to the ids that this gives; one at a time.

        ``queued`` tells the ids of all jobs that are queued. Raises TooManyRequests.
        """
        own = self._jobs.setdefault(caller.get(), _Jobs())
        async with own.gate:
            own.ids &= set(await queued())
            if len(own.ids) >= self._most_jobs:
                raise TooManyRequests(
                    f"{self._most_jobs} annotation jobs of yours are queued already.",
                    hint="Wait until some have run, or cancel them; [jobs] queued_per_client allows more.",
                    retry_after=JOBS_RETRY_S,
                )
            yield own.ids
