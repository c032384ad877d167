"""Who holds a job, and how the death of a process is recognised."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.owner import is_dead, owner_here


def test_this_process_is_alive() -> None:
    assert not is_dead(owner_here())


def test_a_process_that_ended_is_dead() -> None:
    code = "from bridge.owner import owner_here; print(owner_here())"
    owner = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert owner.startswith(f"{socket.gethostname()}/")
    assert is_dead(owner)


def test_a_later_process_with_the_same_number_is_another_one() -> None:
    host, pid, started = owner_here().rsplit("/", 2)
    assert is_dead(f"{host}/{pid}/{int(started) - 1}")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell of its processes")
def test_a_killed_process_is_dead_although_its_parent_has_not_asked() -> None:
    code = "import sys; from bridge.owner import owner_here; print(owner_here(), flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdin
    owner = process.stdout.readline().strip()
    assert not is_dead(owner)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
    try:
        assert is_dead(owner)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


@pytest.mark.parametrize("owner", [None, "", "somebody", "a/b/c", f"{socket.gethostname()}/x/1", "elsewhere/1/1"])
def test_what_cannot_be_judged_from_here_is_left_to_its_lease(owner: str | None) -> None:
    assert not is_dead(owner)
