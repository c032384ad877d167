"""The catalogue: every entry can be read, what it claims is true, and its names add models."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from pathlib import Path

import pytest

from adapters.onnx_layouts import LAYOUTS
from adapters.references import BuiltIn, Cascade, HttpsFile, HuggingFaceModel, parse_reference
from adapters.references.file_hints import beside_of
from bridge.catalogue import CatalogueEntry, catalogue, expanded, find
from bridge.registry import with_models
from tests import architectures
from tests.unit.bridge.world import world

ROOT = Path(__file__).parents[3]
ENTRIES = catalogue()
TASK_TYPES = {
    "object-detection",
    "image-segmentation",
    "image-classification",
    "zero-shot-object-detection",
    "zero-shot-image-classification",
    "keypoint-detection",
    "mask-generation",
    "object-tracking",
    "object-re-identification",
}
CVAT = {"Attributed face detection", "RetinaNet R101", "Text detection v4", "YOLO v3", "YOLO v7"}


def named(entry: CatalogueEntry) -> str:
    return entry.name


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_an_entry_is_a_reference_that_can_be_pasted(entry: CatalogueEntry) -> None:
    reference = parse_reference(entry.reference).reference
    assert reference.canonical == entry.reference
    assert isinstance(reference, BuiltIn | HuggingFaceModel | HttpsFile | Cascade)
    assert entry.title
    assert entry.finds
    assert find(entry.name) is entry


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.proof], ids=named)
def test_what_an_entry_calls_its_proof_is_there(entry: CatalogueEntry) -> None:
    """A test file and a word in it; of the tests over all architectures, one of those that they build."""
    place, _, word = entry.proof.partition(": ")
    text = (ROOT / place).read_text("utf-8")
    assert word
    if place == "tests/e2e/test_architectures.py":
        groups = re.findall(r"known\.([A-Z_]+)", text)
        built = {build.__name__ for group in groups for build in getattr(architectures, group) if callable(build)}
        assert word in built | set(re.findall(r"known\.([a-z0-9_]+)", text))
    else:
        assert word in text


def _files() -> list[HttpsFile]:
    found = []
    for entry in ENTRIES:
        reference = parse_reference(entry.reference).reference
        parts = reference.models if isinstance(reference, Cascade) else [entry.reference]
        found += [parse_reference(part).reference for part in parts]
    return [reference for reference in found if isinstance(reference, HttpsFile)]


@pytest.mark.parametrize("file", _files(), ids=lambda file: file.name)
def test_what_is_said_of_a_file_is_understood_and_only_what_was_looked_up_is_pinned(file: HttpsFile) -> None:
    said = beside_of(file.said)
    assert said["layout"] in LAYOUTS
    pinned = {"PP-OCRv6_det_small.onnx"}  # its publisher names the digest, and the next test compares
    assert bool(file.sha256) == (file.name in pinned)


def test_the_digest_of_the_text_detector_is_that_of_the_weights_which_are_tested() -> None:
    entry = find("text-detection")
    assert entry is not None
    reference = parse_reference(entry.reference).reference
    assert isinstance(reference, HttpsFile)
    weights = (files("rapidocr") / "models" / reference.name).read_bytes()
    assert hashlib.sha256(weights).hexdigest() == reference.sha256
    (tested,) = (Path(str(files("rapidocr"))) / "models").glob("*det*.onnx")  # as test_text_detection finds it
    assert tested.name == reference.name


def test_there_is_one_for_each_task_type_and_all_of_cvats() -> None:
    assert {entry.task_type for entry in ENTRIES} == TASK_TYPES
    assert {entry.cvat for entry in ENTRIES if entry.cvat} == CVAT
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)


def test_a_layout_that_stands_in_documentation_only_is_unverified() -> None:
    assert not any(find(name).verified for name in ("yolo-v3", "yolo-v7", "retinanet-r101", "attributed-faces"))  # type: ignore[union-attr]


def test_faces_get_three_attributes() -> None:
    entry = find("attributed-faces")
    assert entry is not None
    reference = parse_reference(entry.reference).reference
    assert isinstance(reference, Cascade)
    assert [(each.attribute, each.input_type) for each in reference.attributes] == [
        ("age", "number"),
        ("gender", "select"),
        ("emotion", "select"),
    ]
    assert len({parse_reference(part).reference.canonical for part in reference.models}) == 4


def test_other_text_is_left_as_it_is() -> None:
    assert expanded("org/name") == "org/name"
    assert expanded(" rt-detr-v2 ") == "hf://PekingU/rtdetr_v2_r18vd"


async def test_a_name_adds_the_model_under_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch) as made:
        model, new = await made.registry.add("rt-detr-v2")
        assert new
        assert (model.name, model.card.reference) == ("rt-detr-v2", "hf://PekingU/rtdetr_v2_r18vd")
        known = {entry.name: found for entry, found in await with_models(made.registry)}
        assert known["rt-detr-v2"] == model
        assert known["d-fine"] is None


def test_a_file_is_known_by_its_address_whatever_its_digest() -> None:
    entry = find("yolo-v7")
    assert entry is not None
    address = entry.reference.partition("#")[0]
    assert entry.is_source_of(f"{address}#sha256={'0' * 64}&layout=yolo-v7-end")
    assert not entry.is_source_of("https://example.com/yolov7.onnx#sha256=" + "0" * 64)
