"""Jobs from creation to undo: every transition, and every one that is refused."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.frame import Frame
from bridge.domain import FrameState, Job, JobState, Shape, Source
from bridge.errors import Conflict, InvalidRequest, NotFound
from bridge.job_spec import Clean, FrameSelection, JobSpec, Region
from bridge.mappings import Mappings
from bridge.sinks.local import LocalSink
from bridge.store import leases, ledger
from bridge.store import models as model_rows
from bridge.store.leases import Lease, LeaseLost
from bridge.store.ledger import FrameOutcome
from bridge.views import View
from tests.unit.bridge.world import World, detections, fail_frames, world

MANUAL = Shape("car", "rectangle", (1.0, 2.0, 30.0, 40.0))
IMPORTED = Shape("tree", "polygon", (1.0, 2.0, 30.0, 40.0, 5.0, 6.0), source=Source.AUTOMATIC, score=0.5)


@pytest.fixture
async def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with world(tmp_path, monkeypatch, frames=12) as service:
        yield service


def owner_of_a_dead_process() -> str:
    code = "from bridge.owner import owner_here; print(owner_here())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


async def claim(made: World, job: Job, lease_s: float = 30, owner: str = "elsewhere/1/1") -> Lease | None:
    async with made.store.write() as connection:
        return await leases.claim(connection, job.id, owner, lease_s)


async def write(made: World, lease: Lease, *outcomes: FrameOutcome) -> None:
    async with made.store.write() as connection:
        await ledger.record_outcomes(connection, lease, outcomes, 0, 30)


async def in_state(made: World, state: JobState) -> Job:
    """A job of 12 frames in that state, through the ways that lead there."""
    job = await made.job()
    match state:
        case JobState.RUNNING:
            assert await claim(made, job)
        case JobState.CANCELLED:
            await made.jobs.cancel(job.id)
        case JobState.SUCCEEDED:
            await made.jobs.run(job.id)
        case JobState.FAILED:
            lease = await claim(made, job)
            assert lease
            async with made.store.write() as connection:
                await leases.finish(connection, lease, JobState.FAILED, "It failed.")
    return await made.jobs.get(job.id)


# --- states ---------------------------------------------------------------------------------------------------------


async def test_a_new_job_is_queued_with_its_frames_pending(made: World) -> None:
    job = await made.check((await made.job()).id)
    assert (job.state, job.frames_total, job.started_at, job.finished_at) == (JobState.QUEUED, 12, None, None)
    assert {row.state for row in await made.jobs.ledger(job.id)} == {FrameState.PENDING}


async def test_a_job_that_ran_says_when_and_what(made: World) -> None:
    job = await made.check((await made.run()).id)
    assert job.state is JobState.SUCCEEDED
    assert job.started_at
    assert job.finished_at
    assert job.created_at <= job.started_at <= job.finished_at
    assert (job.owner, job.lease_until, job.error) == (None, None, None)
    assert await made.jobs.counts() == {JobState.SUCCEEDED: 1}
    assert sum((await made.jobs.shapes_by_label(job)).values()) == job.shapes_created


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
async def test_an_ended_job_cannot_be_cancelled(made: World, state: JobState) -> None:
    job = await in_state(made, state)
    with pytest.raises(Conflict, match=f"{job.id} has already {state}"):
        await made.jobs.cancel(job.id)


async def test_a_queued_job_is_cancelled_at_once_and_a_running_one_is_asked(made: World) -> None:
    queued, running = await made.job(), await in_state(made, JobState.RUNNING)
    assert (await made.jobs.cancel(queued.id)).state is JobState.CANCELLED
    asked = await made.jobs.cancel(running.id)
    assert (asked.state, asked.abort_requested) == (JobState.RUNNING, True)


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
async def test_only_a_queued_job_is_run(made: World, state: JobState) -> None:
    job = await in_state(made, state)
    with pytest.raises(Conflict, match=str(state)):
        await made.jobs.run(job.id)
    assert (await made.jobs.get(job.id)).state is state


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.FAILED, JobState.CANCELLED])
async def test_what_has_frames_left_is_resumed(made: World, state: JobState) -> None:
    job = await made.jobs.resume((await in_state(made, state)).id)
    assert (job.state, job.error, job.finished_at) == (JobState.QUEUED, None, None)
    assert (await made.jobs.run(job.id)).state is JobState.SUCCEEDED


async def test_a_running_job_is_neither_resumed_nor_retried(made: World) -> None:
    job = await in_state(made, JobState.RUNNING)
    for again in (made.jobs.resume, made.jobs.retry):
        with pytest.raises(Conflict, match="is running"):
            await again(job.id)


async def test_with_nothing_failed_and_nothing_left_there_is_nothing_to_retry(made: World) -> None:
    job = await in_state(made, JobState.SUCCEEDED)
    for again in (made.jobs.resume, made.jobs.retry):
        with pytest.raises(Conflict, match="no frames left"):
            await again(job.id)


async def test_a_job_given_back_after_its_last_frame_can_still_be_ended(made: World) -> None:
    job = await made.run()
    await made.change("UPDATE jobs SET state = 'queued'")  # as if cancelled between its last frame and its end
    assert (await made.jobs.resume(job.id)).state is JobState.QUEUED
    assert (await made.jobs.run(job.id)).state is JobState.SUCCEEDED
    await made.check(job.id)


async def test_retry_takes_the_failed_frames_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {"00003.png", "00007.png"}
    async with world(
        tmp_path, monkeypatch, frames=12, behave=lambda predictor, frames: fail_frames(frames, bad)
    ) as made:
        job = await made.run()
        assert job.frames_failed == 2
        with pytest.raises(Conflict, match="no frames left") as caught:
            await made.jobs.resume(job.id)
        assert f"hubbridge job retry {job.id}" in caught.value.hint
        job = await made.jobs.run((await made.jobs.retry(job.id)).id)  # both fail again: still 2 of 12
        assert (job.state, job.frames_failed) == (JobState.SUCCEEDED, 2)
        bad.discard("00003.png")
        made.adapter.opened[0].calls.clear()
        job = await made.jobs.run((await made.jobs.retry(job.id)).id)
        assert (job.state, job.frames_done, job.frames_failed) == (JobState.SUCCEEDED, 11, 1)
        assert set(made.adapter.opened[0].asked) == {"00003.png", "00007.png"}
        await made.check(job.id)
        failed = await made.jobs.ledger(job.id, state=FrameState.FAILED)
        assert [(row.frame, row.name, row.attempts) for row in failed] == [(7, "00007.png", 3)]


async def test_retry_takes_pending_frames_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch, frames=12) as made:
        job = await in_state(made, JobState.CANCELLED)
        assert (await made.jobs.run((await made.jobs.retry(job.id)).id)).frames_done == 12


async def test_a_job_that_is_not_there_is_not_found(made: World) -> None:
    for ask in (made.jobs.get, made.jobs.run, made.jobs.cancel, made.jobs.resume, made.jobs.undo, made.jobs.ledger):
        if ask != made.jobs.run:
            with pytest.raises(NotFound, match="no annotation job 99"):
                await ask(99)  # type: ignore[operator]
    with pytest.raises(NotFound, match="no annotation job 99"):
        await made.jobs.run(99)


async def test_an_unexpected_error_fails_the_job_and_tells_no_inner_words(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: Any, **__: Any) -> None:
        raise LookupError("inner words")

    monkeypatch.setattr(LocalSink, "write", explode)
    job = await made.job()
    with pytest.raises(LookupError):
        await made.jobs.run(job.id)
    job = await made.jobs.get(job.id)
    assert (job.state, job.error) == (JobState.FAILED, "Something unexpected went wrong: LookupError.")


# --- the lease ------------------------------------------------------------------------------------------------------


async def test_of_two_that_claim_a_job_one_gets_it(made: World) -> None:
    job = await made.job()
    leases = await asyncio.gather(*(claim(made, job) for _ in range(5)))
    assert sum(lease is not None for lease in leases) == 1


async def test_an_expired_lease_is_taken_over_and_its_old_holder_writes_nothing(made: World) -> None:
    job = await made.job()
    old = await claim(made, job, lease_s=-1)
    assert old
    new = await claim(made, job, owner="other/2/2")
    assert new
    assert new.fence > old.fence
    with pytest.raises(LeaseLost):
        await write(made, old, FrameOutcome(0, b"late"))
    for late in (leases.renew, leases.finish):
        with pytest.raises(LeaseLost):
            async with made.store.write() as connection:
                await late(connection, old, JobState.FAILED if late is leases.finish else 30)  # type: ignore[operator]
    assert await made.sql("SELECT * FROM results") == []
    now = await made.jobs.get(job.id)
    assert (now.state, now.owner, now.frames_done) == (JobState.RUNNING, "other/2/2", 0)
    await write(made, new, FrameOutcome(0, b"in time"))
    assert (await made.jobs.get(job.id)).frames_done == 1


async def test_renewing_tells_of_a_cancellation(made: World) -> None:
    job = await made.job()
    lease = await claim(made, job)
    assert lease
    async with made.store.write() as connection:
        assert not await leases.renew(connection, lease, 30)
    await made.jobs.cancel(job.id)
    async with made.store.write() as connection:
        assert await leases.renew(connection, lease, 30)


async def test_the_crash_of_a_process_of_this_machine_is_recognised_at_once(made: World) -> None:
    owner = owner_of_a_dead_process()
    resumed, released, alive = [await made.job() for _ in range(3)]
    for job in (resumed, released):
        await claim(made, job, lease_s=3600, owner=owner)
    await claim(made, alive, lease_s=3600)
    assert (await made.jobs.resume(resumed.id)).state is JobState.QUEUED
    assert await made.jobs.release_crashed() == [released.id]
    assert (await made.jobs.get(alive.id)).state is JobState.RUNNING
    for job in (resumed, released):
        assert (await made.jobs.run(job.id)).state is JobState.SUCCEEDED
        await made.check(job.id)


async def test_a_job_whose_process_is_no_more_is_cancelled_at_once(made: World) -> None:
    crashed, lapsed = await made.job(), await made.job()
    await claim(made, crashed, lease_s=3600, owner=owner_of_a_dead_process())
    old = await claim(made, lapsed, lease_s=-1)
    for job in (crashed, lapsed):
        assert (await made.jobs.cancel(job.id)).state is JobState.CANCELLED
    assert old
    with pytest.raises(LeaseLost):
        await write(made, old, FrameOutcome(0, b"late"))


async def test_a_cancellation_that_nobody_lived_to_hear_is_kept(made: World) -> None:
    job = await made.job()
    await claim(made, job, lease_s=3600)
    await made.jobs.cancel(job.id)
    await made.change("UPDATE jobs SET lease_until = 0")
    assert await made.jobs.release_crashed() == []
    assert (await made.jobs.get(job.id)).state is JobState.CANCELLED


# --- which frames ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({}, list(range(12))),
        ({"start": 3, "stop": 6}, [3, 4, 5]),
        ({"start": 10}, [10, 11]),
        ({"stop": 99}, list(range(12))),
        ({"step": 5}, [0, 5, 10]),
        ({"start": 1, "stop": 9, "step": 4}, [1, 5]),
        ({"only": "unannotated"}, [0, 1, 3, 4, 6, 7, 9, 10]),
        ({"start": 2, "stop": 11, "step": 2, "only": "unannotated"}, [4, 6, 10]),
    ],
)
async def test_the_frames_that_a_selection_means(made: World, selection: Any, expected: list[int]) -> None:
    for frame in (2, 5, 8, 11):
        await made.add(frame, MANUAL)
    job = await made.job(frames=FrameSelection(**selection))
    assert [row.frame for row in await made.jobs.ledger(job.id)] == expected
    assert job.frames_total == len(expected)


async def test_shapes_that_were_taken_away_do_not_annotate_a_frame(made: World) -> None:
    await made.add(0, MANUAL)
    job = await made.run(frames=FrameSelection(stop=1), clean=Clean.ALL)
    await made.change("DELETE FROM shapes WHERE job_id = :j", j=job.id)
    unannotated = await made.job(frames=FrameSelection(stop=2, only="unannotated"))
    assert [row.frame for row in await made.jobs.ledger(unannotated.id)] == [0, 1]


async def test_a_selection_without_frames_is_refused_and_leaves_nothing(made: World) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await made.job(frames=FrameSelection(start=50), mapping={"car": "tree"})
    assert caught.value.code == "no_frames"
    assert await made.sql("SELECT * FROM jobs") == []
    assert await made.sql("SELECT * FROM mappings") == []
    assert await made.sql("SELECT * FROM learned_pairs") == []


async def test_the_ledger_is_read_in_pages(made: World) -> None:
    job = await made.job()
    first = await made.jobs.ledger(job.id, most=5)
    rest = await made.jobs.ledger(job.id, after=first[-1].frame, most=99)
    assert [row.frame for row in first + rest] == list(range(12))


async def test_jobs_are_listed_by_task_and_state_in_pages(made: World) -> None:
    one, two, three = [await made.job() for _ in range(3)]
    await made.jobs.cancel(two.id)
    assert [job.id for job in await made.jobs.page(state=JobState.QUEUED)] == [one.id, three.id]
    assert [job.id for job in await made.jobs.page(after=one.id, most=1)] == [two.id]
    assert await made.jobs.page(task_id=99) == []


# --- mapping, thresholds --------------------------------------------------------------------------------------------


async def test_mappings_are_pinned_versioned_and_shared_while_they_are_the_same(made: World) -> None:
    one = await made.job()
    same = await made.job(threshold=0.4)
    other = await made.job(mapping={"car": "tree"})
    back = await made.job(mapping_id=one.resolved["mapping_id"])
    assert one.resolved["mapping_id"] == same.resolved["mapping_id"] == back.resolved["mapping_id"]
    assert one.resolved["pairs"] == {"car": "car", "person": "person", "tree": "tree"}
    assert other.resolved["pairs"] == {"car": "tree", "person": "person", "tree": "tree"}
    async with made.store.read() as connection:
        versions = {m.id: m.version for m in await model_rows.list_mappings(connection, task_id=made.task.id)}
    assert versions == {one.resolved["mapping_id"]: 1, other.resolved["mapping_id"]: 2}


async def test_a_choice_over_a_given_mapping_is_a_new_version(made: World) -> None:
    one = await made.job()
    two = await made.job(mapping_id=one.resolved["mapping_id"], mapping={"tree": ""})
    assert two.resolved["pairs"] == {"car": "car", "person": "person"}
    assert two.resolved["unmapped"] == ["tree"]
    assert two.resolved["mapping_id"] != one.resolved["mapping_id"]


async def test_a_mapping_of_another_model_or_of_none_is_refused(made: World) -> None:
    given = (await made.job()).resolved["mapping_id"]
    other, _ = await made.registry.add("/models/other")
    with pytest.raises(InvalidRequest, match="another model"):
        await made.jobs.create(JobSpec(target=made.task.id, model_id=other.id, mapping_id=given))
    with pytest.raises(NotFound):
        await made.job(mapping_id=99)


async def test_what_a_person_chose_is_accepted_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch, frames=2, labels="flivver,other") as made:
        with pytest.raises(InvalidRequest) as caught:
            await made.job()
        assert caught.value.code == "nothing_matched"
        assert "--map" in caught.value.hint
        await made.job(mapping={"car": "other"})
        await made.job(mapping={"car": "flivver"})
        assert (await made.job()).resolved["pairs"] == {"car": "flivver"}
        (car, *_) = await made.jobs.match(["car"], made.task.labels)
        assert car.best
        assert (car.best.accepted, car.best.task_label) == (True, "flivver")


@pytest.mark.parametrize("spec", [{"mapping": {"lorry": "car"}}, {"mapping": {"car": "lorry"}}])
async def test_a_choice_of_a_label_that_is_not_there_is_refused(made: World, spec: Any) -> None:
    with pytest.raises(InvalidRequest, match="lorry"):
        await made.job(**spec)


async def test_a_threshold_of_a_label_that_is_not_there_is_refused(made: World) -> None:
    with pytest.raises(InvalidRequest, match="lorry"):
        await made.job(label_thresholds={"lorry": 0.5})


async def test_leaving_out_every_label_is_refused(made: World) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await made.job(mapping={"car": "", "person": "", "tree": ""})
    assert caught.value.code == "nothing_matched"


async def test_a_label_that_boxes_cannot_become_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = '[{"name": "pose", "type": "skeleton", "sublabels": [{"name": "head"}]}, {"name": "car"}]'
    async with world(tmp_path, monkeypatch, frames=2, labels=labels) as made:
        with pytest.raises(InvalidRequest, match="cannot become 'pose'"):
            await made.job(mapping={"person": "pose"})
        assert (await made.job()).resolved["pairs"] == {"car": "car"}


async def test_label_mapped_shapes_only(made: World) -> None:
    job = await made.run(mapping={"car": "tree", "person": ""})
    counts = await made.jobs.shapes_by_label(job)
    found = [detections(f"{i:05}.png") for i in range(12)]
    names = [each.labels[i] for each in found for i in each.label_ids]
    assert counts == {"tree": names.count("tree") + names.count("car")}


async def test_thresholds_cut_by_label_and_the_models_own_counts_without_one(made: World) -> None:
    def expected(cut: float, **by_label: float) -> int:
        found = [detections(f"{i:05}.png") for i in range(12)]
        return sum(
            float(score) >= by_label.get(each.labels[i], cut) - 1e-6
            for each in found
            for i, score in zip(each.label_ids, each.scores, strict=True)
        )

    assert (await made.run(threshold=None)).shapes_created == expected(0.5)
    assert (await made.run(threshold=0.9)).shapes_created == expected(0.9)
    job = await made.run(threshold=0.9, label_thresholds={"car": 0.1})
    assert job.shapes_created == expected(0.9, car=0.1)
    await made.registry.set(made.model.id, threshold=0.6)
    assert (await made.run(threshold=None)).resolved["threshold"] == 0.6


async def test_results_are_kept_down_to_the_floor_and_never_above_a_threshold(made: World) -> None:
    assert (await made.job(threshold=0.5)).resolved["floor_score"] == made.jobs.options.floor_score
    assert (await made.job(threshold=0.01)).resolved["floor_score"] == 0.01
    assert (await made.job(threshold=0.5, label_thresholds={"car": 0.02})).resolved["floor_score"] == 0.02


async def test_a_job_pins_the_model_as_it_is(made: World) -> None:
    job = await made.job()
    await made.registry.set(made.model.id, threshold=0.9, name="renamed")
    assert job.resolved["threshold"] == 0.0
    assert (job.resolved["model"], job.resolved["revision"], job.resolved["engine"]) == ("fake", "1", "fake")


# --- clean and undo -------------------------------------------------------------------------------------------------


async def kinds(made: World) -> list[list[tuple[str, int | None]]]:
    """Of the first frames: who made what is there."""
    return [[(shape.source, shape.job_id) for shape in shapes] for shapes in (await made.shapes()).values()]


async def test_clean_takes_what_was_asked_and_manual_shapes_only_with_all(made: World) -> None:
    other, _ = await made.registry.add("/models/other")
    await made.add(0, MANUAL, IMPORTED)
    one = FrameSelection(stop=1)
    count = len(detections("00000.png"))
    assert count
    first = await made.run(frames=one)
    spec = JobSpec(target=made.task.id, model_id=other.id, threshold=0, frames=one)
    second = await made.jobs.run((await made.jobs.create(spec)).id)

    async def after(clean: Clean) -> list[tuple[str, int | None]]:
        job = await made.run(frames=one, clean=clean)
        found = (await kinds(made))[0]
        assert found.count(("automatic", job.id)) == count
        await made.jobs.undo(job.id)
        return [entry for entry in found if entry[1] != job.id]

    manual, imported = [("manual", None)], [("automatic", None)]
    mine, others = [("automatic", first.id)] * count, [("automatic", second.id)] * count
    assert await after(Clean.NONE) == manual + imported + mine + others
    assert await after(Clean.MODEL) == manual + imported + others
    assert await after(Clean.AUTOMATIC) == manual
    assert await after(Clean.ALL) == []


@pytest.mark.parametrize("clean", list(Clean))
async def test_undo_brings_back_exactly_what_was_there(made: World, clean: Clean) -> None:
    await made.add(0, MANUAL, IMPORTED)
    await made.add(3, IMPORTED)
    await made.run()
    before = await made.shapes()
    job = await made.run(clean=clean)
    assert await made.shapes() != before
    undone = await made.jobs.undo(job.id)
    assert undone.removed == job.shapes_created
    assert await made.shapes() == before
    assert (await made.tasks.get(made.task.id)).shape_count == sum(map(len, before.values()))
    assert (await made.jobs.get(job.id)).undone_at


@pytest.fixture
def blank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that are nowhere can be cut."""

    def crop(frame: Frame, view: View) -> Frame:
        return Frame(frame.id, view.width, view.height, pixels=np.zeros((view.height, view.width, 3), np.uint8))

    monkeypatch.setattr("bridge.viewing.crop", crop)


