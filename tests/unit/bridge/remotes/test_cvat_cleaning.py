"""What a job replaces in CVAT: looked at seldom, and nobody's work is taken for what it was at the last look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pytest import MonkeyPatch

from bridge.domain import JobState
from bridge.remotes.cvat import standing
from bridge.store import intents as intent_rows
from tests.servers.cvat import Json, images_task
from tests.unit.bridge.remotes.cvat_world import LABELS, CvatWorld, cvat_world, manual, without_ids
from tests.unit.bridge.world import OPTIONS

SMALL = replace(OPTIONS, commit_frames=4)


def _looks(made: CvatWorld) -> int:
    return sum(each.method == "GET" and each.path.endswith("/annotations") for each in made.cvat.seen)


def _on_create(made: CvatWorld, number: int, act: Callable[[list[int]], object]) -> None:
    """``act`` is called with the frames of that create when it arrives, before it is carried out."""
    seen = 0

    def look(body: Json) -> None:
        nonlocal seen
        if not any("id" in each for each in (*body["shapes"], *body["tags"])):
            seen += 1
            if seen == number:
                act(sorted({each["frame"] for each in body["shapes"]}))

    made.cvat.on_change = look


@pytest.fixture
def seldom(monkeypatch: MonkeyPatch) -> None:
    """Looking is never worth it before the end."""
    monkeypatch.setattr(standing, "SELDOM", 1e9)


@pytest.mark.parametrize("frames", [24, 96])
@pytest.mark.usefixtures("seldom")
async def test_how_often_a_task_is_looked_at_does_not_grow_with_it(
    tmp_path: Path, monkeypatch: MonkeyPatch, frames: int
) -> None:
    remote = images_task(42, frames, LABELS)
    remote.jobs[0].shapes = [{"id": i + 1, **manual(i, source="auto")} for i in range(frames)]
    before = without_ids(remote.annotations)
    async with cvat_world(tmp_path, monkeypatch, remote, options=SMALL) as made:
        job = await made.run(clean="automatic")
        await made.check_exactly_once(job)
        assert _looks(made) == 2  # before the first frame, and before what was replaced goes
        await made.made.jobs.undo(job.id)
        assert without_ids(remote.annotations) == before


async def test_a_small_task_is_cleaned_while_the_job_goes_on(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "SELDOM", 0.0)
    remote = images_task(42, 20, LABELS)
    remote.jobs[0].shapes = [{"id": i + 1, **manual(i, source="auto")} for i in range(20)]
    left: list[int] = []
    async with cvat_world(tmp_path, monkeypatch, remote, options=SMALL) as made:
        _on_create(made, 3, lambda _: left.append(len([each for each in remote.annotations if each["id"] < 5000])))
        job = await made.run(clean="automatic")
        assert left[0] < 20
        await made.check_exactly_once(job)


@pytest.mark.parametrize(("share", "edited"), [(0.0, ()), (1e9, (0, 5, 9, 19))])
@pytest.mark.parametrize("clean", ["automatic", "all"])
async def test_what_people_do_after_the_last_look_stays(
    tmp_path: Path, monkeypatch: MonkeyPatch, clean: str, share: float, edited: tuple[int, ...]
) -> None:
    """Under the numbers that the shapes had, for CVAT keeps them; on frames that are done, under way and to come."""
    monkeypatch.setattr(standing, "SELDOM", share)
    remote = images_task(42, 20, LABELS)
    remote.jobs[0].shapes += [{"id": i + 1, **manual(i, source="auto")} for i in range(20)]
    async with cvat_world(tmp_path, monkeypatch, remote, options=SMALL) as made:
        changed: set[int] = set()

        def work(written: list[int]) -> None:
            changed.update(edited, written)
            shapes = remote.jobs[0].shapes
            for place, each in enumerate(shapes):
                if each["frame"] in changed:
                    shapes[place] = {**each, "points": [5.0, 5.0, 25.0, 25.0]}
            shapes.append({"id": 900_001, **manual(written[0], points=[7.0, 7.0, 9.0, 9.0])})
            shapes[:] = [each for each in shapes if each["id"] != 19]  # of frame 18

        _on_create(made, 2, work)
        job = await made.run(clean=clean)
        assert job.state is JobState.SUCCEEDED
        stay = {each["id"]: each["points"] for each in remote.annotations if each["id"] not in range(5000, 900_000)}
        edits = {frame + 1: [5.0, 5.0, 25.0, 25.0] for frame in changed}
        assert stay == {**edits, 900_001: [7.0, 7.0, 9.0, 9.0]}
        undone = await made.made.jobs.undo(job.id)
        assert undone.restored == 20 - len(changed) - 1  # nor does what a person took away come back
        assert all(each["frame"] != 18 or each["id"] > 5000 for each in remote.annotations)


@pytest.mark.usefixtures("seldom")
async def test_what_waits_to_go_goes_when_the_job_is_resumed_as_it_was_when_that_was_decided(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    remote = images_task(42, 20, LABELS)
    remote.jobs[0].shapes += [{"id": i + 1, **manual(i, source="auto")} for i in range(20)]
    async with cvat_world(tmp_path, monkeypatch, remote, options=SMALL) as made:
        job = await made.job(clean="automatic")
        running = asyncio.create_task(made.made.jobs.run(job.id))
        _on_create(made, 4, lambda _: running.get_loop().call_soon_threadsafe(running.cancel))
        await asyncio.wait((running,))
        made.cvat.on_change = lambda body: None
        async with made.made.store.read() as connection:
            left = await intent_rows.open_intents(connection, job.id)
        assert [intent for intent in left if not intent.frames]
        assert sum(each["id"] < 5000 for each in remote.annotations) == 20
        shapes = remote.jobs[0].shapes
        shapes[0] = {**shapes[0], "points": [5.0, 5.0, 25.0, 25.0]}
        shapes.append({"id": 900_001, **manual(0)})

        # Another job does not take what this one has to find again.
        other = await made.run(clean="automatic", frames={"start": 0, "stop": 19, "step": 19})
        assert other.state is JobState.SUCCEEDED
        job = await made.made.jobs.get(job.id)
        if job.state is not JobState.QUEUED:
            job = await made.made.jobs.resume(job.id)
        job = await made.made.jobs.run(job.id)
        assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 20)
        assert {each["id"] for each in remote.annotations if each["id"] not in range(5000, 900_000)} == {1, 900_001}
        query = "SELECT json_extract(remote, '$.id') FROM shapes WHERE removed_by IS NULL"
        kept = sorted(number for (number,) in await made.made.sql(query))
        assert kept == [each["id"] for each in remote.annotations if each["id"] in range(5000, 900_000)]
        assert await made.made.sql("SELECT id FROM intents") == []
