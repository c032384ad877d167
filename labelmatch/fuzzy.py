"""Labels that look alike: typing errors and glued words, by rapidfuzz.

Two names that are both words never match by looks: boat is no boot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from labelmatch.lexicon import lexicon
from labelmatch.polarity import opposites

CUTOFF = 84.0  # of rapidfuzz.fuzz.ratio, 0 to 100, without spaces
GLUED_CUTOFF = 90.0  # where one of the two has more words
MIN_LENGTH = 4  # letters: shorter names differ by one letter from everything
MAX_LENGTH = 80  # longer names are texts
MAX_CELLS = 4_000_000  # pairs compared at once: 4 MB of scores
MOST_ALIKE = 20  # of one name's lookalikes that are looked at
MAX_PAIRS = 100_000_000  # pairs compared in all, some seconds; lists beyond that are compared by meaning only


@dataclass(frozen=True, slots=True)
class Lookalike:
    """Two names by their index, and how alike they are (0 to 1)."""

    model: int
    task: int
    ratio: float


def lookalikes(model: Sequence[str], task: Sequence[str]) -> list[Lookalike]:
    """The pairs that are one word spelled in two ways, by index into the two lists of words; "" is left out.

    Time and memory are bounded: see the constants.
    """
    rows = [i for i, words in enumerate(model) if MIN_LENGTH <= len(words) <= MAX_LENGTH]
    columns = [i for i, words in enumerate(task) if MIN_LENGTH <= len(words) <= MAX_LENGTH]
    if not rows or not columns or len(rows) * len(columns) > MAX_PAIRS:
        return []
    glued_rows = [model[i].replace(" ", "") for i in rows]
    glued_columns = [task[i].replace(" ", "") for i in columns]
    found = []
    chunk = max(1, MAX_CELLS // len(columns))
    for begin in range(0, len(rows), chunk):
        ratios = process.cdist(
            glued_rows[begin : begin + chunk], glued_columns, scorer=fuzz.ratio, score_cutoff=CUTOFF, dtype=np.uint8
        )
        for row, column in most_alike(ratios):
            pair = model[rows[begin + row]], task[columns[column]]
            if same_word(*pair):
                found.append(Lookalike(rows[begin + row], columns[column], float(ratios[row, column]) / 100))
    return found


def most_alike(ratios: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """(row, column) of what is alike at all, and of each row the best ones only."""
    rows, columns = np.nonzero(ratios)
    best = np.lexsort((columns, -ratios[rows, columns].astype(np.int16), rows))
    rank = np.arange(len(best)) - np.searchsorted(rows, rows)
    rows, columns = rows[best][rank < MOST_ALIKE], columns[best][rank < MOST_ALIKE]
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def same_word(one: str, other: str) -> bool:
    """Whether the difference may be a slip: at most one side of it is a known word, and no digit is in it."""
    if one.replace(" ", "") == other.replace(" ", ""):
        return True
    mine, theirs = one.split(), other.split()
    if len(mine) == len(theirs):
        return all(may_be_slip(a, b) for a, b in zip(mine, theirs, strict=True) if a != b)
    words = lexicon()
    if words.find(one) and words.find(other):
        return False
    glued = "".join(mine), "".join(theirs)
    return fuzz.ratio(*glued) >= GLUED_CUTOFF and may_be_slip(*glued)


def may_be_slip(one: str, other: str) -> bool:
    if any(c.isdigit() for c in one + other) or min(len(one), len(other)) < MIN_LENGTH:
        return False
    if one[0] != other[0] and one[-1] != other[-1]:
        return False
    words = lexicon()
    if opposites(one, other):
        return False
    return not (words.find(one) and words.find(other)) and fuzz.ratio(one, other) >= 75
