"""Interactors, trackers and ReID as CVAT calls them, over SAM with random weights and the built-in models."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bridge.errors import InvalidRequest
from bridge.task_labels import parse_labels
from tests import architectures
from tests.servers.cvat_lambda_manager import EXTRA_HEADERS, CvatFails, LambdaManager
from tests.unit.adapters.test_template_tracker import MOVES, film, iou
from tests.unit.bridge.nuclio.every_shape import Served, served
from tests.unit.bridge.nuclio.test_face import picture

TRACKER, REID = "builtin://template-tracker", "builtin://overlap-reid"


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("by hand")
    sam = architectures.write(architectures.sam, folder / "sam")
    video = architectures.write(architectures.sam2_video, folder / "sam2")
    references = {"sam": str(sam), "sam2": str(video), "tracker": TRACKER, "reid": REID}
    with served(folder, references=references) as running:
        yield running


@pytest.fixture(params=[False, True], ids=["2.15", "newer"])
def cvat(face: Served, request: pytest.FixtureRequest) -> LambdaManager:
    return LambdaManager(face.url, newer=request.param)


def png(frame: Any) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(frame.pixels).save(packed, "PNG")
    return packed.getvalue()


def test_each_model_is_listed_as_what_it_can_do_and_none_as_a_detector(cvat: LambdaManager) -> None:
    found = {function.id: function for function in cvat.list()}
    assert {name: function.kind for name, function in found.items()} == {
        "sam": "interactor",
        "sam2": "interactor",
        "sam2.tracker": "tracker",
        "tracker": "tracker",
        "reid": "reid",
    }
    assert all(function.labels == [] for function in found.values())
    sam = found["sam"].annotations
    assert (sam["version"], sam["min_pos_points"], sam["min_neg_points"]) == ("2", "0", "0")
    assert "startswith_box" not in sam  # any text of the flag would be true
    assert sam["startswith_box_optional"] == "true"
    for name in ("sam.interactor", "sam.tracker", "tracker.tracker", "reid.reid"):
        with pytest.raises(CvatFails, match="404"):
            cvat.get(name)


@pytest.mark.parametrize("model", ["sam", "sam2"])
def test_a_click_is_the_crop_of_a_mask_within_the_picture(cvat: LambdaManager, model: str) -> None:
    click = [[45, 30]]
    if cvat.newer:  # a box by itself
        cvat.interact(model, picture(size=(90, 60)), [], box=[[10, 10], [80, 50]])
    answer = cvat.interact(model, picture(size=(90, 60)), click, [[2, 2]], box=[[10, 10], [80, 50]])
    left, top, right, bottom = answer["bounds"]
    mask = np.array(answer["mask"])
    assert mask.shape == (bottom - top + 1, right - left + 1)
    assert 0 <= left <= right < 90 and 0 <= top <= bottom < 60
    assert mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any()


def test_a_model_that_answers_clicks_has_no_profile(face: Served) -> None:
    async def add(service: Any) -> None:
        await service.profiles.add("objects", await service.registry.find("sam"), parse_labels("car"))

    with pytest.raises(InvalidRequest, match="mask-generation"):
        face.run(add)


def test_a_box_may_come_as_two_corners_or_as_four_numbers(face: Served) -> None:
    answers = []
    for box in ([[5, 5], [40, 30]], [5, 5, 40, 30]):
        status, reason, body = call(face, "sam", {"pos_points": [], "neg_points": [], "obj_bbox": box})
        assert status == 200, reason
        answers.append(body)
    assert answers[0] == answers[1]


@pytest.mark.parametrize("model", ["tracker", "sam2.tracker"])
def test_boxes_are_followed_with_states_that_cvat_keeps(cvat: LambdaManager, model: str) -> None:
    moves = (MOVES["straight"], MOVES["shrinking"])
    frames = [png(film(*(move(t) for move in moves))) for t in range(5)]
    seen = cvat.track(model, frames, [move(0) for move in moves])
    assert seen[0] == [list(map(float, move(0))) for move in moves]
    for boxes in seen:
        for x1, y1, x2, y2 in boxes:
            assert 0 <= x1 < x2 <= 320 and 0 <= y1 < y2 <= 240
    if model == "tracker":  # the other one has random weights
        assert all(
            iou(tuple(box), move(t)) > 0.7
            for t, boxes in enumerate(seen)
            for box, move in zip(boxes, moves, strict=True)
        )


def test_an_object_that_is_added_later_begins_beside_those_that_are_followed(face: Served) -> None:
    image = base64.b64encode(png(film(MOVES["still"](0)))).decode()
    first = call(face, "tracker", {"image": image, "shapes": [[100, 80, 150, 120]], "states": []})[2]
    for states in ([*first["states"], None], first["states"]):
        body = {"image": image, "shapes": [None, [10, 10, 60, 60]], "states": states}
        _, _, answer = call(face, "tracker", body)
        assert iou(tuple(answer["shapes"][0]), (100, 80, 150, 120)) > 0.7
        assert answer["shapes"][1] == [10, 10, 60, 60]
        assert len(answer["states"]) == 2


def test_boxes_of_two_frames_are_paired(cvat: LambdaManager) -> None:
    before = [(10, 10, 50, 50), (60, 10, 90, 40)]
    after = [(61, 11, 91, 41), (0, 0, 5, 5), (12, 10, 52, 50)]
    images = (picture(), picture())
    assert cvat.reidentify("reid", images, (before, after), threshold=0.5, max_distance=50) == [2, 0]
    assert cvat.reidentify("reid", images, (before, after), threshold=0.5, max_distance=1) == [-1, -1]
    assert cvat.reidentify("reid", images, (before, after)) == [2, 0]


def call(face: Served, function: str, body: dict[str, Any]) -> tuple[int, str, Any]:
    body = {"image": base64.b64encode(picture(size=(90, 60))).decode(), **body}
    headers = {**EXTRA_HEADERS, "x-nuclio-function-name": function}
    reply = requests.post(face.url + "/api/function_invocations", json=body, headers=headers, timeout=60)
    return reply.status_code, reply.reason, reply.json()


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("sam", {}, "points"),
    ("sam", {"pos_points": [], "neg_points": [[1, 1]]}, "points"),
    ("sam", {"pos_points": [[1]], "neg_points": []}, "points"),
    ("sam", {"pos_points": [["a", "b"]], "neg_points": []}, "number"),
    ("sam", {"pos_points": 5}, "list"),
    ("sam", {"pos_points": [[1, 1]], "obj_bbox": [[1, 2]]}, "box"),
    ("sam", {"image": "###", "pos_points": [[1, 1]]}, "base64"),
    ("tracker", {"shapes": [], "states": []}, "nothing to follow"),
    ("tracker", {"shapes": [[1, 2, 3]], "states": []}, "box"),
    ("tracker", {"shapes": [[1, 2, 3, 4]], "states": [{"box": "changed"}]}, "state"),
    ("tracker", {"shapes": [[1, 2, 3, 4]], "states": ["x"]}, "state"),
    ("sam2.tracker", {"shapes": [[1, 2, 3, 4]], "states": [[1]]}, "state"),
    ("reid", {"boxes0": [{}], "boxes1": [], "image0": "", "image1": ""}, "points"),
    ("reid", {"boxes0": [], "boxes1": [], "threshold": 7}, "threshold"),
]


@pytest.mark.parametrize(("function", "body", "words"), WRONG, ids=lambda value: str(value)[:40])
def test_what_makes_no_sense_is_refused_in_words(face: Served, function: str, body: dict[str, Any], words: str) -> None:
    status, reason, _ = call(face, function, body)
    assert status == 400, reason
    assert words in reason


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)
KEYS = ("pos_points", "neg_points", "obj_bbox", "shapes", "states", "boxes0", "boxes1", "max_distance", "threshold")


@given(
    function=st.sampled_from(["sam", "tracker", "reid", "sam2.tracker"]),
    body=st.dictionaries(st.sampled_from(KEYS), json_values, max_size=5),
)
@settings(max_examples=80)
def test_whatever_is_sent_has_an_answer_with_a_reason(face: Served, function: str, body: dict[str, Any]) -> None:
    image = base64.b64encode(picture()).decode()
    data = json.dumps({"image": image, "image0": image, "image1": image, **body})
    headers = {**EXTRA_HEADERS, "x-nuclio-function-name": function}
    reply = requests.post(face.url + "/api/function_invocations", data=data, headers=headers, timeout=60)
    assert reply.status_code == 200 or (400 <= reply.status_code < 500 and len(reply.reason) > 10), reply.reason
