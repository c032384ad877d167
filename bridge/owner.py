"""Which process holds a job, and whether that process still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def owner_here() -> str:
    """This process, told apart from a later one that gets the same number: host/pid/start."""
    return f"{socket.gethostname()}/{os.getpid()}/{_started(os.getpid())}"


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty where the system does not say, or where it has ended.

    A process that was killed and whose parent has not yet asked how it ended still has its number: state Z.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return ""


def is_here(owner: str) -> bool:
    """Whether the owner is a process of this machine, or of this container, living or not."""
    return owner.rsplit("/", 2)[0] == socket.gethostname()


def is_dead(owner: str | None) -> bool:
    """Whether the owner of a running job is a process of this machine that is no more."""
    host, pid, started = ["", "", "", *(owner or "").rsplit("/", 2)][-3:]
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # somebody else's, and perhaps hidden from us
    return _started(int(pid)) != started
