"""One writer at a time for a target, across processes: waited for, taken over from the dead, given back at the end."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pytest import MonkeyPatch

from adapters.errors import Unavailable
from bridge.domain import JobState
from bridge.errors import Conflict, TargetLost
from bridge.patience import Patience
from bridge.remotes.target_lease import TargetLease
from bridge.web.job_answers import JobAnswer
from tests.servers.cvat import CvatServer, Json, State, images_task
from tests.unit.bridge.remotes.cvat_world import LABELS, CvatWorld, cvat_world, use_cvat
from tests.unit.bridge.world import World, world


@asynccontextmanager
async def _two(
    folder: Path, monkeypatch: MonkeyPatch, lease_s: float = 300
) -> AsyncIterator[tuple[World, list[TargetLease]]]:
    async with world(folder, monkeypatch) as made:
        await made.frames(2)
        jobs = [await made.job(), await made.job()]
        yield made, [TargetLease(made.store, ["a", "b"], "to a", job.id, lease_s) for job in jobs]


async def test_the_second_waits_until_the_first_has_ended(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with _two(tmp_path, monkeypatch) as (made, (first, second)), second:
        async with first:
            await first.acquire(Patience())
            await first.acquire(Patience())  # again: it holds them
            waiting = asyncio.create_task(second.acquire(Patience()))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            await made.change("UPDATE jobs SET state = 'running' WHERE id = 2")
            told = "Waiting for annotation job 1, which writes to a."
            assert (await made.jobs.get(2)).waiting == told
            assert JobAnswer.of(await made.jobs.get(2)).waiting == told
            with pytest.raises(Conflict, match="Annotation job 1 writes to a now"):
                await second.acquire_at_once()
        await asyncio.wait_for(waiting, 60)
        assert (await made.jobs.get(2)).waiting is None
        assert await made.sql("SELECT DISTINCT job_id FROM target_leases") == [(2,)]


async def test_a_run_that_ends_does_not_wait_on(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with _two(tmp_path, monkeypatch) as (made, (first, second)), first, second:
        await first.acquire(Patience())
        patience = Patience()
        patience.ending.set()
        with pytest.raises(Unavailable, match="The run ended while annotation job 1 wrote to a"):
            await second.acquire(patience)
        assert await made.sql("SELECT waiting FROM jobs") == [(None,), (None,)]


async def test_who_gave_no_sign_for_too_long_is_told_so_and_writes_no_more(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async with _two(tmp_path, monkeypatch) as (made, (first, second)), first, second:
        await first.acquire(Patience())
        async with made.store.write() as connection:
            await first.check(connection)
        async with made.store.write() as connection:
            await connection.exec_driver_sql("UPDATE target_leases SET lease_until = 1")
        await second.acquire_at_once()
        with pytest.raises(TargetLost, match="took over writing to a"):
            async with made.store.write() as connection:
                await first.check(connection)
        async with made.store.write() as connection:
            await second.check(connection)


async def test_a_target_that_overlaps_is_waited_for_and_another_one_is_not(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async with _two(tmp_path, monkeypatch) as (made, (first, _)), first:
        await first.acquire(Patience())
        async with TargetLease(made.store, ["b", "c"], "to b", 2, 300) as overlapping:
            with pytest.raises(Conflict):
                await overlapping.acquire_at_once()
        async with TargetLease(made.store, ["c"], "to c", 2, 300) as another:
            await another.acquire_at_once()


async def test_undo_does_not_wait_for_a_job_that_writes(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with cvat_world(tmp_path, monkeypatch) as made:
        job, other = await made.run(), await made.job()
        target = f"cvat {made.cvat.url}/jobs/4200"
        async with TargetLease(made.made.store, [target], "to task 42 of CVAT", other.id, 300) as held:
            await held.acquire_at_once()
            with pytest.raises(Conflict, match=f"job {other.id} writes to task 42 of CVAT now"):
                await made.made.jobs.undo(job.id)
        assert (await made.made.jobs.undo(job.id)).removed == job.shapes_created


_RUN = """
import asyncio, sys
from pathlib import Path
from pytest import MonkeyPatch
from tests.unit.bridge.remotes.cvat_world import use_cvat
from tests.unit.bridge.world import OPTIONS, world
from dataclasses import replace

class Cvat:
    port = int(sys.argv[2])

async def main():
    with MonkeyPatch.context() as monkeypatch:
        async with world(Path(sys.argv[1]), monkeypatch, options=replace(OPTIONS, commit_frames=4)) as made:
            use_cvat(made, Cvat, settle_s=2.0)
            job = await made.jobs.run(int(sys.argv[3]))
            assert job.frames_done == 20, job

