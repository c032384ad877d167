"""Roboflow's cloud: the two pure halves, versions, sizes, and that the key stays where it belongs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adapters.base import Context, Mask, ModelCard, Polygon, PredictOptions, Skeleton, WholeFrame
from adapters.dense_masks import bits_of
from adapters.errors import AccessDenied, BadFrame, BadOutput, PredictorError, Unavailable
from adapters.frame import Frame
from adapters.network import HttpPolicy
from adapters.references import RoboflowVersion
from adapters.roboflow_answers import KINDS, parse_answer
from adapters.roboflow_hosted import RoboflowHosted, build_request, confidence_text
from adapters.roboflow_project import parse_project
from adapters.sent_image import SentImage
from tests import models
from tests.servers.loopback import things
from tests.servers.roboflow import KEY, WORKSPACE, Roboflow, png
from tests.unit.adapters.json_values import json_like

IMAGE = SentImage(b"jpeg", "image/jpeg", 40, 30)
LABELS = ("car", "person")
CAR = {"class": "car", "class_id": 0, "confidence": 0.5}
BOX = {"x": 10, "y": 8, "width": 4, "height": 6}
SIZE = {"width": 40, "height": 30}
NAN = float("nan")


def test_the_picture_is_sent_in_base64_as_this_route_wants_it() -> None:
    request = build_request("proj/3", "key", IMAGE, PredictOptions(floor_score=0.05))
    assert request.path == "/proj/3"
    assert request.query == {"confidence": "0.050000", "api_key": "key"}
    assert base64.b64decode(request.body or b"") == b"jpeg"


@given(st.floats(0, 1))
def test_a_score_is_never_taken_for_percent(score: float) -> None:
    value = float(confidence_text(score))
    understood = value / 100 if value >= 1 else value
    assert understood == pytest.approx(score, abs=1e-6)


def test_boxes_are_centred() -> None:
    found = parse_answer("object-detection", {"image": SIZE, "predictions": [{**CAR, **BOX}]}, IMAGE, LABELS)
    assert found.boxes.tolist() == [[8, 5, 12, 11]]


def test_boxes_of_a_picture_that_the_host_resized_come_back_in_the_sent_ones_pixels() -> None:
    answer = {"image": {"width": 80, "height": 90}, "predictions": [{**CAR, **BOX}]}
    found = parse_answer("object-detection", answer, IMAGE, LABELS)
    assert found.boxes.tolist() == [[4, pytest.approx(5 / 3), 6, pytest.approx(11 / 3)]]


def test_width_and_height_the_other_way_round_move_nothing() -> None:
    answer = {"image": {"width": 30, "height": 40}, "predictions": [{**CAR, **BOX}]}
    assert parse_answer("object-detection", answer, IMAGE, LABELS).boxes.tolist() == [[8, 5, 12, 11]]


def test_polygons_are_read_and_an_outline_of_two_points_is_left_out() -> None:
    points = [{"x": 1, "y": 2}, {"x": 5, "y": 2}, {"x": 5, "y": 9}]
    items = [{**CAR, **BOX, "points": points}, {**CAR, **BOX, "points": points[:2]}]
    found = parse_answer("instance-segmentation", {"predictions": items}, IMAGE, LABELS)
    (shape,) = found.geometry
    assert isinstance(shape, Polygon)
    assert shape.points.tolist() == [[1, 2], [5, 2], [5, 9]]


def test_joints_stand_in_the_order_of_their_ids_and_missing_ones_have_no_score() -> None:
    joints = [{"x": 5, "y": 6, "confidence": 0.8, "class_id": 2}, {"x": 1, "y": 2, "confidence": 0.9, "class_id": 0}]
    answer = {"predictions": [{**CAR, **BOX, "keypoints": joints}]}
    (shape,) = parse_answer("keypoint-detection", answer, IMAGE, LABELS).geometry
    assert isinstance(shape, Skeleton)
    assert shape.points.tolist() == [[1, 2], [0, 0], [5, 6]]
    assert shape.scores.tolist() == pytest.approx([0.9, 0, 0.8])


@pytest.mark.parametrize("kind", ["single-label-classification", "multi-label-classification", "classification"])
def test_a_classification_gives_tags_from_either_form(kind: str) -> None:
    table = {"image": {"width": 30, "height": 40}, "predictions": {"person": {"confidence": 0.7, "class_id": 1}}}
    rows = {"image": SIZE, "predictions": [{"class": "person", "class_id": 1, "confidence": 0.7}], "top": "person"}
    for answer in (table, rows):
        found = parse_answer(kind, answer, IMAGE, LABELS)
        assert found.label_ids.tolist() == [1]
        assert found.geometry == (WholeFrame(),)
        assert found.inside(40, 30).boxes.tolist() == [[0, 0, 40, 30]]


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("scored", [True, False])
def test_a_picture_of_classes_becomes_a_mask_each(nested: bool, scored: bool) -> None:
    classes = np.zeros((30, 40), np.uint8)
    classes[2:5, 3:9] = 2
    content: dict[str, Any] = {
        "segmentation_mask": png(classes),
        "class_map": {"0": "background", "1": "car", "2": "person"},
    }
    if scored:
        content["confidence_mask"] = png((classes > 0).astype(np.uint8) * 51)
    answer = {"image": SIZE, **({"predictions": content} if nested else content)}
    found = parse_answer("semantic-segmentation", answer, IMAGE, LABELS)
    assert found.label_ids.tolist() == [1]
    assert found.boxes.tolist() == [[3, 2, 9, 5]]
    assert found.scores.tolist() == pytest.approx([0.2 if scored else 1.0])
    (mask,) = found.geometry
    assert isinstance(mask, Mask)
    assert (bits_of(mask) == (classes == 2)).all()


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("object-detection", []),
        ("object-detection", {"message": "x"}),
        ("object-detection", {"predictions": [{**CAR, **BOX, "class": "cat"}]}),
        ("object-detection", {"predictions": [{**CAR, **BOX, "x": "10"}]}),
        ("object-detection", {"predictions": [{**CAR, **BOX, "width": None}]}),
        ("instance-segmentation", {"predictions": [{**CAR, **BOX}]}),
        ("keypoint-detection", {"predictions": [{**CAR, **BOX, "keypoints": [{"x": 1, "y": 2, "class_id": -1}]}]}),
        ("keypoint-detection", {"predictions": [{**CAR, **BOX, "keypoints": [{"x": 1, "y": 2, "class_id": 10**6}]}]}),
        ("keypoint-detection", {"predictions": [{**CAR, **BOX, "keypoints": [{"x": 1, "y": 2, "class_id": NAN}]}]}),
        ("semantic-segmentation", {"segmentation_mask": png(np.zeros((30, 41), np.uint8)), "class_map": {}}),
        ("semantic-segmentation", {"segmentation_mask": png(np.ones((30, 40), np.uint8)), "class_map": {}}),
        ("multi-label-classification", {"predictions": {"car": 0.5}}),
    ],
)
def test_what_is_no_answer_is_bad_output(kind: str, answer: Any) -> None:
    with pytest.raises(BadOutput):
        parse_answer(kind, answer, IMAGE, LABELS)


WORDS = [
    "predictions", "image", "width", "height", "x", "y", "class", "class_id", "confidence", "points", "keypoints",
    "segmentation_mask", "class_map", "confidence_mask", "car", "person",
]  # fmt: skip


@given(st.sampled_from(sorted(KINDS)), json_like(WORDS))
def test_no_json_makes_the_parser_raise_anything_but_its_own_errors(kind: str, answer: Any) -> None:
    with contextlib.suppress(PredictorError):
        parse_answer(kind, answer, IMAGE, LABELS).inside(40, 30)


@given(json_like(["project", "versions", "classes", "type", "id", "model"]))
def test_no_json_makes_reading_a_project_raise_anything_but_its_own_errors(answer: Any) -> None:
    with contextlib.suppress(PredictorError):
        parse_project(answer, "ws", "proj")


@dataclass
class World:
    host: Roboflow
    context: Context

    async def card(self, reference: RoboflowVersion, **changes: Any) -> ModelCard:
        return await RoboflowHosted().resolve(reference, replace(self.context, **changes))


KIND_OF = {f"p-{kind}": kind for kind in KINDS if kind != "classification"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    projects = {name: (kind, {1: True, 2: True, 10: True, 11: False}) for name, kind in KIND_OF.items()}
    with Roboflow(models.LABELS, projects, most_bytes=200_000) as host:
        context = Context(
            tmp_path,
            secret=lambda kind, netloc: KEY if (kind, netloc) == ("roboflow", "roboflow.com") else None,
            endpoints={"roboflow": host.url, "roboflow-inference": host.url},
            http=HttpPolicy(frozenset({"127.0.0.1"})),
        )
        yield World(host, context)


DETECTOR = RoboflowVersion(WORKSPACE, "p-object-detection", 1)
EVERYTHING = PredictOptions(floor_score=0.0)
SMALL = Frame("small", 31, 17, pixels=np.random.default_rng(1).integers(0, 256, (17, 31, 3), np.uint8))


@pytest.mark.parametrize("workspace", [WORKSPACE, None])
async def test_a_missing_version_is_the_newest_trained_one_and_is_pinned(world: World, workspace: str | None) -> None:
    card = await world.card(RoboflowVersion(workspace, "p-object-detection", None))
    assert card.revision == "10"
    assert card.reference.endswith("p-object-detection/10")
    assert card.labels == models.LABELS
    assert any("newest" in note for note in card.notes)


@pytest.mark.parametrize("project", sorted(KIND_OF))
async def test_every_kind_is_predicted_over_the_wire(world: World, project: str) -> None:
    card = await world.card(RoboflowVersion(WORKSPACE, project, 2))
    async with await RoboflowHosted().open(card, world.context) as predictor:
        found = await predictor.predict([SMALL, SMALL], EVERYTHING)
    assert len(found) == 2
    assert len(found[0])
    assert (card.task_type, card.shape_types) == (KINDS[KIND_OF[project]][0], (KINDS[KIND_OF[project]][1],))
    assert world.host.connections <= 3  # one to look the project up, kept ones to predict


async def test_boxes_are_right_for_a_picture_smaller_than_any_models_input(world: World) -> None:
    card = await world.card(DETECTOR)
    async with await RoboflowHosted().open(card, world.context) as predictor:
        (found,) = await predictor.predict([SMALL], EVERYTHING)
    expected = sorted(things(SMALL.encoded, len(models.LABELS)), key=lambda thing: -thing.score)
    assert found.boxes.tolist() == [pytest.approx(thing.box, abs=1e-3) for thing in expected]


async def test_a_frame_above_the_size_limit_is_scaled_down_and_its_boxes_scaled_back(world: World) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (600, 800, 3), np.uint8)
    large = Frame("large", 800, 600, pixels=pixels)
    card = await world.card(DETECTOR)
    async with await RoboflowHosted().open(card, world.context) as predictor:
        with pytest.raises(BadFrame, match="too large"):
            await predictor.predict([large], EVERYTHING)
    card = replace(card, limits=replace(card.limits, max_bytes=140_000))
    async with await RoboflowHosted().open(card, world.context) as predictor:
        (found,) = await predictor.predict([large], EVERYTHING)
    sent = base64.b64decode(world.host.seen[-1].body)
    assert len(sent) <= 140_000
    expected = sorted(things(sent, len(models.LABELS)), key=lambda thing: -thing.score)
    shares = found.boxes / [800, 600, 800, 600]
    assert len(expected) == len(found)
    assert (shares <= 1).all()
    assert found.boxes.max() > 300  # not left in the small picture's pixels
    assert found.scores.tolist() == pytest.approx([thing.score for thing in expected], abs=1e-6)


THEIRS = """
import json, sys
from roboflow import Roboflow
project = Roboflow(api_key=sys.argv[1]).project("p-object-detection", the_workspace=sys.argv[2])
model = project.version(1).model
print("FOUND " + json.dumps([list(project.classes), model.predict(sys.argv[3], confidence=1).json()["predictions"]]))
"""


async def test_roboflows_own_package_and_we_ask_alike(world: World, tmp_path: Path) -> None:
    """It reads the hosts from its environment, at import; so in a process, and a Python, of its own (see Makefile)."""
    python = os.environ.get("HUBBRIDGE_ROBOFLOW_PYTHON")
    if not python:
        pytest.importorskip("roboflow")
    Image.open(io.BytesIO(SMALL.encoded)).convert("RGB").save(tmp_path / "small.jpg")
    hosts = dict.fromkeys(("API_URL", "OBJECT_DETECTION_URL", "SERVERLESS_URL"), world.host.url)
    process = await asyncio.create_subprocess_exec(
        *(python or sys.executable, "-c", THEIRS, KEY, WORKSPACE, str(tmp_path / "small.jpg")),
        env={**os.environ, **hosts},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    (line,) = [each for each in out.decode().splitlines() if each.startswith("FOUND ")] or [err.decode()]
    classes, predictions = json.loads(line.removeprefix("FOUND "))
    theirs = world.host.seen[-1]
    card = await world.card(DETECTOR)
    async with await RoboflowHosted().open(card, world.context) as predictor:
        await predictor.predict([SMALL], EVERYTHING)
    ours = world.host.seen[-1]
    assert tuple(classes) == card.labels
    assert (theirs.method, theirs.path, theirs.query["api_key"]) == (ours.method, ours.path, ours.query["api_key"])
    assert theirs.headers["Content-Type"] == ours.headers["Content-Type"]
    # Its `confidence` of 1 is one percent, and it was told of everything in the picture that it sent.
    known = things(base64.b64decode(theirs.body), len(models.LABELS), 0.01)
    assert sorted(each["confidence"] for each in predictions) == pytest.approx(sorted(each.score for each in known))


async def test_without_a_key_nothing_is_asked(world: World) -> None:
    with pytest.raises(AccessDenied) as caught:
        await world.card(DETECTOR, secret=lambda kind, host: None)
    assert "hubbridge connection add roboflow" in caught.value.hint
    assert world.host.seen == []


@pytest.mark.parametrize("fault", ["leak", "401", "redirect", "cut", "500", "garbage"])
async def test_the_key_stands_in_no_error_and_goes_to_no_second_host(world: World, fault: str) -> None:
    card = await world.card(DETECTOR)
    assert KEY not in repr(card)
    world.host.fail(fault)
    async with await RoboflowHosted().open(card, world.context) as predictor:
        with pytest.raises(PredictorError) as caught:
            await predictor.predict([SMALL], EVERYTHING)
    with pytest.raises(PredictorError) as second:
        await world.card(DETECTOR)
    for error in (caught.value, second.value):
        shown = "".join(traceback.format_exception(error)) + error.hint
        assert KEY not in shown
    assert world.host.stolen == []


async def test_a_wrong_key_is_refused_without_being_repeated(world: World) -> None:
    wrong = KEY[::-1]
    with pytest.raises(AccessDenied) as caught:
        await world.card(DETECTOR, secret=lambda kind, host: wrong)
    assert wrong not in "".join(traceback.format_exception(caught.value))


async def test_a_failing_host_is_unavailable(world: World) -> None:
    card = await world.card(DETECTOR)
    world.host.fail("502", times=1)
    async with await RoboflowHosted().open(card, world.context) as predictor:
        with pytest.raises(Unavailable):
            await predictor.predict([SMALL], EVERYTHING)
        assert len(await predictor.predict([SMALL], EVERYTHING)) == 1
