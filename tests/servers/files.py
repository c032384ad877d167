"""A server of files, as those of releases are: ranges, redirects to a second host, connections that are cut."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from tests.servers.loopback import Loopback


@dataclass
class Served:
    """One file. ``cut_at``: the connection ends there, once for each time the file is asked for.

    A client throws away what it has not read when a connection breaks: none does before ``taken``, how much of the file
    the client has, says that it has all that was sent.
    """

    content: bytes
    cut_at: list[int] = field(default_factory=list)
    taken: Callable[[], int] = lambda: 0
    ranges: bool = True
    length: bool = True  # whether its size is told


class FileServer(Loopback):
    """``files``: path -> what lies there. Below /moved/ every file is a redirect to the same host's other name, and
    ``/moved/`` itself to ``leads``."""

    def __init__(self, files: dict[str, Served], key: str | None = None) -> None:
        super().__init__()
        self.files, self.key, self.leads = files, key, ""

    def given_key(self, request: web.Request) -> str:
        return request.headers.get("Authorization", "")

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if request.path == "/moved/":
            return web.Response(status=302, headers={"Location": self.leads})
        if request.path.startswith("/moved/"):
            target = f"http://localhost:{self.port}/{request.path.removeprefix('/moved/')}"
            return web.Response(status=302, headers={"Location": target})
        if request.path.startswith("/round/"):
            return web.Response(status=302, headers={"Location": request.path})
        served = self.files.get(request.path)
        if served is None:
            return self.say(404, "Not Found")
        return await self._send(request, served)

    async def _send(self, request: web.Request, served: Served) -> web.StreamResponse:
        content, start = served.content, 0
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        headers = {}
        status = 200
        if asked and served.ranges:
            start = int(asked[1])
            if start >= len(content):
                return web.Response(status=416, headers={"Content-Range": f"bytes */{len(content)}"})
            status, headers = 206, {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        if served.length:
            headers["Content-Length"] = str(len(content) - start)
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        cut = served.cut_at.pop(0) if served.cut_at else None
        await response.write(content[start:cut])
        if cut is not None:
            while request.transport is not None and served.taken() < cut:
                await asyncio.sleep(0.005)
            if request.transport is not None:  # the client has not left by itself
                request.transport.close()
        return response
