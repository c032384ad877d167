"""The clients that do not: too many at once, wrong, slow, half-closed, or gone in the middle."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from yarl import URL

from tests.soak.traffic import BUSY, PNG, Client

FLOOD, FLOOD_EVERY_S = 160, 10.0  # predictions at once; a model lets 64 callers wait
CROWD, CROWD_EVERY_S = 420, 30.0  # requests that are held; the server takes 400
RECOVERY_S = 60.0  # the longest until a prediction is answered again; a second is usual
PATIENCE_S = 45.0  # of a slow client at most: the server lets go of a head after 30 s

_HEAD = b"POST /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
_UPLOAD = b"POST /v1/tasks/1/frames?filename=a.png HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
_DOCUMENT = b"GET /v1/openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Harm(Client):
    """A client that does harm, or would."""

    async def flood(self) -> None:
        """Many predictions at once, some of which may be turned away."""
        statuses = await asyncio.gather(*(self.ask_to_predict("flood") for _ in range(FLOOD)))
        self.tally.done["floods, of which some was turned away"] += any(status in BUSY for status in statuses)
        await self._recover("a flood")
        await self._rest(FLOOD_EVERY_S)

    async def crowd(self) -> None:
        """Requests without an end take every place there is: others hear so, and soon after all is well, by itself."""
        url = URL(self.url)
        head = f"POST /v1/models/{self.model}/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
        crowd: list[asyncio.StreamWriter] = []
        try:
            for more in (CROWD, *[CROWD // 10] * 20):  # some may have been turned away for others that have gone since
                for _ in range(more):
                    _, writer = await asyncio.open_connection(url.host, url.port)
                    crowd.append(writer)
                    writer.write(f"{head}Content-Length: 1000\r\n\r\nx".encode())
                if await self.ask_to_predict("crowded") in BUSY:
                    self.tally.done["crowds that took every place"] += 1
                    break
            else:
                self.tally.wrong["a crowd took every place, and others were served"] += 1
        finally:
            for writer in crowd:
                writer.transport.abort()
        await self._recover("a crowd")
        await self._rest(CROWD_EVERY_S)

    async def _recover(self, what: str) -> None:
        started = time.perf_counter()
        while await self.ask_to_predict("recovery") != 200:
            if time.perf_counter() - started > RECOVERY_S:
                self.tally.wrong[f"no prediction within {RECOVERY_S:g} s of {what}"] += 1
                return
        self.tally.recovered_s.append(time.perf_counter() - started)

    async def _rest(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, max(0.0, self.until - asyncio.get_running_loop().time())))

    async def be_wrong(self) -> None:
        """What has to be refused, and leaves nothing behind."""
        json = {"Content-Type": "application/json"}
        method, path, body, headers = self.rng.choice(
            [
                ("POST", "/v1/tasks", b'{"name": ', json),
                ("POST", "/v1/tasks", b'{"name": "", "labels": []}', json),
                ("POST", f"/v1/models/{self.model}/predict", b"no image", PNG),
                ("POST", "/v1/models/999999/predict", b"no image", PNG),
                ("POST", "/v1/tasks/999999/frames?filename=a.png", b"\x89PNG cut", PNG),
                ("POST", "/v1/tasks/999999/frames?filename=a.zip", b"PK\x03\x04", {"Content-Type": "application/zip"}),
                ("POST", "/v1/jobs", b'{"target": 999999, "model_id": 1}', json),
                ("POST", "/v1/models", b'{"reference": "https://127.0.0.1/model.onnx"}', json),
                ("GET", "/v1/tasks/999999/export", None, {}),
                ("GET", f"/no/such/{self.rng.random()}", None, {}),
            ]
        )
        if method == "POST" and path.startswith("/v1/tasks") and self.rng.random() < 0.5:
            headers = {**headers, "Idempotency-Key": f"{self.name}-{self.rng.random()}"}
        status, _ = await self.ask("refused", method, path, may=range(400, 500), data=body, headers=headers)
        if status < 400:
            self.tally.wrong[f"{method} {path.partition('?')[0]} should be refused: {status}"] += 1
        await asyncio.sleep(self.rng.random() * 0.3)

    async def be_slow(self) -> None:
        """A head or a body that never ends, or drips; an answer that is not read; a connection half-closed."""
        url = URL(self.url)
        reader, writer = await asyncio.open_connection(url.host, url.port, limit=1024)
        kind, sent, drip = self.rng.choice(
            [
                ("a head that never ended", _HEAD, b""),
                ("a head that dripped", _HEAD, b"X-A: b\r\n"),
                ("a body that never came", _HEAD + b"Content-Length: 1000\r\n\r\n{", b""),
                ("a body that dripped", _HEAD + b"Content-Length: 1000000\r\n\r\n", b"x"),
                ("an answer that nobody read", _DOCUMENT * 20, b""),
                ("half-closed", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b""),
            ]
        )
        self.tally.done[kind] += 1
        patience = PATIENCE_S * self.rng.random()
        leaves_at = min(asyncio.get_running_loop().time() + patience, self.until)
        try:
            with suppress(ConnectionError):
                writer.write(sent)
                if kind == "half-closed":
                    writer.write_eof()
                while not writer.is_closing() and asyncio.get_running_loop().time() < leaves_at:
                    if kind != "an answer that nobody read" and await _ended(reader):
                        break
                    if drip:  # nothing may follow the end of a half-closed connection, not even nothing
                        writer.write(drip)
                    await asyncio.sleep(0.3)
        finally:
            writer.close()

    async def die(self) -> None:
        """Hang up in the middle of an upload, of a prediction, or of an answer."""
        url = URL(self.url)
        _, writer = await asyncio.open_connection(url.host, url.port)
        predict = f"POST /v1/models/{self.model}/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
        kind, sent = self.rng.choice(
            [
                ("died in an upload", _UPLOAD + b"Content-Length: 100000\r\n\r\nx"),
                ("died in a prediction", f"{predict}Content-Length: 100000\r\n\r\nx".encode()),
                ("died in an answer", _DOCUMENT),
            ]
        )
        self.tally.done[kind] += 1
        writer.write(sent)
        await asyncio.sleep(self.rng.random() * 0.1)
        writer.transport.abort()
        await asyncio.sleep(self.rng.random() * 0.5)


async def _ended(reader: asyncio.StreamReader) -> bool:
    """Whether the server has closed; what comes before is read."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            return await reader.read(4096) == b""
    return False
