"""The command line in this process: what it writes where, and how it ends."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from PIL import Image

from bridge.cli import main
from tests.models import write_onnx_model

LABELS = "car,person,tree,stop sign"  # the model's own


@dataclass
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Terminal:
    """``hubbridge`` over a data folder of its own; ``images`` holds 4 pictures, ``model`` a small ONNX detector."""

    folder: Path
    capture: pytest.CaptureFixture[str]

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def model(self) -> Path:
        return self.folder / "detector"

    def __call__(self, *arguments: object) -> Said:
        self.capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["--data-dir", str(self.folder / "data"), *map(str, arguments)])
        captured = self.capture.readouterr()
        code = ended.value.code
        said = Said(code if isinstance(code, int) else int(code is not None), captured.out, captured.err)
        assert "Traceback" not in said.err
        return said

    def ok(self, *arguments: object) -> Said:
        said = self(*arguments)
        assert said.code == 0, said
        return said

    def refused(self, *arguments: object, code: int = 1) -> Said:
        """The command fails in one line and at most a hint, and prints nothing else."""
        said = self(*arguments)
        assert (said.code, said.out) == (code, ""), said
        if code == 1:
            lines = said.err.strip().splitlines()
            assert lines[0].startswith("Error: "), said
            assert len(lines) <= 2, said
            assert all(line.startswith("Hint:  ") for line in lines[1:]), said
        return said

    def street(self, *more: object) -> int:
        """A task with the four pictures; its id. The model is registered as ``detector``."""
        self.ok("model", "add", self.model)
        made = self.ok("task", "create", "street", self.images, "--labels", LABELS, "--json", *more)
        number: int = made.json["task"]["id"]
        return number


def write_images(folder: Path, count: int) -> None:
    folder.mkdir()
    for seed in range(count):
        color = np.random.default_rng(seed).integers(0, 255, 3)
        Image.fromarray(np.full((30, 40, 3), color, np.uint8)).save(folder / f"{seed}.png")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    write_images(tmp_path / "images", 4)
    write_onnx_model(tmp_path / "detector")
    (tmp_path / "config.toml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HUBBRIDGE_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("COLUMNS", "200")
    yield Terminal(tmp_path, capsys)
    structlog.reset_defaults()


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))
