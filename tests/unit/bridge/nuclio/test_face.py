"""The face as CVAT calls it: listing, every shape type, every form of image, credentials, and what a user is told."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from adapters.errors import AccessDenied, BadOutput, RateLimited, Unavailable
from bridge.task_labels import parse_labels
from tests.servers.cvat_lambda_manager import EXTRA_HEADERS, CvatFails, LambdaManager, Stored, TaskLabel
from tests.unit.bridge.nuclio.every_shape import JOINTS, LABELS, SHAPE_TYPES, TROUBLES, Served, served

SIZE = (64, 48)


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("face"), score_attribute="score") as running:
        yield running


@pytest.fixture(autouse=True)
def no_troubles() -> Iterator[None]:
    yield
    TROUBLES.errors.clear()
    TROUBLES.slow_s = TROUBLES.opening_s = 0.0


@pytest.fixture(params=[False, True], ids=["2.15", "newer"])
def cvat(face: Served, request: pytest.FixtureRequest) -> LambdaManager:
    return LambdaManager(face.url, newer=request.param)


def picture(mode: str = "RGB", form: str = "PNG", size: tuple[int, int] = SIZE) -> bytes:
    grey = np.linspace(0, 255, size[0] * size[1]).reshape(size[1], size[0]).astype(np.uint8)
    image = Image.fromarray(grey)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode != "L":
        image = image.convert("RGB").convert(mode)
    packed = io.BytesIO()
    image.save(packed, form)
    return packed.getvalue()


def task_for(kind: str) -> list[TaskLabel]:
    """A task whose labels are named as the model's, of the model's type."""
    (only, *more) = SHAPE_TYPES[kind]
    attributes: dict[str, tuple[str, list[str]]] = {"score": ("text", [])}
    if kind == "attributes":
        attributes |= {"color": ("select", ["red", "green"]), "parked": ("checkbox", []), "age": ("number", [])}
    return [
        TaskLabel(name, "any" if more else only, attributes, JOINTS if kind == "skeleton" else ()) for name in LABELS
    ]


def check_stored(stored: Stored, size: tuple[int, int] = SIZE) -> None:
    """CVAT checks none of this."""
    width, height = size
    for shape in stored.shapes:
        points = shape["points"]
        assert np.isfinite(points).all()
        least = {"rectangle": 4, "polygon": 6, "points": 2, "ellipse": 4, "mask": 6, "skeleton": 0}[shape["type"]]
        assert len(points) >= least
        assert shape["type"] == "mask" or len(points) % 2 == 0
        if shape["type"] == "mask":
            *runs, left, top, right, bottom = points
            assert sum(runs) == (right - left + 1) * (bottom - top + 1)
            assert 0 <= left <= right < width and 0 <= top <= bottom < height
            assert sum(runs[1::2]) > 0
        elif not shape.get("rotation"):
            assert all(0 <= x <= width for x in points[::2]) and all(0 <= y <= height for y in points[1::2])
        if shape["type"] == "rectangle":
            assert points[2] > points[0] and points[3] > points[1]
        for element in shape.get("elements", []):
            x, y = element["points"]
            assert 0 <= x <= width and 0 <= y <= height
        assert not shape.get("elements") or not all(element["outside"] for element in shape["elements"])


def test_the_list_is_read_by_cvat_and_holds_every_model_but_the_open_vocabulary(cvat: LambdaManager) -> None:
    found = {function.id: function for function in cvat.list()}
    assert found.keys() == SHAPE_TYPES.keys() - {"open"}
    assert {function.kind for function in found.values()} == {"detector"}
    for kind, types in SHAPE_TYPES.items():
        if kind != "open":
            assert [label["name"] for label in found[kind].labels] == list(LABELS)
            assert {label["type"] for label in found[kind].labels} == {types[0] if len(types) == 1 else "any"}
            assert cvat.get(kind) == found[kind]


def test_a_model_of_several_types_fits_labels_of_any_type_and_through_a_profile_others(
    face: Served, cvat: LambdaManager
) -> None:
    task = [TaskLabel("car", "rectangle"), TaskLabel("person", "polygon")]
    assert cvat.annotate("mixed", [picture()], task).shapes == []  # CVAT pairs none of them

    async def add(service: Any) -> int:
        model = await service.registry.find("mixed")
        return (await service.profiles.add("typed", model, parse_labels("car:rectangle,person:polygon"))).profile.id  # type: ignore[no-any-return]

    made = face.run(add)
    try:
        stored = cvat.annotate("typed", [picture()], task, threshold=0.1)
    finally:
        face.run(lambda service: service.profiles.remove(made))
    assert {(shape["label"], shape["type"]) for shape in stored.shapes} == {("car", "rectangle"), ("person", "polygon")}


def test_a_skeleton_names_and_draws_its_joints(cvat: LambdaManager) -> None:
    label = cvat.get("skeleton").labels[0]
    assert [joint["name"] for joint in label["sublabels"]] == list(JOINTS)
    for number, joint in enumerate(JOINTS, 1):
        assert f'data-label-name="{joint}"' in label["svg"]
        assert f'data-element-id="{number}" data-node-id="{number}" data-label-id="{number}"' in label["svg"]
    assert label["svg"].count('data-type="edge"') == 4  # nose to eyes, eyes to ears


@pytest.mark.parametrize("kind", [kind for kind in SHAPE_TYPES if kind != "open"])
@pytest.mark.parametrize("polygons", [False, True], ids=["", "masks as polygons"])
def test_every_shape_type_is_stored_whole_finite_and_inside(cvat: LambdaManager, kind: str, polygons: bool) -> None:
    stored = cvat.annotate(kind, [picture(), picture(size=(31, 57))], task_for(kind), threshold=0.1, polygons=polygons)
    if kind == "tag":
        assert [(tag["frame"], tag["label"]) for tag in stored.tags] == [(f, name) for f in (0, 1) for name in LABELS]
        assert stored.shapes == []
        return
    assert stored.tags == []
    expected = {"mask": "polygon" if polygons else "mask", "rotated": "rectangle", "attributes": "rectangle"}
    wanted = {"rectangle"} if kind == "mixed" else {expected.get(kind, kind)}
    assert {shape["type"] for shape in stored.shapes} == wanted
    per_frame = [[shape for shape in stored.shapes if shape["frame"] == frame] for frame in (0, 1)]
    # What the model found next to nothing of is left out; the others stay.
    assert [len(shapes) for shapes in per_frame] == [3, 3]
    check_stored(Stored(shapes=per_frame[0]))
    check_stored(Stored(shapes=per_frame[1]), (31, 57))
    scores = [each["value"] for each in per_frame[0][0]["attributes"] if each["name"] == "score"]
    assert scores == ["0.9000"]


def test_a_mask_is_the_crop_of_its_box_with_one_contour_around_all_of_it(cvat: LambdaManager) -> None:
    first = cvat.detect("mask", picture(), 0.85)[0]
    *bits, left, top, right, bottom = first["mask"]
    crop = np.array(bits).reshape(bottom - top + 1, right - left + 1)
    assert (left, top, right, bottom) == (6, 9, 63, 47)
    expected = np.zeros((48, 64), int)
    expected[9:28, 6:32] = 1
    expected[-2:, -2:] = 1
    assert (crop == expected[9:, 6:]).all()
    x, y = np.array(first["points"][::2]), np.array(first["points"][1::2])
    assert abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2 == expected.sum()
    assert x.min() == 6 and x.max() == 64


def test_a_rotated_rectangle_keeps_its_rotation_and_attributes_are_texts(cvat: LambdaManager) -> None:
    assert cvat.annotate("rotated", [picture()], task_for("rotated")).shapes[0]["rotation"] == 30.0
    shape = cvat.annotate("attributes", [picture()], task_for("attributes")).shapes[0]
    assert {each["name"]: each["value"] for each in shape["attributes"]} == {
        "color": "red", "parked": "true", "age": "7", "score": "0.9000"
    }  # fmt: skip


def test_a_joint_that_was_not_seen_is_outside(cvat: LambdaManager) -> None:
    shape = cvat.annotate("skeleton", [picture()], task_for("skeleton")).shapes[0]
    assert [element["outside"] for element in shape["elements"]] == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        *(("PNG", mode) for mode in ("RGB", "RGBA", "L", "P", "I;16", "1", "LA")),
        *(("TIFF", mode) for mode in ("RGB", "CMYK", "I;16")),
        *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
        ("BMP", "RGB"),
        ("WEBP", "RGBA"),
        ("GIF", "P"),
    ],
)
def test_every_form_of_image_is_read(face: Served, form: str, mode: str) -> None:
    assert len(LambdaManager(face.url).detect("rectangle", picture(mode, form))) == 3


def test_the_threshold_is_the_models_own_where_cvat_sends_none(face: Served) -> None:
    cvat = LambdaManager(face.url)
    assert len(cvat.detect("rectangle", picture(), 0.75)) == 2
    face.run(lambda service: _set_threshold(service, "rectangle", 0.85))
    assert len(cvat.detect("rectangle", picture())) == 1
    face.run(lambda service: _set_threshold(service, "rectangle", 0.5))
    assert cvat.detect("rectangle", picture(), 0.99) == []


async def _set_threshold(service: Any, name: str, threshold: float) -> None:
    await service.registry.set((await service.registry.find(name)).id, threshold=threshold)


def test_what_may_pass_is_asked_again_within_the_time(face: Served) -> None:
    TROUBLES.errors[:] = [RateLimited("Slow down.", retry_after=0.05), Unavailable("It is loading.", retry_after=0.05)]
    before = TROUBLES.calls
    assert len(LambdaManager(face.url).detect("rectangle", picture())) == 3
    assert TROUBLES.calls == before + 3


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (AccessDenied("https://me:hf_c4n4ry@huggingface.co/x?api_key=c4n4ry refuses.\nGo"), 403, "huggingface.co"),
        (BadOutput("Das Modell spricht größeren Unsinn – ‘so’ 猫."), 502, "grosseren Unsinn - 'so'"),
        (ValueError("c4n4ry"), 502, "The model failed with ValueError."),
    ],
)
def test_a_cvat_user_reads_what_is_wrong_and_no_secret(face: Served, error: Exception, status: int, words: str) -> None:
    TROUBLES.errors[:] = [error] * 3
    with pytest.raises(CvatFails) as failure:
        LambdaManager(face.url).detect("rectangle", picture())
    told = str(failure.value)
    assert told.startswith(f"{status} ")
    assert words in told
    assert "c4n4ry" not in told
    assert told.isascii() and "\n" not in told


def test_a_host_that_wants_rest_for_longer_than_cvat_waits_is_told_at_once(face: Served) -> None:
    face.run(lambda service: service.registry.add("/models/tired/rectangle", name="late"))
    TROUBLES.errors[:] = [RateLimited("The host asks to slow down.", retry_after=1000)]
    with pytest.raises(CvatFails, match=r"429 .*asks to slow down"):
        LambdaManager(face.url).detect("late", picture())
    face.run(_remove_late)


def test_an_answer_that_would_come_too_late_is_refused_in_time(face: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRA_HEADERS, "X-Nuclio-Invoke-Timeout", "1s")
    TROUBLES.slow_s = 30
    with pytest.raises(CvatFails, match=r"504 .*did not answer within 1 s"):
        LambdaManager(face.url).detect("rectangle", picture())


def test_a_model_that_is_still_loading_says_so_and_goes_on_loading(
    face: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    face.run(lambda service: service.registry.add("/models/other/rectangle", name="late"))
    TROUBLES.opening_s = 2.5
    with monkeypatch.context() as patch:
        patch.setitem(EXTRA_HEADERS, "X-Nuclio-Invoke-Timeout", "1s")
        with pytest.raises(CvatFails, match=r"503 .*late is still being loaded"):
            LambdaManager(face.url).detect("late", picture())
    assert len(LambdaManager(face.url).detect("late", picture())) == 3
    face.run(_remove_late)


async def _remove_late(service: Any) -> None:
    await service.registry.remove((await service.registry.find("late")).id)


def test_unknown_functions_and_cvats_default_method_are_explained(face: Served) -> None:
    with pytest.raises(CvatFails, match=r"404 .*no model 'gone'"):
        LambdaManager(face.url).get("gone")
    reply = requests.post(face.url + "/", json={"image": ""}, timeout=30)
    assert (reply.status_code, "CVAT_NUCLIO_INVOKE_METHOD=dashboard" in reply.reason) == (400, True)


def test_models_come_and_go_in_the_list_without_a_restart(face: Served) -> None:
    cvat = LambdaManager(face.url)
    face.run(lambda service: service.registry.add("/models/another/mask", name="late"))
    assert "late" in {function.id for function in cvat.list()}
    face.run(_remove_late)
    assert "late" not in {function.id for function in cvat.list()}


def test_a_profile_stands_as_a_model_whose_dialog_is_filled_in(face: Served) -> None:
    async def make(service: Any) -> None:
        street = parse_labels('[{"name": "Vehicle", "type": "rectangle"}, {"name": "Pedestrian", "type": "polygon"}]')
        model = await service.registry.find("rectangle")
        pairs = {"car": "Vehicle", "person": "Pedestrian"}
        await service.profiles.add("traffic", model, street, title="RT-DETR for Traffic", chosen=pairs, threshold=0.75)
        open_one = await service.registry.find("open")
        await service.profiles.add("signs", open_one, parse_labels("stop,yield"), prompts={"stop": "a red sign"})
        again = await service.registry.find("mask")
        await service.profiles.add("twin", again, parse_labels("car"), title="RT-DETR for Traffic")

    async def remove(service: Any) -> None:
        for profile in await service.profiles.page():
            await service.profiles.remove(profile.id)

    face.run(make)
    try:
        cvat = LambdaManager(face.url)
        found = {function.id: function for function in cvat.list()}
        assert found["traffic"].name == "RT-DETR for Traffic (traffic)"
        assert found["twin"].name == "RT-DETR for Traffic (twin)"
        assert "open" not in found
        task = [TaskLabel("Vehicle"), TaskLabel("Pedestrian", "polygon"), TaskLabel("Sky")]
        stored = cvat.annotate("traffic", [picture()], task)
        assert [(shape["label"], shape["type"]) for shape in stored.shapes] == [
            ("Vehicle", "rectangle"), ("Pedestrian", "polygon")
        ]  # fmt: skip
        check_stored(stored)
        assert [label["name"] for label in found["signs"].labels] == ["stop", "yield"]
        assert [item["label"] for item in cvat.detect("signs", picture())] == ["stop", "yield", "stop"]
    finally:
        face.run(remove)


def test_one_broken_model_never_breaks_the_list(face: Served) -> None:
    async def spoil(service: Any, card: str) -> None:
        from sqlalchemy import text  # noqa: PLC0415

        async with service.store.write() as connection:
            await connection.execute(text("UPDATE models SET card = :card WHERE name = 'late'"), {"card": card})

    cvat = LambdaManager(face.url)
    model, _ = face.run(lambda service: service.registry.add("/models/spoilt/attributes", name="late"))
    blank = {**_card(model), "labels": ["car", " "], "settings": {}}
    specs = [{"name": "car", "type": "skeleton", "attributes": [], "sublabels": ["a", "a"]}]
    twice = {**_card(model), "labels": ["car"], "settings": {"label_specs": specs}}
    unnamed = {**_card(model), "settings": {"label_specs": [{"no": "name"}]}}
    surrogate = {**_card(model), "labels": ["\ud800"], "settings": {}}
    for card in (*map(json.dumps, (blank, twice, unnamed, surrogate)), "{}", "no JSON", "[]"):
        face.run(lambda service, card=card: spoil(service, card))
        names = {function.id for function in cvat.list()}
        assert names == SHAPE_TYPES.keys() - {"open"}
        with pytest.raises(CvatFails, match=r"404 .*no model 'late'"):
            cvat.get("late")
    face.run(lambda service: spoil(service, json.dumps(_card(model))))
    face.run(_remove_late)


def _card(model: Any) -> dict[str, Any]:
    from bridge.store.models import card_to_json  # noqa: PLC0415

    card: dict[str, Any] = json.loads(card_to_json(model.card))
    return card


def test_a_secret_is_wanted_and_comes_from_netrc_or_from_the_address(tmp_path: Path) -> None:
    with served(tmp_path, models=["rectangle"], secret="c4n4ry:p@ss", user="cvat") as guarded:
        with pytest.raises(CvatFails, match=r"401 .*Put them into the NETRC file"):
            LambdaManager(guarded.url).list()
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login cvat password c4n4ry:p@ss\n")
        netrc.chmod(0o600)
        cvat = LambdaManager(guarded.url, netrc=netrc)
        assert [function.id for function in cvat.list()] == ["rectangle"]
        assert len(cvat.detect("rectangle", picture())) == 3
        address = guarded.url.replace("//", "//cvat:c4n4ry%3Ap%40ss@")
        assert len(LambdaManager(address).detect("rectangle", picture())) == 3
        for wrong in ("Basic !!!", "Basic", "Bearer x", "Basic Y3ZhdDp3cm9uZw=="):
            reply = requests.get(guarded.url + "/api/functions", headers={"Authorization": wrong}, timeout=30)
            assert (reply.status_code, reply.headers["WWW-Authenticate"]) == (401, 'Basic realm="hubbridge"')


def test_without_a_secret_no_web_page_gets_in(face: Served) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        reply = requests.post(face.url + "/api/function_invocations", headers=headers, data=b"{}", timeout=30)
        assert reply.status_code == 403


def test_the_direct_method_has_a_port_for_each_model(tmp_path: Path) -> None:
    first = _free_ports(12)
    models = ["rectangle", "tag"]
    with served(tmp_path, models=models, secret="s3cret", direct_ports=f"{first}-{first + 1}") as running:
        address = running.url.replace("//", "//cvat:s3cret@")
        cvat = LambdaManager(address, direct=True)
        assert {function.id: function.port for function in cvat.list()} == {"rectangle": first, "tag": first + 1}
        assert [item["type"] for item in cvat.detect("tag", picture(), 0.1)] == ["tag", "tag"]
        running.run(lambda service: service.registry.add("/models/mask", name="mask"))
        ports = {function.id: function.port for function in cvat.list()}  # no port is left for the third
        assert ports == {"rectangle": first, "tag": first + 1, "mask": int(running.url.rsplit(":", 1)[1])}


def _free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody has at the moment."""
    for first in range(42_000, 60_000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")
