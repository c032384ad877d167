"""A model host that takes its time, allows so many requests at once, and fails now and then."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from aiohttp import web


@dataclass
class PacedHost:
    """Answers ``POST /NAME`` after ``delay_s``. A request beyond ``at_once`` is counted in ``too_many``.

    answer                         what it answers, as JSON
    together                       before ``at_once`` requests were inside together it answers none
    slow_down, unavailable, drop   shares of the requests that meet a 429 with ``Retry-After``, a 503, a dropped
                                   connection (half of them after the work was done)
    """

    delay_s: float = 0.1
    at_once: int = 16
    answer: list[object] = field(default_factory=list)
    slow_down: float = 0.0
    unavailable: float = 0.0
    drop: float = 0.0
    retry_after_s: float = 0.3
    together: bool = False
    inside: int = 0
    busiest: int = 0
    too_many: int = 0
    too_early: int = 0  # requests that came while everybody had been told to wait
    closed_s: float = 0.0  # how long everybody was told to wait, together
    answered: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    url: str = ""
    _closed_until: float = 0.0
    _told_until: float = 0.0
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

    @asynccontextmanager
    async def running_apart(self) -> AsyncIterator[PacedHost]:
        """As ``running``, in a process of its own; what it counted is here when the block is left."""
        spawn = multiprocessing.get_context("spawn")  # the event loop of this process is not to be inherited
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(self, theirs), daemon=True)
        process.start()
        try:
            self.url = await asyncio.to_thread(ours.recv)
            yield self
            ours.send("enough")
            self.__dict__.update(vars(await asyncio.to_thread(ours.recv)))
        finally:
            process.kill()
            await asyncio.to_thread(process.join)

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
            until = loop.time() + self.retry_after_s
            self.closed_s += until - max(loop.time(), self._told_until)
            self._closed_until, self._told_until = 0.0, until
            loop.call_later(0.1, self._close, loop.time() + self.retry_after_s - 0.02)
            return web.Response(status=429, headers={"Retry-After": str(self.retry_after_s)})
        if chance < self.slow_down + self.unavailable:
            self.faults["503"] += 1
            return web.Response(status=503)
        dropped = chance < self.slow_down + self.unavailable + self.drop
        if not dropped or self._random.random() < 0.5:
            await asyncio.sleep(self.delay_s)
        while self.together and self.busiest < self.at_once:
            await asyncio.sleep(0.001)
        if dropped:
            self.faults["dropped"] += 1
            if request.transport is not None:
                request.transport.close()
            return web.Response()
        self.answered[request.match_info["name"]] += 1
        return web.json_response(self.answer)

    def _close(self, until: float) -> None:
        self._closed_until = max(self._closed_until, until)


def _serve(host: PacedHost, pipe: Connection) -> None:
    """Run the host until something comes through the pipe, and send it back with its counts."""

    async def serve() -> None:
        async with host.running():
            pipe.send(host.url)
            await asyncio.to_thread(pipe.recv)

    asyncio.run(serve())
    pipe.send(host)
