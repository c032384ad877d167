"""Many short random histories of jobs over the real store, and after each step what must always hold.

One history is a task, a few jobs with different "clean", processes that run them, crash and lose their leases, a
model that fails in every way it can, and people who cancel, resume, retry and undo. ``SIMULATIONS=5000`` in the
environment runs so many instead of the usual number; a failing history is named by its seed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sqlite3
import struct
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import Limits
from adapters.errors import AccessDenied, BadFrame, OutOfMemory, PredictorError, PredictTimeout, Unavailable
from adapters.frame import Frame
from bridge.domain import Job, JobState, Shape, Source
from bridge.errors import BridgeError
from bridge.job_spec import Clean, JobSpec, Region
from bridge.jobs import Jobs
from bridge.store import Store
from bridge.store.jobs import FINISHED
from tests.unit.bridge.world import OPTIONS, FakePredictor, World, detections, world

HISTORIES = int(os.environ.get("SIMULATIONS", "150"))
PARTS = 6  # of the suite: each over a database of its own
STEPS = 14
LEFT, OUTSIDE = Region(x=0, y=0, width=50, height=80), 60  # a region of every frame, and where none of it is

process: ContextVar[str] = ContextVar("process", default="nobody")


class Crashed(Exception):
    """What a dead process would do next."""


@dataclass
class Mortal:
    """The store as one process sees it: after its death nothing is read or written, and what was begun is undone."""

    store: Store
    dead: bool = False

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        self._live()
        async with self.store.read() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        self._live()
        async with self.store.write() as connection:
            yield connection
            self._live()

    def _live(self) -> None:
        if self.dead:
            raise Crashed


@dataclass
class Process:
    name: str
    store: Mortal
    jobs: Jobs
    running: dict[int, asyncio.Task[Any]] = field(default_factory=dict)


@dataclass
class Model:
    """What the model does with a batch follows from the history's random numbers, until it is ``well``."""

    rng: random.Random
    bad: set[str] = field(default_factory=set)
    well: bool = False

    async def __call__(self, predictor: FakePredictor, frames: Sequence[Frame]) -> Any:
        for _ in range(self.rng.randrange(12)):  # batches end in any order
            await asyncio.sleep(0 if self.rng.random() < 0.8 else 0.001)
        if self.well:
            return None
        for frame in frames:
            if frame.id in self.bad:
                raise BadFrame(frame.id, "It is damaged.") if self.rng.random() < 0.7 else ValueError("a defect")
        chance = self.rng.random()
        if chance < 0.05 and len(frames) > 1:
            raise OutOfMemory("It does not fit.")
        if chance < 0.08:
            raise PredictorError("The engine failed.")
        if chance < 0.10:
            raise PredictTimeout("It took too long.")
        if chance < 0.13:
            raise Unavailable("The host is away.")
        if chance < 0.135:
            raise AccessDenied("The token is wrong.")
        return [] if chance < 0.15 else None


