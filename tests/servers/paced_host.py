"""A model host that takes its time, allows so many requests at once, and fails now and then."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class PacedHost:
    """Answers ``POST /NAME`` after ``delay_s``. A request beyond ``at_once`` is counted in ``too_many``.

    slow_down, unavailable, drop   shares of the requests that meet a 429 with ``Retry-After``, a 503, a dropped
                                   connection (half of them after the work was done)
    """

    delay_s: float = 0.1
    at_once: int = 16
    slow_down: float = 0.0
    unavailable: float = 0.0
    drop: float = 0.0
    retry_after_s: float = 0.3
    inside: int = 0
    busiest: int = 0
    too_many: int = 0
    too_early: int = 0  # requests that came while everybody had been told to wait
    answered: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    url: str = ""
    _closed_until: float = 0.0
    _random: random.Random = field(default_factory=lambda: random.Random(6))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[PacedHost]:
        app = web.Application()
        app.router.add_post("/{name}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        self.too_early += loop.time() < self._closed_until
        self.inside += 1
        self.busiest = max(self.busiest, self.inside)
        self.too_many += self.inside > self.at_once
        try:
            return await self._work(request, loop)
        finally:
            self.inside -= 1

    async def _work(self, request: web.Request, loop: asyncio.AbstractEventLoop) -> web.StreamResponse:
        await request.read()
        chance = self._random.random()
        if chance < self.slow_down:
            self.faults["429"] += 1
            # What was already on its way when this was said is nobody's fault.
            self._closed_until = 0.0
            loop.call_later(0.1, self._close, loop.time() + self.retry_after_s - 0.02)
            return web.Response(status=429, headers={"Retry-After": str(self.retry_after_s)})
        if chance < self.slow_down + self.unavailable:
            self.faults["503"] += 1
            return web.Response(status=503)
        dropped = chance < self.slow_down + self.unavailable + self.drop
        if not dropped or self._random.random() < 0.5:
            await asyncio.sleep(self.delay_s)
        if dropped:
            self.faults["dropped"] += 1
            if request.transport is not None:
                request.transport.close()
            return web.Response()
        self.answered[request.match_info["name"]] += 1
        return web.json_response([])

    def _close(self, until: float) -> None:
        self._closed_until = max(self._closed_until, until)
