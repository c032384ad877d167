"""The tiers: each looks for one kind of match in all pairs of two lists at once, and keeps the best of every pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from labelmatch import context, fuzzy, scores, semantic
from labelmatch.lexicon import lexicon
from labelmatch.readings import Reading
from labelmatch.types import DISPLAY_SCORE


class Candidate(NamedTuple):
    """A possible match of two labels before the ranking. `explain` makes the reason of it, when it is asked for."""

    score: float
    tier: str
    explain: Callable[[], str]
    accepted: bool = False


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
    return Namesakes(taken, common, rare)


def find_candidates(
    model: Sequence[Reading], task: Sequence[Reading], floor: float, embed: semantic.Embed | None
) -> Candidates:
    """The best candidate of each pair of indexes, over all tiers.

    Candidates by meaning below `floor` may be left out. `embed` is for the last tier, which None leaves out.
    """
    found: Candidates = {}
    by_words(found, model, task)
    by_name(found, model, task)
    same = namesakes(found, len(model), len(task))
    by_meaning(found, model, task, same, min(max(floor, scores.FLOOR), DISPLAY_SCORE))
    by_last_words(found, model, task, same)
    by_looks(found, model, task, same)
    if embed is not None:
        by_embedding(found, model, task, embed)
    negated = [reading.parsed.negated for reading in model], [reading.parsed.negated for reading in task]
    if not any(map(any, negated)):
        return found
    return {
        pair: one for pair, one in found.items() if one.tier == "exact" or negated[0][pair[0]] == negated[1][pair[1]]
    }


def keep(found: Candidates, pair: Pair, candidate: Candidate) -> None:
    present = found.get(pair)
    if present is None or candidate.score > present.score:
        found[pair] = candidate


def by_name(found: Candidates, model: Sequence[Reading], task: Sequence[Reading]) -> None:
    """Exact names, and names equal after folding."""
    exact: dict[str, list[int]] = defaultdict(list)
    folded: dict[str, list[int]] = defaultdict(list)
    for index, reading in enumerate(task):
        exact[reading.name].append(index)
        if not reading.parsed.names_nothing:
            folded[reading.parsed.folded].append(index)
    for index, reading in enumerate(model):
        if not reading.parsed.names_nothing:
            for other in folded.get(reading.parsed.folded, ()):
                found[index, other] = FOLDED
        for other in exact.get(reading.name, ()):
            found[index, other] = EXACT


def by_words(found: Candidates, model: Sequence[Reading], task: Sequence[Reading]) -> None:
    """Names that are the same once read: plurals, paths, prefixes, alternatives, glued words, translations."""
    index_of: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for index, reading in enumerate(task):
        for key, cost in reading.keys:
            index_of[key].append((index, cost))
    for index, reading in enumerate(model):
        for key, cost in reading.keys:
            for other, other_cost in index_of.get(key, ()):
                score = scores.PARSED * (1 - cost) * (1 - other_cost)
                keep(found, (index, other), same_words(reading, task[other], score))


def same_words(model: Reading, task: Reading, score: float) -> Candidate:
    foreign = model if model.translation else task
    if foreign.translation:
        text = f"{foreign.short} is {foreign.translation.language} for {foreign.translation.english}"
        return Candidate(score * scores.TRANSLATED, "translation", lambda: text)
    return Candidate(score, "normalised", lambda: f"the same once read: {model.short} = {task.short}")


def by_meaning(
    found: Candidates, model: Sequence[Reading], task: Sequence[Reading], same: Namesakes, floor: float
) -> None:
    """Synonyms, kinds, and head nouns of compounds, through the lexicon."""
    words = frozenset(word for reading in (*model, *task) for word in reading.company)
    mine, theirs = context.weigh(
        [context.lay_out([reading.meaning for reading in readings]) for readings in (model, task)],
        words,
        [[(i, reading.hints) for i, reading in enumerate(readings) if reading.hints] for readings in (model, task)],
    )
    links = context.link(mine, theirs)
    values = scores.of_links(links, mine, theirs)
    likely = values >= floor
    model_phrase, task_phrase = links.model_phrase[likely], links.task_phrase[likely]
    rows = zip(
        mine.phrase_label[model_phrase].tolist(),
        theirs.phrase_label[task_phrase].tolist(),
        model_phrase.tolist(),
        task_phrase.tolist(),
        mine.phrase_head[model_phrase].tolist(),
        theirs.phrase_head[task_phrase].tolist(),
        links.steps[likely].tolist(),
        values[likely].tolist(),
        strict=True,
    )
    spoken = [
        [phrase.words for reading in readings for phrase in reading.meaning.phrases] for readings in (model, task)
    ]
    nodes = links.node[likely].tolist()
    kinds: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for (index, other, one, its, head, its_head, steps, value), node in zip(rows, nodes, strict=True):
        pair = index, other
        score = value * same.level(pair) if steps or head or its_head else value
        present = found.get(pair)
        if score >= floor and (present is None or score > present.score):
            tier = "head noun" if head or its_head else ("hypernym" if steps else "synonym")
            explain = Explanation(model[index], task[other], spoken[0][one], spoken[1][its], steps, head)
            found[pair] = Candidate(score, tier, explain.text)
            kinds[index].append((other, node))
    for index, ways in kinds.items():
        if len(ways) > 1:
            nearest_first(found, index, ways)


def nearest_first(found: Candidates, index: int, ways: Sequence[tuple[int, int]]) -> None:
    """Of two kinds of one thing, the narrower comes first where it is likely: a sedan is a car, then a vehicle.

    Both senses of a sedan are vehicles, the car and the chair, so that by likelihood alone the vehicle would win.
    ways: (task index, node) of the model label's candidates by meaning.
    """
    for other, node in ways:
        for narrower, its_node in ways:
            if its_node != node and node in lexicon().path(its_node) and its_node not in lexicon().path(node):
                limit = found[index, narrower].score - scores.NARROWER
                if limit >= DISPLAY_SCORE and found[index, other].score > limit and not found[index, other].accepted:
                    found[index, other] = found[index, other]._replace(score=limit)


class Explanation(NamedTuple):
    """The reason for a match by meaning; `one` and `other` are the phrases that were understood."""

    model: Reading
    task: Reading
    one: str
    other: str
    steps: int
    head: bool

    def text(self) -> str:
        mine, theirs = self.model.short, self.task.short
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


def by_last_words(found: Candidates, model: Sequence[Reading], task: Sequence[Reading], same: Namesakes) -> None:
    """A task label that is the model's word with more in front, where it is the only one: fan, mechanical fan."""
    ending: dict[str, set[int]] = defaultdict(set)
    for index, reading in enumerate(task):
        for tail in reading.tails:
            ending[tail].add(index)
    for index, reading in enumerate(model):
        longer = ending.get(reading.singular, ())
        if len(longer) == 1:
            (other,) = longer
            score = scores.LAST_WORDS * same.level((index, other))
            keep(found, (index, other), Candidate(score, "head noun", only_kind(reading, task[other])))


