"""What looking at a connection to another tool finds, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One step: ``ok``, ``wrong``, or ``note`` for what may be meant so. ``hint``: what to do."""

    state: Literal["ok", "wrong", "note"]
    text: str
    hint: str = ""
