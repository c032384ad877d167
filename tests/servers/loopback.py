"""What every loopback server shares: a thread, a record of what was asked, and faults that can be ordered."""

from __future__ import annotations

import asyncio
import io
import ssl
import threading
import time
import zlib
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Self

import numpy as np
from aiohttp import web
from PIL import Image


@dataclass
class Fault:
    """What goes wrong for the next ``times`` requests whose path holds ``where``."""

    kind: str
    where: str = ""
    times: int = 10_000


@dataclass
class Seen:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass(frozen=True)
class Thing:
    """Something in a picture: label's number, score, and box x1 y1 x2 y2 in pixels."""

    label: int
    score: float
    box: tuple[float, float, float, float]


def picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def things(data: bytes, labels: int, floor: float = 0.0, most: int = 8) -> list[Thing]:
    """What is in a picture, by a function of its pixels: other pixels, other things. In no order of score."""
    image = picture(data)
    rng = np.random.default_rng(zlib.crc32(np.asarray(image).tobytes()))
    found = []
    for _ in range(most):
        x, y = rng.uniform(0, 0.6, 2)
        width, height = rng.uniform(0.1, 0.4, 2)
        box = (x * image.width, y * image.height, (x + width) * image.width, (y + height) * image.height)
        thing = Thing(int(rng.integers(labels)), float(rng.uniform(0.02, 0.99)), tuple(map(float, box)))
        if thing.score >= floor:
            found.append(thing)
    return found


class Loopback:
    """A context manager: inside it, ``url`` answers. ``key`` is the one that is let in; None lets everybody in.

    ``tls`` is what it speaks TLS with. ``stolen`` holds what reached the second host that a redirect leads to.
    """

    key: str | None = None
    tls: ssl.SSLContext | None = None

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.stolen: list[Seen] = []
        self.port = 0

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        raise NotImplementedError

    def given_key(self, request: web.Request) -> str:
        """The key that the request carries, wherever this host wants it."""
        return request.headers.get("Authorization", "").removeprefix("Bearer ")

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return len({each.connection for each in self.seen})

    def fail(self, kind: str, where: str = "", times: int = 10_000) -> None:
        self.faults = [Fault(kind, where, times)]

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(ready)), name="host", daemon=True)
        self._thread.start()
        if not ready.wait(60):
            raise RuntimeError("the server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(60)

    async def _run(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=256 * 2**20)
        app.router.add_route("*", "/{rest:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self.tls)  # 0: any that is free
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        seen = Seen(
            request.method, request.path, dict(request.query), dict(request.headers), body, id(request.transport)
        )
        if request.path == "/stolen":
            self.stolen.append(seen)
            return web.json_response([])
        self.seen.append(seen)
        fault = next((f for f in self.faults if f.times and f.where in request.path), None)
        if fault is not None:
            fault.times -= 1
            return await self._broken(fault.kind, request)
        if self.key is not None and self.given_key(request) != self.key:
            return self.say(401, f"Invalid key: {self.given_key(request)}")
        return await self.answer(request, body)

    def say(self, status: int, text: str, headers: dict[str, str] | None = None, **more: Any) -> web.Response:
        return web.json_response({"error": text, **more}, status=status, headers=headers)

    async def _broken(self, kind: str, request: web.Request) -> web.StreamResponse:
        match kind:
            case "429":
                return self.say(429, "slow down", {"Retry-After": "7"})
            case "429-date":
                return self.say(429, "slow down", {"Retry-After": formatdate(time.time() + 30, usegmt=True)})
            case "503-loading":
                return self.say(503, "Model org/name is currently loading", estimated_time=20.0)
            case "503-soon":
                return self.say(503, "Model org/name is currently loading", estimated_time=0.3)
            case "garbage":
                return web.Response(text="<html>Welcome to the airport's network</html>", content_type="text/html")
            case "redirect":
                # Another name for this machine, so another host to a client.
                target = f"http://localhost:{self.port}/stolen?{request.query_string}"
                return web.Response(status=307, headers={"Location": target})
            case "leak":
                given = self.given_key(request)
                return self.say(400, f"bad request to {request.url} with api_key={given} and {request.headers}")
            case "cut":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case "huge":
                return web.Response(body=b" " * (3 * 2**20), headers={"Content-Type": "application/json"})
            case "slow":
                await asyncio.sleep(600)
        return self.say(int(kind) if kind.isdigit() else 500, f"oops {kind}")
