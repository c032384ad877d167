"""Files and pictures on their way out, in bounded memory however many ask and however slowly they take them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

CHUNK = 1 << 18
MOST_PIXELS = 64_000_000  # decoded for requests at the same time; one picture alone may have more


async def send_file(request: web.Request, path: Path, response: web.StreamResponse) -> web.StreamResponse:
    """The file as the answer's body, a piece at a time. Raises OSError before the first byte is sent."""
    with await asyncio.to_thread(path.open, "rb") as file:
        response.content_length = os.fstat(file.fileno()).st_size
        await response.prepare(request)
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            await response.write(chunk)
        await response.write_eof()
    return response


class PixelRoom:
    """Room for so many decoded pixels at the same time, taken in the order of coming; what is larger is alone in it."""

    def __init__(self, most: int = MOST_PIXELS) -> None:
        self._most, self._taken = most, 0
        self._gate, self._left = asyncio.Lock(), asyncio.Event()

    @asynccontextmanager
    async def take(self, pixels: int) -> AsyncIterator[None]:
        pixels = min(pixels, self._most)
        async with self._gate:
            while self._taken + pixels > self._most:
                self._left.clear()
                await self._left.wait()
            self._taken += pixels
        try:
            yield
        finally:
            self._taken -= pixels
            self._left.set()
