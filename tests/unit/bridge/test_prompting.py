"""What a model with an open vocabulary is asked to look for, from the job's spec to the model, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import Unavailable
from adapters.frame import Frame
from bridge.applying import ApplySpec
from bridge.domain import JobState
from bridge.errors import BridgeError
from bridge.job_spec import JobSpec
from bridge.task_labels import parse_labels
from tests.unit.bridge.world import CARD, OPTIONS, FakePredictor, World, world

OPEN = replace(CARD, labels=None, task_type="zero-shot-object-detection")


@pytest.fixture
async def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with world(tmp_path, monkeypatch, frames=12) as new:
        new.adapter.card = OPEN
        new.model, _ = await new.registry.add("/models/open")
        yield new


async def asked(made: World, **values: Any) -> dict[str, tuple[str, ...]]:
    """What the model was asked in a job of these values."""
    job = await made.run(**values)
    assert job.state is JobState.SUCCEEDED
    prompts = made.adapter.opened[-1].prompts
    assert all(each == prompts[-1] for each in prompts[-3:])
    return dict(prompts[-1])


async def test_the_labels_of_the_task_are_looked_for_by_their_names(made: World) -> None:
    assert await asked(made) == {"car": (), "person": (), "tree": ()}
    job = (await made.jobs.page())[-1]
    assert job.resolved["pairs"] == {label: label for label in ("car", "person", "tree")}
    assert job.resolved["prompts"] == {"car": [], "person": [], "tree": []}
    assert job.resolved["unmapped"] == []
    found = {shape.label for shapes in (await made.shapes()).values() for shape in shapes}
    assert found == {"car", "person", "tree"}


async def test_prompts_stand_for_their_labels_and_the_others_keep_their_names(made: World) -> None:
    prompts = {"car": "a red car", "tree": ["an oak", "a fir"]}
    assert await asked(made, prompts=prompts) == {"car": ("a red car",), "person": (), "tree": ("an oak", "a fir")}
    job = (await made.jobs.page())[-1]
    assert job.spec.prompts == prompts
    assert job.resolved["prompts"]["car"] == ["a red car"]


async def test_a_label_can_be_left_out(made: World) -> None:
    assert await asked(made, mapping={"person": ""}) == {"car": (), "tree": ()}


async def test_labels_that_no_shape_of_the_model_can_become_are_not_asked_for(made: World) -> None:
    labels = parse_labels('[{"name": "car", "type": "rectangle"}, {"name": "pose", "type": "skeleton", "sublabels": '
                          '[{"name": "1"}]}, {"name": "lane", "type": "polyline"}]')  # fmt: skip
    made.task = await made.tasks.create("typed", labels)
    await made.frames(1)
    assert await asked(made) == {"car": ()}
    await refuse(made, "wrong_shape", "pose", prompts={"pose": "a dancer"})


async def test_a_preview_asks_the_same(made: World) -> None:
    spec = JobSpec(target=made.task.id, model_id=made.model.id, threshold=0, prompts={"car": "a red car"})
    tried = await made.jobs.preview(spec, frames=2)
    assert tried.pairs == {label: label for label in ("car", "person", "tree")}
    assert made.adapter.opened[-1].prompts[-1]["car"] == ("a red car",)


async def test_a_resumed_job_asks_what_it_asked_before(made: World) -> None:
    asleep, awake = asyncio.Event(), False

    async def behave(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        if not awake and (asleep.is_set() or frames[0].id > "00005"):
            asleep.set()
            raise Unavailable("The host sleeps.")

    made.jobs.options = replace(OPTIONS, patience_s=0)
    made.adapter.behave = behave
    job = await made.run(prompts={"car": "a red car"})
    assert job.state is JobState.FAILED
    awake = True
    await made.jobs.resume(job.id)
    job = await made.jobs.run(job.id)
    assert job.state is JobState.SUCCEEDED
    assert {tuple(each["car"]) for each in made.adapter.opened[-1].prompts} == {("a red car",)}


async def test_results_are_applied_anew_without_asking(made: World) -> None:
    job = await made.run(prompts={"car": "a red car"})
    calls = len(made.adapter.opened[-1].calls)
    applied = await made.jobs.apply(job.id, ApplySpec(threshold=0.5, mapping={"tree": ""}))
    applied = await made.jobs.run(applied.id)
    assert applied.state is JobState.SUCCEEDED
    assert len(made.adapter.opened[-1].calls) == calls
    assert applied.resolved["pairs"] == {"car": "car", "person": "person"}
    assert applied.resolved["unmapped"] == ["tree"]
    assert applied.resolved["prompts"] == job.resolved["prompts"]
    kept = [shape for shapes in (await made.shapes()).values() for shape in shapes]
    assert kept
    assert all(shape.label != "tree" and (shape.score or 0) >= 0.5 for shape in kept)


async def test_a_threshold_of_a_label_that_is_looked_for(made: World) -> None:
    await made.run(label_thresholds={"car": 0.95})
    assert {shape.label for shapes in (await made.shapes()).values() for shape in shapes} == {"person", "tree"}
    await refuse(made, "unknown_label", "bus", label_thresholds={"bus": 0.5})


async def refuse(made: World, code: str, words: str, **values: Any) -> None:
    with pytest.raises(BridgeError) as refused:
        await made.job(**values)
    assert refused.value.code == code, refused.value
    assert words in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        ({"prompts": {"bus": "a bus"}}, "unknown_label", "'bus'"),
        ({"mapping": {"a red car": "car"}}, "bad_prompts", "cannot be mapped"),
        ({"mapping": {"bus": ""}}, "unknown_label", "'bus'"),
        ({"mapping": {"car": "", "person": "", "tree": ""}}, "bad_prompts", "every label"),
        ({"prompts": {"car": "thing", "tree": "Thing "}}, "bad_prompts", "'thing'"),
        ({"prompts": {"car": ["tree"]}}, "bad_prompts", "'tree'"),
    ],
)
async def test_what_cannot_be_asked_is_refused(made: World, values: dict[str, Any], code: str, words: str) -> None:
    await refuse(made, code, words, **values)


@pytest.mark.parametrize("prompts", [{"car": ""}, {"car": "  "}, {"car": "a\nb"}, {"car": ["ok", " "]}, {"car": 7}])
def test_blank_and_broken_prompts_are_no_spec(prompts: Any) -> None:
    with pytest.raises(ValueError, match="prompts"):
        JobSpec(target=1, model_id=1, prompts=prompts)


async def test_a_model_with_its_own_labels_takes_no_prompts(made: World) -> None:
    made.adapter.card = CARD
    made.model, _ = await made.registry.add("/models/fixed")
    await refuse(made, "bad_prompts", "takes no prompts", prompts={"car": "a red car"})


async def test_a_classifier_that_chooses_needs_something_to_choose_from(made: World) -> None:
    made.adapter.card = replace(OPEN, task_type="zero-shot-image-classification", shape_types=("tag",))
    made.model, _ = await made.registry.add("/models/clip")
    await refuse(made, "bad_prompts", "chooses between labels", mapping={"person": "", "tree": ""})
    assert set(await asked(made)) == {"car", "person", "tree"}


async def test_more_labels_than_a_model_can_be_asked_for(made: World) -> None:
    made.task = await made.tasks.create("many", parse_labels(",".join(f"label {i}" for i in range(1001))))
    await made.frames(1)
    await refuse(made, "bad_prompts", "1001 labels")


async def test_jobs_that_run_together_ask_what_is_theirs(made: World) -> None:
    first, second = await made.job(prompts={"car": "a red car"}), await made.job(prompts={"car": "a blue car"})
    await asyncio.gather(made.jobs.run(first.id), made.jobs.run(second.id))
    said = {each["car"] for each in made.adapter.opened[-1].prompts}
    assert said == {("a red car",), ("a blue car",)}
