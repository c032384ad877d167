"""A model at a host with 100 ms latency and 16 places: how much of its 160 frames/s a job gets.

python -m benchmarks.hosted [--frames 1600]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from adapters.base import Detections, Limits, ModelCard, PredictOptions
from adapters.frame import Frame
from adapters.http_caller import Host, HttpCaller, Request
from adapters.network import HttpPolicy
from benchmarks.free_model import CARD, FreeModel, service
from benchmarks.machine import Table, Watch
from bridge.job_spec import JobSpec
from tests.servers.paced_host import PacedHost

AT_ONCE, DELAY_S = 16, 0.1
BODY = b"\xff\xd8" + bytes(60_000)  # as large as a JPEG of 640 x 480


class AtHost(FreeModel):
    """One request a frame, by the caller of the hosted adapters."""

    def __init__(self, card: ModelCard, caller: HttpCaller) -> None:
        super().__init__(card)
        self._caller = caller

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        for frame in frames:
            await self._caller.send(Request(f"/{frame.id}", body=BODY))
        return [self._found] * len(frames)

    async def close(self) -> None:
        await self._caller.close()


async def measure(frames: int) -> Table:
    columns = ("host", "frames/s", "of what it allows", "most in flight", "too many", "done", "asked twice", "goal")
    table = Table(f"Hosted: {DELAY_S * 1000:.0f} ms, {AT_ONCE} at once", columns)
    watch = Watch().start()
    faulty = {"slow_down": 0.02, "unavailable": 0.01, "drop": 0.01, "retry_after_s": 1.0}
    for name, host, goal in (
        ("healthy", PacedHost(DELAY_S, AT_ONCE), ">= 95 %"),
        ("2 % 429, 1 % 503, 1 % dropped", PacedHost(DELAY_S, AT_ONCE, **faulty), "every frame once"),
    ):
        async with host.running():
            speed, done = await _job(host, frames)
        table.add(
            **{
                "host": name,
                "frames/s": speed,
                "of what it allows": f"{speed / (AT_ONCE / DELAY_S):.1%}",
                "most in flight": host.busiest,
                "too many": host.too_many,
                "done": f"{done} of {frames}",
                "asked twice": sum(host.answered.values()) - len(host.answered),
                "goal": goal,
            }
        )
    table.others = watch.others
    return table


async def _job(host: PacedHost, frames: int) -> tuple[float, int]:
    card = replace(CARD, limits=Limits(max_batch=1, max_concurrency=AT_ONCE, timeout_s=10))
    policy = HttpPolicy(frozenset({urlsplit(host.url).netloc}))
    model = AtHost(card, HttpCaller(host.url, policy, Host("the host"), timeout_s=10))
    async with service(frames, card=card, model=model) as made:  # type: ignore[arg-type]
        job = await made.app.jobs.create(JobSpec(target=made.task.id, model_id=made.model.id))
        started = time.perf_counter()
        job = await made.app.jobs.run(job.id)
        return frames / (time.perf_counter() - started), job.frames_done


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=1600)
    asyncio.run(measure(parser.parse_args().frames)).show()
