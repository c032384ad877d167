"""Whatever a model answers under whatever label: what leaves is finite, inside of the picture and complete."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from adapters.base import Detections, Geometry, Mask, Polygon, RotatedRectangle, Skeleton, WholeFrame
from adapters.errors import BadOutput
from bridge.domain import LABEL_TYPES, LabelAttribute, Shape, TaskLabel
from bridge.nuclio.items import encode_items
from bridge.words import Words
from tests.servers.cvat_lambda_manager import SHAPES

WIDTH, HEIGHT = 40, 30
SIZE = (WIDTH, HEIGHT)
JOINTS = ("a", "b", "c")
numbers = st.floats(-100, 100, width=32) | st.floats(width=32, allow_nan=True) | st.sampled_from([0.0, 30.0, 40.0])


def points(count: int) -> st.SearchStrategy[Any]:
    return st.lists(st.tuples(numbers, numbers), min_size=count, max_size=count)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    match draw(st.sampled_from(["box", "polygon", "mask", "skeleton", "rotated", "tag"])):
        case "polygon":
            return Polygon(np.array(draw(points(draw(st.integers(3, 5)))), np.float32))
        case "mask":
            bits = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
            for _ in range(draw(st.integers(0, 3))):
                x, y = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
                bits[y : y + draw(st.integers(1, 9)), x : x + draw(st.integers(1, 9))] = 1
            return Mask(HEIGHT, WIDTH, coco.encode(bits)["counts"])
        case "skeleton":
            scores = draw(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3))
            return Skeleton(np.array(draw(points(3)), np.float32), np.array(scores, np.float32))
        case "rotated":
            return RotatedRectangle(*(draw(numbers) for _ in range(5)))
        case "tag":
            return WholeFrame()
    return None


@st.composite
def answers(draw: st.DrawFn) -> Detections:
    shapes = draw(st.lists(geometries(), max_size=4))
    boxes = [[*draw(st.tuples(numbers, numbers, numbers, numbers))] for _ in shapes]
    scores = draw(st.lists(st.floats(0, 1, width=32), min_size=len(shapes), max_size=len(shapes)))
    ids = np.zeros(len(shapes), np.int32)
    return Detections(("car",), np.array(boxes).reshape(-1, 4), np.array(scores), ids, tuple(shapes))


def check(item: dict[str, Any], label: TaskLabel) -> None:
    assert item["label"] == label.name
    assert item["type"] in (*SHAPES, "tag")
    assert label.type in ("any", item["type"])
    flat = item.get("points", [])
    assert all(isinstance(value, int | float) for value in flat)
    assert all(np.isfinite(flat))
    assert all(isinstance(each["value"], str) for each in item.get("attributes", []))
    inside = all(0 <= x <= WIDTH for x in flat[::2]) and all(0 <= y <= HEIGHT for y in flat[1::2])
    match item["type"]:
        case "rectangle":
            x1, y1, x2, y2 = flat
            assert x2 > x1 and y2 > y1
            assert inside or 0 < item["rotation"] < 360
        case "polygon":
            assert inside and len(flat) >= 6 and len(flat) % 2 == 0
        case "points":
            assert inside and len(flat) >= 2 and len(flat) % 2 == 0
        case "ellipse":
            x, y, right, top = flat
            assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT and right > x and top < y
        case "mask":
            *bits, left, top, right, bottom = item["mask"]
            assert 0 <= left <= right < WIDTH and 0 <= top <= bottom < HEIGHT
            assert len(bits) == (right - left + 1) * (bottom - top + 1)
            assert set(bits) <= {0, 1} and 1 in bits
            assert inside and len(flat) >= 6
        case "skeleton":
            assert [each["label"] for each in item["elements"]] == list(JOINTS)
            assert 0 in {each["outside"] for each in item["elements"]}
            for each in item["elements"]:
                x, y = each["points"]
                assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT
        case "tag":
            assert "points" not in item


@settings(max_examples=300)
@given(found=answers(), kind=st.sampled_from([kind for kind in LABEL_TYPES if kind not in ("polyline", "cuboid")]))
def test_every_answer_under_every_label_leaves_whole(found: Detections, kind: str) -> None:
    try:
        found = found.inside(*SIZE)
    except BadOutput:
        return  # what is not finite never gets so far
    label = TaskLabel("car", kind, attributes=(LabelAttribute("score", "text", ()),), sublabels=JOINTS)
    shapes = Words((label,), {"car": label}, {}).shapes(found, 0.0, SIZE)
    items = json.loads(encode_items(shapes, [label], SIZE, score_attribute="score", group_base=5000))
    for item in items:
        check(item, label)
        assert item.get("group_id", 5001) > 5000


@pytest.mark.parametrize(
    "shape",
    [
        Shape("car", "rectangle", (5.0, 5.0, 5.0, 9.0)),
        Shape("car", "rectangle", (50.0, 5.0, 60.0, 9.0)),
        Shape("car", "rectangle", (9.0, 5.0, 5.0, 9.0)),
        Shape("car", "rectangle", (5.0, float("nan"), 9.0, 9.0)),
        Shape("car", "rectangle", (100.0, 100.0, 110.0, 120.0), rotation=30.0),
        Shape("car", "rectangle", (5.0, 5.0, 5.001, 9.0), rotation=30.0),
        Shape("car", "polygon", (5.0, 5.0, 9.0, 9.0)),
        Shape("car", "polygon", (5.0, 5.0, 9.0, 9.0, 7.0, 7.0)),
        Shape("car", "polygon", (50.0, 5.0, 60.0, 9.0, 55.0, 20.0)),
        Shape("car", "points"),
        Shape("car", "ellipse", (5.0, 5.0, 0.0, 3.0)),
        Shape("car", "ellipse", (55.0, 5.0, 3.0, 3.0)),
        Shape("car", "skeleton", (1.0, 1.0, 0.0, 2.0, 2.0, 0.0, 3.0, 3.0, 0.0)),
        Shape("car", "skeleton", (1.0, 1.0, 2.0)),
        Shape("car", "mask", rle=coco.encode(np.zeros((HEIGHT, WIDTH), np.uint8, order="F"))["counts"]),
    ],
    ids=str,
)
def test_what_is_no_shape_any_more_is_left_out(shape: Shape) -> None:
    assert encode_items([shape], [TaskLabel("car", sublabels=JOINTS)], SIZE) == b"[]"


def test_an_ellipse_is_its_centre_its_right_and_its_top() -> None:
    shape = Shape("car", "ellipse", (20.0, 15.0, 6.0, 4.0), rotation=15.0, score=0.5)
    (item,) = json.loads(encode_items([shape], [TaskLabel("car")], SIZE))
    assert (item["points"], item["rotation"], item["confidence"]) == ([20, 15, 26, 11], 15, "0.5000")


def test_a_joint_that_was_not_seen_stands_in_the_middle_of_the_others() -> None:
    shape = Shape("car", "skeleton", (0.0, 0.0, 0.0, 10.0, 4.0, 2.0, 20.0, 8.0, 2.0))
    (item,) = json.loads(encode_items([shape], [TaskLabel("car", "skeleton", sublabels=JOINTS)], SIZE))
    assert item["elements"][0] == {"label": "a", "type": "points", "points": [15, 6], "outside": 1}


def test_a_model_that_names_the_score_itself_keeps_its_word() -> None:
    label = TaskLabel("car", attributes=(LabelAttribute("score", "text", ()),))
    shape = Shape("car", "tag", score=0.25, attributes={"score": "high"})
    (item,) = json.loads(encode_items([shape], [label], SIZE, score_attribute="score"))
    assert item["attributes"] == [{"name": "score", "value": "high"}]