@pytest.mark.parametrize(
    "roi", [Region(x=0, y=0, width=50, height=80), Region(points=((0, 0), (0.5, 0), (0.5, 1), (0, 1)), unit="fraction")]
)
async def test_clean_takes_away_only_where_the_job_looks(made: World, roi: Region, blank: None) -> None:
    def box(x: float, **more: Any) -> Shape:
        return Shape("car", "rectangle", (x, 10, x + 20, 30), source=Source.AUTOMATIC, **more)

    inside, across, outside = box(10), box(39), box(41)  # by its centre, the second one is inside
    points = Shape("car", "points", (60, 10, 80, 10), source=Source.AUTOMATIC)
    joints = Shape("car", "skeleton", (5, 5, 2, 90, 70, 0), source=Source.AUTOMATIC)
    tag = Shape("car", "tag", (), source=Source.AUTOMATIC)
    await made.add(0, inside, across, outside, points, joints, tag)
    before = await made.sql("SELECT * FROM shapes ORDER BY id")
    job = await made.run(frames=FrameSelection(stop=1), roi=roi, clean=Clean.AUTOMATIC)
    assert job.state is JobState.SUCCEEDED
    left = [shape for shape in (await made.shapes())[0] if shape.job_id is None]
    assert [(shape.type, shape.points) for shape in left] == [(s.type, s.points) for s in (outside, points)]
    await made.jobs.undo(job.id)
    assert await made.sql("SELECT * FROM shapes ORDER BY id") == before


