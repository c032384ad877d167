"""Whatever happens to a job, in whatever order: each frame ends with one result and its shapes once, and the counters
are the ledger's. Random models, cancellations, takeovers, restarts and resumptions, by seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.base import Limits
from adapters.errors import AccessDenied, BadFrame, OutOfMemory, PredictorError, Unavailable
from adapters.frame import Frame
from bridge.domain import Job, JobState, Shape
from bridge.errors import BridgeError
from bridge.job_spec import Clean
from bridge.jobs import Jobs
from tests.unit.bridge.world import OPTIONS, FakePredictor, World, world


class Whims:
    """A model that answers late, in any order, and fails in every way; until it is ``calm``."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.calm = False
        self.trouble = self.random.choice((0.0, 0.1, 0.4))

    async def __call__(self, predictor: FakePredictor, frames: Sequence[Frame]) -> Any:
        if self.calm:
            return None
        await asyncio.sleep(self.random.choice((0, 0, 0.001, 0.005)))
        if self.random.random() >= self.trouble:
            return None
        one = self.random.choice(frames).id
        match self.random.randrange(8):
            case 0 | 1:
                raise BadFrame(one, f"{one} is damaged.")
            case 2:
                raise PredictorError("The engine failed.")
            case 3:
                raise OutOfMemory("It does not fit.")
            case 4:
                raise Unavailable("The host cannot be reached.")
            case 5:
                raise AccessDenied("The token is wrong.")
            case 6:
                raise ValueError("a defect")
        return []


class Simulation:
    """Two services over one database, as two processes have it, and one job that both meddle with."""

    def __init__(self, made: World, whims: Whims, job: Job) -> None:
        self.made, self.whims, self.job_id = made, whims, job.id
        self.others = (made.jobs, Jobs(made.store, made.registry, made.jobs.options))
        self.running: list[asyncio.Task[Job]] = []

    async def step(self) -> None:
        whims, job_id = self.whims.random, self.job_id
        jobs = whims.choice(self.others)
        action = whims.choice(
            ("run", "run", "wait", "wait", "cancel", "stop", "take over", "release", "resume", "retry")
        )
        with suppress(BridgeError):  # most of it is refused at most moments
            match action:
                case "run":
                    self.running.append(asyncio.create_task(jobs.run(job_id)))
                case "cancel":
                    await jobs.cancel(job_id)
                case "stop" if self.running:
                    whims.choice(self.running).cancel()
                case "take over":
                    await self.made.change("UPDATE jobs SET lease_until = 0 WHERE state = 'running'")
                    self.running.append(asyncio.create_task(jobs.run(job_id)))
                case "release":
                    await self.made.change("UPDATE jobs SET lease_until = 0 WHERE state = 'running'")
                    await jobs.release_crashed()
                case "resume":
                    await jobs.resume(job_id)
                case "retry":
                    await jobs.retry(job_id)
        await asyncio.sleep(whims.choice((0, 0.002, 0.01)))

    async def settle(self) -> None:
        """Everything that runs ends by itself, as refused, failed, or at work no longer."""
        for ended in await asyncio.gather(*self.running, return_exceptions=True):
            assert isinstance(ended, Job | BridgeError | asyncio.CancelledError), repr(ended)
        self.running.clear()

    async def finish(self) -> Job:
        """With a model that works, the job is brought to its end in the ways that people have."""
        self.whims.calm = True
        for _ in range(5):
            job = await self.made.jobs.get(self.job_id)
            if job.state is JobState.RUNNING:  # its process is no more
                await self.made.change("UPDATE jobs SET lease_until = 0")
            if job.state is JobState.SUCCEEDED and not job.frames_failed:
                return job
            if job.state is not JobState.QUEUED:
                await self.made.jobs.retry(self.job_id)
            await self.made.jobs.run(self.job_id)
        pytest.fail(f"the job did not end: {job}")


@pytest.mark.parametrize("seed", range(10))
async def test_each_frame_ends_with_one_result_and_its_shapes_once(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whims = Whims(seed)
    draw = random.Random(seed + 1000)
    limits = Limits(max_batch=draw.randint(1, 6), max_concurrency=draw.randint(1, 4))
    options = replace(OPTIONS, patience_s=0.0, commit_frames=draw.choice((1, 8, 256)), read_ahead=draw.choice((1, 16)))
    frames = draw.randint(20, 120)
    async with world(
        tmp_path, monkeypatch, frames=frames, behave=whims, limits=limits, options=options, keep_loaded=2
    ) as made:
        for frame in range(0, frames, 3):
            await made.add(frame, Shape("car", "rectangle", (0.0, 0.0, 9.0, 9.0)))
        before = await made.shapes()
        simulation = Simulation(made, whims, await made.job(clean=Clean.ALL, max_failure_rate=0.9))
        for _ in range(20):
            await simulation.step()
            await made.check(simulation.job_id)
        await simulation.settle()
        await made.check(simulation.job_id)
        await simulation.finish()
        job = await made.check(simulation.job_id)
        assert (job.state, job.frames_done, job.frames_total) == (JobState.SUCCEEDED, frames, frames)
        found = [shape for shapes in (await made.shapes()).values() for shape in shapes]
        assert {shape.job_id for shape in found} == {job.id}
        assert (await made.tasks.get(made.task.id)).shape_count == len(found) == job.shapes_created
        await made.jobs.undo(job.id)
        assert await made.shapes() == before
