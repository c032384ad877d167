"""From a label as read to what it may mean: known phrases, their senses, and all that these are kinds of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelmatch.lexicon import Lexicon, lexicon
from labelmatch.normalize import QUALITIES, Form
from labelmatch.word_lists import WORDS

PREPOSITIONS, PRIVATIVE = WORDS["prepositions"], WORDS["privatives"]
QUALITY_COST, TAIL_COST, HEAD_COST = 0.06, 0.06, 0.10
MIN_PIECE = 3  # letters of a word that may be split off a glued one


class Phrase(NamedTuple):
    """A phrase that the lexicon knows, found in a label; `head` where it is only the label's head noun."""

    words: str
    cost: float
    head: bool


@dataclass(frozen=True, slots=True, eq=False)
class Meaning:
    """What a known phrase may mean, as arrays with one column per sense, and per step of each sense's path.

    senses i32[n]: their nodes; weights f64[n]: they add up to 1.
    steps i32[3, m]: the node, how many steps it is away, and the index of the sense.
    """

    senses: NDArray[np.int32]
    weights: NDArray[np.float64]
    steps: NDArray[np.int32]


@lru_cache(maxsize=16_384)
def meaning(phrase: str) -> Meaning:
    """The meaning of a phrase that the lexicon found."""
    words = lexicon()
    senses = words.senses(phrase)
    steps = [(node, away, index) for index, sense in enumerate(senses) for node, away in words.path(sense.node).items()]
    return Meaning(
        senses=np.array([sense.node for sense in senses], np.int32),
        weights=np.array([sense.weight for sense in senses], np.float64),
        steps=np.array(steps, np.int32).reshape(-1, 3).T,
    )


def find_phrases(forms: tuple[Form, ...]) -> tuple[Phrase, ...]:
    """The known phrase of each reading, once each: the whole, or else its head noun."""
    words = lexicon()
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
    if not PRIVATIVE.isdisjoint(tokens):  # a toy car is no car
        return None
    preposition = next((index for index, token in enumerate(tokens) if index and token in PREPOSITIONS), None)
    if preposition is not None:
        front = known_phrase(" ".join(tokens[:preposition]), words)
        return Phrase(front.words, front.cost + TAIL_COST, head=True) if front else None
    return head_noun(tokens, words)


def head_noun(tokens: list[str], words: Lexicon) -> Phrase | None:
    """The longest known phrase at the end of a compound: "wall brick" is a wall, "red sports car" a sports car."""
    core = len(tokens)
    while core > 1 and tokens[core - 1] in QUALITIES:
        core -= 1
        whole = words.find(" ".join(tokens[:core]))
        if whole is not None:
            return Phrase(whole, QUALITY_COST, head=True)
    for begin in range(core):
        tail = words.find(" ".join(tokens[begin:core]))
        if tail is not None:
            return Phrase(tail, HEAD_COST, head=True)
    return None


def unglued(word: str, words: Lexicon) -> Phrase | None:
    """ "trafficcone" as "traffic cone", or as a kind of cone; None where no split gives known words on both sides."""
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
