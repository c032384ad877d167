"""Several jobs and callers share one model: nobody starves, and never more calls than it allows are under way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from adapters.base import Detections, Limits, PredictOptions
from adapters.frame import Frame
from bridge.domain import JobState
from bridge.job_spec import JobSpec
from bridge.lent import LentPredictor
from tests.unit.bridge.world import FakePredictor, World, world

MonkeyPatch = pytest.MonkeyPatch
LIMITS = Limits(max_batch=4, max_concurrency=2)


async def slowly(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
    await asyncio.sleep(0.004)


async def job_of(made: World, name: str, frames: int) -> int:
    """A job over a task of its own."""
    task = await made.tasks.create(name, made.task.labels)
    await made.frames(frames, task)
    return (await made.jobs.create(JobSpec(target=task.id, model_id=made.model.id, threshold=0))).id


@dataclass
class Askers:
    """Whoever has the model lent: how many calls of theirs wait or are under way, and how many were answered.

    While ``all_of`` is set, the model answers only when so many have a call: who was not scheduled by a busy machine is
    waited for.
    """

    all_of: int = 0
    asking: Counter[int] = field(default_factory=Counter)
    answered: Counter[int] = field(default_factory=Counter)
    stop: asyncio.Event = field(default_factory=asyncio.Event)  # nobody is answered while it is set
    go: asyncio.Event = field(default_factory=asyncio.Event)  # ... before this is set as well

    def watch(self, monkeypatch: MonkeyPatch) -> None:
        predict = LentPredictor.predict

        async def noted(lent: LentPredictor, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
            self.asking[id(lent)] += 1
            try:
                found = await predict(lent, frames, options)
            finally:
                self.asking[id(lent)] -= 1
            self.answered[id(lent)] += 1
            return found

        monkeypatch.setattr(LentPredictor, "predict", noted)

    async def behave(self, predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        await slowly(predictor, frames)
        while sum(calls > 0 for calls in self.asking.values()) < self.all_of:
            await asyncio.sleep(0.001)
        if self.stop.is_set():
            await self.go.wait()


async def test_jobs_that_run_together_advance_alike_whichever_began_first(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    askers = Askers()
    askers.watch(monkeypatch)
    async with world(tmp_path, monkeypatch, behave=askers.behave, limits=LIMITS) as made:
        ids = [await job_of(made, "first", 4000), await job_of(made, "second", 400), await job_of(made, "third", 4000)]
        running = [asyncio.create_task(made.jobs.run(ids[0]))]
        await made.until(lambda: askers.answered.total() >= 25)
        askers.all_of = 3
        running += [asyncio.create_task(made.jobs.run(job)) for job in ids[1:]]
        await made.until(lambda: len(askers.answered) == 3)  # all three are under way
        before = Counter(askers.answered)
        await made.until(lambda: max((askers.answered - before).values(), default=0) >= 60)
        advanced = askers.answered - before
        assert max(advanced.values()) <= 1.5 * min(advanced[asker] for asker in askers.answered), advanced
        askers.all_of = 0
        assert (await asyncio.wait_for(running[1], 120)).state is JobState.SUCCEEDED
        (predictor,) = made.adapter.opened
        assert predictor.busiest == 2
        askers.stop.set()
        for job in (ids[0], ids[2]):
            await made.jobs.cancel(job)
        askers.go.set()
        await asyncio.gather(*running)
        for job in ids:
            await made.check(job)


async def test_a_job_with_many_frames_in_flight_does_not_delay_an_online_caller(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    askers = Askers()
    async with world(tmp_path, monkeypatch, behave=askers.behave, limits=LIMITS) as made:
        ids = [await job_of(made, f"job {number}", 2000) for number in range(3)]
        running = [asyncio.create_task(made.jobs.run(job)) for job in ids]
        await made.until(lambda: bool(made.adapter.opened) and len(made.adapter.opened[0].calls) > 10)
        predictor = made.adapter.opened[0]
        frame = Frame("online", 8, 8, pixels=np.zeros((8, 8, 3), np.uint8))
        waited = []
        async with made.registry.batcher(made.model) as batcher:
            for _ in range(10):
                before = len(predictor.calls)
                await batcher.predict(frame, PredictOptions())
                waited.append(predictor.calls.index(["online"], before) - before)
        # Calls that began between the question and its own: those whose turn had come already.
        assert max(waited) <= 2 * LIMITS.max_concurrency
        askers.stop.set()
        for job in ids:
            await made.jobs.cancel(job)
        askers.go.set()
        await asyncio.gather(*running)


async def test_jobs_of_more_models_than_fit_into_memory_all_come_to_their_end(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch, behave=slowly, limits=LIMITS, keep_loaded=1) as made:
        other, _ = await made.registry.add("/models/other")
        ids = []
        for number, model in enumerate([made.model, other] * 2):
            task = await made.tasks.create(f"task {number}", made.task.labels)
            await made.frames(20, task)
            ids.append((await made.jobs.create(JobSpec(target=task.id, model_id=model.id, threshold=0))).id)
        async with asyncio.timeout(60):
            ended = await asyncio.gather(*(made.jobs.run(job) for job in ids))
        assert [job.state for job in ended] == [JobState.SUCCEEDED] * 4
        assert sum(not predictor.closed for predictor in made.adapter.opened) == 1
        assert made.registry.loaded == 1
