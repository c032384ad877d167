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
    assert tried["precision"] == "full"


def test_a_job_says_what_ran_it_and_an_engine_named_later_is_taken(program: Program, tmp_path: Path) -> None:
    program.variables["HUBBRIDGE_MODELS__OPENVINO"] = "true"
    registered = program.json("model", "add", MODEL, "--name", "street")["model"]
    program.run("annotate", PICTURE, "--model", "street", "--out", tmp_path / "auto.json")
    ran = program.json("job", "show", "1")["job"]["resolved"]
    assert ran["engine"] == program.json("model", "test", "street", PICTURE)["engine"]
    assert (ran["device"], ran["precision"]) == ("cpu", "full")

    told = program.run("model", "add", MODEL, "--engine", "onnxruntime").stdout
    assert "street is registered already" in told
    assert "From now on onnxruntime runs it, and nothing in its place." in told
    assert "here, on onnxruntime, as was chosen" in told
    assert program.json("model", "show", "street")["model"]["id"] == registered["id"]
    program.run("annotate", PICTURE, "--model", "street", "--out", tmp_path / "chosen.json")
    assert "onnxruntime, cpu, full precision" in program.run("job", "show", "2").stdout


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