class History:
    """One random history of one task."""

    def __init__(self, made: World, seed: int) -> None:
        self.made, self.seed, self.rng = made, seed, random.Random(seed)
        self.model = Model(self.rng)
        made.adapter.behave = self.model  # type: ignore[assignment]
        for predictor in made.adapter.opened:  # those that are in memory already
            predictor.behave = self.model
        self.dead: set[str] = set()
        self.count = 0
        self.process = self.start()
        self.jobs: list[int] = []
        self.database = sqlite3.connect(made.folder / "hubbridge.db", isolation_level=None)
        self.database.create_function("x_of", 1, lambda points: struct.unpack_from("<d", points)[0])
        self.results: dict[tuple[int, int], bytes] = {}

    def start(self) -> Process:
        """A process with nothing running."""
        self.count += 1
        store = Mortal(self.made.store)
        options = replace(OPTIONS, patience_s=0, commit_frames=self.rng.choice([1, 4, 64]), read_ahead=4)
        jobs = Jobs(store, self.made.registry, options)  # type: ignore[arg-type]
        return Process(f"{self.seed}/{self.count}", store, jobs)

    async def prepare(self, name: str) -> None:
        made = self.made
        made.task = await made.tasks.create(name, made.task.labels)
        await made.frames(self.rng.randrange(5, 24))
        made.task = await made.tasks.get(made.task.id)
        self.model.bad = {f"{i:05}.png" for i in range(made.task.frame_count) if self.rng.random() < 0.08}
        for frame in range(made.task.frame_count):
            for source in (Source.MANUAL, Source.AUTOMATIC):
                if self.rng.random() < 0.4:
                    left = self.rng.choice((1, OUTSIDE))
                    await made.add(frame, Shape("car", "rectangle", (left, 2, left + 2, 4), source=source))
        self.before = await made.shapes()
        for clean in self.rng.sample(list(Clean), self.rng.randrange(1, 4)):
            spec = JobSpec(
                target=made.task.id,
                model_id=made.model.id,
                threshold=0,
                clean=clean,
                max_failure_rate=1,
                roi=self.rng.choice((None, LEFT)),
            )
            self.jobs.append((await made.jobs.create(spec)).id)

    async def live(self) -> None:
        for _ in range(STEPS):
            step = self.rng.choice(
                [
                    self.run,
                    self.run,
                    self.run,
                    self.cancel,
                    self.crash,
                    self.take_over,
                    self.resume,
                    self.retry,
                    self.undo,
                    self.release,
                ]
            )
            try:
                await step(self.rng.choice(self.jobs))
            except BridgeError as error:
                assert error.status == 409, error.message  # refused, and rightly: see the invariants
            await asyncio.sleep(self.rng.choice([0, 0, 0.001, 0.004]))
            self.check()

    async def run(self, job_id: int) -> None:
        if (await self.made.jobs.get(job_id)).state is not JobState.QUEUED or job_id in self.process.running:
            return
        token = process.set(self.process.name)
        self.process.running[job_id] = asyncio.create_task(self.process.jobs.run(job_id))
        process.reset(token)

    async def cancel(self, job_id: int) -> None:
        await self.process.jobs.cancel(job_id)

    async def crash(self, _: int) -> None:
        dead, self.process = self.process, self.start()
        dead.store.dead = True
        self.dead.add(dead.name)
        for task in dead.running.values():
            task.cancel()
        await asyncio.gather(*dead.running.values(), return_exceptions=True)

    async def take_over(self, job_id: int) -> None:
        """The lease runs out while its process goes on as if it had it."""
        await self.made.change("UPDATE jobs SET lease_until = 1 WHERE id = :job AND state = 'running'", job=job_id)
        other = self.start()
        token = process.set(other.name)
        await asyncio.gather(asyncio.create_task(other.jobs.run(job_id)), return_exceptions=True)
        process.reset(token)

    async def release(self, _: int) -> None:
        await self.process.jobs.release_crashed()

    async def resume(self, job_id: int) -> None:
        await self.process.jobs.resume(job_id)

    async def retry(self, job_id: int) -> None:
        await self.process.jobs.retry(job_id)

    async def undo(self, job_id: int) -> None:
        if self.rng.random() < 0.5:  # it ends a job for good
            await self.process.jobs.undo(job_id)

    def check(self) -> None:
        """What always holds, looked at by a reader of its own in one moment."""
        database = self.database
        database.execute("BEGIN")
        try:
            self.check_jobs(database)
            for what, query in NEVER.items():
                assert database.execute(query, {"task": self.made.task.id}).fetchall() == [], what
        finally:
            database.execute("ROLLBACK")

    def check_jobs(self, database: sqlite3.Connection) -> None:
        ledger: dict[int, dict[str, set[int]]] = {job: defaultdict(set) for job in self.jobs}
        written: Counter[tuple[int, int]] = Counter()
        results: dict[tuple[int, int], bytes] = {}
        marks = ",".join(map(str, self.jobs))
        for job, frame, state in database.execute(
            f"SELECT job_id, frame, state FROM job_frames WHERE job_id IN ({marks})"
        ):
            ledger[job][state].add(frame)
        for job, frame in database.execute(f"SELECT job_id, frame FROM shapes WHERE job_id IN ({marks})"):
            written[job, frame] += 1
        for job, frame, body in database.execute(f"SELECT job_id, frame, body FROM results WHERE job_id IN ({marks})"):
            results[job, frame] = body
        query = (
            "SELECT id, state, frames_total, frames_done, frames_failed, shapes_created, owner, undone_at "
            f"FROM jobs WHERE id IN ({marks})"
        )
        for job, state, total, done, failed, created, owner, undone in database.execute(query):
            frames = ledger[job]
            assert set(frames) <= {"pending", "done", "failed"}
            assert (total, done, failed) == (sum(map(len, frames.values())), len(frames["done"]), len(frames["failed"]))
            assert {frame for of, frame in results if of == job} == frames["done"]
            found = {(job, frame): n for frame in frames["done"] if (n := len(detections(f"{frame:05}.png")))}
            assert {key: n for key, n in written.items() if key[0] == job} == ({} if undone else found)
            assert undone or created == sum(found.values())
            assert (state == "running") == (owner is not None)
            assert not undone or state in FINISHED
        # A result once stored stays as it is.
        assert all(results[key] == body for key, body in self.results.items())
        self.results = results

    async def end(self) -> None:
        """The model is well again: whatever happened, every job comes to its end, and undoing all brings all back."""
        self.model.well = True
        await self.crash(0)
        await self.process.jobs.release_crashed()
        for job_id in self.jobs:
            job = await self.finished(job_id)
            if job.undone_at is None:
                assert (job.frames_done, job.frames_failed, job.error) == (job.frames_total, 0, None)
            self.check()
        left = set(self.jobs)
        while left:  # a job whose shapes another has replaced is refused until that one is undone
            undone = set()
            for job_id in left:
                try:
                    await self.process.jobs.undo(job_id)
                except BridgeError as error:
                    assert error.status == 409
                    if error.code == "later_job":
                        continue
                undone.add(job_id)
            assert undone
            left -= undone
        assert await self.made.shapes() == self.before
        self.check()

    async def finished(self, job_id: int) -> Job:
        for _ in range(5):
            job = await self.made.jobs.get(job_id)
            # Cancelled with every frame done: between the last frame and the job's end its process crashed.
            if job.undone_at is not None or (job.state in FINISHED and job.frames_done == job.frames_total):
                return job
            if job.state is not JobState.QUEUED:
                job = await self.process.jobs.retry(job_id)
            await self.process.jobs.run(job_id)
        raise AssertionError(f"job {job_id} does not end: {job}")


