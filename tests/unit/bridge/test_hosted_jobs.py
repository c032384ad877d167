"""A job at a host: as fast as it allows and no faster, and every frame exactly once whatever it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from adapters.base import Limits, PredictOptions
from adapters.errors import RateLimited
from adapters.frame import Frame
from adapters.http_caller import Host, HttpCaller, Request
from adapters.network import HttpPolicy
from bridge.domain import JobState
from tests.servers.paced_host import PacedHost
from tests.unit.bridge.world import OPTIONS, Behave, FakePredictor, World, world

AT_ONCE = 16


def asks(caller: HttpCaller) -> Behave:
    """The model is where the caller asks, one frame a request."""

    async def behave(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        for frame in frames:
            await caller.send(Request(f"/{frame.id}", body=b"picture"))

    return behave


def caller_of(host: PacedHost) -> HttpCaller:
    return HttpCaller(host.url, HttpPolicy(frozenset({urlsplit(host.url).netloc})), Host("The host"), timeout_s=120)


async def check_everything_once(made: World, job_id: int, host: PacedHost, frames: int) -> None:
    job = await made.check(job_id)
    assert (job.state, job.frames_done, job.frames_failed) == (JobState.SUCCEEDED, frames, 0)
    assert len(host.answered) == frames
    assert host.too_many == 0


@pytest.mark.parametrize("batch", [1, 4])
async def test_the_hosts_places_are_all_used_and_never_one_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    limits = Limits(max_batch=batch, max_concurrency=AT_ONCE, timeout_s=120)
    async with PacedHost(delay_s=0.05, at_once=AT_ONCE, together=True).running() as host:
        caller = caller_of(host)
        async with world(tmp_path, monkeypatch, frames=160, behave=asks(caller), limits=limits) as made:
            job = await made.run()
            await check_everything_once(made, job.id, host, 160)
            assert host.busiest == AT_ONCE
            assert set(host.answered.values()) == {1}
        await caller.close()


async def test_two_jobs_and_online_callers_together_keep_to_the_hosts_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(max_batch=1, max_concurrency=AT_ONCE, timeout_s=120)
    async with PacedHost(delay_s=0.02, at_once=AT_ONCE, together=True).running() as host:
        caller = caller_of(host)
        async with world(tmp_path, monkeypatch, frames=80, behave=asks(caller), limits=limits) as made:

            async def online(number: int) -> None:
                async with made.registry.batcher(made.model) as batcher:
                    frame = Frame(f"online-{number}", 100, 80, encoded=b"never looked at")
                    await batcher.predict(frame, PredictOptions())

            jobs = [await made.job() for _ in range(2)]
            await asyncio.gather(*(made.jobs.run(job.id) for job in jobs), *(online(i) for i in range(40)))
            for job in jobs:
                assert (await made.check(job.id)).frames_done == 80
            assert sum(name.startswith("online") for name in host.answered) == 40
            assert (host.too_many, host.busiest) == (0, AT_ONCE)
        await caller.close()


async def test_refusals_and_dropped_connections_lose_nothing_and_all_callers_wait_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(max_batch=1, max_concurrency=AT_ONCE, timeout_s=120)
    options = replace(OPTIONS, patience_s=60)
    host = PacedHost(delay_s=0.01, at_once=AT_ONCE, slow_down=0.02, unavailable=0.01, drop=0.01)
    closed_until, too_early = 0.0, 0
    loop = asyncio.get_running_loop()
    async with host.running():
        caller = caller_of(host)
        ask = asks(caller)

        async def noted(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
            """Counts what was begun after somebody had been told to wait; what was under way then is nobody's fault."""
            nonlocal closed_until, too_early
            too_early += loop.time() < closed_until
            try:
                await ask(predictor, frames)
            except RateLimited as error:
                closed_until = loop.time() + (error.retry_after or 0) - 0.01
                raise

        async with world(tmp_path, monkeypatch, frames=600, behave=noted, limits=limits, options=options) as made:
            job = await made.run()
            await check_everything_once(made, job.id, host, 600)
            assert set(host.faults) == {"429", "503", "dropped"}
            assert too_early == 0
        await caller.close()


async def test_a_rate_limit_holds_for_two_jobs_of_a_model_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(max_batch=1, max_concurrency=AT_ONCE, requests_per_second=100, timeout_s=120)
    async with world(tmp_path, monkeypatch, frames=20, limits=limits) as made:
        jobs = [await made.job() for _ in range(2)]
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.gather(*(made.jobs.run(job.id) for job in jobs))
        assert loop.time() - started >= 39 / 100
