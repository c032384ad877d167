"""CVAT's serverless functions: the two pure halves, what a dashboard lists, and logins."""

from __future__ import annotations

import base64
import contextlib
import json
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from adapters.base import Context, Mask, ModelCard, Polygon, PredictOptions, RotatedRectangle, Skeleton, WholeFrame
from adapters.dense_masks import bits_of
from adapters.errors import AccessDenied, BadOutput, InvalidReference, ModelNotFound, PredictorError
from adapters.frame import Frame
from adapters.network import HttpPolicy
from adapters.nuclio_answers import parse_answer, parse_function, parse_functions
from adapters.nuclio_function import NuclioFunctions, build_request
from adapters.references import NuclioFunction
from adapters.sent_image import SentImage
from tests.servers.nuclio import Deployed, Nuclio
from tests.unit.adapters.json_values import json_like

IMAGE = SentImage(b"jpeg", "image/jpeg", 40, 30)
LABELS = ("car", "person")
JOINTS = {"person": ("head", "hand", "foot")}
LOGIN = "me:c4n4ryPassword"
NAN = float("nan")


def read(item: dict[str, Any]) -> Any:
    return parse_answer([{"label": "person", "confidence": "0.5", **item}], IMAGE, LABELS, JOINTS)


def test_a_function_is_called_as_cvat_calls_it() -> None:
    request = build_request("onnx.street", IMAGE, PredictOptions(floor_score=0.05))
    assert request.path == "/api/function_invocations"
    assert request.headers is not None
    assert request.headers["x-nuclio-function-name"] == "onnx.street"
    assert json.loads(request.body or b"") == {"image": base64.b64encode(b"jpeg").decode(), "threshold": 0.05}
    direct = build_request(None, IMAGE, PredictOptions(floor_score=0.0))
    assert direct.path == "/"
    assert not any(name.lower().startswith("x-nuclio") for name in direct.headers or ())
    assert list(json.loads(direct.body or b"")) == ["image"]


def test_a_rectangle_is_its_corners_and_scores_come_as_text_too() -> None:
    found = read({"type": "rectangle", "points": [1, 2, 11, 12]})
    assert found.boxes.tolist() == [[1, 2, 11, 12]]
    assert found.scores.tolist() == [0.5]
    assert found.geometry == (None,)
    assert read({"type": "rectangle", "points": [1, 2, 11, 12], "confidence": None}).scores.tolist() == [1.0]


def test_a_turned_rectangle_keeps_its_rotation_and_gets_the_box_around_it() -> None:
    found = read({"type": "rectangle", "points": [10, 10, 20, 14], "rotation": 90})
    assert found.geometry == (RotatedRectangle(15, 12, 10, 4, 90),)
    assert found.boxes.tolist() == [pytest.approx([13, 7, 17, 17])]


def test_an_ellipse_is_a_centre_and_two_radii() -> None:
    found = read({"type": "ellipse", "points": [10, 12, 16, 8]})
    assert found.geometry == (RotatedRectangle(10, 12, 12, 8, 0),)
    assert found.boxes.tolist() == [[4, 8, 16, 16]]


def test_polygons_and_points_are_read() -> None:
    (polygon,) = read({"type": "polygon", "points": [1, 2, 5, 2, 5, 9]}).geometry
    assert isinstance(polygon, Polygon)
    assert polygon.points.tolist() == [[1, 2], [5, 2], [5, 9]]
    single = read({"type": "points", "points": [39.9, 3]}).inside(40, 30)
    assert isinstance(single.geometry[0], Skeleton)
    assert single.geometry[0].points.tolist() == [[pytest.approx(39.9), 3]]


def test_a_mask_is_the_crop_of_its_box_with_inclusive_corners() -> None:
    found = read({"type": "mask", "mask": [1, 0, 1, 1, 1, 1, 4, 6, 6, 7]})
    (mask,) = found.geometry
    assert isinstance(mask, Mask)
    expected = np.zeros((30, 40), np.uint8)
    expected[6:8, 4:7] = [[1, 0, 1], [1, 1, 1]]
    assert (bits_of(mask) == expected).all()
    assert found.boxes.tolist() == [[4, 6, 7, 8]]


def test_what_of_a_mask_is_off_the_picture_is_cut_off() -> None:
    found = read({"type": "mask", "mask": [1] * 9 + [-1, -1, 1, 1]})
    assert found.boxes.tolist() == [[0, 0, 2, 2]]
    assert len(read({"type": "mask", "mask": [1] * 4 + [90, 90, 91, 91]})) == 0


