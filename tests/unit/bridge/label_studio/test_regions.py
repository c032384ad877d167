"""Regions as Label Studio draws them, checked by its SDK's own readers."""

from __future__ import annotations

import json
import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from label_studio_sdk.converter.brush import decode_rle, mask2rle
from label_studio_sdk.label_interface import LabelInterface

from bridge.domain import Shape
from bridge.label_studio.brush import brush_rle
from bridge.label_studio.config import read_config
from bridge.label_studio.regions import prediction, to_regions
from bridge.masks import mask_from_crop
from tests.unit.bridge.label_studio.configs import EVERYTHING, POSE

SIZE = (200, 100)


def regions(
    *shapes: Shape, xml: str = EVERYTHING, image: int = 0, size: tuple[int, int] = SIZE
) -> list[dict[str, Any]]:
    config = read_config(xml)
    return to_regions(shapes, config, config.images[image], size)


def mask(bits: np.ndarray) -> bytes:
    return mask_from_crop(0, 0, bits, bits.shape[1], bits.shape[0]).counts


def test_a_rectangle() -> None:
    (region,) = regions(Shape("A person", "rectangle", (20, 10, 60, 30), score=0.75))
    assert region["value"] == {
        "x": 10,
        "y": 10,
        "width": 20,
        "height": 20,
        "rotation": 0,
        "rectanglelabels": ["person"],
    }
    assert (region["type"], region["from_name"], region["to_name"]) == ("rectanglelabels", "box", "img")
    assert (region["original_width"], region["original_height"], region["image_rotation"]) == (200, 100, 0)
    assert region["score"] == 0.75


def corners(value: dict[str, Any], size: tuple[int, int]) -> set[tuple[float, float]]:
    """In pixels, as Label Studio's editor turns them: clockwise around x, y."""
    x, y = value["x"] * size[0] / 100, value["y"] * size[1] / 100
    width, height = value["width"] * size[0] / 100, value["height"] * size[1] / 100
    angle = math.radians(value["rotation"])
    sin, cos = math.sin(angle), math.cos(angle)
    places = ((0, 0), (width, 0), (width, height), (0, height))
    return {(round(x + dx * cos - dy * sin, 1), round(y + dx * sin + dy * cos, 1)) for dx, dy in places}


@pytest.mark.parametrize("rotation", [10, 90, 135, 200, 300, 359.5])
def test_a_turned_rectangle_lies_where_it_was(rotation: float) -> None:
    box = (80, 40, 120, 60)
    (region,) = regions(Shape("Car", "rectangle", box, rotation=rotation))
    expected = cv2.boxPoints(((100, 50), (40, 20), rotation))
    found = corners(region["value"], SIZE)
    assert len(found) == 4
    assert all(min(math.dist(one, other) for other in expected) < 0.2 for one in found)


def test_a_turned_rectangle_that_percents_cannot_say_goes_where_its_outline_can_be_said() -> None:
    """A bar across the picture, of which no corner is seen."""
    bar = Shape("Car", "rectangle", (-20, 40, 220, 60), rotation=30)
    (region,) = regions(bar)
    assert region["type"] == "polygonlabels"
    assert "meta" not in region
    drawn, expected = (np.zeros((100, 200), np.uint8) for _ in range(2))
    points = np.array(region["value"]["points"]) * [2, 1]
    cv2.fillPoly(drawn, [np.round(points).astype(np.int32)], 1)
    cv2.fillPoly(expected, [np.round(cv2.boxPoints(((100, 50), (240, 20), 30))).astype(np.int32)], 1)
    assert (drawn != expected).sum() < 0.05 * expected.sum()


