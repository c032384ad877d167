"""Which of the known names somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable

from rapidfuzz import fuzz, process, utils

LEAST = 70  # of 100: a swapped letter in a short name is above it, another word is not
MOST = 3


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to begin a hint with, the nearest names first, a space behind it; empty where nothing is near."""
    found = process.extract(
        word[:200], list(known), scorer=fuzz.WRatio, processor=utils.default_process, limit=MOST, score_cutoff=LEAST
    )
    return f"Did you mean {' or '.join(name for name, _, _ in found)}? " if found else ""
