"""A model that Hugging Face hosts, 100 ms away with 16 places: how much of its 160 frames/s a job gets.

python -m benchmarks.hosted [--frames 3200]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import replace
from urllib.parse import urlsplit

import aiohttp

from adapters.base import Limits, PredictOptions
from adapters.frame import Frame
from adapters.http_caller import Host, HttpCaller
from adapters.huggingface_answers import build_request
from adapters.huggingface_hosted import HuggingFacePredictor
from adapters.network import HttpPolicy
from adapters.sent_image import sent_image
from benchmarks.free_model import CARD, LABELS, service
from benchmarks.machine import Table, Watch
from benchmarks.other_ways import images
from bridge.job_spec import JobSpec
from tests.servers.paced_host import PacedHost

AT_ONCE, DELAY_S = 16, 0.1
BOX = {"xmin": 10, "ymin": 20, "xmax": 200, "ymax": 100}
ANSWER: list[object] = [{"label": LABELS[i % 2], "score": 0.9, "box": BOX} for i in range(20)]


async def measure(frames: int) -> Table:
    columns = ("host", "frames/s", "of what it allows", "most in flight", "too many", "done", "asked twice", "goal")
    table = Table(f"Hosted: {DELAY_S * 1000:.0f} ms, {AT_ONCE} at once", columns)
    watch = Watch().start()
    faulty = {"slow_down": 0.02, "unavailable": 0.01, "drop": 0.01, "retry_after_s": 1.0}
    for name, run, host, goal in (
        ("healthy", _job, PacedHost(DELAY_S, AT_ONCE, ANSWER), ">= 95 %"),
        ("2 % 429, 1 % 503, 1 % dropped", _job, PacedHost(DELAY_S, AT_ONCE, ANSWER, **faulty), "every frame once"),
        ("healthy, asked by aiohttp alone", _alone, PacedHost(DELAY_S, AT_ONCE, ANSWER), "no job: the bound"),
    ):
        async with host.running_apart():
            seconds, done = await run(host, frames)
        shortest = frames * DELAY_S / AT_ONCE + host.closed_s  # all places taken whenever it may be asked
        table.add(
            **{
                "host": name,
                "frames/s": frames / seconds,
                "of what it allows": f"{shortest / seconds:.1%}",
                "most in flight": host.busiest,
                "too many": host.too_many,
                "done": f"{done} of {frames}",
                "asked twice": sum(host.answered.values()) - frames,
                "goal": goal,
            }
        )
    table.others = watch.others
    return table


async def _job(host: PacedHost, frames: int) -> tuple[float, int]:
    """Seconds from the claim of the job to its end, and the frames that are done."""
    card = replace(CARD, limits=Limits(max_batch=1, max_concurrency=AT_ONCE, timeout_s=10))
    policy = HttpPolicy(frozenset({urlsplit(host.url).netloc}))
    caller = HttpCaller(f"{host.url}/model", policy, Host("the host"), timeout_s=10)
    model = HuggingFacePredictor(card, caller, "the host", None)
    async with service(frames, card=card, model=model, pictures=images()) as made:
        job = await made.app.jobs.create(JobSpec(target=made.task.id, model_id=made.model.id))
        started = time.perf_counter()
        job = await made.app.jobs.run(job.id)
        return time.perf_counter() - started, job.frames_done


async def _alone(host: PacedHost, frames: int) -> tuple[float, int]:
    """The same requests, made beforehand, from so many loops that store nothing."""
    requests = [
        build_request(CARD.task_type, sent_image(Frame.from_file("", path)), PredictOptions()) for path in images()
    ]
    numbers = iter(range(frames))

    async def ask(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            request = requests[number % len(requests)]
            async with session.post(f"{host.url}/model", data=request.body, headers=request.headers) as response:
                await response.read()

    async with aiohttp.ClientSession() as session:
        started = time.perf_counter()
        await asyncio.gather(*(ask(session) for _ in range(AT_ONCE)))
        return time.perf_counter() - started, frames


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=3200)
    asyncio.run(measure(parser.parse_args().frames)).show()
