"""What words mean: WordNet's nouns, with our own vocabulary on top.

A meaning is a *node*, an integer: WordNet's synsets come first, the vocabulary's own meanings after them. Everything is
loaded on the first call of `lexicon()`, about 0.1 s and 50 MB, and is read-only from then on; caches are bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelmatch.vocabulary import Vocabulary, read_vocabulary

DATA = Path(__file__).parent / "data"
WORDNET_FILE = DATA / "wordnet-nouns.npz"
VOCABULARY_FILE = DATA / "vocabulary.txt"

# Numbers of WordNet's lexicographer files, see lexnames(5WN).
ANIMAL_FILE, FOOD_FILE, GROUP_FILE, PERSON_FILE, PLANT_FILE = 5, 13, 14, 18, 20
PHYSICAL_FILES = frozenset(
    {3, ANIMAL_FILE, 6, 8, FOOD_FILE, 17, PERSON_FILE, 19, PLANT_FILE, 27}
)  # tops, animal, artifact, body, food, object, ...
INSTANCE_BIT = 64  # set on the file number of a synset that names one thing in the world ("Mercury" the god)

PERSON_WEIGHT = 0.15  # toaster, printer and hot dog are persons too, to WordNet; a label seldom means those
ABSTRACT_WEIGHT = 0.15
INSTANCE_WEIGHT = 0.02
OUTSHONE_WEIGHT = 0.1  # of the plum tree beside the plum, and of the duck's meat beside the duck
PINNED_SHARE = 0.85  # how sure a line of the vocabulary is about a word that WordNet reads otherwise
MAX_SENSES = 6
MAX_STEPS = 15

# (ending, its singular), tried in this order, from morphy(7WN).
ENDINGS = (
    ("ches", "ch"),
    ("shes", "sh"),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ies", "y"),
    ("ives", "ife"),
    ("lves", "lf"),
    ("men", "man"),
    ("oes", "o"),
    ("s", ""),
)


@dataclass(frozen=True, slots=True)
class Sense:
    """One meaning of a phrase; the weights of a phrase's senses add up to 1."""

    node: int
    weight: float


