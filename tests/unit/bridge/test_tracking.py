"""Tracks: the linker alone, and as a job's last step, also where that is cut off and done again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.base import Detections
from adapters.frame import Frame
from bridge import linking
from bridge.applying import ApplySpec, create_applied
from bridge.domain import NewFrame
from bridge.errors import InvalidRequest
from bridge.job_spec import JobSpec, Tracking
from bridge.pinning import pin
from bridge.store import shapes as shape_rows
from bridge.store import tasks as task_rows
from bridge.store.leases import LeaseLost
from bridge.task_labels import parse_labels
from bridge.tracking import Linker
from tests.unit.bridge.world import LABELS, FakePredictor, World, world


def box(x: float, y: float = 50, side: float = 20) -> list[float]:
    return [x, y, x + side, y + side]


def linked(
    frames: Sequence[Sequence[list[float]]], kinds: Sequence[Sequence[str]] = (), **options: Any
) -> list[list[int]]:
    linker = Linker(Tracking(**options))
    return [
        linker.link(np.array(boxes), kinds[place] if kinds else ["car"] * len(boxes))
        for place, boxes in enumerate(frames)
    ]


def test_objects_that_cross_keep_their_numbers() -> None:
    """Two go through each other: at the middle their boxes are the same, and only their speed tells them apart."""
    frames = [[box(4 * n, 50), box(160 - 4 * n, 50 + n / 4)] for n in range(40)]
    assert linked(frames) == [[1, 2]] * 40
    assert linked([frame[:: (-1) ** n] for n, frame in enumerate(frames)]) == [[1, 2][:: (-1) ** n] for n in range(40)]


def test_the_sum_of_overlaps_decides_and_not_the_best_pair() -> None:
    """A greedy linker gives box 0 to track 2, with which it overlaps most, and track 1 loses its object."""
    assert linked([[box(0), box(8)], [box(6), box(18)]]) == [[1, 2], [1, 2]]


def test_an_object_that_was_out_of_sight_is_found_where_it_should_be() -> None:
    there = [[box(10 * n)] for n in range(5)]
    gone: list[list[list[float]]] = [[]] * 4
    assert linked([*there, *gone, [box(10 * 9)]])[-1] == [1]
    assert linked([*there, *gone, [box(10 * 9)]], max_gap=3)[-1] == [2]
    assert linked([*there, *gone, [box(10 * 5)]])[-1] == [2]


def test_labels_and_kinds_of_shape_are_never_linked() -> None:
    assert linked([[box(0)], [box(0)], [box(0)]], [["car"], ["bus"], ["car"]]) == [[1], [2], [1]]


def test_little_overlap_is_no_link() -> None:
    assert linked([[box(0)], [box(10)]], iou=0.5) == [[1], [2]]
    assert linked([[box(0)], [box(10)]], iou=0.3) == [[1], [1]]
    assert linked([[box(0)], [box(30)]], iou=0) == [[1], [2]]


def test_another_scene_begins_anew() -> None:
    linker = Linker(Tracking())
    assert linker.link(np.array([box(0)]), ["car"]) == [1]
    linker.cut()
    assert linker.link(np.array([box(0)]), ["car"]) == [2]


def test_nothing_to_link_is_no_error() -> None:
    assert linked([[], [box(0)], [], [box(0)]]) == [[], [1], [], [1]]


def moving(frame: Frame) -> Detections:
    """A car that goes right, one that goes left from frame 10 on, and on frame 3 something that is seen once."""
    number = int(frame.id.rpartition("/")[2].removesuffix(".jpg"))
    found = [box(5 * number)]
    if number >= 10:
        found.append(box(600 - 5 * number, 200))
    if number == 3:
        found.append(box(300, 300))
    return Detections(LABELS, np.array(found), np.full(len(found), 0.9), np.zeros(len(found), np.int64))


async def behave(_: FakePredictor, frames: Sequence[Frame]) -> list[Detections]:
    return [moving(frame) for frame in frames]


@pytest.fixture
async def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with world(tmp_path / "data", monkeypatch, behave=behave) as service:
        await add_frames(service, [f"a/{number}.jpg" for number in range(30)])
        yield service


async def add_frames(made: World, names: Sequence[str]) -> None:
    async with made.store.write() as connection:
        await task_rows.add_frames(connection, made.task.id, [NewFrame(name, "/x", 640, 480) for name in names])


async def tracks(made: World, job_id: int | None = None, task_id: int = 0) -> dict[int, list[tuple[int, float]]]:
    """Number of a track -> (frame, left edge) of its shapes."""
    found: dict[int, list[tuple[int, float]]] = {}
    async for frame, shapes in made.tasks.annotated(task_id or made.task.id):
        for shape in shapes:
            if job_id in (None, shape.job_id):
                found.setdefault(shape.track_id, []).append((frame.number, shape.points[0]))
    return found


RIGHT = [(number, 5.0 * number) for number in range(30)]
LEFT = [(number, 600.0 - 5 * number) for number in range(10, 30)]
EXPECTED = {1: RIGHT, 2: LEFT, 0: [(3, 300.0)]}


async def test_a_job_links_what_it_found(made: World) -> None:
    job = await made.run(track={})
    assert job.state == "succeeded"
    assert await tracks(made) == EXPECTED
    assert set(await tracks(made, (await made.run()).id)) == {0}  # only where it is asked for


async def test_another_job_goes_on_counting_and_undo_takes_its_tracks_away(made: World) -> None:
    await made.run(track={})
    second = await made.run(track={})
    assert await tracks(made, second.id) == {3: RIGHT, 4: LEFT, 0: [(3, 300.0)]}
    await made.jobs.undo(second.id)
    assert await tracks(made) == EXPECTED


async def test_what_replaces_tracks_is_undone_to_the_same_tracks(made: World) -> None:
    await made.run(track={})
    second = await made.run(track={}, clean="model")
    assert set(await tracks(made)) == {0, 3, 4}
    await made.jobs.undo(second.id)
    assert await tracks(made) == EXPECTED


async def test_a_run_that_is_killed_while_linking_is_followed_by_one_that_ends_alike(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linking, "CHUNK", 7)
    job = await made.job(track={})
    real, count = shape_rows.set_tracks, 0

    async def killed(*given: Any) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise LeaseLost  # as where the process is dead and another one has taken over
        await real(*given)

    monkeypatch.setattr(shape_rows, "set_tracks", killed)
    await made.jobs.run(job.id)
    half = await tracks(made)
    assert half != EXPECTED
    assert (await made.jobs.get(job.id)).state == "running"
    await made.change("UPDATE jobs SET state = 'queued', owner = NULL, lease_until = NULL WHERE id = :id", id=job.id)
    done = await made.jobs.run(job.id)
    assert done.state == "succeeded"
    assert done.frames_done == 30
    assert await tracks(made) == EXPECTED


async def test_cancelled_frames_that_come_later_are_linked_with_the_others(made: World) -> None:
    job = await made.job(track={})

    async def cancels(_: FakePredictor, frames: Sequence[Frame]) -> list[Detections]:
        await made.jobs.cancel(job.id)
        return [moving(frame) for frame in frames]

    made.adapter.behave = cancels
    assert (await made.jobs.run(job.id)).state == "cancelled"
    assert set(await tracks(made)) <= {0}
    made.adapter.opened[-1].behave = behave
    made.adapter.behave = behave
    await made.jobs.resume(job.id)
    assert (await made.jobs.run(job.id)).state == "succeeded"
    assert await tracks(made) == EXPECTED


async def test_no_track_leads_from_one_folder_into_another(made: World) -> None:
    await add_frames(made, [f"b/{number}.jpg" for number in range(30, 40)])
    await made.run(track={})
    found = await tracks(made)
    assert [frame for frame, _ in found[1]] == list(range(30))
    assert sorted(frame for frame, _ in [*found[3], *found[4]]) == sorted([*range(30, 40)] * 2)


async def test_other_thresholds_are_linked_anew_and_tracking_can_be_left_out(made: World) -> None:
    job = await made.run(track={})
    applied = await made.jobs.run((await made.jobs.apply(job.id, ApplySpec(threshold=0.5))).id)
    assert set(await tracks(made, applied.id)) == {0, 3, 4}
    without = await made.jobs.run((await made.jobs.apply(job.id, ApplySpec(track=None))).id)
    assert set(await tracks(made, without.id)) == {0}


async def test_a_task_in_label_studio_has_no_tracks(made: World) -> None:
    job = await made.run()
    await made.change("UPDATE tasks SET remote_kind = 'label-studio', remote_ref = 'x'")
    spec = JobSpec(target=made.task.id, model_id=made.model.id, track=Tracking())
    for attempt in (pin(made.store, spec, 0.05), create_applied(made.store, job.id, ApplySpec(track=Tracking()))):
        with pytest.raises(InvalidRequest, match="no tracks on images") as caught:
            await attempt
        assert caught.value.code == "no_tracks"
        assert "Leave track out" in caught.value.hint
    assert len(await made.jobs.page()) == 1


@pytest.mark.parametrize("name", ["cvat-video", "mot", "cvat", "coco", "datumaro", "voc"])
async def test_tracks_go_to_files_and_come_back(made: World, tmp_path: Path, name: str) -> None:
    await made.run(track={})
    await made.tasks.export(await made.tasks.get(made.task.id), tmp_path / "file", name)
    other = await made.tasks.create("other", parse_labels("car,person,tree"))
    names = [frame.name for frame in await made.tasks.frames(made.task.id)]
    async with made.store.write() as connection:
        await task_rows.add_frames(connection, other.id, [NewFrame(each, "/x", 640, 480) for each in names])
    await made.tasks.import_annotations(other, tmp_path / "file", name)
    assert await tracks(made, task_id=other.id) == EXPECTED