async def test_nothing_goes_from_a_frame_that_the_region_lies_outside_of(made: World, blank: None) -> None:
    tag = Shape("car", "tag", (), source=Source.MANUAL)
    await made.add(0, Shape("car", "rectangle", (10, 10, 20, 20)), tag)
    await made.change("UPDATE frames SET width = 40, height = 40 WHERE number = 0")
    job = await made.run(roi=Region(x=60, y=0, width=30, height=80), clean=Clean.ALL)
    assert job.state is JobState.SUCCEEDED
    assert [shape.type for shape in (await made.shapes())[0]] == ["rectangle", "tag"]


async def test_undo_brings_back_what_the_other_of_two_jobs_in_turns_did_not_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank: None
) -> None:
    bad = {"00002.png", "00003.png"}
    async with world(
        tmp_path, monkeypatch, frames=4, behave=lambda predictor, frames: fail_frames(frames, bad)
    ) as made:
        outside = Shape("car", "rectangle", (70, 2, 80, 12), source=Source.AUTOMATIC)
        for frame in range(4):
            await made.add(frame, outside)
        whole = await made.run(clean=Clean.AUTOMATIC, threshold=0, max_failure_rate=1)
        bad.clear()
        part = await made.run(clean=Clean.AUTOMATIC, threshold=0, roi=Region(x=0, y=0, width=60, height=80))
        await made.jobs.retry(whole.id)
        await made.jobs.run(whole.id)
        await made.jobs.undo(whole.id)
        stays = {n: [outside.points] for n in range(4)}
        found = await made.shapes()
        assert {n: [shape.points for shape in found[n] if shape.job_id is None] for n in found} == stays
        await made.jobs.undo(part.id)
        assert {n: [shape.points for shape in shapes] for n, shapes in (await made.shapes()).items()} == stays


