"""The tiers: each looks for one kind of match in all pairs of two lists at once, and keeps the best of every pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelmatch import context, fuzzy, scores, semantic
from labelmatch.lexicon import lexicon
from labelmatch.normalize import MATERIALS
from labelmatch.readings import Reading
from labelmatch.types import DISPLAY_SCORE


class Candidate(NamedTuple):
    """A possible match of two labels before the ranking. `explain` makes the reason of it, when it is asked for."""

    score: float
    tier: str
    explain: Callable[[], str]
    accepted: bool = False


Fits = Callable[[int, int], bool]
"""Whether a model label and a task label, by index, may match at all."""

MOST_ALIKE = 20  # task labels that one reading of a model label is matched with: ten are shown
MOST_TRIED = 500  # of which these are looked at for those that fit
MOST_LINKS = 64  # of the task's phrases that one of the model's phrases is linked with, the likeliest
MOST_WORDS = 6  # of a compound whose words are looked for among the task's labels
MOST_BY_MEANING = 40  # task labels that one model label is matched with by meaning

Pair = tuple[int, int]
Candidates = dict[Pair, Candidate]

EXACT = Candidate(1.0, "exact", lambda: "the same name", accepted=True)
FOLDED = Candidate(scores.FOLDED, "normalised", lambda: "the same name but for case and separators", accepted=True)


@dataclass(frozen=True, slots=True)
class Namesakes:
    """The labels with the same name in both lists.

    taken: each such task label's model label. common, rare: how far a broader match still counts (see `scores.level`)
    where the broader label has a namesake, and where it has none.
    """

    taken: dict[int, int]
    common: float
    rare: float

    def level(self, pair: Pair) -> float:
        """How far a broader match of this pair still counts."""
        return self.rare if self.taken.get(pair[1], pair[0]) == pair[0] else self.common


def namesakes(found: Candidates, models: int, tasks: int) -> Namesakes:
    """From the candidates by name and by words."""
    pairs = sorted((pair for pair, one in found.items() if one.score >= scores.NAMESAKE), reverse=True)
    taken = {other: index for index, other in pairs}
    named = len({index for index, _ in pairs})
    common, rare = (scores.level(named, models, len(taken), tasks, namesake) for namesake in (True, False))
    if tasks - len(taken) <= scores.FEW_LEFT:
        rare = 1.0
    return Namesakes(taken, common, rare)


def find_candidates(
    model: Sequence[Reading], task: Sequence[Reading], floor: float, embed: semantic.Embed | None, fits: Fits
) -> Candidates:
    """The best candidates of each model label over all tiers; of many that are alike, the first ones only.

    Pairs that do not fit are none. Candidates by meaning below `floor` may be left out. `embed` is for the last tier,
    which None leaves out.
    """
    found: Candidates = {}
    by_words(found, model, task, fits)
    by_name(found, model, task, fits)
    same = namesakes(found, len(model), len(task))
    by_meaning(found, model, task, same, min(max(floor, scores.FLOOR), DISPLAY_SCORE), fits)
    by_shared_words(found, model, task, same, fits)
    by_looks(found, model, task, same, fits)
    if embed is not None:
        by_embedding(found, model, task, embed, fits)
    return found


def some(others: Sequence[int], index: int, fits: Fits) -> Iterable[int]:
    """The first of many task labels that are all alike to a model label: what time and memory take is bounded by it."""
    if len(others) <= 1:
        return (other for other in others if fits(index, other))
    return islice((other for other in others[:MOST_TRIED] if fits(index, other)), MOST_ALIKE)


def keep(found: Candidates, pair: Pair, candidate: Candidate) -> None:
    present = found.get(pair)
    if present is None or candidate.score > present.score:
        found[pair] = candidate


def by_name(found: Candidates, model: Sequence[Reading], task: Sequence[Reading], fits: Fits) -> None:
    """Exact names, and names equal after folding."""
    exact: dict[str, list[int]] = defaultdict(list)
    folded: dict[str, list[int]] = defaultdict(list)
    for index, reading in enumerate(task):
        exact[reading.name].append(index)
        if not reading.parsed.names_nothing:
            folded[reading.parsed.folded].append(index)
    for index, reading in enumerate(model):
        if not reading.parsed.names_nothing:
            for other in some(folded.get(reading.parsed.folded, ()), index, fits):
                found[index, other] = FOLDED
        for other in some(exact.get(reading.name, ()), index, fits):
            found[index, other] = EXACT


def by_words(found: Candidates, model: Sequence[Reading], task: Sequence[Reading], fits: Fits) -> None:
    """Names that are the same once read: plurals, paths, prefixes, alternatives, glued words, translations."""
    costs: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for index, reading in enumerate(task):
        for key, cost in reading.keys:
            costs[key].append((cost, index))
    index_of = {key: [index for _, index in sorted(rows)] for key, rows in costs.items()}
    for index, reading in enumerate(model):
        for key, cost in reading.keys:
            for other in some(index_of.get(key, ()), index, fits):
                other_cost = min(its for its_key, its in task[other].keys if its_key == key)
                score = scores.PARSED * (1 - cost) * (1 - other_cost)
                keep(found, (index, other), same_words(reading, task[other], score))


def same_words(model: Reading, task: Reading, score: float) -> Candidate:
    foreign = model if model.translation else task
    if foreign.translation:
        text = f"{foreign.short} is {foreign.translation.language} for {foreign.translation.english}"
        return Candidate(score * scores.TRANSLATED, "translation", lambda: text)
    return Candidate(score, "normalised", lambda: f"the same once read: {model.short} = {task.short}")


def by_meaning(
    found: Candidates, model: Sequence[Reading], task: Sequence[Reading], same: Namesakes, floor: float, fits: Fits
) -> None:
    """Synonyms, kinds, and head nouns of compounds, through the lexicon."""
    words = frozenset(word for reading in (*model, *task) for word in reading.company)
    mine, theirs = context.weigh([context.lay_out(readings) for readings in (model, task)], words)
    links = context.settle(context.link(mine, theirs), mine, theirs)
    values = scores.of_links(links, mine, theirs)
    rows = likeliest(links, values, floor)
    columns = (links.model_phrase[rows], links.task_phrase[rows], links.steps[rows], values[rows], links.node[rows])
    kinds: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for one, its, steps, value, node in zip(*(column.tolist() for column in columns), strict=True):
        phrase, its_phrase = mine.phrases[one], theirs.phrases[its]
        tier = "head noun" if phrase.head or its_phrase.head else ("hypernym" if steps else "synonym")
        for index in mine.labels[one]:
            if len(kinds[index]) >= MOST_BY_MEANING:
                continue
            for other in some(theirs.labels[its], index, fits):
                pair = index, other
                score = value if tier == "synonym" else value * same.level(pair)
                present = found.get(pair)
                if score >= floor and (present is None or score > present.score):
                    explain = Explanation(model[index], task[other], phrase.words, its_phrase.words, steps, phrase.head)
                    found[pair] = Candidate(score, tier, explain.text)
                    kinds[index].append((other, node))
    for index, ways in kinds.items():
        if len(ways) > 1:
            nearest_first(found, index, ways)


def likeliest(links: context.Links, values: NDArray[np.float64], floor: float) -> NDArray[np.int64]:
    """The links of at least `floor`, best first for each of the model's phrases, and of each the first ones only."""
    rows = np.nonzero(values >= floor)[0]
    rows = rows[np.lexsort((links.task_phrase[rows], -values[rows], links.model_phrase[rows]))]
    phrase = links.model_phrase[rows]
    rank = np.arange(len(rows)) - np.searchsorted(phrase, phrase)
    first: NDArray[np.int64] = rows[rank < MOST_LINKS]
    return first


