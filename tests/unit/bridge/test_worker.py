"""The worker: what it does with jobs that fail, that others took, and that crashed; and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from bridge import worker as module
from bridge.domain import Job, JobState
from bridge.errors import Conflict, InvalidRequest, Overloaded
from bridge.job_plan import Progress
from bridge.job_spec import JobSpec
from bridge.worker import Worker

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUEUED = Job(
    id=1,
    state=JobState.QUEUED,
    spec=JobSpec(target=1, model_id=1),
    resolved={},
    frames_total=10,
    frames_done=2,
    frames_failed=1,
    shapes_created=0,
    error=None,
    created_at=NOW,
    started_at=None,
    finished_at=None,
    undone_at=None,
    abort_requested=False,
    owner=None,
    lease_until=None,
)


@dataclass
class FakeJobs:
    """Jobs in memory; ``act`` is what running one does."""

    act: Callable[[int], Any]
    jobs: dict[int, Job] = field(default_factory=dict)
    crashed: list[int] = field(default_factory=list)
    ran: list[int] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    pages_that_fail: int = 0
    problem: Exception = field(default_factory=lambda: Overloaded("The database did not answer."))

    async def page(self, *, state: JobState, most: int) -> list[Job]:
        if self.pages_that_fail:
            self.pages_that_fail -= 1
            raise self.problem
        return [job for job in self.jobs.values() if job.state is state][:most]

    async def get(self, job_id: int) -> Job:
        return self.jobs[job_id]

    async def release_crashed(self) -> list[int]:
        released, self.crashed = self.crashed, []
        for job_id in released:
            self.jobs[job_id] = replace(self.jobs[job_id], state=JobState.QUEUED)
        return released

    async def run(self, job_id: int, *, on_progress: Callable[[Progress], None]) -> Job:
        self.ran.append(job_id)
        self.jobs[job_id] = replace(self.jobs[job_id], state=JobState.RUNNING)
        try:
            on_progress(Progress(10, 5, 1, 0, 0.0, None))
            on_progress(Progress(10, 8, 2, 0, 0.0, None))
            await self.act(job_id)
        except asyncio.CancelledError:
            self.cancelled.append(job_id)
            self.jobs[job_id] = replace(self.jobs[job_id], state=JobState.QUEUED)
            raise
        self.jobs[job_id] = replace(self.jobs[job_id], state=JobState.SUCCEEDED)
        return self.jobs[job_id]


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    monkeypatch.setattr(module, "RELEASE_EVERY_S", 0.02)


@pytest.fixture
async def start() -> AsyncIterator[Callable[[Worker], asyncio.Task[None]]]:
    tasks: list[asyncio.Task[None]] = []

    def begin(worker: Worker) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(worker.run()))
        return tasks[-1]

    yield begin
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def jobs_of(act: Callable[[int], Any], count: int = 1) -> FakeJobs:
    return FakeJobs(act, {number: replace(QUEUED, id=number) for number in range(1, count + 1)})


async def nothing(_: int) -> None:
    return


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


Start = Callable[[Worker], "asyncio.Task[None]"]


async def test_jobs_run_in_the_order_in_which_they_were_queued(start: Start) -> None:
    jobs = jobs_of(nothing, 4)
    start(Worker(jobs, 1))  # type: ignore[arg-type]
    await until(lambda: len(jobs.ran) == 4)
    assert jobs.ran == [1, 2, 3, 4]


async def test_never_more_jobs_run_than_allowed(start: Start) -> None:
    together, most = 0, 0

    async def busy(_: int) -> None:
        nonlocal together, most
        together += 1
        most = max(most, together)
        await asyncio.sleep(0.03)
        together -= 1

    jobs = jobs_of(busy, 7)
    start(Worker(jobs, 3))  # type: ignore[arg-type]
    await until(lambda: len(jobs.ran) == 7)
    assert most == 3


@pytest.mark.parametrize("error", [Conflict("taken"), InvalidRequest("gone"), RuntimeError("a defect")])
async def test_a_job_that_fails_does_not_end_the_worker(start: Start, error: Exception) -> None:
    async def fails(job_id: int) -> None:
        if job_id == 1:
            jobs.jobs[1] = replace(jobs.jobs[1], state=JobState.FAILED)
            raise error

    jobs = jobs_of(fails, 2)
    worker = Worker(jobs, 1)  # type: ignore[arg-type]
    start(worker)
    await until(lambda: jobs.jobs[2].state is JobState.SUCCEEDED)
    assert jobs.ran == [1, 2]
    assert worker.alive


@pytest.mark.parametrize("problem", [Overloaded("The database did not answer."), RuntimeError("a defect")])
async def test_a_look_for_jobs_that_fails_is_made_again(start: Start, problem: Exception) -> None:
    jobs = jobs_of(nothing)
    jobs.pages_that_fail, jobs.problem = 3, problem
    start(Worker(jobs, 1))  # type: ignore[arg-type]
    await until(lambda: jobs.ran == [1])


async def test_crashed_jobs_are_taken_up(start: Start) -> None:
    jobs = jobs_of(nothing)
    jobs.jobs[1] = replace(QUEUED, state=JobState.RUNNING)
    start(Worker(jobs, 1))  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    assert jobs.ran == []
    jobs.crashed = [1]
    await until(lambda: jobs.ran == [1])


async def test_a_worker_that_ends_cancels_what_runs_and_waits_for_it(start: Start) -> None:
    async def forever(_: int) -> None:
        await asyncio.Event().wait()

    jobs = jobs_of(forever, 2)
    worker = Worker(jobs, 2)  # type: ignore[arg-type]
    task = start(worker)
    await until(lambda: len(jobs.ran) == 2)
    assert worker.alive
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert jobs.cancelled == [1, 2]
    assert not worker.alive


async def test_frames_are_counted_from_where_the_job_stood(start: Start) -> None:
    counted: list[int] = []
    jobs = jobs_of(nothing)
    start(Worker(jobs, 1, on_frames=counted.append))  # type: ignore[arg-type]
    await until(lambda: jobs.jobs[1].state is JobState.SUCCEEDED)
    assert counted == [3, 4]