async def test_more_shapes_are_cleaned_at_once_than_a_statement_has_room_for(made: World, blank: None) -> None:
    await made.add(0, *(Shape("car", "rectangle", (10, 10, 20, 20)) for _ in range(40_000)))
    await made.run(frames=FrameSelection(stop=1), roi=Region(x=0, y=0, width=90, height=80), clean=Clean.ALL)
    assert all(shape.job_id is not None for shape in (await made.shapes())[0])
    (count,) = (await made.sql("SELECT shape_count FROM tasks WHERE id = :id", id=made.task.id))[0]
    assert count == len((await made.shapes())[0])


async def test_only_frames_that_were_done_are_cleaned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {"00001.png"}
    async with world(
        tmp_path, monkeypatch, frames=3, behave=lambda predictor, frames: fail_frames(frames, bad)
    ) as made:
        for frame in range(3):
            await made.add(frame, MANUAL)
        await made.run(clean=Clean.ALL, frames=FrameSelection(stop=2))
        sources = [{source for source, _ in frame} for frame in await kinds(made)]
        assert "manual" not in sources[0]
        assert sources[1:] == [{"manual"}, {"manual"}]


async def test_a_job_is_undone_once(made: World) -> None:
    job = await made.run()
    await made.jobs.undo(job.id)
    for again in (made.jobs.undo, made.jobs.resume, made.jobs.retry):
        with pytest.raises(Conflict, match="was undone"):
            await again(job.id)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
