"""Labels that look alike: typing errors and glued words, by rapidfuzz.

Two names that are both words never match by looks: boat is no boot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import process
from rapidfuzz.distance import OSA

from labelmatch.lexicon import lexicon
from labelmatch.polarity import opposites

EDITS = ((13, 3), (9, 2), (5, 1))  # at least so many letters, so many slips at most; two letters swapped are one slip
GLUED_EDITS = 1  # where one of the two has more words
MIN_LENGTH = 4  # letters: shorter names differ by one letter from everything
MAX_LENGTH = 80  # longer names are texts
MAX_CELLS = 4_000_000  # pairs compared at once: 4 MB of scores
SWAPPED = 2  # substitutions that letters in the wrong order may look like
MOST_ALIKE = 20  # of one name's lookalikes that are looked at
MAX_PAIRS = 100_000_000  # pairs compared in all, some seconds; lists beyond that are compared by meaning only
EDITS_OF_LENGTH = np.array(
    [next((edits for letters, edits in EDITS if length >= letters), 0) for length in range(MAX_LENGTH + 1)], np.uint8
)


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
    lengths = [np.array([len(word) for word in words], np.int64) for words in (glued_rows, glued_columns)]
    found = []
    chunk = max(1, MAX_CELLS // len(columns))
    for begin in range(0, len(rows), chunk):
        near = process.cdist(
            glued_rows[begin : begin + chunk],
            glued_columns,
            scorer=OSA.distance,
            score_cutoff=EDITS[0][1],
            dtype=np.uint8,
        )
        for row, column in most_alike(near, lengths[0][begin : begin + chunk], lengths[1]):
            one, other = rows[begin + row], columns[column]
            if same_word(model[one], task[other]):
                found.append(Lookalike(one, other, likeness(glued_rows[begin + row], glued_columns[column])))
    found.extend(anagrams(dict(zip(rows, glued_rows, strict=True)), dict(zip(columns, glued_columns, strict=True))))
    return found


def anagrams(model: dict[int, str], task: dict[int, str]) -> list[Lookalike]:
    """Letters in the wrong order, which count as one slip however far apart they are: bycicle, bicycle."""
    spelled: dict[str, list[int]] = defaultdict(list)
    for index, word in task.items():
        spelled["".join(sorted(word))].append(index)
    found = []
    for index, word in model.items():
        for other in spelled.get("".join(sorted(word)), ())[:MOST_ALIKE]:
            its = task[other]
            if word[0] == its[0] and OSA.distance(word, its) <= SWAPPED and may_be_slip(word, its, SWAPPED):
                found.append(Lookalike(index, other, 1 - 1 / len(word)))
    return found


def likeness(one: str, other: str) -> float:
    return 1 - float(OSA.distance(one, other)) / max(len(one), len(other), 1)


def allowed(one: str, other: str) -> int:
    """How many slips one makes in a word of this length."""
    return int(EDITS_OF_LENGTH[max(len(one), len(other))])


def most_alike(
    near: NDArray[np.uint8], row_lengths: NDArray[np.int64], column_lengths: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """(row, column) of what is near enough for its length, and of each row the nearest ones only."""
    rows, columns = np.nonzero(near <= EDITS[0][1])
    enough = near[rows, columns] <= EDITS_OF_LENGTH[np.maximum(row_lengths[rows], column_lengths[columns])]
    rows, columns = rows[enough], columns[enough]
    best = np.lexsort((columns, near[rows, columns], rows))
    rank = np.arange(len(best)) - np.searchsorted(rows, rows)
    rows, columns = rows[best][rank < MOST_ALIKE], columns[best][rank < MOST_ALIKE]
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def same_word(one: str, other: str) -> bool:
    """Whether the difference may be a slip: at most one side of it is a known word, and no digit is in it."""
    if one.replace(" ", "") == other.replace(" ", ""):
        return True
    mine, theirs = one.split(), other.split()
    if len(mine) == len(theirs):
        return all(may_be_slip(a, b, allowed(a, b)) for a, b in zip(mine, theirs, strict=True) if a != b)
    words = lexicon()
    if words.find(one) and words.find(other):
        return False
    return may_be_slip("".join(mine), "".join(theirs), GLUED_EDITS)


def may_be_slip(one: str, other: str, edits: int) -> bool:
    """Whether one of two different words is the other with so many slips: never two words, nor a word's opposite."""
    if any(c.isdigit() for c in one + other) or min(len(one), len(other)) < MIN_LENGTH:
        return False
    if (one[0] != other[0] and one[-1] != other[-1]) or opposites(one, other):
        return False
    words = lexicon()
    return OSA.distance(one, other) <= edits and not (words.find(one) and words.find(other))
