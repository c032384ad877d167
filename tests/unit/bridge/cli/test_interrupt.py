"""Ctrl-C, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.models import write_onnx_model
from tests.unit.bridge.cli.conftest import write_images

# The program, with a model of which each batch takes as long as the first argument says.
SLOW = """
import sys, time
from adapters import local
forward, seconds = local.LocalPredictor._forward, float(sys.argv.pop(1))
local.LocalPredictor._forward = lambda *given: (time.sleep(seconds), forward(*given))[1]
from bridge.cli import main
main()
"""
FRAMES = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_images(tmp_path / "images", FRAMES)
    write_onnx_model(tmp_path / "detector")
    (tmp_path / "config.toml").write_text("[jobs]\nbatch_size = 2\n")
    return tmp_path


def start(folder: Path, seconds: float, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SLOW, str(seconds), "--config", "config.toml", "--data-dir", "data", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def annotate(folder: Path, seconds: float) -> subprocess.Popen[str]:
    return start(folder, seconds, "annotate", "images", "--model", "./detector", "--out", "out.json")


def wait_for(folder: Path, what: str) -> None:
    """Until the first job is as ``what``, an SQL condition, says."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with contextlib.suppress(sqlite3.OperationalError):
            if holds(folder, what):
                return
        time.sleep(0.02)
    pytest.fail(f"no job became {what}")


def holds(folder: Path, what: str) -> bool:
    with contextlib.closing(sqlite3.connect(folder / "data" / "hubbridge.db")) as database:
        return database.execute(f"SELECT 1 FROM jobs WHERE {what}").fetchone() is not None


def test_ctrl_c_ends_cleanly_and_says_how_to_resume_and_resume_completes(folder: Path) -> None:
    process = annotate(folder, 0.5)
    wait_for(folder, "frames_done > 0")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "Cancelling" in err
    assert "Traceback" not in err
    assert "Job 1 cancelled" in out
    assert "hubbridge job resume 1" in out
    assert not (folder / "out.json").exists()
    wait_for(folder, f"state = 'cancelled' AND frames_done BETWEEN 1 AND {FRAMES - 1}")
    resumed = start(folder, 0, "job", "resume", "1")
    out, err = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, err
    assert f"Job 1 succeeded: {FRAMES} frames done" in out


def test_ctrl_c_twice_does_not_wait_for_the_batches_and_leaves_no_job_queued(folder: Path) -> None:
    process = annotate(folder, 2)
    wait_for(folder, "state = 'running'")
    process.send_signal(signal.SIGINT)
    # Where the model is still being loaded, the first one is enough: nothing is in flight.
    wait_for(folder, "abort_requested OR state = 'cancelled'")
    if holds(folder, "state = 'running'"):
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    wait_for(folder, "state = 'cancelled' AND frames_done = 0")
