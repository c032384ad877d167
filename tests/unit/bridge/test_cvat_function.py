"""`bridge.cvat_function`, driven by the real cvat-sdk: specs, thresholds, every shape type, and the whole of a run."""

from __future__ import annotations

import asyncio
import importlib
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import cvat_sdk.auto_annotation.driver as driver
import PIL.Image
import pytest
from cvat_sdk import models
from cvat_sdk.api_client import ApiClient, Configuration
from cvat_sdk.masks import decode_mask

from adapters import providers
from adapters.errors import AccessDenied
from adapters.references import LocalFolder
from bridge.app import open_app
from bridge.cvat_function import Detector, create
from bridge.cvat_session import FunctionFailed
from bridge.settings import load_settings
from bridge.task_labels import parse_labels
from tests.unit.bridge.nuclio.every_shape import JOINTS, LABELS, SHAPE_TYPES, TROUBLES
from tests.unit.bridge.nuclio.test_face import picture

SIZE = (64, 48)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Detector]]:
    """A function over one of the models of every shape type, closed at the end."""
    monkeypatch.setitem(providers.ADAPTERS, LocalFolder, ("local", "tests.unit.bridge.nuclio.every_shape:ShapeAdapter"))
    (tmp_path / "config.toml").write_text('[logging]\nlevel = "critical"\n[jobs]\npatience_seconds = 3\n')
    monkeypatch.setenv("HUBBRIDGE_CONFIG", str(tmp_path / "config.toml"))
    functions: list[Detector] = []

    def make(reference: str) -> Detector:
        functions.append(create(model=reference, data_dir=str(tmp_path)))
        return functions[-1]

    yield make
    TROUBLES.errors.clear()
    for function in functions:
        function.close()


def image(mode: str = "RGB") -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(picture(mode)))


def context(threshold: float | None = None, polygons: bool = False) -> cvataa.DetectionFunctionContext:
    return driver._DetectionFunctionContextImpl(
        frame_name="a.png", conf_threshold=threshold, conv_mask_to_poly=polygons
    )


def task_labels(function: Detector, *, polygons: bool = False) -> list[models.Label]:
    """A task with the function's own labels."""
    found = []
    for label in function.spec.labels:
        kind = getattr(label, "type", "any")
        attributes = [
            models.Attribute._from_openapi_data(
                id=100 * label.id + a.id, name=a.name, mutable=False, input_type=a.input_type,
                default_value="", values=a.values,
            )
            for a in getattr(label, "attributes", [])
        ]  # fmt: skip
        sublabels = [
            models.Sublabel._from_openapi_data(id=1000 * label.id + s.id, name=s.name, type="points", attributes=[])
            for s in getattr(label, "sublabels", [])
        ]
        found.append(
            models.Label._from_openapi_data(
                id=10 * label.id, name=label.name, type="polygon" if polygons and kind == "mask" else kind,
                attributes=attributes, sublabels=sublabels,
            )
        )  # fmt: skip
    return found


def run_sdk(
    function: Detector, monkeypatch: pytest.MonkeyPatch, threshold: float | None = 0.1, polygons: bool = False
) -> dict[str, Any]:
    """What the SDK's own ``annotate_task`` uploads for two frames, as it goes over the wire."""
    samples = [
        SimpleNamespace(frame_name=f"{i}.png", frame_index=i, media=SimpleNamespace(load_image=image)) for i in range(2)
    ]
    dataset = SimpleNamespace(labels=task_labels(function, polygons=polygons), samples=samples)
    monkeypatch.setattr(driver, "TaskDataset", lambda *_, **__: dataset)
    sent: list[Any] = []

    def upload(action: str, task_id: int, patched_labeled_data_request: Any) -> None:
        sent.append((action, task_id, patched_labeled_data_request))

    logger = SimpleNamespace(info=lambda *_: None)
    client = SimpleNamespace(
        logger=logger, tasks=SimpleNamespace(api=SimpleNamespace(partial_update_annotations=upload))
    )
    cvataa.annotate_task(client, 42, function, conf_threshold=threshold, conv_mask_to_poly=polygons)
    ((action, task_id, data),) = sent
    assert (action, task_id) == ("create", 42)
    wire: dict[str, Any] = ApiClient(Configuration("http://127.0.0.1:1")).sanitize_for_serialization(data)
    return wire


