"""The processor that this program runs on: its name, the cores it may use, and whether it computes in bf16."""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from pathlib import Path

_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # Intel and AMD, Intel, ARM: as Linux calls them


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """As Linux names it; elsewhere as Python does."""
    return next((line for line in _lines() if line.startswith("model name")), platform.processor())


def has_bfloat16() -> bool:
    """Whether it multiplies in bf16; False where the system does not say."""
    flags = next((line for line in _lines() if line.lower().startswith(("flags", "features"))), "")
    return bool(_BFLOAT16 & set(flags.split()))


@lru_cache(maxsize=1)
def _lines() -> tuple[str, ...]:
    try:
        return tuple(Path("/proc/cpuinfo").read_text("utf-8").splitlines())
    except OSError:
        return ()