async def test_a_job_at_work_is_not_undone(made: World, state: JobState) -> None:
    job = await in_state(made, state)
    with pytest.raises(Conflict, match=str(state)):
        await made.jobs.undo(job.id)
    assert (await made.jobs.get(job.id)).undone_at is None


async def test_a_cancelled_job_is_undone_as_far_as_it_came(made: World) -> None:
    job = await made.job()
    lease = await claim(made, job)
    assert lease
    await made.jobs.cancel(job.id)
    async with made.store.write() as connection:
        await leases.finish(connection, lease, JobState.CANCELLED)
    assert (await made.jobs.undo(job.id)).removed == 0


async def test_undo_under_a_later_job_is_refused_and_names_it(made: World) -> None:
    first = await made.run()
    second = await made.run(clean=Clean.MODEL)
    before = await made.shapes()
    with pytest.raises(Conflict, match=f"job {second.id}") as caught:
        await made.jobs.undo(first.id)
    assert caught.value.status == 409
    assert caught.value.code == "later_job"
    assert f"hubbridge job undo {second.id}" in caught.value.hint
    assert await made.shapes() == before
    assert (await made.jobs.get(first.id)).undone_at is None
    await made.jobs.undo(second.id)
    await made.jobs.undo(first.id)
    assert not any((await made.shapes()).values())


