"""What goes wrong around a job, what the user sees of it, and that after resume every frame has exactly one result."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from adapters.base import Detections, Limits, PredictOptions
from adapters.errors import PredictorError, Unavailable
from adapters.frame import Frame
from adapters.local import LocalPredictor
from adapters.model_thread import ModelThread
from bridge.domain import Job, JobState
from bridge.errors import BridgeError
from bridge.store import engine
from tests.unit.bridge.world import CARD, OPTIONS, FakeAdapter, FakePredictor, World, detections, world

MonkeyPatch = pytest.MonkeyPatch


async def resumed(made: World, job: Job) -> Job:
    """The job after it was resumed, with what must hold of it at its end."""
    job = await made.jobs.run((await made.jobs.resume(job.id)).id)
    assert job.state is JobState.SUCCEEDED
    assert job.error is None
    assert job.frames_done + job.frames_failed == job.frames_total
    return await made.check(job.id)


class Hanging(LocalPredictor[str, str]):
    """A model in this process whose forward pass does not come back from the frames in ``poison`` until ``go``."""

    poison: set[str] = set()  # noqa: RUF012
    go = threading.Event()

    def prepare(self, frame: Frame) -> str:
        return frame.id

    def forward(self, batch: Sequence[str]) -> Sequence[str]:
        if self.poison & set(batch):
            self.go.wait(600)
        return batch

    def finish(self, raw: str, frame: Frame) -> Detections:
        return detections(raw)


@pytest.fixture
def hanging(monkeypatch: MonkeyPatch) -> Iterator[type[Hanging]]:
    """What hangs is given up soon, and nothing else is, however slow the machine."""

    class OfThisTest(Hanging):
        poison: set[str] = set()  # noqa: RUF012
        go = threading.Event()

    run = ModelThread.run

    async def impatient(thread: ModelThread, step: Any, deadline_s: float) -> Any:
        *_, batch = step.args
        return await run(thread, step, 0.05 if OfThisTest.poison & set(batch) else deadline_s)

    monkeypatch.setattr(ModelThread, "run", impatient)
    yield OfThisTest
    OfThisTest.go.set()


@asynccontextmanager
async def hanging_world(folder: Path, monkeypatch: MonkeyPatch, kind: type[Hanging]) -> AsyncIterator[World]:
    async with world(folder, monkeypatch, frames=30) as made:

        async def open_hanging(adapter: FakeAdapter, card: Any, context: Any) -> Hanging:
            return kind(card)

        monkeypatch.setattr(made.adapter, "open", open_hanging)
        yield made


async def test_one_frame_that_hangs_fails_alone_after_the_model_was_loaded_anew(
    tmp_path: Path, monkeypatch: MonkeyPatch, hanging: type[Hanging]
) -> None:
    hanging.poison = {"00006.png"}
    async with hanging_world(tmp_path, monkeypatch, hanging) as made:
        job = await made.run()
        # It hung with its neighbours, then alone: twice is enough.
        assert job.state is JobState.FAILED
        assert job.error == (
            "fake did not come back from 2 calls. "
            "Its frames stay pending; resume the job, and the model is loaded anew."
        )
        assert job.frames_failed == 1
        assert made.registry.hung == ["fake"]
        assert made.registry.loaded == 0
        await made.check(job.id)
        job = await resumed(made, job)
        assert (job.frames_done, job.frames_failed) == (29, 1)
        rows = await made.jobs.ledger(job.id, most=100)
        assert [(row.frame, row.error_code) for row in rows if row.error] == [(6, "predict_timeout")]
        assert made.registry.hung == []


async def test_a_model_that_always_hangs_costs_no_more_than_two_threads_a_run(
    tmp_path: Path, monkeypatch: MonkeyPatch, hanging: type[Hanging]
) -> None:
    hanging.poison = {f"{i:05}.png" for i in range(30)}
    async with hanging_world(tmp_path, monkeypatch, hanging) as made:
        before = set(threading.enumerate())
        job = await made.run()
        assert job.state is JobState.FAILED
        # Both hang in the model's own threads; those that prepare are gone with the model.
        new = [thread.name.partition("_")[0] for thread in set(threading.enumerate()) - before]
        assert new.count("forward") == 2
        assert set(new) <= {"forward", "asyncio"}  # the event loop's own helpers may have grown
        hanging.poison = set()
        job = await resumed(made, await made.jobs.retry(job.id) if job.frames_failed == 30 else job)
        assert job.frames_done + job.frames_failed == 30


@pytest.fixture
def short_patience(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 400)


async def limit_pages(made: World, more: int | None) -> None:
    """Let the database grow by so many pages and no further, as on a full disk; None: without end."""
    async with made.store.write() as connection:
        count = (await connection.execute(sa.text("PRAGMA page_count"))).scalar_one()
        limit = 2**30 if more is None else count + more
        await connection.execute(sa.text(f"PRAGMA max_page_count = {limit}"))


async def test_a_full_disk_stops_the_job_with_nothing_half_stored_and_resume_completes_it(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch, frames=3000, options=replace(OPTIONS, commit_frames=16)) as made:
        await limit_pages(made, 150)
        job = await made.job()
        with pytest.raises(BridgeError) as caught:
            await made.jobs.run(job.id)
        assert caught.value.code == "disk_full"
        assert "disk" in caught.value.message
        assert "resume" in caught.value.hint
        job = await made.check(job.id)
        assert 0 < job.frames_done < 3000
        assert job.state is JobState.FAILED
        assert job.error
        assert "disk" in job.error
        with pytest.raises(BridgeError, match="disk"):  # as long as nobody makes room
            await made.jobs.run((await made.jobs.resume(job.id)).id)
        await made.check(job.id)
        await limit_pages(made, None)
        assert (await resumed(made, job)).frames_done == 3000


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
async def test_a_really_full_disk_is_named_and_the_job_completes_when_there_is_room(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        async with world(disk, monkeypatch, frames=3000, options=replace(OPTIONS, commit_frames=16)) as made:
            job = await made.job()
            (disk / "ballast").write_bytes(b"0" * int(2**10 * (free_kb(disk) - 300)))
            with pytest.raises(BridgeError) as caught:
                await made.jobs.run(job.id)
            assert caught.value.code == "disk_full"
            (disk / "ballast").unlink()
            job = await made.check(job.id)
            assert 0 < job.frames_done < 3000
            # Not even "failed" could be written: the job is still held until its lease runs out.
            await made.change("UPDATE jobs SET lease_until = 1 WHERE state = 'running'")
            assert (await resumed(made, job)).frames_done == 3000
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def free_kb(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize // 1024


@asynccontextmanager
async def locked(made: World) -> AsyncIterator[None]:
    """Another process holds the database: nobody else writes."""
    other = sqlite3.connect(made.folder / "hubbridge.db", isolation_level=None, check_same_thread=False)
    try:
        other.execute("PRAGMA busy_timeout = 60000")
        await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
    finally:
        other.close()


async def begun(made: World) -> tuple[Job, asyncio.Task[Job], asyncio.Event]:
    """A job some frames of which are stored already; the model answers the others when the event is set."""
    go, stored = asyncio.Event(), asyncio.Event()

    async def slowly(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        if len(predictor.calls) > 10:
            await go.wait()
        await asyncio.sleep(0.005)

    made.adapter.behave = slowly
    job = await made.job()
    running = asyncio.create_task(made.jobs.run(job.id, on_progress=lambda _: stored.set()))
    await stored.wait()
    return job, running, go


async def test_a_database_that_is_locked_for_a_while_is_waited_for(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch, frames=400) as made:
        job, running, go = await begun(made)
        async with locked(made):
            go.set()
            await asyncio.sleep(1)
            assert not running.done()
        async with asyncio.timeout(60):
            assert (await running).state is JobState.SUCCEEDED
        job = await made.check(job.id)
        assert (job.frames_done, job.error) == (400, None)
        asked = [name for predictor in made.adapter.opened for name in predictor.asked]
        assert len(asked) == len(set(asked)) == 400  # and nothing was asked twice


async def test_a_database_that_is_locked_for_longer_than_one_waits_is_come_back_to(
    tmp_path: Path, monkeypatch: MonkeyPatch, short_patience: None
) -> None:
    async with world(tmp_path, monkeypatch, frames=400) as made:
        job, running, go = await begun(made)
        async with locked(made):
            go.set()
            await asyncio.sleep(1.5)  # more than the 0.4 s that one transaction waits
            assert not running.done()
        async with asyncio.timeout(60):
            assert (await running).state is JobState.SUCCEEDED
        assert (await made.check(job.id)).frames_done == 400


@asynccontextmanager
async def gone(made: World) -> AsyncIterator[None]:
    """The database cannot be reached by anybody, as when its server or its disk is away."""

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    engines = (made.store._readers.sync_engine, made.store._writer.sync_engine)
    for one in engines:
        sa.event.listen(one, "before_cursor_execute", refuse)
    try:
        yield
    finally:
        for one in engines:
            sa.event.remove(one, "before_cursor_execute", refuse)


async def test_a_database_that_comes_back_within_patience_is_waited_for(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch, frames=400) as made:
        job, running, go = await begun(made)
        async with gone(made):
            go.set()
            await asyncio.sleep(1.5)
            assert not running.done()
        async with asyncio.timeout(60):
            assert (await running).state is JobState.SUCCEEDED
        assert (await made.check(job.id)).frames_done == 400


async def test_a_database_that_stays_away_ends_the_run_and_the_job_can_be_taken_up_when_it_is_back(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    options = replace(OPTIONS, patience_s=0.3)
    async with world(tmp_path, monkeypatch, frames=400, options=options) as made:
        job, running, go = await begun(made)
        async with gone(made):
            go.set()
            with pytest.raises(BridgeError, match="did not answer: unable to open database file"):
                await running
        job = await made.check(job.id)
        assert 0 < job.frames_done < 400
        assert job.state is JobState.RUNNING  # nothing else could be written, until the lease runs out
        await made.change("UPDATE jobs SET lease_until = 1 WHERE state = 'running'")
        assert await made.jobs.release_crashed() == [job.id]
        job = await made.jobs.run(job.id)
        assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 400)
        await made.check(job.id)


async def test_a_host_that_is_unreachable_for_a_while_costs_time_only(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    back_at = float("inf")

    async def down(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        nonlocal back_at
        if len(predictor.calls) == 3:
            back_at = time.monotonic() + 0.8
        if len(predictor.calls) > 2 and time.monotonic() < back_at:
            raise Unavailable("The host cannot be reached.")

    async with world(tmp_path, monkeypatch, frames=40, behave=down) as made:
        job = await made.run()
        assert (job.state, job.frames_done, job.frames_failed) == (JobState.SUCCEEDED, 40, 0)
        await made.check(job.id)
        assert time.monotonic() >= back_at


async def test_what_was_answered_before_the_host_went_away_is_stored_and_not_asked_again(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    away, failed = True, asyncio.Event()

    async def flaky(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        if frames[0].id == "00004.png":
            failed.set()
            if away:
                raise Unavailable("The host cannot be reached.")
        else:
            await failed.wait()
            await asyncio.sleep(0.05)  # the answer comes after the failure of its neighbour

    limits = Limits(max_batch=4, max_concurrency=3)
    options = replace(OPTIONS, patience_s=0)
    async with world(tmp_path, monkeypatch, frames=40, behave=flaky, limits=limits, options=options) as made:
        job = await made.run()
        assert job.state is JobState.FAILED
        assert job.error
        assert job.error.startswith("The host cannot be reached.")
        job = await made.check(job.id)
        assert job.frames_done >= 4
        away = False
        await resumed(made, job)
        asked = [name for predictor in made.adapter.opened for name in predictor.asked]
        again = sorted({name for name in asked if asked.count(name) > 1})
        assert again == [f"{i:05}.png" for i in range(4, 8)]


async def test_memory_that_runs_out_twice_ends_in_batches_that_fit(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    class Small(Hanging):
        def forward(self, batch: Sequence[str]) -> Sequence[str]:
            if len(batch) > 2:
                raise MemoryError
            return batch

    limits = Limits(max_batch=8, max_concurrency=2)
    async with world(tmp_path, monkeypatch, frames=50, limits=limits) as made:

        async def open_small(adapter: FakeAdapter, card: Any, context: Any) -> Small:
            return Small(card)

        monkeypatch.setattr(made.adapter, "open", open_small)
        job = await made.run()
        assert (job.state, job.frames_done, job.frames_failed) == (JobState.SUCCEEDED, 50, 0)
        await made.check(job.id)


@pytest.mark.parametrize("wrong", [0, 1, -1])
async def test_a_local_model_that_answers_too_few_or_too_many_fails_the_frames_and_not_the_job(
    tmp_path: Path, monkeypatch: MonkeyPatch, wrong: int
) -> None:
    class Miscounting(Hanging):
        def forward(self, batch: Sequence[str]) -> Sequence[str]:
            if "00003.png" not in batch:
                return batch
            return [] if wrong == 0 else [*batch, *batch][: len(batch) + wrong]

    async with world(tmp_path, monkeypatch, frames=10) as made:

        async def open_it(adapter: FakeAdapter, card: Any, context: Any) -> Miscounting:
            return Miscounting(card)

        monkeypatch.setattr(made.adapter, "open", open_it)
        job = await made.run()
        assert (job.state, job.frames_done, job.frames_failed) == (JobState.SUCCEEDED, 9, 1)
        await made.check(job.id)


async def test_a_hung_model_answers_online_callers_with_what_to_do(hanging: type[Hanging]) -> None:
    hanging.poison = {"poison"}
    async with hanging(CARD) as predictor:
        frame = Frame("poison", 8, 8, pixels=np.zeros((8, 8, 3), np.uint8))
        errors = []
        for _ in range(3):
            with pytest.raises(PredictorError) as caught:
                await predictor.predict([frame], PredictOptions())
            errors.append(type(caught.value).__name__)
        assert errors == ["PredictTimeout", "PredictTimeout", "ModelStuck"]