def only_kind(model: Reading, task: Reading) -> Callable[[], str]:
    return lambda: f"{task.short} is a kind of {model.short}, and the only one here"


def by_looks(found: Candidates, model: Sequence[Reading], task: Sequence[Reading], same: Namesakes) -> None:
    """Typing errors and glued words, for the model labels that have no good candidate yet."""
    settled = {index for (index, _), one in found.items() if one.score >= scores.SETTLED}
    waiting = [index for index, reading in enumerate(model) if index not in settled and reading.parsed.forms]
    looks = fuzzy.lookalikes(
        [model[index].parsed.forms[0].words for index in waiting],
        [reading.parsed.forms[0].words if reading.parsed.forms else "" for reading in task],
    )
    for look in looks:
        index, other = waiting[look.model], look.task
        taken = same.taken.get(other, index) != index
        score = scores.FUZZY * look.ratio * (scores.TAKEN if taken else 1.0)
        keep(found, (index, other), Candidate(score, "fuzzy", almost_alike(model[index], task[other])))


def almost_alike(model: Reading, task: Reading) -> Callable[[], str]:
    return lambda: f"spelled almost alike: {model.short}, {task.short}"


def by_embedding(found: Candidates, model: Sequence[Reading], task: Sequence[Reading], embed: semantic.Embed) -> None:
    """The nearest name by embedding, for the model labels that nothing worth showing was found for."""
    settled = {index for (index, _), one in found.items() if one.score >= DISPLAY_SCORE}
    waiting = [index for index, reading in enumerate(model) if index not in settled and reading.parsed.forms]
    offered = [index for index, reading in enumerate(task) if reading.parsed.forms]
    mine = [model[index].parsed.forms[0].words for index in waiting]
    theirs = [task[index].parsed.forms[0].words for index in offered]
    for index, other, cosine in semantic.nearest(embed, mine, theirs, scores.SEMANTIC_CUTOFF):
        pair = waiting[index], offered[other]
        keep(found, pair, Candidate(scores.SEMANTIC * cosine, "semantic", near(model[pair[0]], task[pair[1]])))


def near(model: Reading, task: Reading) -> Callable[[], str]:
    return lambda: f"{model.short} and {task.short} are used alike"
