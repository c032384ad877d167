"""Raw results used again, and a job tried before it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import AccessDenied
from bridge.applying import ApplySpec
from bridge.domain import JobState, Shape, Source
from bridge.errors import BridgeError, Conflict, InvalidRequest, NotFound
from bridge.job_spec import Clean, FrameSelection, JobSpec, Nms, Region, Tiling, Tracking
from tests.unit.bridge.world import CARD, FakePredictor, World, detections, fail_frames, world


@pytest.fixture
async def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with world(tmp_path, monkeypatch, frames=12) as service:
        yield service


Found = dict[int, list[tuple[str, float, int | None]]]


async def stored(made: World) -> Found:
    return {
        frame: [(shape.label, shape.score or 0.0, shape.job_id) for shape in shapes]
        for frame, shapes in (await made.shapes()).items()
    }


def expected(least: float, job_id: int, **renamed: str) -> Found:
    """What the test model finds on every frame from a score on."""
    made: Found = {}
    for number in range(12):
        found = detections(f"{number:05}.png")
        rows = zip(found.label_ids, found.scores, strict=True)
        named = [(found.labels[i], round(float(score), 6)) for i, score in rows]
        made[number] = [(renamed.get(name, name), score, job_id) for name, score in named if score >= least - 1e-6]
    return made


async def test_applying_makes_exactly_what_a_new_job_would_and_asks_no_model(made: World) -> None:
    source = await made.run(threshold=0.5)
    asked = len(made.adapter.opened[0].calls)
    job = await made.jobs.apply(source.id, ApplySpec(threshold=0.2, mapping={"car": "tree"}))
    assert (job.state, job.source_job_id, job.frames_total) == (JobState.QUEUED, source.id, 12)
    job = await made.jobs.run(job.id)
    assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 12)
    assert len(made.adapter.opened[0].calls) == asked
    assert len(made.adapter.opened) == 1
    assert await stored(made) == expected(0.2, job.id, car="tree")
    assert job.resolved["threshold"] == 0.2
    assert job.resolved["pairs"] == {"car": "tree", "person": "person", "tree": "tree"}


async def test_undoing_an_applied_job_brings_back_the_earlier_shapes_to_the_last_row(made: World) -> None:
    await made.add(3, Shape("car", "rectangle", (1.0, 2.0, 30.0, 40.0)))
    source = await made.run(threshold=0.5)
    before = await made.sql("SELECT * FROM shapes ORDER BY id")
    job = await made.jobs.run((await made.jobs.apply(source.id, ApplySpec(threshold=0.8))).id)
    assert await made.sql("SELECT * FROM shapes ORDER BY id") != before
    with pytest.raises(Conflict, match=f"{job.id} has replaced"):
        await made.jobs.undo(source.id)
    await made.jobs.undo(job.id)
    assert await made.sql("SELECT * FROM shapes ORDER BY id") == before
    await made.jobs.undo(source.id)
    assert [len(shapes) for shapes in (await made.shapes()).values()] == [0, 0, 0, 1, *[0] * 8]


async def test_what_is_not_given_is_as_it_was_and_null_takes_suppression_away(made: World) -> None:
    settings: dict[str, Any] = {"label_thresholds": {"car": 0.7}, "min_size": 2, "masks_as_polygons": True, "top_k": 3}
    settings["track"] = Tracking(iou=0.4)
    source = await made.run(nms=Nms(iou=0.4), keep_manual_iou=0.5, threshold=0.3, mapping={"tree": ""}, **settings)
    same = await made.jobs.apply(source.id, ApplySpec())
    assert same.spec.model_dump(include={*settings, "nms", "keep_manual_iou"}) == source.spec.model_dump(
        include={*settings, "nms", "keep_manual_iou"}
    )
    assert same.spec.clean is Clean.MODEL
    assert {k: same.resolved[k] for k in ("threshold", "pairs", "unmapped")} == {
        k: source.resolved[k] for k in ("threshold", "pairs", "unmapped")
    }
    other = await made.jobs.apply(source.id, ApplySpec(nms=None, top_k=None, keep_manual_iou=None, track=None))
    removed = (other.spec.nms, other.spec.top_k, other.spec.keep_manual_iou, other.spec.track)
    assert removed == (None, None, None, None)
    assert (await made.jobs.apply(source.id, ApplySpec(label_thresholds={}))).spec.label_thresholds == {}


async def test_an_applied_job_can_be_applied_again_and_both_read_the_first_ones_results(made: World) -> None:
    source = await made.run(threshold=0.5)
    first = await made.jobs.run((await made.jobs.apply(source.id, ApplySpec(threshold=0.8))).id)
    second = await made.jobs.run((await made.jobs.apply(first.id, ApplySpec(threshold=0.1))).id)
    assert second.source_job_id == source.id
    assert await stored(made) == expected(0.1, second.id)
    assert await made.sql("SELECT DISTINCT job_id FROM results") == [(source.id,)]


async def test_only_frames_that_were_done_are_applied_and_the_job_can_be_cancelled_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def two_bad(predictor: FakePredictor, frames: Any) -> None:
        await fail_frames(frames, {"00002.png", "00007.png"})

    async with world(tmp_path, monkeypatch, frames=12, behave=two_bad) as made:
        source = await made.run()
        job = await made.jobs.apply(source.id, ApplySpec(threshold=0.5))
        assert job.frames_total == 10
        await made.jobs.cancel(job.id)
        job = await made.jobs.run((await made.jobs.resume(job.id)).id)
        assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 10)
        everything = expected(0.5, job.id)
        assert await stored(made) == {**everything, 2: [], 7: []}


async def test_a_damaged_result_fails_its_frame_alone(made: World) -> None:
    source = await made.run()
    await made.change("UPDATE results SET body = x'00' WHERE job_id = :job AND frame = 4", job=source.id)
    job = await made.jobs.run((await made.jobs.apply(source.id, ApplySpec())).id)
    assert (job.frames_done, job.frames_failed) == (11, 1)
    rows = await made.jobs.ledger(job.id)
    assert [(row.frame, row.error_code) for row in rows if row.error] == [(4, "bad_frame")]


async def test_a_threshold_below_what_was_kept_is_refused_and_the_floor_is_named(made: World) -> None:
    source = await made.run(threshold=0.5)
    with pytest.raises(InvalidRequest, match=r"The threshold, 0.04, is below 0.05") as caught:
        await made.jobs.apply(source.id, ApplySpec(threshold=0.04))
    assert caught.value.code == "below_floor"
    with pytest.raises(InvalidRequest, match=r"The threshold of 'car', 0.01, is below 0.05"):
        await made.jobs.apply(source.id, ApplySpec(label_thresholds={"car": 0.01}))
    assert len(await made.jobs.page()) == 1


async def test_a_job_at_work_without_results_or_unknown_is_not_applied(made: World) -> None:
    queued = await made.job()
    with pytest.raises(Conflict, match="queued"):
        await made.jobs.apply(queued.id, ApplySpec())
    await made.jobs.cancel(queued.id)
    with pytest.raises(InvalidRequest, match="left no results") as caught:
        await made.jobs.apply(queued.id, ApplySpec())
    assert caught.value.code == "no_results"
    assert len(await made.jobs.page()) == 1
    with pytest.raises(NotFound):
        await made.jobs.apply(99, ApplySpec())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mapping": {"lorry": "car"}}, "no label 'lorry'"),
        ({"mapping": {"car": "lorry"}}, "no label 'lorry'"),
        ({"label_thresholds": {"lorry": 0.5}}, "no label 'lorry'"),
        ({"mapping": {"car": "", "person": "", "tree": ""}}, "mapping is empty"),
        ({"keep_manual_iou": 0.5, "clean": "all"}, "nothing to keep"),
        ({"mapping_id": 99}, "mapping 99"),
    ],
)
async def test_what_does_not_fit_is_refused(made: World, values: dict[str, Any], message: str) -> None:
    source = await made.run()
    with pytest.raises(BridgeError, match=message):
        await made.jobs.apply(source.id, ApplySpec(**values))


async def test_a_task_with_applied_jobs_can_be_removed(made: World) -> None:
    source = await made.run()
    await made.jobs.run((await made.jobs.apply(source.id, ApplySpec())).id)
    await made.tasks.remove(made.task.id)
    assert await made.sql("SELECT count(*) FROM jobs") == [(0,)]


async def test_new_shapes_do_not_come_onto_what_people_made_and_undo_restores_all(made: World) -> None:
    number = next(n for n in range(12) if len(detections(f"{n:05}.png")) == 3)
    found = detections(f"{number:05}.png")
    person = Shape("tree", "rectangle", tuple(found.boxes[1].tolist()))
    machine = Shape("tree", "rectangle", tuple(found.boxes[2].tolist()), source=Source.AUTOMATIC, score=0.5)
    await made.add(number, person, machine)
    before = await made.sql("SELECT * FROM shapes ORDER BY id")
    job = await made.run(keep_manual_iou=0.5, clean="automatic")
    boxes = [shape.points for shape in (await made.shapes())[number]]
    assert boxes == [person.points, tuple(found.boxes[0].tolist()), tuple(found.boxes[2].tolist())]
    await made.jobs.undo(job.id)
    assert await made.sql("SELECT * FROM shapes ORDER BY id") == before


async def everything(made: World) -> dict[str, list[tuple[Any, ...]]]:
    tables = await made.sql("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return {name: await made.sql(f"SELECT * FROM {name}") for (name,) in tables}


def spec(made: World, **values: Any) -> JobSpec:
    return JobSpec(target=made.task.id, model_id=made.model.id, **{"threshold": 0.5, **values})


async def test_a_preview_says_what_a_job_would_do_and_stores_nothing(made: World) -> None:
    async with made.registry.predictor(made.model):  # its files are here from now on, which the model's row says
        pass
    before = await everything(made)
    tried = await made.jobs.preview(spec(made, mapping={"tree": ""}), frames=4)
    assert await everything(made) == before
    assert [one.frame.number for one in tried.frames] == [0, 4, 7, 11]
    assert (tried.pairs, tried.unmapped) == ({"car": "car", "person": "person"}, ["tree"])
    assert (tried.frames_total, tried.threshold, tried.calls) == (12, 0.5, None)
    job = await made.run(threshold=0.5, mapping={"tree": ""})
    written = await made.shapes()
    for one in tried.frames:
        real = [replace(shape, id=0, job_id=None) for shape in written[one.frame.number]]
        assert list(one.shapes) == real
    assert sum(tried.counts.values()) == sum(len(one.shapes) for one in tried.frames)
    assert tried.seconds_per_frame is not None
    assert tried.seconds_estimated == pytest.approx(tried.seconds_per_frame * job.frames_total)


async def test_a_preview_tries_no_more_frames_than_are_selected_and_names_those_that_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bad(predictor: FakePredictor, frames: Any) -> None:
        await fail_frames(frames, {"00003.png"})

    async with world(tmp_path, monkeypatch, frames=12, behave=bad) as made:
        tried = await made.jobs.preview(spec(made, frames=FrameSelection(start=2, stop=4)), frames=9)
        assert [(one.frame.number, one.error) for one in tried.frames] == [(2, None), (3, "00003.png is damaged.")]
        assert tried.frames_total == 2


async def test_a_preview_counts_the_calls_of_a_hosted_model_in_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as made:
        await made.frames(7)
        made.adapter.card = replace(CARD, engine="hosted")
        made.model, _ = await made.registry.add("/models/hosted")
        assert (await made.jobs.preview(spec(made), frames=1)).calls == 7
        # Frames are of 100 x 80 pixels, and these have no picture, so that none of their tiles can be read.
        tried = await made.jobs.preview(spec(made, tiling=Tiling(width=64, height=64, overlap=0.1)), frames=1)
        assert tried.calls == 7 * 4
        assert [one.error for one in tried.frames] == ["00000.png is missing."]
        assert tried.seconds_estimated is None


async def test_a_preview_of_what_could_not_run_is_refused_as_the_job_would_be(made: World) -> None:
    for values, code in (
        ({"frames": FrameSelection(start=50)}, "no_frames"),
        ({"roi": Region(x=100, y=0, width=5, height=5)}, "empty_region"),
        ({"mapping": {"car": "lorry"}}, "unknown_label"),
    ):
        for attempt in (made.jobs.preview, made.jobs.create):
            with pytest.raises(InvalidRequest) as caught:
                await attempt(spec(made, **values))
            assert caught.value.code == code


async def test_too_many_tiles_are_refused(made: World) -> None:
    await made.change("UPDATE frames SET width = 60000, height = 60000 WHERE number = 3")
    with pytest.raises(InvalidRequest, match="tiles") as caught:
        await made.jobs.create(spec(made, tiling=Tiling(width=64, height=64)))
    assert caught.value.code == "too_many_tiles"


async def test_a_preview_that_no_frame_could_pass_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def denied(predictor: FakePredictor, frames: Any) -> None:
        raise AccessDenied("No token.")

    async with world(tmp_path, monkeypatch, frames=3, behave=denied) as made:
        with pytest.raises(BridgeError, match="No token") as caught:
            await made.jobs.preview(spec(made))
        assert caught.value.status == 403


async def test_two_applied_jobs_at_once_do_not_disturb_each_other(made: World) -> None:
    source = await made.run()
    jobs = [await made.jobs.apply(source.id, ApplySpec(threshold=t, clean=Clean.NONE)) for t in (0.2, 0.8)]
    ended = await asyncio.gather(*(made.jobs.run(job.id) for job in jobs))
    assert {job.state for job in ended} == {JobState.SUCCEEDED}
    for job, least in zip(jobs, (0.2, 0.8), strict=True):
        mine = {n: [row for row in rows if row[2] == job.id] for n, rows in (await stored(made)).items()}
        assert mine == expected(least, job.id)
