"""`hubbridge label-studio`: what it shows, and what it finds wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bridge.cli.main import app
from tests.models import write_onnx_model
from tests.servers.label_studio import LEGACY, PERSONAL, LabelStudioServer
from tests.unit.bridge.label_studio.configs import STREET


@pytest.fixture
def studio() -> Iterator[LabelStudioServer]:
    with LabelStudioServer() as server:
        yield server


@pytest.fixture
def hubbridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)

    def call(*arguments: str, expect: int = 0) -> str:
        result = CliRunner().invoke(app, ["--data-dir", str(tmp_path / "data"), *arguments])
        assert result.exit_code == expect, result.output
        return result.output

    return call


def findings(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"ok": [], "wrong": [], "note": []}
    for each in json.loads(text)["findings"]:
        found[each["state"]].append(f"{each['text']} {each['hint']}")
    return found


def test_nothing_is_connected_yet(hubbridge: Any) -> None:
    assert "No project has asked yet" in hubbridge("label-studio", "list")
    assert json.loads(hubbridge("label-studio", "list", "--json")) == {"backends": []}


def test_check_finds_what_is_wrong_step_by_step(
    hubbridge: Any, studio: LabelStudioServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(*arguments: str, expect: int) -> dict[str, list[str]]:
        return findings(hubbridge("label-studio", "check", *arguments, "--json", expect=expect))

    project = studio.project(STREET, 2)
    url = f"{studio.url}/projects/7"
    assert "LABEL_STUDIO_URL" in check(expect=1)["wrong"][0]
    assert f"LABEL_STUDIO_URL={studio.url}" in check(url, expect=1)["wrong"][0]
    monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
    assert "LABEL_STUDIO_API_KEY" in check(url, expect=1)["wrong"][0]
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY)
    studio.legacy_tokens = False
    assert "Allow legacy tokens" in check(url, expect=1)["wrong"][0]
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", PERSONAL)
    hubbridge("model", "add", str(write_onnx_model(tmp_path / "model")), "--name", "street")
    found = check(url, "--model", "street", expect=0)
    assert any("An image was fetched" in text for text in found["ok"])
    assert any("labels of street are matched" in text for text in found["ok"])
    assert any("no ML backend of ours" in text for text in found["note"])
    backend = {"id": 1, "url": "http://localhost:8090/label-studio/street", "state": "ER", "error_message": "timed out"}
    project.backends.append(backend)
    wrong = check(url, "--model", "street", expect=1)["wrong"]
    assert "timed out" in wrong[0]
    assert "ML_BLOCK_LOCAL_IP=false" in wrong[0]
    backend["state"] = "CO"
    found = check(url, "--model", "street", expect=0)
    assert any("score column" in text for text in found["note"])
    version = next(text for text in found["note"] if "score column" in text).split("choose ")[1].split(" ")[0]
    project.model_version = version
    assert not any("score column" in text for text in check(url, "--model", "street", expect=0)["note"])
    studio.files.clear()
    assert any("cannot be fetched" in text for text in check(url, expect=1)["wrong"])
    project.label_config = STREET.replace("Car", "Zebra").replace("Person", "Xylophone")
    assert any("No label of street" in text for text in check(url, "--model", "street", expect=1)["wrong"])
    shown = hubbridge("label-studio", "check", url, "--model", "street", expect=1)
    assert "WRONG" in shown