class Lexicon:
    """Phrases to senses, senses to what they are kinds of."""

    def __init__(self, wordnet: Path = WORDNET_FILE, vocabulary: Path = VOCABULARY_FILE) -> None:
        with np.load(wordnet, allow_pickle=False) as arrays:
            lemmas = arrays["lemmas"].tobytes().decode("utf-8").split("\n")
            self._sense_starts = starts(arrays["sense_counts"])
            self._senses: list[int] = arrays["senses"].tolist()
            self._tags: list[int] = arrays["tags"].tolist()
            self._files: list[int] = arrays["files"].tolist()
            self._sizes = arrays["sizes"]
            self._hypernym_starts = starts(arrays["hypernym_counts"])
            self._hypernyms: list[int] = arrays["hypernyms"].tolist()
            plurals = arrays["plurals"].tobytes().decode("utf-8").split("\n")
        self._lemmas = dict(zip(lemmas, range(len(lemmas)), strict=True))
        self._plurals: dict[str, str] = dict(line.split("\t", 1) for line in plurals)
        self._own_nodes: dict[str, int] = {}
        self._pinned: dict[str, list[int]] = {}
        self._own_hypernyms: dict[int, list[int]] = {}
        self._taken_for: dict[int, list[int]] = {}
        self.company: dict[int, frozenset[str]] = {}
        self._apply(read_vocabulary(vocabulary))
        self.node_count = len(self._sizes) + len(self._own_nodes)
        self.information = self._information()

    # -- words

    def knows(self, phrase: str) -> bool:
        """Whether the phrase stands in WordNet or the vocabulary as it is (lower case, words apart)."""
        return phrase in self._lemmas or phrase in self._pinned or phrase in self._own_nodes

    @lru_cache(maxsize=65_536)  # noqa: B019 - there is one Lexicon, and it lives as long as the process
    def singular(self, phrase: str) -> str:
        """The phrase with its last word in the singular; as it is where no rule gives a known word.

        >>> lexicon().singular("traffic lights")
        'traffic light'
        """
        if phrase in self._plurals:
            return self._plurals[phrase]
        front, _, word = phrase.rpartition(" ")
        prefix = front + " " if front else ""
        if word in self._plurals:
            return prefix + self._plurals[word]
        for ending, replacement in ENDINGS:
            if word.endswith(ending) and len(word) > len(ending) + 1:
                candidate = word.removesuffix(ending) + replacement
                if self.knows(prefix + candidate) or self.knows(candidate):
                    return prefix + candidate
        return phrase

    def find(self, phrase: str) -> str | None:
        """The known phrase that this one is a form of: itself, its singular, or itself written in one word."""
        singular = self.singular(phrase)
        if self.knows(phrase) and (singular == phrase or not self.knows(singular) or self._frequent(phrase)):
            return phrase
        if self.knows(singular):
            return singular
        if self.knows(phrase):
            return phrase
        if " " in phrase:
            glued = phrase.replace(" ", "")
            for candidate in (glued, self.singular(glued)):
                if len(candidate) > 4 and self.knows(candidate):
                    return candidate
        return None

    def _frequent(self, phrase: str) -> bool:
        """A plural is a word of its own (glasses, scissors) where we say so or WordNet counts it, or counts neither."""
        if phrase in self._pinned or phrase in self._own_nodes:
            return True
        own, singular = self._lemmas[phrase], self._lemmas.get(self.singular(phrase))
        counted = self._tags[self._sense_starts[own]] > 0
        return counted or singular is None or self._tags[self._sense_starts[singular]] == 0

    @lru_cache(maxsize=65_536)  # noqa: B019
    def senses(self, phrase: str) -> tuple[Sense, ...]:
        """The senses of a phrase that `find` returned, heaviest first; () for an unknown one.

        Weights start from WordNet's counts, smoothed by rank, and are lowered for senses that one cannot see, for
        persons and for single things, then shared with what the vocabulary says.
        """
        weights: dict[int, float] = {}
        lemma = self._lemmas.get(phrase)
        if lemma is not None:
            for rank, index in enumerate(range(self._sense_starts[lemma], self._sense_starts[lemma + 1])):
                node = self._senses[index]
                weights[node] = (self._tags[index] + 3.0 * 0.4**rank) * self._likelihood(node)
            files = {self._files[node] for node in weights}
            for usual, less in ((FOOD_FILE, PLANT_FILE), (ANIMAL_FILE, FOOD_FILE)):
                if {usual, less} <= files:
                    for node in weights:
                        weights[node] *= OUTSHONE_WEIGHT if self._files[node] == less else 1.0
            total = sum(weights.values())
            weights = {node: weight / total for node, weight in weights.items()}
        pinned = self._pinned.get(phrase) or ([self._own_nodes[phrase]] if phrase in self._own_nodes else [])
        if pinned:
            rest = 1 - PINNED_SHARE if weights else 0.0
            weights = {node: weight * rest for node, weight in weights.items()}
            for node in pinned:
                weights[node] = weights.get(node, 0.0) + (1 - rest) / len(pinned)
        ranked = sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:MAX_SENSES]
        total = sum(weight for _, weight in ranked)
        return tuple(Sense(node, weight / total) for node, weight in ranked)

    @lru_cache(maxsize=65_536)  # noqa: B019
    def names_one(self, phrase: str) -> bool:
        """Whether the phrase means single persons, places or works only ("thomson")."""
        senses = self.senses(phrase)
        return all(sense.node < len(self._files) and self._files[sense.node] & INSTANCE_BIT for sense in senses)

    def _likelihood(self, node: int) -> float:
        file = self._files[node]
        if file & INSTANCE_BIT:
            return INSTANCE_WEIGHT
        if file == PERSON_FILE:
            return PERSON_WEIGHT
        return 1.0 if file in PHYSICAL_FILES else ABSTRACT_WEIGHT

    # -- kinds

    @lru_cache(maxsize=65_536)  # noqa: B019
    def path(self, node: int) -> dict[int, int]:
        """All that a node is a kind of, itself first, with the least steps to each; not to be changed."""
        steps = {node: 0}
        level = [node]
        for step in range(1, MAX_STEPS + 1):
            reached = []
            for below in level:
                for above in self._above(below):
                    if above not in steps:
                        steps[above] = step
                        reached.append(above)
            if not reached:
                break
            level = reached
        for above in self._taken_for.get(node, ()):  # this very thing, not its kinds
            steps.setdefault(above, 1)
        return steps

    def _above(self, node: int) -> Sequence[int]:
        if node >= len(self._files):
            return self._own_hypernyms.get(node, ())
        above = self._hypernyms[self._hypernym_starts[node] : self._hypernym_starts[node + 1]]
        return [*self._own_hypernyms[node], *above] if node in self._own_hypernyms else above

    def _information(self) -> NDArray[np.float32]:
        """How much it says that a thing is of this kind: 0 for everything, 1 for a kind with nothing below it.

        The information content of Seco, Veale and Hayes (2004), from subtree sizes alone: 1 - log(size) / log(all).
        """
        own = [0.6] * len(self._own_nodes)  # a meaning of ours: about as specific as "furniture" or "fruit"
        wordnet = 1 - np.log(self._sizes.astype(np.float32)) / np.log(len(self._sizes))
        values: NDArray[np.float64] = np.concatenate([wordnet, np.array(own)])
        return values.clip(0, 1).astype(np.float32)

    # -- the vocabulary

    def _apply(self, vocabulary: Vocabulary) -> None:
        for group in vocabulary.synonyms:
            node = self._meaning(group[0])
            for phrase in group[1:]:
                self._pinned.setdefault(phrase, []).append(node)
        for kind in vocabulary.kinds:
            parent = self._meaning(kind.parent)
            for child in kind.children:
                node = self._meaning(child)
                if node != parent:
                    self._own_hypernyms.setdefault(node, []).append(parent)
        for below, above in vocabulary.taken_for:
            self._taken_for.setdefault(self._meaning(below), []).append(self._meaning(above))
        for reference, words in vocabulary.company.items():
            self.company[self._meaning(reference)] = frozenset(words)
        self._pin_kinds(vocabulary)
        # What was asked while the vocabulary was half read.
        self.senses.cache_clear()
        self.singular.cache_clear()

    def _pin_kinds(self, vocabulary: Vocabulary) -> None:
        """A word in a line of kinds ("hammer#2 < tool") means that as a label, unless its company decides."""
        homonyms = {reference.partition("#")[0] for reference in vocabulary.company}
        nodes = {child: self._meaning(child) for kind in vocabulary.kinds for child in kind.children}
        for child, node in nodes.items():
            word = child.partition("#")[0]
            if word not in homonyms and word not in self._pinned:
                self._pinned[word] = [node]

    def _meaning(self, reference: str) -> int:
        """The node that `phrase` or `phrase#3` (WordNet's third sense) stands for; a new one for an unknown phrase."""
        phrase, _, number = reference.partition("#")
        lemma = self._lemmas.get(phrase)
        if number:
            if lemma is None or self._sense_starts[lemma] + int(number) > self._sense_starts[lemma + 1]:
                raise ValueError(f"the vocabulary names a sense that WordNet does not have: {reference}")
            return self._senses[self._sense_starts[lemma] + int(number) - 1]
        if phrase in self._pinned:
            return self._pinned[phrase][0]
        if lemma is not None:
            return self.senses(phrase)[0].node
        return self._own_nodes.setdefault(phrase, len(self._sizes) + len(self._own_nodes))


def starts(counts: NDArray[np.uint8]) -> list[int]:
    """Where each row begins in the flat array, and at the end its length."""
    return [0, *np.cumsum(counts, dtype=np.int64).tolist()]


@cache
def lexicon() -> Lexicon:
    """The one lexicon of this process."""
    return Lexicon()
