"""The program as a process, on a data folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "examples" / "street" / "model"
IMAGES = ROOT / "examples" / "street" / "images"


# Engines are compared where a test asks for it: at every first load of a model it takes seconds.
_QUICK = {"HUBBRIDGE_MODELS__OPENVINO": "false"}


@dataclass
class Program:
    """``hubbridge`` with an environment that nothing of the caller's leaks into."""

    data_dir: Path
    variables: dict[str, str] = field(default_factory=dict)

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HUBBRIDGE_", "HF_"))}
        return {**kept, "HUBBRIDGE_STORAGE__DATA_DIR": str(self.data_dir), "COLUMNS": "160", **_QUICK, **self.variables}

    def _command(self, arguments: Sequence[object]) -> list[str]:
        return [sys.executable, "-m", "bridge.cli", *map(str, arguments)]

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command(arguments),
            env=self._environment(),
            cwd=self.data_dir.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run to the end; the exit code is as expected, and there is no traceback."""
        done = subprocess.run(
            self._command(arguments),
            env=self._environment(),
            cwd=self.data_dir.parent,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: object, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code).stdout)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "data")


@pytest.fixture
def new_program(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Program]:
    return lambda **variables: Program(tmp_path_factory.mktemp("program") / "data", variables)
