"""Commands beside a living server: it runs their jobs, and its end is not theirs."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import IMAGES, MODEL, Program


@pytest.fixture
def server(program: Program) -> Iterator[subprocess.Popen[str]]:
    program.run("model", "add", MODEL, "--name", "street")
    program.run("task", "create", "streets", IMAGES, "--labels", "car,bus,truck,person,bicycle,tree")
    process = program.start("serve", "--port", "0")
    try:
        wait_for(program.data_dir / "server.json")
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < deadline, "nobody announced a server"
        time.sleep(0.05)


def test_job_start_hands_the_job_to_the_server_and_watches_it(program: Program, server: subprocess.Popen[str]) -> None:
    done = program.run("job", "start", "streets", "--model", "street")
    assert re.search(r"The server at http://127\.0\.0\.1:\d+ runs the job", done.stderr)
    assert "Job 1 succeeded: 16 frames done" in done.stdout
    assert server.poll() is None


def test_when_the_server_ends_before_the_job_the_command_takes_it_over(program: Program) -> None:
    program.run("model", "add", MODEL, "--name", "street")
    program.run("task", "create", "streets", IMAGES, "--labels", "car,bus,truck,person,bicycle,tree")
    note = program.data_dir / "server.json"
    code = (
        "import json, sys, time; from bridge.owner import owner_here; from pathlib import Path; "
        "Path(sys.argv[1]).write_text(json.dumps({'owner': owner_here(), 'url': 'http://127.0.0.1:1'})); "
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(note)]) as idle:  # lives, and takes no job
        wait_for(note)
        command = program.start("job", "start", "streets", "--model", "street")
        assert command.stderr is not None
        assert "runs the job" in command.stderr.readline()
        idle.kill()
    out, _ = command.communicate(timeout=600)
    assert command.returncode == 0
    assert "Job 1 succeeded: 16 frames done" in out


def test_watching_a_job_that_nobody_runs_ends_and_says_how_to_go_on(program: Program) -> None:
    program.run("model", "add", MODEL, "--name", "street")
    program.run("task", "create", "streets", IMAGES, "--labels", "car,bus,truck")
    program.run("job", "start", "streets", "--model", "street", "--queue")
    done = program.run("job", "watch", "1")
    assert "hubbridge job resume 1" in done.stdout