asyncio.run(main())
"""


def _start(folder: Path, cvat: CvatServer, job: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _RUN, str(folder / "w"), str(cvat.port), str(job)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def _make_jobs(folder: Path, cvat: CvatServer, clean: str) -> None:
    with MonkeyPatch.context() as monkeypatch:
        async with world(folder / "w", monkeypatch) as made:
            use_cvat(made, cvat)
            (made.task,) = await made.jobs.remotes.find_or_add(f"{cvat.url}/tasks/42")
            for _ in range(2):
                await made.job(clean=clean)


def test_two_processes_on_one_task_write_one_after_the_other(tmp_path: Path) -> None:
    remote = images_task(42, 20, LABELS)
    with CvatServer(State(remote)) as cvat:
        asyncio.run(_make_jobs(tmp_path, cvat, "automatic"))
        act, seconds = cvat._act, list[subprocess.Popen[str]]()

        def start(task: object, jobs: object, action: str, given: Json, *, by_task: bool) -> Json:
            """The second process begins with the first one's first write, and is known to wait before that goes on."""
            if not seconds:
                seconds.append(_start(tmp_path, cvat, 2))
            return act(task, jobs, action, given, by_task=by_task)  # type: ignore[arg-type]

        cvat._act = start  # type: ignore[method-assign, assignment]
        first = _start(tmp_path, cvat, 1)
        assert first.communicate(timeout=120) and first.returncode == 0
        said, _ = seconds[0].communicate(timeout=120)
        assert seconds[0].returncode == 0, said
        created = [body["frame"] for given in cvat.state.creates for body in given["shapes"]]
        half = len(created) // 2
        assert sorted(created[:half]) == sorted(created[half:])  # each job's by itself

        async def check() -> None:
            with MonkeyPatch.context() as monkeypatch:
                async with world(tmp_path / "w", monkeypatch) as made:
                    use_cvat(made, cvat)
                    (task,) = await made.jobs.remotes.find_or_add(f"{cvat.url}/tasks/42")
                    jobs = [await made.jobs.get(number) for number in (1, 2)]
                    query = "SELECT DISTINCT removed_by FROM shapes WHERE job_id = 1"
                    assert await made.sql(query) == [(2,)]
                    assert await made.sql("SELECT job_id FROM target_leases") == []
                    assert await made.sql("SELECT count(*) FROM shapes WHERE job_id IS NULL") == [(0,)]
                    await CvatWorld(made, cvat, task, remote).check_exactly_once(jobs[1])

        asyncio.run(check())


@pytest.mark.parametrize("at", ["before it acts", "after it acted"])
def test_a_holder_that_is_killed_is_taken_over_from_and_finds_its_shapes_again(tmp_path: Path, at: str) -> None:
    remote = images_task(42, 20, LABELS)
    with CvatServer(State(remote)) as cvat:
        asyncio.run(_make_jobs(tmp_path, cvat, "automatic"))
        act, creates = cvat._act, 0
        first = _start(tmp_path, cvat, 1)

        def kill(task: object, jobs: object, action: str, given: Json, *, by_task: bool) -> Json:
            nonlocal creates
            creates += action == "create"
            if creates == 2 and action == "create" and at == "before it acts":
                first.kill()
                first.wait()
            made = act(task, jobs, action, given, by_task=by_task)  # type: ignore[arg-type]
            if creates == 2 and action == "create" and first.poll() is None:
                first.kill()
                first.wait()
            return made

        cvat._act = kill  # type: ignore[method-assign, assignment]
        first.communicate(timeout=120)
        assert first.returncode == -signal.SIGKILL
        second = _start(tmp_path, cvat, 2)
        said, _ = second.communicate(timeout=120)
        assert second.returncode == 0, said

        async def check() -> None:
            with MonkeyPatch.context() as monkeypatch:
                async with world(tmp_path / "w", monkeypatch) as made:
                    use_cvat(made, cvat, settle_s=2.0)
                    assert await made.jobs.release_crashed() == [1]
                    job = await made.jobs.run(1)
                    assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 20)
                    query = "SELECT json_extract(remote, '$.id') FROM shapes WHERE removed_by IS NULL"
                    kept = sorted(number for (number,) in await made.sql(query))
                    assert kept == [each["id"] for each in remote.annotations]
                    # What the first job had half written was nobody else's to take away.
                    assert await made.sql("SELECT count(*) FROM shapes WHERE job_id IS NULL") == [(0,)]
                    assert await made.sql("SELECT id FROM intents") == []

        asyncio.run(check())
