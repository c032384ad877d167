"""Which process holds a job, and whether that process still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def owner_here() -> str:
    """This process, told apart from a later one that gets the same number: host/pid/start."""
    return f"{socket.gethostname()}/{os.getpid()}/{_started(os.getpid())}"


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty where the system does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def is_dead(owner: str | None) -> bool:
    """Whether the owner of a running job is a process of this machine that is no more."""
    if owner is None:
        return False
    host, pid_text, started = owner.rsplit("/", 2)
    if host != socket.gethostname():
        return False
    pid = int(pid_text)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _started(pid) != started