@pytest.mark.parametrize(
    ("box", "rotation", "around"),
    [((-20, -20, 220, 120), 45, (0, 0, 100, 100)), ((-60, 45, 260, 55), 45, (21.4645, 0, 57.071, 100))],
)
def test_where_no_outline_can_be_said_the_region_says_that_it_is_nearly_so(
    box: tuple[float, ...], rotation: float, around: tuple[float, ...]
) -> None:
    (region,) = regions(Shape("Car", "rectangle", box, rotation=rotation), image=1)
    value = region["value"]
    assert tuple(value[side] for side in ("x", "y", "width", "height")) == pytest.approx(around, abs=0.01)
    assert value["rotation"] == 0
    assert f"Turned by {rotation} degrees" in region["meta"]["text"][0]
    (upright,) = regions(Shape("Car", "rectangle", (-20, 40, 220, 60)), image=1)
    assert "meta" not in upright


def test_a_shape_goes_to_the_control_that_holds_it_best() -> None:
    polygon = Shape("Car", "polygon", (10, 10, 50, 10, 30, 60))
    assert regions(polygon)[0]["value"] == {
        "points": [[5, 10], [25, 10], [15, 60]],
        "closed": True,
        "polygonlabels": ["Car"],
    }
    assert regions(polygon, image=1)[0]["type"] == "rectanglelabels"
    bits = np.zeros((100, 200), np.uint8)
    bits[10:20, 40:80] = 1
    assert regions(Shape("Car", "mask", rle=mask(bits)))[0]["value"]["points"] == [
        [20, 10],
        [20, 20],
        [40, 20],
        [40, 10],
    ]
    (key,) = regions(Shape("Nose", "rectangle", (20, 10, 60, 30)))
    assert key["value"] == {"x": 20, "y": 20, "width": 0.5, "keypointlabels": ["Nose"]}
    assert regions(Shape("unknown", "rectangle", (1, 1, 2, 2))) == []
    assert regions(Shape("Road", "mask", rle=mask(np.zeros((100, 200), np.uint8)))) == []


def test_a_mask_of_a_box() -> None:
    (region,) = regions(Shape("Road", "rectangle", (20, 10, 60, 30)))
    drawn = np.reshape(decode_rle(region["value"]["rle"]), (100, 200, 4))[:, :, 3]
    assert set(np.unique(drawn)) == {0, 255}
    assert (drawn[10:30, 20:60] == 255).all()
    assert (drawn == 255).sum() == 20 * 40


def test_choices_are_one_region() -> None:
    tags = [
        Shape(label, "tag", score=score)
        for label, score in (("bad", 0.3), ("good", 0.6), ("night", 0.5), ("indoor", 0.9))
    ]
    quality, things = regions(*tags)
    assert quality["value"] == {"choices": ["good"]}
    assert things["value"] == {"choices": ["indoor", "night"]}
    assert "original_width" not in quality
    assert quality["score"] == 0.6


def test_joints_are_key_points() -> None:
    shape = Shape("kp", "skeleton", (20, 10, 2, 0, 0, 0, 40, 20, 2), score=0.5)
    found = regions(shape, xml=POSE)
    assert [(r["value"]["keypointlabels"], r["value"]["x"], r["value"]["y"]) for r in found] == [
        (["Nose"], 10, 10),
        (["Right Eye"], 20, 20),
    ]
    assert [r["value"]["keypointlabels"] for r in regions(Shape("Nose", "points", (20, 10, 40, 20)), xml=POSE)] == [
        ["Nose"],
        ["Nose"],
    ]


def test_a_prediction_is_complete_also_where_nothing_was_found() -> None:
    empty = prediction({}, read_config(EVERYTHING), "v1", "7")
    assert empty == {"result": [], "score": 0.0, "model_version": "v1"}


