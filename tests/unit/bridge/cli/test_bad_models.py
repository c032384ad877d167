"""Models that are strange or broken, as somebody meets them on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import models
from tests.unit.bridge.cli.conftest import Terminal


def with_labels(folder: Path, names: list[str]) -> Path:
    """A model folder whose detector has these labels."""
    config = {**models.CONFIG, "id2label": {str(i): name for i, name in enumerate(names)}}
    models.write_config(folder, config)
    (folder / "onnx").mkdir()
    graph = models.detector(columns=len(names))
    (folder / "onnx" / "model.onnx").write_bytes(graph.SerializeToString())
    return folder


def test_ten_thousand_labels(run: Terminal) -> None:
    model = with_labels(run.folder / "many", [f"thing {i}" for i in range(10_000)])
    added = run.ok("model", "add", model, "--json").json["model"]
    assert len(added["card"]["labels"]) == 10_000
    shown = run.ok("model", "show", "many")
    assert "and 9970 more" in shown.out
    out = run.folder / "out.json"
    done = run.ok("annotate", run.images, "--model", "many", "--labels", "thing 7,thing 9999", "--out", out, "--json")
    assert done.json["job"]["frames_done"] == 4
    assert len(done.json["job"]["resolved"]["unmapped"]) == 9_998


def test_label_names_that_occur_twice_are_told_apart_and_the_user_hears_of_it(run: Terminal) -> None:
    model = with_labels(run.folder / "twice", ["car", "person", "car"])
    shown = run.ok("model", "add", model).out
    assert "more than once" in shown
    labels = run.ok("model", "show", "twice", "--json").json["model"]["card"]["labels"]
    assert labels == ["car", "person", "car (2)"]


def test_labels_that_are_only_numbered_are_taken_and_the_user_hears_of_it(run: Terminal) -> None:
    model = with_labels(run.folder / "numbered", ["LABEL_0", "LABEL_1"])
    assert "only numbered" in " ".join(run.ok("model", "add", model).out.split())
    out = run.folder / "out.json"
    run.ok(
        "annotate", run.images, "--model", "numbered", "--labels", "car", "--map", "LABEL_0=car", "--out", out,
        "--threshold", 0.1,
    )  # fmt: skip
    assert {each["name"] for each in json.loads(out.read_text())["categories"]} == {"car"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot load"),
        (b"\x80\x04\x95pickled", "pickle"),
        (b"PK\x03\x04data.pkl", "PyTorch"),
        (b"<html>sign in</html>", ""),
        (b"", ""),
    ],
    ids=["cut short", "pickle", "torch", "page", "empty"],
)
def test_a_broken_model_file_is_found_when_it_is_added(run: Terminal, content: bytes | None, words: str) -> None:
    place = models.write_yolo(run.folder / "single.onnx")
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert words in run.refused("model", "add", place).err
    assert run.ok("model", "list", "--json").json["models"] == []


def test_a_model_that_answers_nothing_but_nan_fails_its_job_and_stores_nothing(run: Terminal) -> None:
    models.write_config(run.folder / "poisoned")
    (run.folder / "poisoned" / "onnx").mkdir()
    graph = models.detector(poison=True)
    (run.folder / "poisoned" / "onnx" / "model.onnx").write_bytes(graph.SerializeToString())
    out = run.folder / "out.json"
    said = run("annotate", run.images, "--model", run.folder / "poisoned", "--out", out)
    assert said.code == 4
    assert (
        "The model answered scores" in said.out
    )  # it is measured when it is loaded, and answers nothing else then either
    assert not out.exists()
    job = run.ok("job", "show", 1, "--json").json["job"]
    assert (job["state"], job["frames_done"], job["shapes_created"]) == ("failed", 0, 0)