@pytest.mark.parametrize("kind", [kind for kind in SHAPE_TYPES if kind not in ("open", "mixed")])
@pytest.mark.parametrize("polygons", [False, True], ids=["", "masks as polygons"])
def test_the_sdk_takes_every_shape_type(
    made: Callable[[str], Detector], monkeypatch: pytest.MonkeyPatch, kind: str, polygons: bool
) -> None:
    wire = run_sdk(made(f"/models/{kind}"), monkeypatch, polygons=polygons)
    if kind == "tag":
        assert [(tag["frame"], tag["label_id"]) for tag in wire["tags"]] == [(0, 10), (0, 20), (1, 10), (1, 20)]
        return
    names = {"rotated": "rectangle", "attributes": "rectangle", "mask": "polygon" if polygons else "mask"}
    shapes = wire["shapes"]
    assert {shape["type"] for shape in shapes} == {names.get(kind, kind)}
    # One of the three masks has two parts, which are two polygons of a group.
    assert len(shapes) == 2 * (4 if kind == "mask" and polygons else 3)
    assert {shape["source"] for shape in shapes} == {"auto"}
    assert next(shape["score"] for shape in shapes if shape["frame"] == 1) == 0.9
    for shape in shapes:
        if shape["type"] == "mask":
            decode_mask(shape["points"], image_width=SIZE[0], image_height=SIZE[1])  # refuses what does not fit
        elif not shape.get("rotation"):
            points = shape.get("points") or [value for joint in shape["elements"] for value in joint["points"]]
            assert len(points) >= 4
            assert all(0 <= x <= SIZE[0] for x in points[::2])
            assert all(0 <= y <= SIZE[1] for y in points[1::2])
    if kind == "mask" and polygons:
        groups = [shape["group"] for shape in shapes if shape.get("group")]
        assert groups == [1, 1, 2, 2]  # those of two frames are others


def test_masks_are_the_pixels_that_the_model_found(made: Callable[[str], Detector]) -> None:
    first = made("/models/mask").detect(context(0.85), image())[0]
    mask = decode_mask(first.points, image_width=SIZE[0], image_height=SIZE[1])
    assert mask[9:28, 6:32].all() and mask[-2:, -2:].all()
    assert mask.sum() == 19 * 26 + 4


def test_joints_attributes_and_rotation_come_with_the_shape(made: Callable[[str], Detector]) -> None:
    (skeleton, *_) = made("/models/skeleton").detect(context(), image())
    assert [element.outside for element in skeleton.elements] == [False, True, False, False, False]
    function = made("/models/attributes")
    (label, _) = function.spec.labels
    assert [(a.name, a.input_type.value) for a in label.attributes] == [
        ("color", "select"), ("parked", "checkbox"), ("age", "number")
    ]  # fmt: skip
    (shape, *_) = function.detect(context(), image())
    assert [(value.spec_id, value.value) for value in shape.attributes] == [(1, "red"), (2, "true"), (3, "7")]
    (turned, *_) = made("/models/rotated").detect(context(), image())
    assert turned.rotation == 30.0


def test_the_spec_names_labels_types_and_joints(made: Callable[[str], Detector]) -> None:
    spec = made("/models/skeleton").spec
    assert [(label.id, label.name, label.type) for label in spec.labels] == [
        (1, "car", "skeleton"), (2, "person", "skeleton")
    ]  # fmt: skip
    assert [joint.name for joint in spec.labels[0].sublabels] == list(JOINTS)
    assert [getattr(label, "type", "any") for label in made("/models/mixed").spec.labels] == ["any", "any"]


def test_the_threshold_is_the_callers_else_the_models(made: Callable[[str], Detector]) -> None:
    function = made("/models/rectangle")
    assert len(function.detect(context(), image())) == 3
    assert len(function.detect(context(0.85), image())) == 1
    assert function.detect(context(1.0), image()) == []


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16", "1", "LA"])
def test_every_kind_of_image_is_taken(made: Callable[[str], Detector], mode: str) -> None:
    assert len(made("/models/rectangle").detect(context(), image(mode))) == 3


def test_a_profile_is_a_function_and_an_open_vocabulary_needs_one(
    made: Callable[[str], Detector], tmp_path: Path
) -> None:
    async def prepare() -> None:
        async with open_app(load_settings(storage={"data_dir": str(tmp_path)})) as service:
            model, _ = await service.registry.add("/models/open", name="finder")
            await service.profiles.add("signs", model, parse_labels("stop,yield:polygon"))

    asyncio.run(prepare())
    function = made("signs")
    assert [(label.name, label.type) for label in function.spec.labels] == [("stop", "rectangle"), ("yield", "polygon")]
    assert [shape.label_id for shape in function.detect(context(), image())] == [1, 2, 1]
    with pytest.raises(FunctionFailed, match="hubbridge profile add"):
        made("finder")


def test_what_goes_wrong_is_said_in_a_sentence(made: Callable[[str], Detector], tmp_path: Path) -> None:
    with pytest.raises(FunctionFailed, match="dataset"):
        made("https://huggingface.co/datasets/org/name")
    function = made("/models/rectangle")
    TROUBLES.errors[:] = [AccessDenied("The model is gated.", hint="Accept its terms.")]
    with pytest.raises(FunctionFailed, match=r"The model is gated\. Accept its terms\."):
        function.detect(context(), image())
    assert len(function.detect(context(), image())) == 3


def test_closing_ends_the_thread(made: Callable[[str], Detector]) -> None:
    before = threading.active_count()
    function = made("/models/rectangle")
    function.detect(context(), image())
    assert threading.active_count() > before
    function.close()
    assert "hubbridge" not in {thread.name for thread in threading.enumerate()}
    function.close()


def test_cvat_cli_finds_the_factory_as_it_looks_for_one() -> None:
    module = importlib.import_module("bridge.cvat_function")
    assert callable(module.create) and not hasattr(module, "spec")
    assert LABELS  # the models have labels
