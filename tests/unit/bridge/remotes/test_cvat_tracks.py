"""Jobs that track on tasks in CVAT: tracks come there exactly once as tracks, are replaced as a whole, and undone."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pytest import MonkeyPatch

from adapters.base import Detections
from adapters.errors import BadFrame
from adapters.frame import Frame
from bridge.domain import Job, JobState, LabelAttribute, Shape, TaskLabel
from bridge.errors import InvalidRequest
from bridge.remotes.cvat import tracking_sink
from bridge.remotes.cvat.description import RemoteLabel
from bridge.remotes.cvat.tracks import Track, track_body
from tests.servers.cvat import CvatServer, CvatTask, Json, Refusal, State, images_task
from tests.unit.bridge.remotes.cvat_world import CAR, LABELS, PERSON, CvatWorld, cvat_world, manual, use_cvat
from tests.unit.bridge.remotes.test_cvat_faults import broken_off
from tests.unit.bridge.world import OPTIONS, world

SMALL = replace(OPTIONS, commit_frames=4, patience_s=60)
FRAMES = 20
SEEDS = range(int(os.environ.get("SIMULATIONS", "4")))
TRACKING: Json = {"iou": 0.1, "max_gap": 3}


def scene(number: int) -> list[tuple[str, list[float]]]:
    """What the model sees on a frame: a car on all of them, a person on 4 to 8 but not on 6, and a tree on 9 alone."""
    found = [("car", [number, 2.0, number + 20, 22.0])]
    if number in (4, 5, 7, 8):
        found.append(("person", [30.0, number + 1, 40.0, number + 21]))
    if number == 9:
        found.append(("tree", [50.0, 30.0, 60.0, 40.0]))
    return found


async def look(predictor: object, frames: Sequence[Frame]) -> list[Detections]:
    return [_detections(int(frame.id.rpartition("/")[2].removesuffix(".jpg"))) for frame in frames]


def _detections(number: int) -> Detections:
    labels, found = ("car", "person", "tree"), scene(number)
    boxes = np.array([box for _, box in found], np.float32)
    return Detections(labels, boxes, np.full(len(found), 0.9), np.array([labels.index(name) for name, _ in found]))


def shown(track: Json) -> tuple[int, list[tuple[int, bool]]]:
    """Its label, and its keyframes with whether it is out of sight from there."""
    return track["label_id"], [(each["frame"], each["outside"]) for each in track["shapes"]]


def everything(remote: CvatTask) -> list[Json]:
    return [each for job in remote.jobs for each in (*job.tags, *job.shapes, *job.tracks)]


async def check_exactly_once(made: CvatWorld, job: Job, *, but: int = 5000) -> None:
    """Every shape of the job's is a keyframe of one track there, or a shape."""
    automatic = [each for part in made.remote.jobs for each in part.tracks if each["source"] == "auto"]
    keyframes = [
        (each["label_id"], placed["frame"], placed["points"])
        for each in automatic
        if each["id"] >= 3001
        for placed in each["shapes"]
        if not placed["outside"]
    ]
    single = [
        (each["label_id"], each["frame"], each["points"])
        for part in made.remote.jobs
        for each in part.shapes
        if each["source"] == "auto" and each["id"] >= but
    ]
    ids = {"car": CAR, "person": PERSON, "tree": 13}
    rows = await made.made.jobs.ledger(job.id, most=1000)
    done = [row.frame for row in rows if row.state == "done"]
    expected = [(ids[name], number, box) for number in done for name, box in scene(number)]
    assert sorted([*keyframes, *single]) == sorted(expected)
    places = await made.made.sql("SELECT remote FROM shapes WHERE job_id = :job", job=job.id)
    assert len(places) == len(expected) == job.shapes_created
    assert None not in [place for (place,) in places]
    assert await made.made.sql("SELECT id FROM intents") == []