def nearest_first(found: Candidates, index: int, ways: Sequence[tuple[int, int]]) -> None:
    """Of two kinds of one thing, the narrower comes first where it is likely: a sedan is a car, then a vehicle.

    Both senses of a sedan are vehicles, the car and the chair, so that by likelihood alone the vehicle would win.
    ways: (task index, node) of the model label's candidates by meaning.
    """
    best: dict[int, float] = {}  # of each node
    for other, node in ways:
        best[node] = max(best.get(node, 0.0), found[index, other].score)
    path = lexicon().path
    shown = [node for node, score in best.items() if score - scores.NARROWER >= DISPLAY_SCORE]
    limit = {
        node: min((best[below] for below in shown if node in path(below) and below not in path(node)), default=2.0)
        for node in best
    }
    for other, node in ways:
        one = found[index, other]
        if one.score > limit[node] - scores.NARROWER and not one.accepted:
            found[index, other] = one._replace(score=limit[node] - scores.NARROWER)


class Explanation(NamedTuple):
    """The reason for a match by meaning; `one` and `other` are the phrases that were understood."""

    model: Reading
    task: Reading
    one: str
    other: str
    steps: int
    head: bool

    def text(self) -> str:
        denied = {"": "", "absent": "both say what is absent: ", "wrong": "both say what is wrong: "}
        return denied[self.model.parsed.polarity] + self.relation()

    def relation(self) -> str:
        mine, theirs = self.model.said, self.task.said
        if self.task.translation:
            theirs = f"{theirs} ({self.other})"
        if self.head:
            begin, spoken = f"{mine} is a kind of {self.one}", self.one
            if not self.steps and self.one == self.other:
                return begin
            return f"{begin}, {'a kind of' if self.steps else 'which is'} {theirs}"
        spoken = (
            f"{mine} ({self.one})" if self.model.translation or self.one not in self.model.parsed.folded else self.one
        )
        return f"{spoken} is a kind of {theirs}" if self.steps else f"synonym: {spoken} = {theirs}"


