"""Joints find their places by name, attributes and their values by meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.base import Context, Detections, ModelCard, PredictOptions, Skeleton
from adapters.frame import Frame
from adapters.network import HttpPolicy
from adapters.nuclio_function import NuclioFunctions
from adapters.references import NuclioFunction
from bridge.domain import LabelAttribute, Shape, TaskLabel
from bridge.errors import InvalidRequest
from bridge.fit import fit
from bridge.job_spec import JobSpec
from bridge.mapping import match_labels
from bridge.model_labels import describe
from bridge.pinning import check_pairs
from bridge.refine import Refinement, refine
from labelmatch import Label
from tests.servers.nuclio import Deployed, Nuclio

JOINTS = ("nose", "left_elbow", "right_elbow", "left_ankle")


def card(kind: str = "skeleton", labels: tuple[str, ...] = ("person",), **settings: Any) -> ModelCard:
    return ModelCard("pose", "test", "ref", "1", "keypoint-detection", labels, (kind,), "test", settings=settings)


def skeleton(*sublabels: str) -> TaskLabel:
    return TaskLabel("person", "skeleton", sublabels=sublabels)


def found(count: int = 4) -> Detections:
    """Joint i is at (10 (i + 1), i + 1), and every one is seen."""
    points = np.array([[10 * (i + 1), i + 1] for i in range(count)], np.float32)
    shape = Skeleton(points, np.ones(count, np.float32))
    return Detections(("person",), np.array([[0, 0, 90, 90]]), np.array([0.9]), np.array([0]), (shape,))


def shapes(model: ModelCard, task: TaskLabel, detections: Detections) -> list[Shape]:
    refinement = Refinement.of(JobSpec(target=1, model_id=1), {"person": task}, 0.5, model)
    return refine(detections, refinement, (100, 100))


def test_joints_go_to_the_points_of_their_names_whatever_the_order() -> None:
    task = skeleton("l ankle", "Nose", "RElbow", "elbow_left")
    (shape,) = shapes(card(sublabels=JOINTS), task, found())
    assert shape.points == (40, 4, 2, 10, 1, 2, 30, 3, 2, 20, 2, 2)


def test_points_that_the_model_has_not_are_absent_and_joints_that_the_task_has_not_are_left_out() -> None:
    (shape,) = shapes(card(sublabels=JOINTS), skeleton("tail", "nose", "left_elbow"), found())
    assert shape.points == (0, 0, 0, 10, 1, 2, 20, 2, 2)


def test_as_many_joints_of_other_names_are_not_taken_by_their_order() -> None:
    task = skeleton("front hoof", "rear hoof", "mane", "tail")
    assert shapes(card(sublabels=JOINTS), task, found()) == []
    with pytest.raises(InvalidRequest, match="no point in common") as caught:
        check_pairs(card(sublabels=JOINTS), {"person": "person"}, [task])
    assert caught.value.code == "wrong_shape"


@pytest.mark.parametrize(
    ("joints", "task"),
    [((), ("a", "b", "c", "d")), (JOINTS, ("1", "2", "3", "4")), (("0", "1", "2", "3"), JOINTS)],
)
def test_without_names_on_either_side_joints_go_by_their_order(joints: tuple[str, ...], task: tuple[str, ...]) -> None:
    model = card(sublabels=joints)
    check_pairs(model, {"person": "person"}, [skeleton(*task)])
    (shape,) = shapes(model, skeleton(*task), found())
    assert shape.points == (10, 1, 2, 20, 2, 2, 30, 3, 2, 40, 4, 2)
    assert shapes(model, skeleton(*task, "e") if not task[0].isdigit() else skeleton(*task, "5"), found()) == []


def test_a_model_that_answers_fewer_joints_than_it_names_leaves_the_rest_absent() -> None:
    (shape,) = shapes(card(sublabels=JOINTS), skeleton("left_ankle", "nose"), found(2))
    assert shape.points == (0, 0, 0, 10, 1, 2)


def test_skeletons_that_share_too_few_points_are_no_match_even_by_name() -> None:
    model = describe(card(sublabels=JOINTS))
    (other,) = match_labels(model, [skeleton("mane", "tail", "front hoof", "rear hoof")])
    assert other.best is None
    (same,) = match_labels(model, [skeleton("right elbow", "nose", "l_elbow")])
    assert same.best is not None
    assert same.joints == {"nose": "nose", "left_elbow": "l_elbow", "right_elbow": "right elbow"}


SPEC = {
    "name": "person",
    "type": "rectangle",
    "attributes": [
        {"name": "gender", "input_type": "select", "values": ["m", "f", "robot"]},
        {"name": "hidden", "input_type": "radio", "values": "yes\nno"},
        {"name": "shoe", "input_type": "number", "values": ["10", "60", "1"]},
        {"values": ["nameless"]},
        {"name": "broken", "values": 7},
    ],
    "sublabels": [],
}
TASK = TaskLabel(
    "person",
    "rectangle",
    attributes=(
        LabelAttribute("sex", "radio", ("male", "female")),
        LabelAttribute("occluded", "checkbox", ()),
        LabelAttribute("shoe", "number", ("10", "60", "1")),
    ),
)


def attributes_of(values: dict[str, str]) -> dict[str, str]:
    model = card("rectangle", label_specs=[SPEC])
    detections = Detections(
        ("person",), np.array([[0, 0, 90, 90]]), np.array([0.9]), np.array([0]), attributes=(values,)
    )
    (shape,) = shapes(model, TASK, detections)
    return dict(shape.attributes)


def test_attributes_and_their_values_are_written_in_the_tasks_words() -> None:
    assert attributes_of({"gender": "f", "hidden": "yes", "shoe": "42"}) == {
        "sex": "female",
        "occluded": "true",
        "shoe": "42",
    }


def test_values_that_the_task_does_not_allow_and_unknown_attributes_are_dropped() -> None:
    assert attributes_of({"gender": "robot", "hidden": "perhaps", "shoe": "4.5", "mood": "fine"}) == {}


def test_an_attribute_that_fits_goes_before_one_that_is_spelled_the_same_by_chance() -> None:
    assert attributes_of({"sex": "female", "gender": "m"}) == {"sex": "male"}


def test_label_matches_tell_which_attributes_are_the_same() -> None:
    (match,) = match_labels(describe(card("rectangle", label_specs=[SPEC])), [TASK])
    told = {each.model_attribute: (each.task_attribute, dict(each.values)) for each in match.attributes}
    assert told["gender"] == ("sex", {"m": "male", "f": "female"})
    assert told["hidden"] == ("occluded", {"yes": "true", "no": "false"})
    assert told["shoe"] == ("shoe", {})


def test_a_card_says_types_joints_and_attributes_of_its_labels() -> None:
    (label,) = describe(card("rectangle", label_specs=[SPEC]))
    assert (label.type, [each.name for each in label.attributes]) == ("rectangle", ["gender", "hidden", "shoe"])
    assert describe(card(sublabels=JOINTS)) == [Label("person", "skeleton", (), JOINTS)]
    assert describe(card("tag", ("a", "b", "a"))) == [Label("a", "tag"), Label("b", "tag")]


def test_labels_without_parts_fit_as_they_are() -> None:
    found = fit(Label("person"), TaskLabel("person"))
    assert (found.joints, dict(found.attributes)) == (None, {})


async def test_a_functions_joints_and_attributes_arrive_in_the_tasks_words(tmp_path: Path) -> None:
    sex = {"name": "gender", "input_type": "select", "values": ["m", "f"]}
    deployed = Deployed({"person": "skeleton"}, attributes=(sex,), sublabels=("left_hand", "right_hand", "nose"))
    theirs = TaskLabel(
        "Person",
        "skeleton",
        attributes=(LabelAttribute("sex", "radio", ("female", "male")),),
        sublabels=("nose", "tail", "l hand"),
    )
    frame = Frame("f", 64, 48, pixels=np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8))
    with Nuclio({"pose": deployed}) as host:
        context = Context(tmp_path, http=HttpPolicy(frozenset({"127.0.0.1"})))
        model = await NuclioFunctions().resolve(NuclioFunction(host.url, "pose", ()), context)
        (match,) = match_labels(describe(model), [theirs])
        assert match.best is not None
        assert match.joints == {"left_hand": "l hand", "nose": "nose"}
        async with await NuclioFunctions().open(model, context) as predictor:
            (found,) = await predictor.predict([frame], PredictOptions(floor_score=0.0))
    refinement = Refinement.of(JobSpec(target=1, model_id=1), {"person": theirs}, 0.0, model)
    made = refine(found, refinement, (64, 48))
    assert len(made) == len(found) > 0
    for shape, geometry in zip(made, found.geometry, strict=True):
        assert isinstance(geometry, Skeleton)
        left, _, nose = geometry.points.tolist()
        assert shape.points == pytest.approx([*nose, 2, 0, 0, 0, *left, 2], abs=0.01)
        assert dict(shape.attributes) == {"sex": "male"}
