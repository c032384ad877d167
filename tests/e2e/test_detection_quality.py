"""The embedded model really detects, measured through the whole program: register, annotate, export, evaluate."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.coco_quality import average_precision, load_truth
from tests.e2e.conftest import MODEL, ROOT, Program
from tests.hub import HubServer, Repository

sys.path.insert(0, str(ROOT / "examples" / "street"))
from scenes import LABELS, write_scenes

SCENES = 60  # held out: the training never saw series 2


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("held-out")
    write_scenes(folder, SCENES, seed=2)
    return folder


def map50(truth_file: Path, result_file: Path) -> float:
    """mAP@50 of an exported COCO file; its images and labels are found by name."""
    truth = load_truth(truth_file)
    exported = json.loads(result_file.read_text())
    image_ids = {image["file_name"]: image["id"] for image in truth.dataset["images"]}
    label_ids = {label["name"]: label["id"] for label in truth.dataset["categories"]}
    names = {image["id"]: image["file_name"] for image in exported["images"]}
    labels = {label["id"]: label["name"] for label in exported["categories"]}
    found = [
        {
            "image_id": image_ids[names[entry["image_id"]]],
            "category_id": label_ids[labels[entry["category_id"]]],
            "bbox": entry["bbox"],
            "score": entry["score"],
        }
        for entry in exported["annotations"]
    ]
    return average_precision(truth, found)[1]


def test_map50_on_held_out_scenes_is_at_least_080_from_a_folder(
    program: Program, held_out: Path, tmp_path: Path
) -> None:
    program.run("model", "add", MODEL, "--name", "street")
    out = tmp_path / "found.json"
    program.run("annotate", held_out, "--model", "street", "--threshold", "0.05", "--out", out, code=0)
    assert map50(held_out / "annotations.json", out) >= 0.80


def test_the_same_model_from_a_hub_finds_the_same_boxes_by_both_engines(
    program: Program, held_out: Path, tmp_path: Path
) -> None:
    few = sorted(held_out.glob("*.jpg"))[:12]
    with HubServer({"demo/street": Repository(MODEL)}) as hub:
        program.variables["HF_ENDPOINT"] = hub.url
        program.variables["HUBBRIDGE_NETWORK__ALLOWED_HOSTS"] = "localhost"  # where it keeps large files
        found = {}
        for engine in ("onnxruntime", "transformers"):
            added = program.json("model", "add", f"{hub.url}/demo/street", "--engine", engine, "--name", engine)
            assert added["model"]["card"]["labels"] == list(LABELS)
            assert len(added["model"]["card"]["revision"]) == 40
            out = tmp_path / f"{engine}.json"
            program.run("annotate", *few, "--model", engine, "--out", out)
            found[engine] = json.loads(out.read_text())["annotations"]
    assert len(found["onnxruntime"]) > 20
    assert len(found["onnxruntime"]) == len(found["transformers"])
    for one, other in zip(found["onnxruntime"], found["transformers"], strict=True):
        assert (one["image_id"], one["category_id"]) == (other["image_id"], other["category_id"])
        assert one["bbox"] == pytest.approx(other["bbox"], abs=0.02)
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_a_second_add_of_the_same_revision_changes_nothing(program: Program) -> None:
    with HubServer({"demo/street": Repository(MODEL)}) as hub:
        program.variables["HF_ENDPOINT"] = hub.url
        program.variables["HUBBRIDGE_NETWORK__ALLOWED_HOSTS"] = "localhost"  # where it keeps large files
        first = program.json("model", "add", "demo/street")
        second = program.json("model", "add", f"{hub.url}/demo/street/tree/main")
        assert (first["new"], second["new"]) == (True, False)
        assert first["model"]["id"] == second["model"]["id"]
        assert len(program.json("model", "list")["models"]) == 1
