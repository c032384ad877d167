"""Whatever CVAT does with a request and whenever we are killed: afterwards CVAT holds what the ledger says."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pytest import MonkeyPatch

from bridge.domain import Job, JobState
from bridge.store import intents as intent_rows
from tests.servers.cvat import CvatServer, Json, State, images_task
from tests.servers.loopback import Fault
from tests.unit.bridge.remotes.cvat_world import LABELS, CvatWorld, cvat_world, manual, use_cvat, without_ids
from tests.unit.bridge.world import OPTIONS

SMALL = replace(OPTIONS, commit_frames=4, patience_s=60)
SEEDS = range(int(os.environ.get("SIMULATIONS", "4")))


@pytest.mark.parametrize("kind", ["drop", "lost", "late"])
async def test_an_answer_that_does_not_come_is_found_out(tmp_path: Path, monkeypatch: MonkeyPatch, kind: str) -> None:
    async with cvat_world(tmp_path, monkeypatch, options=SMALL, settle_s=3.0) as made:
        made.cvat.late_s = 0.5
        made.cvat.unanswered = [kind, "answered", kind, kind]
        job = await made.run()
        assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 20)
        await made.check_exactly_once(job)


async def test_a_request_that_was_at_work_for_longer_than_it_was_waited_for_leaves_no_twins(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async with cvat_world(tmp_path, monkeypatch, settle_s=0.0) as made:
        # It is carried out with the first request of the second try, so after it was looked for.
        later: list[Json] = []
        act = made.cvat._act

        def slow(task: object, jobs: object, action: str, given: Json, *, by_task: bool) -> Json:
            if action == "create" and not later:
                later.append(given)
                raise ConnectionError
            if action == "create" and len(later) == 1:
                later.append(given)
                act(task, jobs, action, later[0], by_task=by_task)  # type: ignore[arg-type]
            return act(task, jobs, action, given, by_task=by_task)  # type: ignore[arg-type]

        monkeypatch.setattr(made.cvat, "_act", slow)
        job = await made.run()
        assert job.state is JobState.SUCCEEDED
        await made.check_exactly_once(job)


async def test_a_shape_that_a_person_edits_meanwhile_is_no_twin(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    """CVAT stores an edited shape anew, under another number."""
    async with cvat_world(tmp_path, monkeypatch, settle_s=0.0) as made:
        act, seen, edited = made.cvat._act, 0, 0

        def edit(task: object, jobs: object, action: str, given: Json, *, by_task: bool) -> Json:
            nonlocal seen, edited
            seen += 1
            if seen == 1:
                raise ConnectionError  # it never acts, so that it is sent again
            answer: Json = act(task, jobs, action, given, by_task=by_task)  # type: ignore[arg-type]
            if seen == 2:
                shape = made.remote.jobs[0].shapes[0]
                edited = next(made.cvat.state.numbers["shapes"])
                made.remote.jobs[0].shapes[0] = {**shape, "id": edited, "occluded": True}
            return answer

        monkeypatch.setattr(made.cvat, "_act", edit)
        job = await made.run()
        assert job.state is JobState.SUCCEEDED
        assert edited in [each["id"] for each in made.remote.annotations]
        assert len(made.remote.annotations) == job.shapes_created


@pytest.mark.parametrize("clean", ["none", "model", "automatic"])
async def test_two_jobs_at_once_on_one_task_know_each_others_shapes(
    tmp_path: Path, monkeypatch: MonkeyPatch, clean: str
) -> None:
    async with cvat_world(tmp_path, monkeypatch, options=SMALL) as made:
        jobs = [await made.job(clean=clean) for _ in range(2)]
        made.cvat.unanswered = ["drop", "answered", "late", "lost", "drop"]
        ended = await asyncio.gather(*(made.made.jobs.run(job.id) for job in jobs))
        assert all(job.state is JobState.SUCCEEDED for job in ended)
        query = "SELECT json_extract(remote, '$.id') FROM shapes WHERE removed_by IS NULL"
        kept = sorted(number for (number,) in await made.made.sql(query))
        assert kept == [each["id"] for each in made.remote.annotations]
        assert len(kept) == sum(job.shapes_created for job in ended) // (1 if clean == "none" else 2)


async def test_how_long_a_request_is_at_work_counts_from_when_it_was_sent(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    """Of the two CVAT jobs that a bulk goes to, the second one waits for the first."""
    remote = images_task(42, 20, LABELS, segments=[(0, 9), (10, 19)])
    async with cvat_world(tmp_path, monkeypatch, remote, options=replace(OPTIONS, commit_s=60)) as made:
        job, sent = await made.job(), list[float]()
        act = made.cvat._act

        def note(*args: object, **more: bool) -> Json:
            sent.append(time.time())
            return act(*args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(made.cvat, "_act", note)
        await broken_off(made, job, 2)
        async with made.made.store.read() as connection:
            (left,) = await intent_rows.open_intents(connection, job.id)
        assert left.created_at.timestamp() >= sent[0]


async def test_a_wrong_count_in_the_answer_is_looked_up(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with cvat_world(tmp_path, monkeypatch, options=SMALL) as made:
        act = made.cvat._act
        monkeypatch.setattr(made.cvat, "_act", lambda *args, **more: {**act(*args, **more), "shapes": [], "tags": []})
        job = await made.run(clean="automatic")
        await made.check_exactly_once(job)


async def broken_off(made: CvatWorld, job: Job, after: int) -> None:
    """The run ends at its ``after``-th change of CVAT, as if the process were gone: nothing more is written here."""
    seen = 0
    running = asyncio.create_task(made.made.jobs.run(job.id))

    def stop(body: Json) -> None:
        nonlocal seen
        seen += 1
        if seen == after:
            running.get_loop().call_soon_threadsafe(running.cancel)

    made.cvat.on_change = stop
    await asyncio.wait((running,))
    made.cvat.on_change = lambda body: None


@pytest.mark.parametrize("seed", SEEDS)
async def test_any_history_of_faults_and_breaks_leaves_every_shape_once(
    tmp_path: Path, monkeypatch: MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    clean = rng.choice(["none", "automatic", "all"])
    remote = images_task(42, 20, LABELS, segments=[(0, 11), (8, 19)])
    for number in range(1, 8):
        body = manual(rng.randrange(0, 20), source=rng.choice(["auto", "manual"]))
        remote.jobs[0 if body["frame"] < 12 else 1].shapes.append({"id": number, **body})
    before = without_ids(remote.annotations)
    options = replace(SMALL, patience_s=0.3)
    async with cvat_world(tmp_path, monkeypatch, remote, options=options, settle_s=1.2) as made:
        made.cvat.late_s = 0.3
        job = await made.job(clean=clean)
        for _ in range(4):
            made.cvat.unanswered = rng.choices(["drop", "late", "lost", "answered"], k=4)
            made.cvat.faults = [Fault(rng.choice(["503", "429"]), "annotations", rng.randrange(2))]
            await broken_off(made, job, rng.randrange(1, 6))
            job = await made.made.jobs.get(job.id)
            if job.state in (JobState.FAILED, JobState.CANCELLED):
                job = await made.made.jobs.resume(job.id)
        made.cvat.faults, made.cvat.unanswered = [], []
        made.made.jobs.options = SMALL
        if job.state is JobState.QUEUED:
            job = await made.made.jobs.run(job.id)
        assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 20)
        kept = [each for each in remote.annotations if each["id"] < 5000]
        assert {"none": 7, "all": 0}.get(clean, len(kept)) == len(kept)
        remote.jobs[0].shapes = [each for each in remote.jobs[0].shapes if each["id"] >= 5000]
        remote.jobs[1].shapes = [each for each in remote.jobs[1].shapes if each["id"] >= 5000]
        await made.check_exactly_once(job)
        for each in kept:
            remote.jobs[0 if each["frame"] < 12 else 1].shapes.append(each)

        made.cvat.unanswered = rng.choices(["drop", "late", "lost", "answered"], k=3)
        await made.made.jobs.undo(job.id)
        assert without_ids(remote.annotations) == before


async def test_undoing_that_is_broken_off_is_gone_on_with(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    remote = images_task(42, 20, LABELS)
    remote.jobs[0].shapes.append({"id": 1, **manual(3)})
    async with cvat_world(tmp_path, monkeypatch, remote) as made:
        job = await made.run(clean="all")
        undoing = asyncio.create_task(made.made.jobs.undo(job.id))
        made.cvat.on_change = lambda body: undoing.get_loop().call_soon_threadsafe(undoing.cancel)
        await asyncio.wait((undoing,))
        made.cvat.on_change = lambda body: None
        async with made.made.store.read() as connection:
            assert await intent_rows.open_intents(connection, job.id, "undo")
        await made.made.jobs.undo(job.id)
        assert [each["source"] for each in remote.annotations] == ["manual"]


@pytest.mark.parametrize("at", ["before it acts", "after it acted"])
def test_our_process_is_killed_in_the_middle_of_a_write(tmp_path: Path, at: str) -> None:
    """kill -9 while CVAT has our request, and a new process that goes on."""
    remote = images_task(42, 20, LABELS)
    with CvatServer(State(remote)) as cvat:
        process = _start(tmp_path, cvat)
        act = cvat._act
        killed = False

        def kill(task: object, jobs: object, action: str, given: Json, *, by_task: bool) -> Json:
            nonlocal killed
            if not killed and at == "before it acts":
                killed = True
                process.kill()
                process.wait()
            made = act(task, jobs, action, given, by_task=by_task)  # type: ignore[arg-type]
            if not killed:
                killed = True
                process.kill()
                process.wait()
            return made

        cvat._act = kill  # type: ignore[method-assign, assignment]
        assert process.wait(120) == -signal.SIGKILL
        again = _start(tmp_path, cvat)
        assert again.wait(120) == 0

        async def check() -> None:
            with MonkeyPatch.context() as monkeypatch:
                from tests.unit.bridge.world import world  # noqa: PLC0415

                async with world(tmp_path / "w", monkeypatch) as made:
                    use_cvat(made, cvat)
                    job = await made.jobs.get(1)
                    (task,) = await made.jobs.remotes.find_or_add(f"{cvat.url}/tasks/42")
                    await CvatWorld(made, cvat, task, remote).check_exactly_once(job)

        asyncio.run(check())


_RUN = """
import asyncio, sys
from pathlib import Path
from pytest import MonkeyPatch
from tests.unit.bridge.remotes.cvat_world import use_cvat
from tests.unit.bridge.world import world, OPTIONS

class Cvat:
    port = int(sys.argv[2])

async def main():
    with MonkeyPatch.context() as monkeypatch:
        async with world(Path(sys.argv[1]), monkeypatch) as made:
            use_cvat(made, Cvat, settle_s=2.0)
            (task,) = await made.jobs.remotes.find_or_add(f"http://127.0.0.1:{Cvat.port}/tasks/42")
            made.task = task
            if not await made.jobs.page():
                await made.job()
            await made.jobs.release_crashed()
            job = await made.jobs.run(1)
            assert job.frames_done == 20, job

asyncio.run(main())
"""


def _start(folder: Path, cvat: CvatServer) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _RUN, str(folder / "w"), str(cvat.port)])