def test_joints_stand_in_the_order_of_the_spec() -> None:
    elements = [
        {"label": "foot", "type": "points", "points": [5, 9], "outside": 0},
        {"label": "head", "type": "points", "points": [5, 1], "outside": 0},
        {"label": "hand", "type": "points", "points": [9, 9], "outside": 1},
    ]
    found = read({"type": "skeleton", "elements": elements})
    (skeleton,) = found.geometry
    assert isinstance(skeleton, Skeleton)
    assert skeleton.points.tolist() == [[5, 1], [9, 9], [5, 9]]
    assert skeleton.scores.tolist() == [1, 0, 1]
    assert found.boxes.tolist() == [[4.5, 0.5, 5.5, 9.5]]


def test_tags_and_attributes_are_read() -> None:
    attributes = [{"name": "age", "value": 31}, {"name": "hat", "value": True}, {"name": "mood", "value": "glad"}]
    found = read({"type": "tag", "attributes": attributes})
    assert found.geometry == (WholeFrame(),)
    assert found.attributes == ({"age": "31", "hat": "true", "mood": "glad"},)


def test_what_is_no_shape_is_left_out() -> None:
    for item in (
        {"type": "polygon", "points": [1, 2, 3, 4]},
        {"type": "points", "points": []},
        {"type": "mask", "mask": [0, 0, 0, 0, 1, 1, 2, 2]},
        {"type": "skeleton", "elements": []},
    ):
        assert len(read(item)) == 0


@pytest.mark.parametrize(
    "item",
    [
        {"type": "cuboid", "points": [1, 2]},
        {"type": None},
        {"type": "rectangle", "points": [1, 2, 3]},
        {"type": "rectangle", "points": [1, 2, 3, 4, 5, 6]},
        {"type": "rectangle", "points": ["1", "2", "3", "4"]},
        {"type": "rectangle", "points": [[1, 2], [3, 4]]},
        {"type": "rectangle", "points": [1, 2, 3, 4], "label": "cat"},
        {"type": "rectangle", "points": [1, 2, 3, 4], "confidence": "high"},
        {"type": "rectangle", "points": [1, 2, 3, 4], "attributes": [{"value": "x"}]},
        {"type": "mask", "mask": [1, 1, 1, 0, 0, 1, 1]},
        {"type": "mask", "mask": [1, 0, 0]},
        {"type": "mask", "mask": ["1", "1", "1", "1", "0", "0", "1", "1"]},
        {"type": "mask", "mask": [10**400, 1, 1, 1, 0, 0, 1, 1]},
        {"type": "mask", "mask": [1, 1, 1, 1, NAN, 0, 1, 1]},
        {"type": "mask", "mask": [[1, 1], [1]]},
        {"type": "skeleton", "elements": [{"label": "tail", "points": [1, 2]}]},
        {"type": "skeleton", "elements": [{"label": "head", "points": [1, 2, 3]}]},
    ],
)
def test_what_is_no_answer_is_bad_output(item: dict[str, Any]) -> None:
    with pytest.raises(BadOutput):
        read(item)


@pytest.mark.parametrize(
    "item",
    [
        {"type": "rectangle", "points": [1, 2, NAN, 4]},
        {"type": "rectangle", "points": [5, 2, 1, 4]},
        {"type": "rectangle", "points": [1, 2, 3, 4], "confidence": "1.7"},
        {"type": "rectangle", "points": [1, 2, 3, 4], "rotation": NAN},
        {"type": "rectangle", "points": [1, 2, 1e300, 4], "rotation": 5},
    ],
)
def test_numbers_that_cannot_be_are_found_by_the_last_check(item: dict[str, Any]) -> None:
    with pytest.raises(BadOutput):
        read(item).inside(40, 30)


@given(
    json_like(["label", "type", "points", "mask", "elements", "attributes", "name", "value", "confidence", "rotation"])
)
def test_no_json_makes_the_parser_raise_anything_but_its_own_errors(answer: Any) -> None:
    with contextlib.suppress(PredictorError):
        parse_answer(answer, IMAGE, LABELS, JOINTS).inside(40, 30)


