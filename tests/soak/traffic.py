"""The clients that mean well: some predict, some annotate whole tasks and follow their jobs, some look at pages."""

from __future__ import annotations

import asyncio
import io
import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import ClientError, ClientSession, FormData
from PIL import Image

BUSY = (429, 503)
FRAMES = 8  # of each task
PNG = {"Content-Type": "image/png"}


@dataclass
class Tally:
    """What was answered, by kind of request. ``wrong``: what must not happen, in words; ``done``: what clients did
    that is no whole request, in words; ``recovered_s``: from the end of a flood or a crowd to the next
    prediction that is answered."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    wrong: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    recovered_s: list[float] = field(default_factory=list)
    frames_done: int = 0
    jobs_checked: int = 0

    def note(self, kind: str, status: int, seconds: float) -> None:
        self.seconds[kind].append(seconds)
        self.statuses[kind][status] += 1


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

    async def ask(
        self, kind: str, method: str, path: str, *, may: Collection[int] = (), **options: Any
    ) -> tuple[int, Any]:
        """Status and JSON; a busy answer is counted, and a pause made. Errors are wrong but for those of ``may``."""
        started = time.perf_counter()
        async with self.session.request(method, self.url + path, **options) as response:
            body = await response.read()
            status = response.status
            answer = await response.json() if response.content_type == "application/json" and body else body
        self.tally.note(kind, status, time.perf_counter() - started)
        if status in BUSY:
            if not response.headers.get("Retry-After", "").isdecimal():
                self.tally.wrong[f"{kind}: {status} without Retry-After"] += 1
            await asyncio.sleep(0.1 + self.rng.random() * 0.4)
        elif status >= 400 and status not in may:
            self.tally.wrong[f"{kind}: {status} {str(answer)[:120]}"] += 1
        return status, answer

    async def insist(self, ask: Callable[[], Awaitable[tuple[int, Any]]]) -> tuple[int, Any]:
        """Ask again and again while the server is busy, for a minute at most."""
        deadline = time.monotonic() + 60
        while True:
            status, answer = await ask()
            if status not in BUSY or time.monotonic() > deadline:
                return status, answer

    async def ask_to_predict(self, kind: str) -> int:
        path = f"/v1/models/{self.model}/predict"
        status, _ = await self.ask(kind, "POST", path, data=picture(self.rng), headers=PNG)
        return status

    async def predict(self) -> None:
        await self.ask_to_predict("predict")
        await asyncio.sleep(self.rng.random() * 0.2)

    async def annotate(self) -> None:
        """A task from upload to export, and every frame of it is done at the end, whatever was cancelled meanwhile."""
        labels = [{"name": label} for label in ("car", "person", "tree")]
        name = f"{self.name}-{time.monotonic_ns()}"
        body = {"name": name, "labels": labels}
        status, task = await self.insist(lambda: self.ask("task", "POST", "/v1/tasks", json=body))
        if status != 201:
            return
        path = f"/v1/tasks/{task['id']}"
        status, _ = await self.insist(lambda: self.ask("upload", "POST", f"{path}/frames", data=self._images()))
        if status == 201:
            await self._job(task["id"])
            await self.ask("export", "GET", f"{path}/export")
            await self.ask("preview", "GET", f"{path}/frames/0/preview")
        while (await self.ask("remove", "DELETE", path, may=(409,)))[0] in (*BUSY, 409) and self.goes_on:
            await asyncio.sleep(0.1)

    def _images(self) -> FormData:
        form = FormData(quote_fields=False)
        for i in range(FRAMES):
            form.add_field("files", io.BytesIO(picture(self.rng)), filename=f"{i}.png", content_type="image/png")
        return form

    async def _job(self, task_id: int) -> None:
        body = {"target": task_id, "model_id": self.model, "threshold": 0.0, "accept_suggestions": 0.5}
        started = time.perf_counter()
        status, job = await self.insist(lambda: self.ask("job", "POST", "/v1/jobs", json=body))
        if status != 201:
            return
        path = f"/v1/jobs/{job['id']}"
        if self.rng.random() < 0.3:
            await self.ask("cancel", "POST", f"{path}/cancel", may=(409,))
        elif self.rng.random() < 0.5:
            await self._follow(path)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            status, job = await self.ask("look", "GET", path)
            if status == 200 and job["state"] in ("cancelled", "failed"):
                await self.ask("resume", "POST", f"{path}/resume", may=(409,))
            elif status == 200 and job["state"] == "succeeded":
                self.tally.note("annotated", 200, time.perf_counter() - started)
                self.tally.jobs_checked += 1
                self.tally.frames_done += job["frames_done"]
                if job["frames_done"] != FRAMES:
                    self.tally.wrong[f"a job lost frames: {job['frames_done']} of {FRAMES}"] += 1
                return
            await asyncio.sleep(0.2)
        self.tally.wrong["a job did not end within 120 s"] += 1

    async def _follow(self, path: str) -> None:
        """A few events of the job, and then away, as a closed page. What counts is the time to the first."""
        started, status = time.perf_counter(), 0
        try:
            async with asyncio.timeout(1 + self.rng.random() * 3), self.session.get(f"{self.url}{path}/events") as got:
                status = got.status
                async for line in got.content:
                    if line.startswith(b"event:") and started:
                        self.tally.note("events", status, time.perf_counter() - started)
                        started = 0.0
        except TimeoutError:
            self.tally.done["left a stream of events"] += 1
        if status >= 400 and status not in BUSY:
            self.tally.wrong[f"events: {status}"] += 1

    async def look(self) -> None:
        path = self.rng.choice(["/", "/v1/tasks", "/v1/models", "/v1/jobs?limit=20", "/v1/docs", "/metrics", "/readyz"])
        await self.ask("page", "GET", path)
        await asyncio.sleep(self.rng.random() * 0.3)
