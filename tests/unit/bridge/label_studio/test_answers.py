"""Answers to requests for predictions: one for each task, in order, and fit to be stored, whatever was found."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface import LabelInterface

from adapters.base import Detections, Geometry, Polygon, RotatedRectangle, WholeFrame
from bridge.domain import Model, StoredFrame, Task
from bridge.label_studio.config import read_config
from bridge.label_studio.labels import task_labels
from bridge.ml_backend.answers import Found, predictions
from bridge.ml_backend.plan import Plan
from bridge.remotes.label_studio.frames import frames_of
from tests.unit.bridge.world import CARD

XML = """<View><Image name="front" value="$front"/><Image name="side" value="$side"/>
<RectangleLabels name="box" toName="front,side"><Label value="Car"/><Label value="A person" alias="p"/>
</RectangleLabels>
<PolygonLabels name="poly" toName="front"><Label value="Hut"/></PolygonLabels>
<BrushLabels name="brush" toName="side"><Label value="Hut"/></BrushLabels>
<EllipseLabels name="round" toName="front"><Label value="Pond"/></EllipseLabels>
<KeyPointLabels name="key" toName="side"><Label value="Pond"/></KeyPointLabels>
<Choices name="weather" toName="front"><Choice value="Sun"/><Choice value="Rain" alias="r"/></Choices></View>"""
CONFIG, READER = read_config(XML), LabelInterface(XML)
PAIRS = {"car": "Car", "person": "A person", "house": "Hut", "lake": "Pond", "sun": "Sun", "rain": "Rain"}
LABELS = tuple(PAIRS)
SIZE = (97, 61)
MODEL = Model(1, "street", CARD, 0.3, datetime(2026, 1, 1), True)
TASK = Task(1, "project", task_labels(CONFIG), 0, 0, datetime(2026, 1, 1), "label-studio", "http://ls/projects/7")
PLAN = Plan("street", MODEL, CONFIG, TASK.labels, PAIRS, {}, 0.3)

sides = st.tuples(*(st.floats(0, whole, width=32) for whole in (SIZE[0], SIZE[1], SIZE[0], SIZE[1])))


@st.composite
def detections(draw: st.DrawFn) -> Detections:
    """As the base of predictors lets them through: finite, and inside of the frame."""
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in draw(st.lists(sides, max_size=4))]
    geometry: list[Geometry] = []
    for x1, y1, x2, y2 in boxes:
        turned = RotatedRectangle((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1 + 1, y2 - y1 + 1, draw(st.floats(0, 359)))
        outline = Polygon(np.array([[x1, y1], [x2, y1], [x2, y2]], np.float32))
        geometry.append(draw(st.sampled_from([None, turned, outline, WholeFrame()])))
    count = len(boxes)
    scores = draw(st.lists(st.floats(0, 1, width=32), min_size=count, max_size=count))
    ids = draw(st.lists(st.integers(0, len(LABELS) - 1), min_size=count, max_size=count))
    return Detections(LABELS, np.reshape(boxes, (count, 4)), scores, ids, tuple(geometry))  # type: ignore[arg-type]


outcomes = st.one_of(st.builds(lambda found: Found(SIZE, found), detections()), st.just(Found(error="lost")), st.none())


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(1, 5), st.sets(st.sampled_from(["front", "side"]))), max_size=5), st.data())
def test_one_answer_for_each_task_in_order(wanted: list[tuple[int, set[str]]], data: st.DataObject) -> None:
    held = dict(wanted)
    asked = [number for number, _ in wanted]  # a task may be asked for twice
    rows: dict[int, StoredFrame] = {}
    for number, images in held.items():
        told = {"id": number, "data": dict.fromkeys(images, "/data/upload/1/x.png")}
        for each in frames_of(told, CONFIG):
            assert each.number is not None
            rows[each.number] = StoredFrame(1, each.number, each.name, each.path, 0, 0)
    drawn = {number: data.draw(outcomes) for number in rows}
    found = {number: outcome for number, outcome in drawn.items() if outcome is not None}
    answers = json.loads(json.dumps(predictions(PLAN, TASK, asked, rows.values(), found), allow_nan=False))
    assert len(answers) == len(asked)
    for number, answer in zip(asked, answers, strict=True):
        mine = [found.get(2 * number + place) for place, name in enumerate(("front", "side")) if name in held[number]]
        lacks = not mine or any(each is None or each.detections is None for each in mine)
        if lacks:
            assert answer == []
            continue
        assert answer["model_version"] == PLAN.version
        _fit_to_be_stored(answer)


def _fit_to_be_stored(answer: dict[str, Any]) -> None:
    """Label Studio does not look, so this does."""
    assert READER.validate_prediction(answer, return_errors=True) == []
    assert 0 <= answer["score"] <= 1
    ids = [region["id"] for region in answer["result"]]
    assert len(set(ids)) == len(ids)
    controls = {(control.name, control.to_name): control for control in CONFIG.controls}
    for region in answer["result"]:
        control, value = controls[region["from_name"], region["to_name"]], region["value"]
        assert region["type"] == control.kind
        assert 0 <= region["score"] <= 1
        assert value[control.kind]
        assert set(value[control.kind]) <= set(control.labels.values())
        if control.kind == "choices":
            assert "original_width" not in region
            continue
        assert (region["original_width"], region["original_height"], region["image_rotation"]) == (*SIZE, 0)
        percents = [value[name] for name in ("x", "y", "width", "height", "radiusX", "radiusY") if name in value]
        percents += [number for point in value.get("points", ()) for number in point]
        assert all(0 <= number <= 100 for number in percents)
        if control.kind == "brushlabels":
            dense = np.reshape(decode_rle(value["rle"]), (SIZE[1], SIZE[0], 4))
            assert set(np.unique(dense)) <= {0, 255}
