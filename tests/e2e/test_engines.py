"""OpenVINO as a user meets it: auto takes it where it answers alike, and `model test` says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import IMAGES, MODEL, Program

PICTURE = sorted(IMAGES.glob("*.jpg"))[0]


def test_auto_compares_engines_and_says_what_came_of_it(program: Program) -> None:
    program.variables["HUBBRIDGE_MODELS__OPENVINO"] = "true"
    program.run("model", "add", MODEL, "--name", "street")
    tried = program.json("model", "test", "street", PICTURE)
    assert tried["engine"] in ("openvino", "onnxruntime")
    assert tried["device"] == "cpu"
    assert "openvino and onnxruntime answer alike" in tried["engine_choice"]
    assert "full precision" in tried["engine_choice"]


def test_an_engine_that_was_asked_for_runs_the_model(program: Program, tmp_path: Path) -> None:
    found = {}
    for engine in ("onnxruntime", "openvino"):
        program.run("model", "add", MODEL, "--name", engine, "--engine", engine)
        out = tmp_path / f"{engine}.json"
        program.run("annotate", PICTURE, "--model", engine, "--out", out)
        found[engine] = json.loads(out.read_text())["annotations"]
    assert len(found["onnxruntime"]) == len(found["openvino"]) > 0
    for one, other in zip(found["onnxruntime"], found["openvino"], strict=True):
        assert one["category_id"] == other["category_id"]
        assert one["bbox"] == pytest.approx(other["bbox"], abs=0.05)
        assert one["score"] == pytest.approx(other["score"], abs=1e-3)