@pytest.mark.parametrize("seed", range(40))
def test_run_lengths_are_those_of_the_sdk(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (300, 400) if seed % 10 == 0 else rng.integers(1, 50, 2)
    bits = (rng.random((height, width)) < rng.choice([0, 0.02, 0.5, 0.97, 1])).astype(np.uint8)
    if seed % 10 == 0:
        bits[:] = 0
        bits[100:, 50:] = 1  # runs of more than 65,536 values
    assert brush_rle(mask_from_crop(0, 0, bits, int(width), int(height))) == mask2rle(bits * 255)


def test_a_mask_of_4k_needs_no_dense_picture() -> None:
    bits = np.ones((500, 400), np.uint8)
    runs = brush_rle(mask_from_crop(3000, 1500, bits, 3840, 2160))
    assert len(runs) < 10_000
    assert runs[:4] == list((3840 * 2160 * 4).to_bytes(4, "big"))


numbers = st.floats(-50, 400, allow_nan=False)
boxes = st.tuples(numbers, numbers, numbers, numbers).filter(lambda b: b[0] < b[2] and b[1] < b[3])
shapes = st.one_of(
    st.builds(
        Shape,
        st.sampled_from(["Car", "A person", "Road", "Nose", "Building", "good", "night"]),
        st.just("rectangle"),
        boxes,
        rotation=st.floats(0, 360, exclude_max=True),
        score=st.one_of(st.none(), st.floats(0, 1)),
    ),
    st.builds(
        Shape,
        st.sampled_from(["Car", "Road", "Nose", "A person"]),
        st.just("polygon"),
        st.lists(numbers, min_size=6, max_size=12).filter(lambda p: len(p) % 2 == 0).map(tuple),
    ),
    st.builds(Shape, st.sampled_from(["good", "bad", "night", "indoor"]), st.just("tag"), score=st.floats(0, 1)),
    st.builds(
        Shape,
        st.sampled_from(["Car", "Road", "Nose", "A person"]),
        st.just("ellipse"),
        st.tuples(numbers, numbers, st.floats(0.1, 300), st.floats(0.1, 300)),
        rotation=st.floats(0, 360, exclude_max=True),
    ),
    st.builds(Shape, st.sampled_from(["Nose", "Left Eye"]), st.just("points"), st.tuples(numbers, numbers)),
    st.builds(
        Shape,
        st.just("kp"),
        st.just("skeleton"),
        st.tuples(numbers, numbers, st.sampled_from([0, 1, 2]), numbers, numbers, st.sampled_from([0, 1, 2])),
    ),
    st.builds(
        lambda label, bits, score: Shape(label, "mask", rle=mask(bits), score=score),
        st.sampled_from(["Road", "Car", "A person", "Nose"]),
        arrays(np.uint8, (SIZE[1], SIZE[0]), elements=st.integers(0, 1), fill=st.just(0)),
        st.floats(0, 1),
    ),
)


@settings(max_examples=100)
@given(st.lists(shapes, max_size=6))
def test_whatever_a_model_finds_label_studio_can_draw(found: list[Shape]) -> None:
    config = read_config(EVERYTHING)
    answer = prediction({"img": (found, SIZE)}, config, "v1", "7")
    result = json.loads(json.dumps(answer, allow_nan=False))["result"]
    assert len({region["id"] for region in result}) == len(result)
    for region in result:
        value = region["value"]
        (control,) = [c for c in config.controls if c.name == region["from_name"]]
        assert region["type"] == control.kind
        assert set(value[control.kind]) <= set(control.labels.values())
        assert 0 <= region["score"] <= 1
        percents = [value[key] for key in ("x", "y", "width", "height") if key in value]
        percents += [number for point in value.get("points", ()) for number in point]
        assert all(0 <= number <= 100 for number in percents)
        if value.get("rotation") == 0 and "width" in value:
            assert value["x"] + value["width"] <= 100.0001
            assert value["y"] + value["height"] <= 100.0001
        if control.kind == "brushlabels":
            assert len(value["rle"]) > 4
            assert set(np.unique(np.reshape(decode_rle(value["rle"]), (SIZE[1], SIZE[0], 4)))) <= {0, 255}
    assert LabelInterface(EVERYTHING).validate_prediction(answer, return_errors=True) == []