# Queries that find what must not be.
NEVER = {
    "a task's count of shapes is wrong": (
        "SELECT shape_count FROM tasks WHERE id = :task AND shape_count != "
        "(SELECT count(*) FROM shapes WHERE task_id = :task AND removed_by IS NULL)"
    ),
    "an old shape went before the new ones were stored, or stays away after undo": (
        "SELECT s.id FROM shapes s JOIN jobs j ON j.id = s.removed_by LEFT JOIN job_frames f "
        "ON f.job_id = s.removed_by AND f.frame = s.frame "
        "WHERE s.task_id = :task AND (f.state IS NOT 'done' OR j.undone_at IS NOT NULL)"
    ),
    "a shape went from where the job did not look": (
        "SELECT s.id FROM shapes s JOIN jobs j ON j.id = s.removed_by WHERE s.task_id = :task AND s.job_id IS NULL "
        "AND json_extract(j.spec, '$.roi') IS NOT NULL AND x_of(s.points) >= 60"
    ),
    "a shape that a person made went though nobody said all": (
        "SELECT s.id FROM shapes s JOIN jobs j ON j.id = s.removed_by "
        "WHERE s.task_id = :task AND s.source = 'manual' AND json_extract(j.spec, '$.clean') != 'all'"
    ),
}


@pytest.mark.parametrize("part", range(PARTS))
async def test_whatever_happens_in_whatever_order_nothing_is_lost_doubled_or_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    dead: set[str] = set()
    monkeypatch.setattr(
        "bridge.viewing.crop", lambda frame, view: Frame(frame.id, view.width, view.height, path=Path("/x"))
    )
    monkeypatch.setattr("bridge.jobs.owner_here", process.get)
    monkeypatch.setattr("bridge.jobs.is_dead", lambda owner: owner in dead)
    try:
        async with world(tmp_path, monkeypatch, limits=Limits(max_batch=4, max_concurrency=3)) as made:
            for seed in range(part, HISTORIES, PARTS):
                history = History(made, seed)
                history.dead = dead
                try:
                    await history.prepare(f"history {seed}")
                    await history.live()
                    await history.end()
                except BaseException as error:
                    error.add_note(f"in the history of seed {seed}")
                    raise
                finally:
                    history.database.close()
    finally:
        structlog.reset_defaults()