def by_shared_words(
    found: Candidates, model: Sequence[Reading], task: Sequence[Reading], same: Namesakes, fits: Fits
) -> None:
    """Labels that share words whatever they mean: blorp wug, wug; traffic light red, red traffic light; fan, mechanical
    fan where that is the only one. A compound that the lexicon knows is what the lexicon says: a hot dog is no dog."""
    ending: dict[str, set[int]] = defaultdict(set)
    whole: dict[frozenset[str], list[int]] = defaultdict(list)
    for index, reading in enumerate(task):
        if reading.singular:
            whole[reading.word_set].append(index)
        if not reading.known:
            for tail in reading.tails:
                ending[tail].add(index)
    sizes = sorted({len(words) for words in whole})
    for index, reading in enumerate(model):
        longer = ending.get(reading.singular, ())
        if len(longer) == 1:
            (other,) = longer
            if fits(index, other):
                score = scores.LAST_WORDS * same.level((index, other))
                keep(found, (index, other), Candidate(score, "head noun", only_kind(reading, task[other])))
        if reading.known or not reading.compound:
            continue
        for words in subsets(reading.singular.split(), sizes):
            for other in some(whole.get(words, ()), index, fits):
                value, explain = shared(reading, task[other])
                score = value if value == scores.REORDERED else value * same.level((index, other))
                keep(found, (index, other), Candidate(score, "head noun", explain))


def subsets(words: Sequence[str], sizes: Sequence[int]) -> Iterable[frozenset[str]]:
    """The sets of so many of the words; of a text's words none but itself."""
    distinct = sorted(set(words))
    if len(distinct) > MOST_WORDS:
        return [frozenset(distinct)]
    return [frozenset(some) for size in sizes if size <= len(distinct) for some in combinations(distinct, size)]


def shared(model: Reading, task: Reading) -> tuple[float, Callable[[], str]]:
    """What it is worth that the task's words are among the model's, and why."""
    if model.word_set == task.word_set:
        return scores.REORDERED, lambda: f"the same words: {model.short}, {task.short}"
    if task.singular in model.tails:
        return scores.ENDS_WITH, lambda: f"{model.short} ends with {task.short}"
    if task.singular in MATERIALS and model.singular.startswith(task.singular):
        return scores.MADE_OF, lambda: f"{model.short} is of {task.short}"
    value = scores.WORDS_WITHIN if len(task.word_set) > 1 else scores.WORD_WITHIN
    return value, lambda: f"{model.short} has {task.short} in it"


def only_kind(model: Reading, task: Reading) -> Callable[[], str]:
    return lambda: f"{task.short} is a kind of {model.short}, and the only one here"


def by_looks(found: Candidates, model: Sequence[Reading], task: Sequence[Reading], same: Namesakes, fits: Fits) -> None:
    """Typing errors and glued words, for the model labels that have no good candidate yet."""
    settled = {index for (index, _), one in found.items() if one.score >= scores.SETTLED}
    waiting = [index for index, reading in enumerate(model) if index not in settled and reading.parsed.forms]
    looks = fuzzy.lookalikes(
        [model[index].parsed.forms[0].words for index in waiting],
        [reading.parsed.forms[0].words if reading.parsed.forms else "" for reading in task],
    )
    for look in looks:
        index, other = waiting[look.model], look.task
        if not fits(index, other):
            continue
        taken = same.taken.get(other, index) != index
        score = scores.FUZZY * look.ratio * (scores.TAKEN if taken else 1.0)
        keep(found, (index, other), Candidate(score, "fuzzy", almost_alike(model[index], task[other])))


def almost_alike(model: Reading, task: Reading) -> Callable[[], str]:
    return lambda: f"spelled almost alike: {model.short}, {task.short}"


def by_embedding(
    found: Candidates, model: Sequence[Reading], task: Sequence[Reading], embed: semantic.Embed, fits: Fits
) -> None:
    """The nearest name by embedding, for the model labels that nothing worth showing was found for."""
    settled = {index for (index, _), one in found.items() if one.score >= DISPLAY_SCORE}
    waiting = [index for index, reading in enumerate(model) if index not in settled and reading.parsed.forms]
    offered = [index for index, reading in enumerate(task) if reading.parsed.forms]
    mine = [model[index].parsed.forms[0].words for index in waiting]
    theirs = [task[index].parsed.forms[0].words for index in offered]
    for index, other, cosine in semantic.nearest(embed, mine, theirs, scores.SEMANTIC_CUTOFF):
        pair = waiting[index], offered[other]
        if fits(*pair):
            keep(found, pair, Candidate(scores.SEMANTIC * cosine, "semantic", near(model[pair[0]], task[pair[1]])))


def near(model: Reading, task: Reading) -> Callable[[], str]:
    return lambda: f"{model.short} and {task.short} are used alike"
