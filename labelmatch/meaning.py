"""From a label as read to what it may mean: known phrases, their senses, and all that these are kinds of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from labelmatch.lexicon import Lexicon, lexicon
from labelmatch.normalize import QUALITIES, Form, Parsed

PREPOSITIONS = frozenset({"of", "with", "in", "on", "for", "at", "by", "from", "to", "without", "like"})
# A toy car is no car, a wax apple no apple.
PRIVATIVE = frozenset(
    "toy fake stuffed plush model artificial inflatable miniature statue picture photo drawing cartoon former"
    " anti pseudo imitation replica".split()
)
QUALITY_COST, TAIL_COST, HEAD_COST = 0.06, 0.06, 0.10
MIN_PIECE = 3  # letters of a word that may be split off a glued one


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase that the lexicon knows, found in a label; `head` where it is only the label's head noun."""

    words: str
    cost: float
    head: bool


@dataclass(frozen=True, slots=True, eq=False)
class Meaning:
    """What a label may mean, as parallel arrays: one row per sense, and one entry per step of each sense's path.

    rows: nodes, weights (those of a phrase add up to 1), phrase_of (index into `phrases`).
    entries: path_nodes, path_steps, path_rows (index into the rows).
    """

    phrases: tuple[Phrase, ...]
    nodes: NDArray[np.int32]
    weights: NDArray[np.float32]
    phrase_of: NDArray[np.int32]
    path_nodes: NDArray[np.int32]
    path_steps: NDArray[np.int16]
    path_rows: NDArray[np.int32]


@lru_cache(maxsize=16_384)
def meaning(forms: tuple[Form, ...]) -> Meaning:
    """The meaning of a label's readings; empty arrays where no word of it is known."""
    words = lexicon()
    phrases = find_phrases(forms, words)
    nodes: list[int] = []
    weights: list[float] = []
    phrase_of: list[int] = []
    for index, phrase in enumerate(phrases):
        for sense in words.senses(phrase.words):
            nodes.append(sense.node)
            weights.append(sense.weight)
            phrase_of.append(index)
    paths = [words.path(node) for node in nodes]
    lengths = [len(path[0]) for path in paths]
    return Meaning(
        phrases=phrases,
        nodes=np.array(nodes, np.int32),
        weights=np.array(weights, np.float32),
        phrase_of=np.array(phrase_of, np.int32),
        path_nodes=np.concatenate([path[0] for path in paths]) if paths else np.empty(0, np.int32),
        path_steps=np.concatenate([path[1] for path in paths]) if paths else np.empty(0, np.int16),
        path_rows=np.repeat(np.arange(len(nodes), dtype=np.int32), lengths),
    )


def find_phrases(forms: tuple[Form, ...], words: Lexicon) -> tuple[Phrase, ...]:
    """The known phrase of each reading, once each: the whole, or else its head noun."""
    found: dict[str, Phrase] = {}
    for form in forms:
        phrase = known_phrase(form.words, words)
        if phrase is not None:
            candidate = Phrase(phrase.words, form.cost + phrase.cost, phrase.head)
            present = found.get(candidate.words)
            if present is None or candidate.cost < present.cost:
                found[candidate.words] = candidate
    return tuple(found.values())


@lru_cache(maxsize=65_536)
def known_phrase(text: str, words: Lexicon) -> Phrase | None:
    """The phrase itself, its words taken apart, without qualities at its end, or its head noun."""
    whole = words.find(text)
    if whole is not None:
        return Phrase(whole, 0.0, head=False)
    tokens = text.split()
    if len(tokens) == 1:
        return unglued(text, words)
    if any(token in PRIVATIVE for token in tokens):
        return None
    for index, token in enumerate(tokens[1:], 1):
        if token in PREPOSITIONS:
            front = known_phrase(" ".join(tokens[:index]), words)
            return Phrase(front.words, front.cost + TAIL_COST, head=True) if front else None
    while len(tokens) > 1 and tokens[-1] in QUALITIES:
        tokens.pop()
        whole = words.find(" ".join(tokens))
        if whole is not None:
            return Phrase(whole, QUALITY_COST, head=True)
    for index in range(1, len(tokens)):
        tail = words.find(" ".join(tokens[index:]))
        if tail is not None:
            return Phrase(tail, HEAD_COST, head=True)
    return None


def unglued(word: str, words: Lexicon) -> Phrase | None:
    """"trafficcone" as "traffic cone", or as a kind of cone; None where no split gives known words on both sides."""
    best: Phrase | None = None
    for cut in range(len(word) - MIN_PIECE, MIN_PIECE - 1, -1):
        front, back = word[:cut], words.find(word[cut:])
        if back is None or len(back) < MIN_PIECE:
            continue
        whole = words.find(f"{front} {word[cut:]}")
        if whole is not None:
            return Phrase(whole, 0.02, head=False)
        if len(back) > MIN_PIECE and words.knows(front):
            best = Phrase(back, HEAD_COST + 0.02, head=True)
    return best