async def test_a_later_job_that_touched_nothing_of_it_is_no_obstacle(made: World) -> None:
    first = await made.run()
    second = await made.run()
    await made.jobs.undo(first.id)
    assert {entry for frame in await kinds(made) for entry in frame} == {("automatic", second.id)}


# --- what is in use is not removed ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
async def test_a_task_with_a_job_at_work_is_not_removed(made: World, state: JobState) -> None:
    job = await in_state(made, state)
    with pytest.raises(Conflict, match=f"job {job.id}"):
        await made.tasks.remove(made.task.id)
    assert (await made.tasks.get(made.task.id)).frame_count == 12


async def test_a_task_is_removed_with_its_jobs_ledger_results_and_shapes(made: World) -> None:
    await made.run()
    await made.run(clean=Clean.ALL)
    await made.tasks.remove(made.task.id)
    for table in ("tasks", "labels", "frames", "jobs", "job_frames", "results", "shapes"):
        assert await made.sql(f"SELECT * FROM {table}") == [], table
    await made.registry.remove(made.model.id)


async def test_a_task_is_removed_with_its_mappings_but_what_was_learned_keeps_its_own(made: World) -> None:
    mappings = Mappings(made.store)
    await made.run()
    accepted = await mappings.add(made.model.id, made.task.id, {"car": "car"})
    assert [mapping.id for mapping in await mappings.page(task_id=made.task.id)] == [accepted.id - 1, accepted.id]
    await made.tasks.remove(made.task.id)
    assert [(mapping.id, mapping.task_id) for mapping in await mappings.page()] == [(accepted.id, None)]


async def test_a_model_that_a_job_names_is_not_removed(made: World) -> None:
    await made.run()
    with pytest.raises(Conflict, match="1 annotation job used this model"):
        await made.registry.remove(made.model.id)
