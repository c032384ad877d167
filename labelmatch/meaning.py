"""From a label as read to what it may mean: known phrases, their senses, and all that these are kinds of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelmatch.lexicon import Lexicon, lexicon
from labelmatch.normalize import MATERIALS, QUALITIES, Form
from labelmatch.word_lists import WORDS

PREPOSITIONS, PRIVATIVE = WORDS["prepositions"], WORDS["privatives"]
QUALITY_COST, TAIL_COST, HEAD_COST, MATERIAL_COST = 0.06, 0.06, 0.10, 0.15
MIN_PIECE, MIN_PREFIX = 3, 2  # letters of a word that may be split off a glued one: behind, in front ("tvmonitor")
LONGEST_GLUED = 40  # letters; a longer word is no name


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
    """The known phrases of each reading, once each: the whole, or else its head noun, which may be read in two ways."""
    words = lexicon()
    found: dict[str, Phrase] = {}
    for form in forms:
        for phrase in known_phrases(form.words, words):
            candidate = Phrase(phrase.words, form.cost + phrase.cost, phrase.head)
            present = found.get(candidate.words)
            if present is None or candidate.cost < present.cost:
                found[candidate.words] = candidate
    return tuple(found.values())


@lru_cache(maxsize=65_536)
def known_phrases(text: str, words: Lexicon) -> tuple[Phrase, ...]:
    """The phrase itself, its words taken apart, without qualities at its end, or its head noun."""
    whole = words.find(text)
    if whole is not None:
        return (Phrase(whole, 0.0, head=False),)
    tokens = text.split()
    if len(tokens) == 1:
        phrase = unglued(text, words)
        return (phrase,) if phrase else ()
    if not PRIVATIVE.isdisjoint(tokens):  # a toy car is no car
        return ()
    preposition = next((index for index, token in enumerate(tokens) if index and token in PREPOSITIONS), None)
    if preposition is not None:
        front = known_phrases(" ".join(tokens[:preposition]), words)
        return tuple(Phrase(one.words, one.cost + TAIL_COST, head=True) for one in front)
    return head_nouns(tokens, words)


def head_nouns(tokens: list[str], words: Lexicon) -> tuple[Phrase, ...]:
    """The longest known phrase at the end of a compound: "red sports car" is a sports car.

    Qualities behind the name are no head, "traffic light red"; but what is nothing else is, "green glass", and a
    material may be either, "wall brick".
    """
    core = len(tokens)
    while core > 1 and tokens[core - 1] in QUALITIES:
        core -= 1
    if core == 1 and tokens[0] in QUALITIES:
        return known_tail(tokens, words, HEAD_COST)
    found: tuple[Phrase, ...] = ()
    if core < len(tokens):
        whole = words.find(" ".join(tokens[:core]))
        found = (Phrase(whole, QUALITY_COST, head=True),) if whole else ()
    found = found or known_tail(tokens[:core], words, HEAD_COST)
    if tokens[-1] in MATERIALS:
        found = (*found, *known_tail(tokens, words, MATERIAL_COST))
    return found


def known_tail(tokens: list[str], words: Lexicon, cost: float) -> tuple[Phrase, ...]:
    """The longest known phrase that ends with the last of the words; a name of one person or place is no head."""
    for begin in range(len(tokens)):
        tail = words.find(" ".join(tokens[begin:]))
        if tail is not None and not words.names_one(tail):
            return (Phrase(tail, cost, head=True),)
    return ()


def unglued(word: str, words: Lexicon) -> Phrase | None:
    """ "trafficcone" as "traffic cone", or as a kind of cone; None where no split gives known words on both sides."""
    if len(word) > LONGEST_GLUED:
        return None
    best: Phrase | None = None
    for cut in range(len(word) - MIN_PIECE, MIN_PREFIX - 1, -1):
        front, end = word[:cut], word[cut:]
        whole = words.find(f"{front} {end}")
        if whole is not None and " " in whole:
            return Phrase(whole, 0.02, head=False)
        back = words.find(end)
        if cut >= MIN_PIECE < len(end) and back is not None and len(back) > MIN_PIECE and words.knows(front):
            best = Phrase(back, HEAD_COST + 0.02, head=True)
    return best
