"""The clients: some predict, some annotate whole tasks, some look, some are slow and some die."""

from __future__ import annotations

import asyncio
import io
import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import ClientError, ClientSession, ClientTimeout, FormData
from PIL import Image
from yarl import URL

BUSY = (429, 503)
FRAMES = 8  # of each task


@dataclass
class Tally:
    """What was answered, by kind of request. ``wrong``: what must not happen, in words."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    wrong: Counter[str] = field(default_factory=Counter)
    frames_done: int = 0
    jobs_checked: int = 0


def picture(rng: random.Random) -> bytes:
    packed = io.BytesIO()
    colour = [rng.randrange(256) for _ in range(3)]
    Image.fromarray(np.full((48, 64, 3), colour, np.uint8)).save(packed, "PNG")
    return packed.getvalue()


class Client:
    """One client; ``until`` is when it stops, in the loop's time."""

    def __init__(self, url: str, session: ClientSession, tally: Tally, until: float, seed: int, model: int) -> None:
        self.url, self.session, self.tally, self.until, self.model = url, session, tally, until, model
        self.rng = random.Random(seed)
        self.name = f"soak-{seed}"

    @property
    def goes_on(self) -> bool:
        return asyncio.get_running_loop().time() < self.until

    async def repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while self.goes_on:
            try:
                await step()
            except (ClientError, TimeoutError, OSError) as error:
                self.tally.wrong[f"{step.__name__}: {type(error).__name__}"] += 1
                await asyncio.sleep(0.2)

    async def ask(self, kind: str, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and JSON; a busy answer is counted and waited for as it says."""
        started = time.perf_counter()
        async with self.session.request(method, self.url + path, **options) as response:
            body = await response.read()
            status = response.status
            answer = await response.json() if response.content_type == "application/json" and body else body
        self.tally.seconds[kind].append(time.perf_counter() - started)
        self.tally.statuses[kind][status] += 1
        if status in BUSY:
            if "Retry-After" not in response.headers:
                self.tally.wrong[f"{kind}: {status} without Retry-After"] += 1
            await asyncio.sleep(0.1 + self.rng.random() * 0.4)
        elif status >= 500:
            self.tally.wrong[f"{kind}: {status} {str(answer)[:120]}"] += 1
        return status, answer

    async def predict(self) -> None:
        headers = {"Content-Type": "image/png"}
        await self.ask("predict", "POST", f"/v1/models/{self.model}/predict", data=picture(self.rng), headers=headers)
        await asyncio.sleep(self.rng.random() * 0.2)

    async def annotate(self) -> None:
        """A task from upload to export, and every frame of it is done at the end, whatever was cancelled meanwhile."""
        labels = [{"name": label} for label in ("car", "person", "tree")]
        name = f"{self.name}-{time.monotonic_ns()}"
        status, task = await self.ask("task", "POST", "/v1/tasks", json={"name": name, "labels": labels})
        if status != 201:
            return
        form = FormData(quote_fields=False)
        for i in range(FRAMES):
            form.add_field("files", io.BytesIO(picture(self.rng)), filename=f"{i}.png", content_type="image/png")
        path = f"/v1/tasks/{task['id']}"
        status, _ = await self.ask("upload", "POST", f"{path}/frames", data=form)
        if status == 201:
            await self._job(task["id"])
            await self.ask("export", "GET", f"{path}/export")
            await self.ask("preview", "GET", f"{path}/frames/0/preview")
        while (await self.ask("remove", "DELETE", path))[0] in (*BUSY, 409) and self.goes_on:
            await asyncio.sleep(0.1)

    async def _job(self, task_id: int) -> None:
        body = {"target": task_id, "model_id": self.model, "threshold": 0.0, "accept_suggestions": 0.5}
        status, job = await self.ask("job", "POST", "/v1/jobs", json=body)
        if status != 201:
            return
        path = f"/v1/jobs/{job['id']}"
        if self.rng.random() < 0.3:
            await self.ask("cancel", "POST", f"{path}/cancel")
        elif self.rng.random() < 0.5:
            await self._follow(path)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            status, job = await self.ask("look", "GET", path)
            if status == 200 and job["state"] in ("cancelled", "failed"):
                await self.ask("resume", "POST", f"{path}/resume")
            elif status == 200 and job["state"] == "succeeded":
                self.tally.jobs_checked += 1
                self.tally.frames_done += job["frames_done"]
                if job["frames_done"] != FRAMES:
                    self.tally.wrong[f"a job lost frames: {job['frames_done']} of {FRAMES}"] += 1
                return
            await asyncio.sleep(0.2)
        self.tally.wrong["a job did not end within 120 s"] += 1

    async def _follow(self, path: str) -> None:
        """A few events of the job, and then away, as a closed page."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.rng.random() * 3), self.session.get(f"{self.url}{path}/events") as stream:
                async for _ in stream.content:
                    continue

    async def look(self) -> None:
        path = self.rng.choice(["/", "/v1/tasks", "/v1/models", "/v1/jobs?limit=20", "/v1/docs", "/metrics", "/readyz"])
        await self.ask("page", "GET", path)
        await asyncio.sleep(self.rng.random() * 0.3)

    async def be_slow(self) -> None:
        """A head that never ends, a body that never comes, or a connection closed on one side."""
        url = URL(self.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        head = b"POST /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        try:
            kind = self.rng.randrange(3)
            if kind == 0:
                writer.write(head)
            elif kind == 1:
                writer.write(head + b"Content-Length: 1000\r\n\r\n{")
            else:
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                writer.write_eof()
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(min(45.0, max(0.1, self.until - asyncio.get_running_loop().time()))):
                    await reader.read()
        finally:
            writer.close()

    async def die(self) -> None:
        """Hang up in the middle of an upload, or of an answer."""
        url = URL(self.url)
        _, writer = await asyncio.open_connection(url.host, url.port)
        if self.rng.random() < 0.5:
            path, body = (
                "/v1/tasks/1/frames?filename=a.png",
                b"Content-Type: image/png\r\nContent-Length: 100000\r\n\r\nx",
            )
            writer.write(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode() + body)
        else:
            writer.write(b"GET /v1/openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await asyncio.sleep(self.rng.random() * 0.1)
        writer.transport.abort()
        await asyncio.sleep(self.rng.random() * 0.5)


async def drive(url: str, seconds: float, model: int, *, predictors: int, annotators: int, others: int) -> Tally:
    """Let all clients loose for so many seconds."""
    tally, until = Tally(), asyncio.get_running_loop().time() + seconds
    async with ClientSession(timeout=ClientTimeout(total=150)) as session:
        kinds = [Client.predict] * predictors + [Client.annotate] * annotators
        kinds += [Client.look, Client.be_slow, Client.die] * others
        clients = [(Client(url, session, tally, until, seed, model), kind) for seed, kind in enumerate(kinds)]
        await asyncio.gather(*(client.repeat(kind.__get__(client)) for client, kind in clients))
    return tally