async def test_what_is_linked_is_written_as_tracks_and_undone(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    remote = images_task(42, FRAMES, LABELS)
    async with cvat_world(tmp_path, monkeypatch, remote, behave=look, options=SMALL) as made:
        job = await made.run(track=TRACKING)
        assert (job.state, job.frames_done, await made.made.jobs.tracks(job)) == (JobState.SUCCEEDED, FRAMES, 2)
        await check_exactly_once(made, job)
        car, person = remote.jobs[0].tracks
        assert shown(car) == (CAR, [(number, False) for number in range(FRAMES)])  # to the end of the CVAT job
        away = {6: True, 9: True}
        assert shown(person) == (PERSON, [(number, away.get(number, False)) for number in (4, 5, 6, 7, 8, 9)])
        assert (car["source"], car["group"], car["frame"], car["elements"]) == ("auto", 0, 0, [])
        assert [each["frame"] for each in remote.jobs[0].shapes] == [9]
        assert len([each for each in made.cvat.seen if each.method == "PATCH"]) == 1
        undone = await made.made.jobs.undo(job.id)
        assert (undone.removed, undone.restored, undone.kept) == (job.shapes_created, 0, 0)
        assert everything(remote) == []
        assert await made.made.sql("SELECT id FROM shapes") == []
        assert await made.made.sql("SELECT shape_count FROM tasks WHERE id = :id", id=made.task.id) == [(0,)]


async def test_tracks_are_cut_where_a_cvat_job_ends(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    remote = images_task(42, FRAMES, LABELS, segments=[(0, 7), (6, 19)])
    async with cvat_world(tmp_path, monkeypatch, remote, behave=look, options=SMALL) as made:
        job = await made.run(track=TRACKING)
        await check_exactly_once(made, job)
        first, second = ([shown(each) for each in part.tracks] for part in remote.jobs)
        assert (CAR, [(number, False) for number in range(8)]) in first
        assert (CAR, [(number, False) for number in range(8, FRAMES)]) in second
        assert (PERSON, [(4, False), (5, False), (6, True), (7, False)]) in first
        assert (PERSON, [(8, False), (9, True)]) in second


async def test_between_frames_that_the_job_does_not_look_at_a_track_goes_on(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    remote = images_task(42, FRAMES, LABELS)
    async with cvat_world(tmp_path, monkeypatch, remote, behave=look) as made:
        job = await made.run(track=TRACKING, frames={"step": 5, "stop": 16})
        await check_exactly_once(made, job)
        (car,) = remote.jobs[0].tracks
        assert shown(car) == (CAR, [(0, False), (5, False), (10, False), (15, False), (16, True)])
        again = await made.run(track=TRACKING, frames={"step": 5, "stop": 16}, clean="model")
        assert [shown(each) for each in remote.jobs[0].tracks] == [shown(car)]
        assert remote.jobs[0].tracks[0]["id"] != car["id"]
        await made.made.jobs.undo(again.id)
        assert [shown(each) for each in remote.jobs[0].tracks] == [shown(car)]
        await check_exactly_once(made, await made.made.jobs.get(job.id))


def test_attributes_that_may_change_stand_on_keyframes_and_others_once() -> None:
    attributes = (
        LabelAttribute("parked", "checkbox", ("false",), mutable=True),
        LabelAttribute("color", "select", ("red", "blue")),
    )
    label = RemoteLabel(CAR, TaskLabel("car", attributes=attributes), {"parked": 7, "color": 8})
    values = [("true", "red"), ("false", "blue"), ("false", "blue")]
    placed = [
        (number, Shape("car", "rectangle", (1, 2, 9, 9), attributes={"parked": parked, "color": color}), (64, 48))
        for number, (parked, color) in enumerate(values)
    ]
    body = track_body(placed, label, 5, range(9), 8)
    assert body is not None
    assert (body["attributes"], body["group"]) == ([{"spec_id": 8, "value": "blue"}], 5)
    parked = [[each["value"] for each in keyframe["attributes"]] for keyframe in body["shapes"]]
    assert parked == [["true"], ["false"], ["false"], ["false"]]
    nowhere = [(0, Shape("car", "rectangle", (70, 2, 90, 9)), (64, 48))]
    assert track_body(nowhere, label, 0, range(9), 8) is None


@pytest.mark.parametrize("kind", ["drop", "lost", "late"])
async def test_an_answer_that_does_not_come_is_found_out(tmp_path: Path, monkeypatch: MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(tracking_sink, "MOST", 3)
    remote = images_task(42, FRAMES, LABELS)
    async with cvat_world(tmp_path, monkeypatch, remote, behave=look, options=SMALL, settle_s=3.0) as made:
        made.cvat.unanswered = [kind, "answered", kind, kind]
        job = await made.run(track=TRACKING)
        assert job.state is JobState.SUCCEEDED
        await check_exactly_once(made, job)


@pytest.mark.parametrize("seed", SEEDS)
async def test_any_history_of_faults_and_breaks_leaves_every_track_once(
    tmp_path: Path, monkeypatch: MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    clean = rng.choice(["none", "automatic", "all"])
    monkeypatch.setattr(tracking_sink, "MOST", rng.choice([2, 6]))
    remote = images_task(42, FRAMES, LABELS, segments=[(0, 11), (8, 19)])
    for number in range(1, 8):
        body = manual(rng.randrange(0, 20), source=rng.choice(["auto", "manual"]))
        remote.jobs[0 if body["frame"] < 12 else 1].shapes.append({"id": number, **body})
    remote.jobs[0].tracks.append(person_made(1, 2, 5, source="auto"))
    before = _without_ids(remote)
    options = replace(SMALL, patience_s=0.3)
    async with cvat_world(tmp_path, monkeypatch, remote, behave=look, options=options, settle_s=1.2) as made:
        made.cvat.late_s = 0.3
        job = await made.job(clean=clean, track=TRACKING)
        for _ in range(4):
            made.cvat.unanswered = rng.choices(["drop", "late", "lost", "answered"], k=4)
            await broken_off(made, job, rng.randrange(1, 5))
            job = await made.made.jobs.get(job.id)
            if job.state in (JobState.FAILED, JobState.CANCELLED):
                job = await made.made.jobs.resume(job.id)
        made.cvat.unanswered = []
        made.made.jobs.options = SMALL
        if job.state is JobState.QUEUED:
            job = await made.made.jobs.run(job.id)
        assert (job.state, job.frames_done) == (JobState.SUCCEEDED, FRAMES)
        old = [each["source"] for each in everything(remote) if each["id"] <= 7]
        wanted = {"none": ["auto", "manual"], "automatic": ["manual"], "all": []}[clean]
        assert len(old) == (8 if clean == "none" else len(old))
        assert set(old) <= set(wanted)
        await check_exactly_once(made, job)

        made.cvat.unanswered = rng.choices(["drop", "late", "lost", "answered"], k=3)
        await made.made.jobs.undo(job.id)
        assert _without_ids(remote) == before


def person_made(number: int, first: int, last: int | None, **more: object) -> Json:
    """A track that was there before, from one frame to another, or to the end."""
    form = {"type": "rectangle", "occluded": False, "outside": False, "z_order": 2, "rotation": 0.0, "attributes": []}
    placed = [{"id": 1, **form, "frame": first, "points": [1.0, 1.0, 9.0, 9.0]}]
    if last is not None:
        placed.append({"id": 2, **form, "frame": last + 1, "points": [5.0, 1.0, 13.0, 9.0], "outside": True})
    common = {"id": number, "frame": first, "label_id": CAR, "group": 0, "source": "manual", "attributes": []}
    return {**common, "shapes": placed, "elements": [], **more}


def _without_ids(remote: CvatTask) -> list[str]:
    def bare(body: Json) -> Json:
        parts = [{**each, "id": 0} for each in body.get("shapes", ())]
        return {**body, "id": 0, **({"shapes": parts} if parts else {})}

    return sorted(json.dumps(bare(each), sort_keys=True) for each in everything(remote))


@pytest.mark.parametrize("track", [None, TRACKING])
@pytest.mark.parametrize(
    ("clean", "left"),
    [("none", {1, 2, 3, 4}), ("model", {1, 2, 3, 4}), ("automatic", {1, 2, 4}), ("all", {2, 4})],
)
async def test_tracks_are_replaced_as_a_whole_where_the_job_looked_at_all_of_them(
    tmp_path: Path, monkeypatch: MonkeyPatch, clean: str, left: set[int], track: Json | None
) -> None:
    remote = images_task(42, FRAMES, LABELS)
    remote.jobs[0].tracks += [
        person_made(1, 3, 9),
        person_made(2, 3, None),  # to the end of the CVAT job, where nobody looks
        person_made(3, 10, 14, source="auto"),
        person_made(4, 16, 18, source="auto"),  # behind the frames of the job
    ]
    before = _without_ids(remote)
    async with cvat_world(tmp_path, monkeypatch, remote, behave=look, options=SMALL) as made:
        job = await made.run(clean=clean, track=track, frames={"stop": 15})
        assert {each["id"] for each in remote.jobs[0].tracks if each["id"] < 3001} == left
        undone = await made.made.jobs.undo(job.id)
        assert (undone.removed, undone.restored) == (job.shapes_created, 4 - len(left))
        assert _without_ids(remote) == before
        assert await made.made.sql("SELECT id FROM shapes") == []


async def test_a_track_that_a_person_changed_stays_when_it_is_undone_or_replaced(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    remote = images_task(42, FRAMES, LABELS)
    async with cvat_world(tmp_path, monkeypatch, remote, behave=look, options=SMALL) as made:
        job = await made.run(track=TRACKING)
        person = remote.jobs[0].tracks[1]
        person["shapes"][1]["points"][0] += 5
        later = await made.run(track=TRACKING, clean="model")  # its own shapes are this model's, edited or not
        await made.made.jobs.undo(later.id)
        assert sorted(shown(each) for each in remote.jobs[0].tracks) == sorted(
            [(CAR, [(n, False) for n in range(FRAMES)]), shown(person)]
        )
        person = next(each for each in remote.jobs[0].tracks if each["label_id"] == PERSON)
        assert person["shapes"][1]["points"][0] == 35.0
        undone = await made.made.jobs.undo(job.id)
        assert undone.kept == 4
        assert [each["label_id"] for each in everything(remote)] == [PERSON]


async def test_a_region_replaces_tracks_that_lie_in_it(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    remote = images_task(42, FRAMES, LABELS)
    remote.jobs[0].tracks += [person_made(1, 3, 9), person_made(2, 3, 9)]
    for placed in remote.jobs[0].tracks[1]["shapes"]:
        placed["points"] = [40.0, 30.0, 60.0, 40.0]
    async with cvat_world(tmp_path, monkeypatch, remote, options=SMALL) as made:
        await made.run(clean="all", roi={"x": 0, "y": 0, "width": 20, "height": 20})
        assert [each["id"] for each in remote.jobs[0].tracks] == [2]


async def test_nothing_changes_in_cvat_before_all_frames_are_done(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    remote = images_task(42, FRAMES, LABELS)
    remote.jobs[0].shapes.append({"id": 1, **manual(3)})
    remote.jobs[0].tracks.append(person_made(1, 3, 9))
    async with cvat_world(tmp_path, monkeypatch, remote, behave=look, options=replace(SMALL, patience_s=0.3)) as made:
        job = await made.job(track=TRACKING, clean="all")
        made.cvat.unanswered = ["lost"] * 100
        job = await made.made.jobs.run(job.id)
        assert (job.state, job.frames_done) == (JobState.FAILED, FRAMES)
        assert "resume the job to go on" in (job.error or "")
        assert [each["id"] for each in everything(remote)] == [1, 1]
        made.cvat.unanswered = []
        job = await made.resumed(job)
        assert job.state is JobState.SUCCEEDED
        await check_exactly_once(made, job)
        assert 1 not in [each["id"] for each in everything(remote)]


async def test_what_a_cancelled_job_found_waits_here_and_is_undone_here(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    made_jobs: list[CvatWorld] = []

    async def cancel(predictor: object, frames: Sequence[Frame]) -> list[Detections]:
        found = await look(predictor, frames)
        if any(frame.id.endswith("0010.jpg") for frame in frames):
            await made_jobs[0].made.jobs.cancel(1)
        return found

    remote = images_task(42, FRAMES, LABELS)
    async with cvat_world(tmp_path, monkeypatch, remote, behave=cancel, options=SMALL) as made:
        made_jobs.append(made)
        job = await made.run(track=TRACKING)
        assert job.state is JobState.CANCELLED
        assert everything(remote) == []
        undone = await made.made.jobs.undo(job.id)
        assert undone.removed == job.shapes_created > 0
        assert await made.made.sql("SELECT id FROM shapes") == []


async def test_frames_that_are_retried_come_beside_and_what_people_made_since_stays(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    bad = True

    async def fail(predictor: object, frames: Sequence[Frame]) -> list[Detections]:
        for frame in frames:
            if bad and frame.id.endswith("0011.jpg"):
                raise BadFrame(frame.id, "It is damaged.")
        return await look(predictor, frames)

    remote = images_task(42, FRAMES, LABELS)
    remote.jobs[0].shapes.append({"id": 1, **manual(11)})
    async with cvat_world(tmp_path, monkeypatch, remote, behave=fail, options=SMALL) as made:
        job = await made.run(track=TRACKING, clean="all")
        assert (job.frames_done, job.frames_failed) == (19, 1)
        car = next(each for each in remote.jobs[0].tracks if each["label_id"] == CAR)
        assert (11, True) in shown(car)[1]
        assert 1 in [each["id"] for each in everything(remote)]  # of a frame that failed
        number = next(made.cvat.state.numbers["shapes"])
        remote.jobs[0].shapes.append({"id": number, **manual(11)})
        bad = False
        await made.made.jobs.retry(job.id)
        job = await made.made.jobs.run(job.id)
        assert (job.state, job.frames_failed) == (JobState.SUCCEEDED, 0)
        await check_exactly_once(made, job)
        ids = [each["id"] for each in everything(remote)]
        assert 1 not in ids
        assert number in ids


async def test_a_cvat_that_takes_no_tracks_says_so_and_the_job_can_be_undone(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    remote = images_task(42, FRAMES, LABELS)
    async with cvat_world(tmp_path, monkeypatch, remote, behave=look, options=SMALL) as made:
        act = made.cvat._act

        def refuse(task: CvatTask, jobs: object, action: str, given: Json, *, by_task: bool) -> Json:
            if given["tracks"]:
                raise Refusal("Tracks are not supported when task validation mode is gt_pool")
            return act(task, jobs, action, given, by_task=by_task)  # type: ignore[arg-type]

        monkeypatch.setattr(made.cvat, "_act", refuse)
        job = await made.run(track=TRACKING)
        assert job.state is JobState.FAILED
        assert "Tracks are not supported" in (job.error or "")
        assert f"job apply {job.id} --no-track" in (job.error or "")
        await made.made.jobs.undo(job.id)
        assert await made.made.sql("SELECT id FROM shapes") == []


async def test_new_shapes_do_not_come_on_what_people_made(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    remote = images_task(42, FRAMES, LABELS)
    remote.jobs[0].shapes.append({"id": 1, **manual(3, points=[3.0, 2.0, 23.0, 22.0])})
    async with cvat_world(tmp_path, monkeypatch, remote, behave=look, options=SMALL) as made:
        job = await made.run(track=TRACKING, keep_manual_iou=0.5)
        car = next(each for each in remote.jobs[0].tracks if each["label_id"] == CAR)
        assert [frame for frame, outside in shown(car)[1] if outside] == [3]
        assert job.shapes_created == sum(len(scene(number)) for number in range(FRAMES)) - 1


async def test_a_model_of_masks_alone_has_no_tracks_in_cvat(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with cvat_world(tmp_path, monkeypatch) as made:
        made.made.adapter.card = replace(made.made.adapter.card, shape_types=("mask",), task_type="image-segmentation")
        made.made.model, _ = await made.made.registry.add("/models/masks")
        with pytest.raises(InvalidRequest, match="makes none of them") as caught:
            await made.job(track=TRACKING)
        assert (caught.value.code, "masks_as_polygons" in caught.value.hint) == ("no_tracks", True)


def test_where_a_track_is_seen_ends_with_the_cvat_job() -> None:
    track = Track.of(person_made(1, 3, 5))
    assert (track.keyframes, [list(span) for span in track.seen_on(9)]) == ([3], [[3, 4, 5]])
    assert [list(span) for span in Track.of(person_made(1, 3, None)).seen_on(5)] == [[3, 4, 5]]


@pytest.mark.parametrize("at", ["before it acts", "after it acted"])
def test_our_process_is_killed_while_it_writes_tracks(tmp_path: Path, at: str) -> None:
    """kill -9 while CVAT has our second bulk, and a new process that goes on."""
    remote = images_task(42, FRAMES, LABELS)
    with CvatServer(State(remote)) as cvat:
        process = _start(tmp_path, cvat)
        act, calls = cvat._act, 0

        def kill(task: object, jobs: object, action: str, given: Json, *, by_task: bool) -> Json:
            nonlocal calls
            calls += 1
            if calls == 2 and at == "before it acts":
                process.kill()
                process.wait()
            answer = act(task, jobs, action, given, by_task=by_task)  # type: ignore[arg-type]
            if calls == 2 and at == "after it acted":
                process.kill()
                process.wait()
            return answer

        cvat._act = kill  # type: ignore[method-assign, assignment]
        assert process.wait(120) == -signal.SIGKILL
        assert _start(tmp_path, cvat).wait(120) == 0

        async def check() -> None:
            with MonkeyPatch.context() as monkeypatch:
                async with world(tmp_path / "w", monkeypatch) as made:
                    use_cvat(made, cvat)
                    job = await made.jobs.get(1)
                    (task,) = await made.jobs.remotes.find_or_add(f"{cvat.url}/tasks/42")
                    await check_exactly_once(CvatWorld(made, cvat, task, remote), job)

        asyncio.run(check())


_RUN = """
import asyncio, sys
from pathlib import Path
from pytest import MonkeyPatch
from bridge.remotes.cvat import tracking_sink
from tests.unit.bridge.remotes.cvat_world import use_cvat
from tests.unit.bridge.remotes.test_cvat_tracks import TRACKING, look
from tests.unit.bridge.world import world

class Cvat:
    port = int(sys.argv[2])

async def main():
    tracking_sink.MOST = 5
    with MonkeyPatch.context() as monkeypatch:
        async with world(Path(sys.argv[1]), monkeypatch, behave=look) as made:
            use_cvat(made, Cvat, settle_s=2.0)
            (task,) = await made.jobs.remotes.find_or_add(f"http://127.0.0.1:{Cvat.port}/tasks/42")
            made.task = task
            if not await made.jobs.page():
                await made.job(track=TRACKING)
            await made.jobs.release_crashed()
            job = await made.jobs.run(1)
            assert job.state == "succeeded", job

asyncio.run(main())
"""


def _start(folder: Path, cvat: CvatServer) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _RUN, str(folder / "w"), str(cvat.port)])
