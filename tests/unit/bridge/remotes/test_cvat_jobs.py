"""Jobs on CVAT tasks: read by chunks, written per job, exactly once, and undone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pytest import MonkeyPatch

from adapters.base import Detections
from adapters.frame import Frame
from bridge.applying import ApplySpec
from bridge.domain import JobState
from bridge.errors import BridgeError
from bridge.job_spec import JobSpec
from bridge.masks import mask_from_crop
from tests.servers.cvat import CvatServer, CvatTask, Json, Refusal, images_task, label
from tests.unit.bridge.remotes.cvat_world import CAR, LABELS, CvatWorld, cvat_world, manual, use_cvat, without_ids
from tests.unit.bridge.world import OPTIONS, FakePredictor, detections


def put(remote: CvatTask, *bodies: Json, first: int = 1) -> None:
    """Annotations that stood there before."""
    for number, body in enumerate(bodies, first):
        job = next(job for job in remote.jobs if job.start <= body["frame"] <= job.stop)
        job.shapes.append({"id": number, **body})


async def test_a_job_reads_a_task_by_chunks_and_writes_what_the_model_found(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    seen: dict[str, bytes] = {}

    async def look(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        seen.update({frame.id: frame.encoded for frame in frames})

    remote = images_task(42, 100, LABELS, chunk_size=36, deleted=[3, 50])
    async with cvat_world(tmp_path, monkeypatch, remote, behave=look) as made:
        made.cvat.chunk_s = 0.3
        assert made.task.name == "street 42 (CVAT 42)"
        assert [label.name for label in made.task.labels] == ["car", "person", "tree"]
        job = await made.run()
        assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 98)
        await made.check_exactly_once(job)
        assert seen == {remote.names[i]: remote.pictures[i] for i in range(100) if i not in (3, 50)}
        asked = [each for each in made.cvat.seen if each.path.endswith("/data")]
        assert sorted(each.query["number"] for each in asked) == ["0", "1", "2"]
        assert all(each.headers["Accept-Encoding"] == "identity" for each in asked)
        assert made.cvat.busiest > 1
        body = made.remote.annotations[0]
        assert (body["source"], body["occluded"], body["rotation"]) == ("auto", False, 0)


async def test_a_second_job_on_the_same_address_knows_the_task(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with cvat_world(tmp_path, monkeypatch) as made:
        again = await made.made.jobs.remotes.find_or_add(f"{made.cvat.url}/tasks/42?whatever=1")
        assert again == [made.task]
        first, second = await made.run(), await made.run(clean="model")
        assert (first.shapes_created, second.state) == (second.shapes_created, JobState.SUCCEEDED)
        assert made.automatic().total() == second.shapes_created


async def test_frame_ranges_and_frames_without_annotations(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    remote = images_task(42, 20, LABELS)
    put(remote, manual(4), manual(10))
    track = {"label_id": CAR, "frame": 12, "source": "manual", "group": 0}
    placed = [{"frame": 12, "outside": False, "points": [1, 1, 9, 9]}, {"frame": 15, "outside": True, "points": []}]
    remote.jobs[0].tracks.append({**track, "shapes": placed})
    async with cvat_world(tmp_path, monkeypatch, remote) as made:
        job = await made.run(frames={"start": 2, "stop": 18, "step": 2, "only": "unannotated"})
        rows = await made.made.jobs.ledger(job.id)
        assert [row.frame for row in rows] == [2, 6, 8, 16]
        assert set(made.automatic()) <= {2, 6, 8, 16}


async def test_frames_of_an_overlap_are_written_once_and_ground_truth_is_left_alone(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    remote = images_task(42, 30, LABELS, segments=[(0, 14), (10, 29), (0, 29)])
    remote.jobs[2].type = "ground_truth"
    async with cvat_world(tmp_path, monkeypatch, remote) as made:
        job = await made.run()
        await made.check_exactly_once(job)
        assert remote.jobs[2].shapes == []
        assert {each["frame"] for each in remote.jobs[0].shapes} <= set(range(15))
        assert {each["frame"] for each in remote.jobs[1].shapes} <= set(range(15, 30))


async def test_cleaning_takes_both_copies_of_an_overlap(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    remote = images_task(42, 30, LABELS, segments=[(0, 14), (10, 29)])
    put(remote, manual(12, source="auto"))
    remote.jobs[1].shapes.append({**remote.jobs[0].shapes[0], "id": 2})  # as CVAT keeps it
    async with cvat_world(tmp_path, monkeypatch, remote) as made:
        job = await made.run(clean="automatic")
        await made.check_exactly_once(job)
        undone = await made.made.jobs.undo(job.id)
        assert undone.restored == 2
        assert [len(each.shapes) for each in remote.jobs] == [1, 1]


async def test_both_copies_of_an_overlap_stay_where_cvat_refuses_what_replaces_them(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    remote = images_task(42, 30, LABELS, segments=[(0, 14), (10, 29)])
    put(remote, manual(12))
    remote.jobs[1].shapes.append({**remote.jobs[0].shapes[0], "id": 2})
    async with cvat_world(tmp_path, monkeypatch, remote) as made:
        act = made.cvat._act

        def refuse(task: CvatTask, jobs: object, action: str, given: Json, *, by_task: bool) -> Json:
            if action == "create" and any(each["frame"] == 12 for each in given["shapes"]):
                raise Refusal("something about frame 12")
            return act(task, jobs, action, given, by_task=by_task)  # type: ignore[arg-type]

        monkeypatch.setattr(made.cvat, "_act", refuse)
        job = await made.run(clean="all")
        assert (job.state, job.frames_failed) == (JobState.SUCCEEDED, 1)
        assert [sum(each["source"] == "manual" for each in part.shapes) for part in remote.jobs] == [1, 1]
        await made.made.jobs.undo(job.id)
        assert [len(each.shapes) for each in remote.jobs] == [1, 1]


async def test_one_job_of_a_task_is_annotated_alone(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    remote = images_task(42, 30, LABELS, segments=[(0, 14), (10, 29)])
    async with cvat_world(tmp_path, monkeypatch, remote, address="/tasks/42/jobs/4201") as made:
        assert made.task.frame_count == 20
        job = await made.run()
        assert job.frames_done == 20
        await made.check_exactly_once(job)
        assert remote.jobs[0].shapes == []


@pytest.mark.parametrize(("clean", "left"), [("none", {1, 2, 3}), ("automatic", {1, 2}), ("all", set[int]())])
async def test_what_a_job_replaces_goes_and_undo_puts_it_back(
    tmp_path: Path, monkeypatch: MonkeyPatch, clean: str, left: set[int]
) -> None:
    remote = images_task(42, 10, LABELS)
    put(remote, manual(1), manual(2, type="polyline"), manual(3, source="auto", z_order=7))
    before = without_ids(remote.annotations)
    async with cvat_world(tmp_path, monkeypatch, remote) as made:
        job = await made.run(clean=clean)
        assert {each["id"] for each in remote.annotations if each["id"] < 5000} == left
        undone = await made.made.jobs.undo(job.id)
        assert (undone.removed, undone.restored, undone.kept) == (job.shapes_created, 3 - len(left), 0)
        assert without_ids(remote.annotations) == before
        assert await made.made.sql("SELECT id FROM shapes") == []
        assert await made.made.sql("SELECT shape_count FROM tasks WHERE id = :id", id=made.task.id) == [(0,)]


async def test_a_job_with_a_region_replaces_only_where_it_looks(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    remote = images_task(42, 10, LABELS, segments=[(0, 5), (4, 9)])
    right = {"points": [40.0, 5.0, 60.0, 20.0]}
    put(remote, manual(1), manual(2, **right), manual(3, type="polyline", **right), manual(4, **right), manual(4))
    remote.jobs[1].shapes += [{**each, "id": each["id"] + 10} for each in remote.jobs[0].shapes if each["frame"] == 4]
    before = without_ids(remote.annotations)
    async with cvat_world(tmp_path, monkeypatch, remote) as made:
        roi = {"x": 0, "y": 0, "width": 0.5, "height": 1, "unit": "fraction"}
        job = await made.run(clean="all", roi=roi)
        assert job.state is JobState.SUCCEEDED
        left = sorted((each["frame"], each["type"]) for each in remote.annotations if each["source"] == "manual")
        assert left == [(2, "rectangle"), (3, "polyline"), (4, "rectangle"), (4, "rectangle")]  # 4 is in both jobs
        await made.made.jobs.undo(job.id)
        assert without_ids(remote.annotations) == before


async def test_what_has_a_label_that_came_after_the_run_began_stays(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    remote = images_task(42, 2, LABELS)
    put(remote, manual(0), manual(0, label_id=99, points=[40.0, 5.0, 60.0, 20.0]))
    before = without_ids(remote.annotations)
    async with cvat_world(tmp_path, monkeypatch, remote) as made:
        job = await made.run(clean="all")
        assert [each["label_id"] for each in remote.annotations if each["source"] == "manual"] == [99]
        await made.made.jobs.undo(job.id)
        assert without_ids(remote.annotations) == before


async def test_a_region_takes_all_parts_of_an_object_and_of_what_people_grouped_only_those_in_it(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async def two_parts(predictor: FakePredictor, frames: Sequence[Frame]) -> list[Detections]:
        """The second part lies outside of the triangle, the centre of both in it."""
        found = []
        for frame in frames:
            bits = np.zeros((frame.height, frame.width), np.uint8)
            bits[40:50, 2:12] = bits[40:50, 60:70] = 1
            mask = mask_from_crop(0, 0, bits, frame.width, frame.height)
            box, one = np.array([[2, 40, 70, 50]]), np.array([0])
            found.append(Detections(("car",), box, one + 0.9, one, (mask,)))
        return found

    remote = images_task(42, 2, LABELS)
    for place, (frame, x) in enumerate(itertools.product((0, 1), (2.0, 60.0)), 1):
        points = [x, 40.0, x + 9, 40.0, x, 50.0]
        put(remote, manual(frame, type="polygon", points=points, source="auto", group=3), first=place)
    async with cvat_world(tmp_path, monkeypatch, remote, behave=two_parts) as made:
        values: Json = {"roi": {"points": ((0, 0), (90, 0), (0, 80))}, "masks_as_polygons": True}
        first = await made.run(clean="model", **values)
        assert (first.state, first.shapes_created) == (JobState.SUCCEEDED, 4)
        second = await made.run(clean="automatic", **values)
        assert second.shapes_created == 4
        assert sorted((each["frame"], each["points"][0] > 50, each["group"] == 3) for each in remote.annotations) == [
            (n, right, theirs) for n in (0, 1) for right, theirs in ((False, False), (True, False), (True, True))
        ]


async def test_undo_leaves_what_a_person_has_changed_since(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with cvat_world(tmp_path, monkeypatch) as made:
        job = await made.run()
        made.remote.annotations[0]["points"] = [5.0, 5.0, 25.0, 25.0]
        made.remote.annotations[1]["label_id"] = CAR if made.remote.annotations[1]["label_id"] != CAR else 12
        made.remote.jobs[0].shapes.remove(made.remote.annotations[2])
        undone = await made.made.jobs.undo(job.id)
        assert (undone.removed, undone.kept) == (job.shapes_created - 3, 2)
        assert len(made.remote.annotations) == 2
        assert await made.made.sql("SELECT id FROM shapes") == []


async def test_a_later_job_is_undone_first_and_brings_the_earlier_ones_shapes_back(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async with cvat_world(tmp_path, monkeypatch) as made:
        first = await made.run()
        second = await made.run(clean="automatic", threshold=0.5)
        with pytest.raises(BridgeError, match="has replaced shapes"):
            await made.made.jobs.undo(first.id)
        assert (await made.made.jobs.undo(second.id)).restored == first.shapes_created
        await made.check_exactly_once(first)
        assert (await made.made.jobs.undo(first.id)).removed == first.shapes_created
        assert made.remote.annotations == []


async def test_new_shapes_on_what_people_made_do_not_come(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    remote = images_task(42, 10, LABELS)
    put(remote, *(manual(i, points=[0.0, 0.0, 64.0, 48.0]) for i in range(10)))
    async with cvat_world(tmp_path, monkeypatch, remote) as made:
        spec = JobSpec(target=made.task.id, model_id=made.made.model.id, threshold=0)
        tried = await made.made.jobs.preview(spec, frames=10)
        assert sum(tried.counts.values()) == sum(len(detections(name)) for name in remote.names)
        beside = await made.made.jobs.preview(spec.model_copy(update={"keep_manual_iou": 0.01}), frames=10)
        assert beside.counts == {}
        assert [frame.error for frame in beside.frames] == [None] * 10
        job = await made.run(keep_manual_iou=0.01)
        assert (job.frames_done, job.shapes_created) == (10, 0)
        assert len(remote.annotations) == 10


async def test_new_shapes_do_not_come_on_tracks_either_between_the_frames_where_a_person_placed_them(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    def placed(frame: int, *points: float, outside: bool = False) -> Json:
        return {"type": "rectangle", "frame": frame, "points": list(points), "outside": outside, "rotation": 0.0}

    def track(*shapes: Json) -> Json:
        return {"id": 1, "label_id": CAR, "frame": 0, "source": "manual", "group": 0, "shapes": list(shapes)}

    remote = images_task(42, 20, LABELS)
    # The model sees something at 0 to 40 on every other frame; the first track is there only on its way.
    moving = track(placed(2, -100, 0, -36, 48), placed(12, 100, 0, 164, 48), placed(15, 100, 0, 164, 48, outside=True))
    staying = track(placed(16, 0, 0, 64, 48))
    remote.jobs[0].tracks += [moving, staying]
    async with cvat_world(tmp_path, monkeypatch, remote) as made:
        job = await made.run(keep_manual_iou=0.01)
        assert job.frames_done == 20
        found = {frame for frame, name in enumerate(remote.names) if len(detections(name))}
        hidden = set(made.automatic()) ^ found
        assert {frame for frame in (7, 16, 17, 18, 19) if frame in found} <= hidden
        assert not hidden & {0, 1, 2, 12, 13, 14, 15}


async def test_an_earlier_jobs_results_are_applied_anew(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with cvat_world(tmp_path, monkeypatch) as made:
        first = await made.run()
        chunks = len([each for each in made.cvat.seen if each.path.endswith("/data")])
        job = await made.made.jobs.apply(first.id, ApplySpec(threshold=0.5))
        job = await made.made.jobs.run(job.id)
        assert job.state is JobState.SUCCEEDED
        assert made.automatic().total() == job.shapes_created < first.shapes_created
        assert len([each for each in made.cvat.seen if each.path.endswith("/data")]) == chunks


async def test_what_cvat_has_deleted_or_renamed_since_is_known_when_results_are_applied(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async with cvat_world(tmp_path, monkeypatch, images_task(42, 10, [dict(each) for each in LABELS])) as made:
        first = await made.run()
        made.remote.deleted = [3, 4]
        job = await made.made.jobs.apply(first.id, ApplySpec())
        assert [row.frame for row in await made.made.jobs.ledger(job.id, most=99)] == [0, 1, 2, *range(5, 10)]
        await made.made.jobs.cancel(job.id)
        await made.made.jobs.undo(first.id)
        made.remote.labels[0]["name"] = "vehicle"
        with pytest.raises(BridgeError, match="no longer has the label 'car', which job 1 gave to 'car'"):
            await made.made.jobs.apply(first.id, ApplySpec())
        again = await made.made.jobs.apply(first.id, ApplySpec(mapping={"car": "vehicle"}))
        assert again.resolved["pairs"]["car"] == "vehicle"


async def _ends(made: CvatWorld, **values: object) -> str:
    """Why a job fails."""
    try:
        job = await made.run(**values)
    except BridgeError as error:
        return f"{error.message} {error.hint}"
    assert job.state is JobState.FAILED
    return job.error or ""


class TestRefused:
    async def test_a_frame_that_cvat_refuses_fails_alone(self, tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
        async with cvat_world(tmp_path, monkeypatch) as made:
            act = made.cvat._act

            def refuse(task: CvatTask, jobs: object, action: str, given: Json, *, by_task: bool) -> Json:
                if action == "create" and any(each["frame"] == 5 for each in given["shapes"]):
                    raise Refusal("something about frame 5")
                return act(task, jobs, action, given, by_task=by_task)  # type: ignore[arg-type]

            monkeypatch.setattr(made.cvat, "_act", refuse)
            job = await made.run()
            assert (job.state, job.frames_failed) == (JobState.SUCCEEDED, 1)
            (failed,) = await made.made.jobs.ledger(job.id, state="failed")  # type: ignore[arg-type]
            assert (failed.frame, failed.error_code) == (5, "remote_refused")
            assert "something about frame 5" in (failed.error or "")
            await made.check_exactly_once(job)
            monkeypatch.setattr(made.cvat, "_act", act)
            await made.made.jobs.retry(job.id)
            job = await made.made.jobs.run(job.id)
            assert job.frames_failed == 0
            await made.check_exactly_once(job)

    async def test_labels_that_change_meanwhile_end_the_job(self, tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
        async with cvat_world(tmp_path, monkeypatch) as made:

            def change(body: Json) -> None:
                made.remote.labels = [label(99, "car")]

            made.cvat.on_change = change
            assert "labels of the task were changed" in await _ends(made)

    async def test_a_task_that_is_deleted_meanwhile_is_named(self, tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
        options = replace(OPTIONS, commit_frames=4, patience_s=60)
        async with cvat_world(tmp_path, monkeypatch, options=options) as made:
            job = await made.job()
            made.cvat.on_change = lambda body: setattr(made.remote, "gone", 1)
            job = await made.made.jobs.run(job.id)
            assert job.state is JobState.FAILED
            assert "Was it deleted?" in (job.error or "")

    async def test_another_picture_than_was_asked_for_is_never_annotated(
        self, tmp_path: Path, monkeypatch: MonkeyPatch
    ) -> None:
        remote = images_task(42, 20, LABELS)
        async with cvat_world(tmp_path, monkeypatch, remote) as made:
            remote.pictures = [*images_task(1, 1, LABELS, size=(32, 20)).pictures, *remote.pictures[:-1]]
            assert "32 x 20" in await _ends(made)
            assert remote.annotations == []

    async def test_a_chunk_of_another_length_is_refused(self, tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
        remote = images_task(42, 20, LABELS)
        async with cvat_world(tmp_path, monkeypatch, remote) as made:
            remote.pictures = remote.pictures[:-1]
            assert "holds 19 frames and not 20" in await _ends(made)

    async def test_a_cvat_that_counts_frames_of_a_cut_task_wrongly_is_found_out(
        self, tmp_path: Path, monkeypatch: MonkeyPatch
    ) -> None:
        remote = images_task(42, 20, LABELS, start_frame=10, frame_filter="step=2", mistaken=True)
        async with cvat_world(tmp_path, monkeypatch, remote) as made:
            assert "counts the frames" in await _ends(made)
            remote.mistaken = False
            job = await made.run()
            await made.check_exactly_once(job)


class TestAccess:
    async def test_a_user_and_password_are_logged_in_and_again_when_the_login_has_run_out(
        self, tmp_path: Path, monkeypatch: MonkeyPatch
    ) -> None:
        async with cvat_world(tmp_path, monkeypatch, secret="ann:wonderland") as made:
            job = await made.job()

            def expire(body: Json) -> None:
                made.cvat.state.tokens.clear()

            made.cvat.on_change = expire
            job = await made.made.jobs.run(job.id)
            assert job.state is JobState.SUCCEEDED
            await made.check_exactly_once(job)

    @pytest.mark.parametrize(
        ("secret", "says"), [("ann:wrong", "does not know this user"), ("0" * 40, "refuses the key")]
    )
    async def test_wrong_credentials_are_said_so(
        self, tmp_path: Path, monkeypatch: MonkeyPatch, secret: str, says: str
    ) -> None:
        with pytest.raises(BridgeError, match=says) as caught:
            async with cvat_world(tmp_path, monkeypatch, secret=secret):
                pass
        assert secret not in f"{caught.value.message} {caught.value.hint}"

    async def test_an_organizations_task_needs_its_name(self, tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
        remote = images_task(42, 5, LABELS, organization="acme")
        with pytest.raises(BridgeError, match="has no task 42") as caught:
            async with cvat_world(tmp_path / "a", monkeypatch, remote):
                pass
        assert "?org=" in caught.value.hint
        async with cvat_world(tmp_path / "b", monkeypatch, remote, address="/tasks/42?org=acme") as made:
            await made.check_exactly_once(await made.run())

    async def test_a_host_without_an_account_is_not_asked(self, tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
        async with cvat_world(tmp_path, monkeypatch) as made:
            asked = len(made.cvat.seen)
            with pytest.raises(BridgeError, match="No account") as caught:
                await made.made.jobs.remotes.find_or_add(f"http://localhost:{made.cvat.port}/tasks/42")
            assert caught.value.code == "no_account"
            assert len(made.cvat.seen) == asked

    async def test_an_old_version_and_something_else_are_refused(
        self, tmp_path: Path, monkeypatch: MonkeyPatch
    ) -> None:
        async with cvat_world(tmp_path, monkeypatch) as made:
            for version, says in (("1.7.0", "CVAT 1.7.0"), ("", "does not say its version")):
                made.cvat.state.version = version
                with pytest.raises(BridgeError, match=says):
                    await made.made.jobs.remotes.find_or_add(f"{made.cvat.url}/tasks/42")

    async def test_all_tasks_of_a_project_are_found(self, tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
        async with cvat_world(tmp_path, monkeypatch) as made:
            for number in (50, 51, 52):
                made.cvat.state.tasks[number] = images_task(number, 3, LABELS, project=7)
            found = await made.made.jobs.remotes.find_or_add(f"{made.cvat.url}/projects/7")
            assert [task.name for task in found] == [f"street {n} (CVAT {n})" for n in (50, 51, 52)]


async def test_maintenance_and_a_plea_to_slow_down_are_waited_out(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    options = replace(OPTIONS, patience_s=60)
    async with cvat_world(tmp_path, monkeypatch, options=options) as made:
        job = await made.job()
        made.cvat.fail("503", "", 3)
        job = await made.made.jobs.run(job.id)
        await made.check_exactly_once(job)
        assert job.state is JobState.SUCCEEDED


async def test_a_cvat_that_stays_away_ends_the_job_and_what_was_under_way_is_not_predicted_again(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    options = replace(OPTIONS, patience_s=0.2)
    async with cvat_world(tmp_path, monkeypatch, options=options) as made:
        job = await made.job()
        made.cvat.unanswered = ["lost"] * 100
        job = await made.made.jobs.run(job.id)
        assert job.state is JobState.FAILED
        assert "resume the job" in (job.error or "")
        under_way = [row.name for row in await made.made.jobs.ledger(job.id) if row.state == "writing"]
        made.cvat.unanswered = []
        job = await made.resumed(job)
        assert job.state is JobState.SUCCEEDED
        await made.check_exactly_once(job)
        asked = made.made.adapter.opened[-1].asked
        assert under_way
        assert all(asked.count(name) == 1 for name in under_way)


async def test_a_cvat_that_is_killed_and_started_again(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    options = replace(OPTIONS, patience_s=60)
    remote = images_task(42, 60, LABELS, chunk_size=10)
    async with cvat_world(tmp_path, monkeypatch, remote, options=options) as made:
        job = await made.job()
        running = asyncio.create_task(made.made.jobs.run(job.id))
        await made.made.until(lambda: bool(remote.annotations), 60)
        await asyncio.to_thread(made.cvat.__exit__)
        await asyncio.sleep(0.3)
        with CvatServer(made.cvat.state, made.cvat.port) as again:
            use_cvat(made.made, again)
            job = await running
            assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 60)
            await made.check_exactly_once(job)