@given(json_like(["metadata", "annotations", "spec", "name", "type", "status", "state", "labels", "attributes"]))
def test_no_json_makes_reading_functions_raise_anything_but_its_own_errors(answer: Any) -> None:
    described = {"metadata": {"name": "f", "annotations": {"spec": json.dumps(answer), "type": "detector"}}}
    for read_it, value in ((parse_functions, answer), (parse_function, answer), (parse_function, described)):
        with contextlib.suppress(PredictorError):
            read_it(value)  # type: ignore[operator]


@dataclass
class World:
    host: Nuclio
    context: Context

    async def card(self, function: str | None, labels: tuple[str, ...] = (), **changes: Any) -> ModelCard:
        reference = NuclioFunction(self.host.url, function, labels)
        return await NuclioFunctions().resolve(reference, replace(self.context, **changes))


MOOD = {"name": "mood", "input_type": "select", "values": ["glad", "sad"], "mutable": False}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    shapes = ("rectangle", "polygon", "points", "ellipse", "skeleton", "tag", "mask", "any")
    functions = {f"d-{shape}": Deployed({"car": shape, "person": shape}, sublabels=("a", "b")) for shape in shapes}
    functions["faces"] = Deployed({"face": "rectangle"}, attributes=(MOOD,))
    functions["pth.sam"] = Deployed({}, kind="interactor")
    with Nuclio(functions, LOGIN) as host:
        context = Context(
            tmp_path,
            secret=lambda kind, netloc: LOGIN if (kind, netloc) == ("nuclio", host.url[7:]) else None,
            http=HttpPolicy(frozenset({"127.0.0.1"})),
        )
        yield World(host, context)


FRAME = Frame("f", 64, 48, pixels=np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8))
EVERYTHING = PredictOptions(floor_score=0.0)


@pytest.mark.parametrize("shape", ["rectangle", "polygon", "points", "ellipse", "skeleton", "tag", "mask", "any"])
async def test_every_shape_is_predicted_over_the_wire(world: World, shape: str) -> None:
    card = await world.card(f"d-{shape}")
    assert card.labels == LABELS
    assert card.shape_types == (("rectangle", "polygon", "mask") if shape == "any" else (shape,))
    async with await NuclioFunctions().open(card, world.context) as predictor:
        (found,) = await predictor.predict([FRAME], EVERYTHING)
    assert len(found)


async def test_attributes_come_with_the_card_and_the_answers(world: World) -> None:
    card = await world.card("faces")
    assert card.settings["label_specs"][0]["attributes"] == [MOOD]
    async with await NuclioFunctions().open(card, world.context) as predictor:
        (found,) = await predictor.predict([FRAME], EVERYTHING)
    assert set(map(str, found.attributes)) == {"{'mood': 'glad'}"}


async def test_a_dashboard_lists_its_detectors_to_choose_from(world: World) -> None:
    with pytest.raises(InvalidReference, match="9 detectors") as caught:
        await world.card("")
    assert f"{world.host.url}/api/functions/faces" in caught.value.hint
    assert "pth.sam (interactor)" in caught.value.hint
    with pytest.raises(ModelNotFound) as missing:
        await world.card("face")
    assert f"{world.host.url}/api/functions/faces" in missing.value.hint


async def test_a_function_at_its_own_port_needs_its_labels(world: World) -> None:
    card = await world.card(None, LABELS)
    async with await NuclioFunctions().open(card, world.context) as predictor:
        (found,) = await predictor.predict([FRAME], EVERYTHING)
    assert len(found)
    assert world.host.seen[-1].path == "/"


@pytest.mark.parametrize("fault", ["leak", "401", "redirect", "cut", "500", "garbage"])
async def test_the_password_stands_in_no_error_and_goes_to_no_second_host(world: World, fault: str) -> None:
    card = await world.card("faces")
    assert "c4n4ry" not in repr(card)
    async with await NuclioFunctions().open(card, world.context) as predictor:
        world.host.fail(fault)
        with pytest.raises(PredictorError) as caught:
            await predictor.predict([FRAME], EVERYTHING)
    shown = "".join(traceback.format_exception(caught.value)) + caught.value.hint
    assert "c4n4ry" not in shown
    assert base64.b64encode(LOGIN.encode()).decode() not in shown
    assert world.host.stolen == []


async def test_a_dashboard_behind_a_login_says_so(world: World) -> None:
    with pytest.raises(AccessDenied) as caught:
        await world.card("faces", secret=lambda kind, host: "me:wrong")
    assert "USER:PASSWORD" in caught.value.hint
