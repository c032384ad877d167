"""The matcher: every tier's candidates for two lists of labels, put together into one ranking per model label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from labelmatch import context, fuzzy, scores
from labelmatch.kinds import compatible
from labelmatch.lexicon import lexicon
from labelmatch.meaning import Meaning, meaning
from labelmatch.normalize import Form, Parsed, fold, parse
from labelmatch.translations import Dictionary, Translation, Translations, coco_dictionary, dictionary, translate
from labelmatch.types import DISPLAY_SCORE, Label, LearnedPair, Suggestion

MAX_LABELS = 50_000  # in one list
MAX_SUGGESTIONS = 10  # of one model label
SHARED_PREFIX_LABELS = 3  # at least so many labels make a prefix
SHARED_PREFIX_COST = 0.03


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible match of two labels before the ranking."""

    score: float
    tier: str
    reason: str
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """A label with all that the tiers need of it."""

    label: Label
    parsed: Parsed
    keys: tuple[tuple[str, float], ...]
    meaning: Meaning
    translation: Translation | None


Candidates = dict[tuple[int, int], Candidate]


def suggest(
    model_labels: Sequence[str | Label],
    task_labels: Sequence[str | Label],
    *,
    learned: Iterable[LearnedPair] = (),
    min_score: float = DISPLAY_SCORE,
    translations: Translations | None = None,
) -> list[Suggestion]:
    """The likely matches of a model's labels among a task's.

    Returns a flat list: model labels in the order given (each name once), for each its suggestions of at least
    `min_score`, best first, ten at most. A model label without any is absent. Several model labels may share a task
    label; at most one suggestion of a model label is `accepted`. The order of the labels does not change a score, nor
    which pairs are suggested; equal scores are ordered by the task label.

    learned: pairs that the user accepted (they come first, with score 1) or rejected (they never come again); they
    hold for the same names, and for names that differ in case and separators only.
    translations: {language: {word: English word}}; None means our table of the COCO names, {} means none.

    Raises ValueError for something that is not a label, for a `min_score` outside 0 to 1 and for a list of more than
    50,000 labels. Finding nothing is a result: []. Names may be anything: blank ones, and those that name no object
    (`background`, `LABEL_0`), match an identical name only.
    """
    if not 0 <= min_score <= 1:
        raise ValueError(f"min_score must be between 0 and 1, not {min_score}")
    model, task = checked(model_labels, "model_labels"), checked(task_labels, "task_labels")
    if not model or not task:
        return []
    words = coco_dictionary() if translations is None else dictionary(translations)
    found = find_candidates(read(model, words), read(task, words))
    allowed = {pair: one for pair, one in found.items() if compatible(model[pair[0]], task[pair[1]])}
    apply_learned(allowed, model, task, learned)
    return ranked(allowed, model, task, list(dict.fromkeys(name_of(label) for label in model_labels)), min_score)


def checked(labels: Sequence[str | Label], argument: str) -> list[Label]:
    """The labels, each once, in an order that does not depend on the caller's."""
    if isinstance(labels, str):
        raise ValueError(f"{argument} must be a list of labels, not one string")  # noqa: TRY004 - ValueError only
    if len(labels) > MAX_LABELS:
        raise ValueError(f"{argument} holds {len(labels):,} labels; {MAX_LABELS:,} are the most that can be matched")
    unique = set()
    for label in labels:
        if not isinstance(label, (str, Label)):
            raise ValueError(f"{argument} holds {type(label).__name__} {label!r}, which is no label")  # noqa: TRY004
        unique.add(Label(label) if isinstance(label, str) else label)
    return sorted(unique, key=lambda label: (label.name, label.type, label.sublabels, repr(label.attributes)))


def name_of(label: str | Label) -> str:
    return label if isinstance(label, str) else label.name


def read(labels: Sequence[Label], words: Dictionary) -> list[Reading]:
    """The labels parsed, translated where they need it, and looked up."""
    parsed = without_shared_prefix([parse(label.name) for label in labels])
    translated = translate(parsed, words)
    readings = []
    for label, one in zip(labels, parsed, strict=True):
        translation = translated.get(one.folded)
        forms = (Form(translation.english),) if translation else one.forms
        readings.append(Reading(label, one, keys(forms), meaning(forms), translation))
    return readings


def without_shared_prefix(parsed: list[Parsed]) -> list[Parsed]:
    """The labels read also without the first word where all names have the same: TYPE_CAR, TYPE_SIGN."""
    first = {one.folded.split(" ", 1)[0] for one in parsed if one.forms}
    if len(parsed) < SHARED_PREFIX_LABELS or len(first) != 1:
        return parsed
    longer = []
    for one in parsed:
        shorter = (form.words.partition(" ")[2] for form in one.forms)
        extra = tuple(Form(words, SHARED_PREFIX_COST) for words in dict.fromkeys(shorter) if words)
        longer.append(replace(one, forms=(*one.forms, *extra)))
    return longer


@lru_cache(maxsize=16_384)
def keys(forms: tuple[Form, ...]) -> tuple[tuple[str, float], ...]:
    """(key, cost) of each reading; equal keys are one name: no spaces, last word in the singular."""
    return tuple((lexicon().singular(form.words).replace(" ", ""), form.cost) for form in forms)


def find_candidates(model: Sequence[Reading], task: Sequence[Reading]) -> Candidates:
    """The best candidate of each pair, over all tiers."""
    found: Candidates = {}
    by_meaning(found, model, task)
    by_words(found, model, task)
    by_name(found, model, task)
    taken = {pair[1]: pair[0] for pair, one in sorted(found.items()) if one.tier in scores.SAME_NAME}
    by_last_words(found, model, task)
    leave_the_unwanted(found, len(model), len(task), taken)
    settled = {pair[0] for pair, one in found.items() if one.score >= scores.SETTLED}
    by_looks(found, model, task, settled, taken)
    return {
        pair: one
        for pair, one in found.items()
        if one.tier == "exact" or (model[pair[0]].parsed.negated == task[pair[1]].parsed.negated)
    }


def keep(found: Candidates, pair: tuple[int, int], candidate: Candidate) -> None:
    present = found.get(pair)
    if present is None or candidate.score > present.score:
        found[pair] = candidate


# -- the tiers


def by_name(found: Candidates, model: Sequence[Reading], task: Sequence[Reading]) -> None:
    """Exact names, and names equal after folding; with both present, the exact one alone is accepted."""
    exact: dict[str, list[int]] = defaultdict(list)
    folded: dict[str, list[int]] = defaultdict(list)
    for index, reading in enumerate(task):
        exact[reading.label.name].append(index)
        if not reading.parsed.names_nothing:
            folded[reading.parsed.folded].append(index)
    for index, reading in enumerate(model):
        same = exact.get(reading.label.name, [])
        for other in same:
            found[index, other] = Candidate(1.0, "exact", "the same name", accepted=True)
        if reading.parsed.names_nothing:
            continue
        for other in folded.get(reading.parsed.folded, []):
            if other not in same:
                reason = "the same name but for case and separators"
                found[index, other] = Candidate(scores.FOLDED, "normalised", reason, accepted=True)


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
                keep(found, (index, other), parsed_candidate(reading, task[other], score))


def parsed_candidate(model: Reading, task: Reading, score: float) -> Candidate:
    for one in (model, task):
        if one.translation:
            text = f"{one.label.name} is {one.translation.language} for {one.translation.english}"
            return Candidate(score * scores.TRANSLATED, "translation", text)
    return Candidate(score, "normalised", f"the same once read: {short(model)} = {short(task)}")


def by_meaning(found: Candidates, model: Sequence[Reading], task: Sequence[Reading]) -> None:
    """Synonyms, kinds, and head nouns of compounds, through the lexicon."""
    laid = [context.lay_out([reading.meaning for reading in readings]) for readings in (model, task)]
    words = frozenset(key for reading in (*model, *task) for key in company_words(reading))
    hints = [[hint_nodes(reading.parsed.hints) for reading in readings] for readings in (model, task)]
    mine, theirs = context.weigh(laid, words, hints)
    links = context.link(mine, theirs)
    values = scores.of_links(links, mine, theirs)
    kept = values.score >= scores.FLOOR
    rows = zip(
        links.model_phrase[kept].tolist(),
        links.task_phrase[kept].tolist(),
        links.steps[kept].tolist(),
        values.score[kept].tolist(),
        strict=True,
    )
    model_label, task_label = mine.phrase_label.tolist(), theirs.phrase_label.tolist()
    model_head, task_head = mine.phrase_head.tolist(), theirs.phrase_head.tolist()
    phrases = [[phrase.words for reading in readings for phrase in reading.meaning.phrases] for readings in (model, task)]
    for one, other, steps, score in rows:
        pair = model_label[one], task_label[other]
        present = found.get(pair)
        if present is None or score > present.score:
            head = model_head[one] or task_head[other]
            tier = "head noun" if head else ("hypernym" if steps else "synonym")
            reason = why(model[pair[0]], task[pair[1]], phrases[0][one], phrases[1][other], steps, model_head[one])
            found[pair] = Candidate(score, tier, reason)


def leave_the_unwanted(found: Candidates, models: int, tasks: int, taken: dict[int, int]) -> None:
    """Lower the matches with broader labels as far as the two lists name things on one level; see `scores.level`."""
    named = len({pair[0] for pair, one in found.items() if one.tier in scores.SAME_NAME})
    for pair, one in found.items():
        if one.tier in {"hypernym", "head noun"}:
            factor = scores.level(named, models, len(taken), tasks, taken.get(pair[1], pair[0]) != pair[0])
            found[pair] = replace(one, score=one.score * factor)


def by_last_words(found: Candidates, model: Sequence[Reading], task: Sequence[Reading]) -> None:
    """A task label that is the model's word with more in front: "fan" and "mechanical fan", where it is the only one."""
    ending: dict[str, set[int]] = defaultdict(set)
    for index, reading in enumerate(task):
        for form in reading.parsed.forms[:1]:
            tokens = lexicon().singular(form.words).split()
            for begin in range(1, len(tokens)):
                ending[" ".join(tokens[begin:])].add(index)
    for index, reading in enumerate(model):
        for form in reading.parsed.forms[:1]:
            longer = ending.get(lexicon().singular(form.words), set())
            if len(longer) == 1:
                (other,) = longer
                reason = f"{short(task[other])} is a kind of {short(reading)}, and the only one here"
                keep(found, (index, other), Candidate(scores.LAST_WORDS, "head noun", reason))


def by_looks(
    found: Candidates,
    model: Sequence[Reading],
    task: Sequence[Reading],
    settled: set[int],
    taken: dict[int, int],
) -> None:
    """Typing errors and glued words, for the model labels that have no good candidate yet."""
    open_labels = [i for i, reading in enumerate(model) if i not in settled and reading.parsed.forms]
    looks = fuzzy.lookalikes(
        [model[i].parsed.forms[0].words for i in open_labels],
        [reading.parsed.forms[0].words if reading.parsed.forms else "" for reading in task],
    )
    for look in looks:
        index, other = open_labels[look.model], look.task
        score = scores.FUZZY * look.ratio * (scores.TAKEN if taken.get(other, index) != index else 1.0)
        reason = f"spelled almost alike: {short(model[index])}, {short(task[other])}"
        keep(found, (index, other), Candidate(score, "fuzzy", reason))


# -- what the tiers say


def company_words(reading: Reading) -> Iterable[str]:
    yield reading.parsed.folded
    for phrase in reading.meaning.phrases:
        yield phrase.words


@lru_cache(maxsize=4096)
def hint_nodes(hints: tuple[str, ...]) -> tuple[int, ...]:
    """All that the words of a path or in brackets likely mean, or are kinds of."""
    known = lexicon()
    words = {known.find(words) for hint in hints for words in (hint, *hint.split())} - {None}
    nodes = {sense.node for phrase in words if phrase for sense in known.senses(phrase) if sense.weight > 0.15}
    return tuple(sorted({int(above) for node in nodes for above in known.path(node)[0]}))


def short(reading: Reading) -> str:
    """The label's name, cut where it is a text."""
    name = reading.label.name
    return name if len(name) <= 40 else name[:39] + "…"


def why(model: Reading, task: Reading, one: str, other: str, steps: int, head: bool) -> str:
    """The reason for a match by meaning; `one` and `other` are the phrases that were understood."""
    mine, theirs = short(model), short(task)
    spoken = one if model.translation or head or one != model.parsed.folded else mine
    read_as = f"{mine} means {spoken}; " if model.translation else (f"{mine} is a {spoken}; " if head else "")
    if steps:
        return f"{read_as}{spoken} is a kind of {theirs if not task.translation else other}"
    if spoken == other:
        return f"{mine} is a kind of {other}" if head else f"the same word: {spoken}"
    return f"{read_as}synonym: {spoken} = {theirs if not task.translation else other}"


# -- the ranking


def apply_learned(
    found: Candidates, model: Sequence[Label], task: Sequence[Label], learned: Iterable[LearnedPair]
) -> None:
    """Put accepted pairs first and take rejected ones out; what is said of the very names beats what is said of like
    ones."""
    said = {(pair.model_label, pair.task_label): pair.accepted for pair in learned}
    if not said:
        return
    loosely = {(fold(one), fold(other)): accepted for (one, other), accepted in sorted(said.items())}
    task_by_fold: dict[str, list[int]] = defaultdict(list)
    for index, label in enumerate(task):
        task_by_fold[fold(label.name)].append(index)
    partners: dict[str, list[str]] = defaultdict(list)
    for one, other in loosely:
        partners[one].append(other)
    for index, label in enumerate(model):
        for partner in partners.get(fold(label.name), ()):
            for other in task_by_fold.get(partner, ()):
                verdict = said.get((label.name, task[other].name), loosely[fold(label.name), partner])
                if not verdict:
                    found.pop((index, other), None)
                elif compatible(label, task[other]):
                    found[index, other] = Candidate(1.0, "learned", "accepted before", accepted=True)


def ranked(
    found: Candidates, model: Sequence[Label], task: Sequence[Label], order: Sequence[str], min_score: float
) -> list[Suggestion]:
    """The suggestions in the order of the model's names, best first, with at most one accepted for each."""
    by_model: dict[str, dict[str, Candidate]] = defaultdict(dict)
    for (index, other), one in found.items():
        if one.score >= min_score:
            names = by_model[model[index].name]
            present = names.get(task[other].name)
            if present is None or rank(one) < rank(present):
                names[task[other].name] = one
    suggestions = []
    for name in order:
        best = sorted(by_model.get(name, {}).items(), key=lambda item: (*rank(item[1]), item[0]))[:MAX_SUGGESTIONS]
        for position, (other_name, one) in enumerate(best):
            accepted = one.accepted and position == 0
            suggestions.append(Suggestion(name, other_name, round(one.score, 4), one.reason, accepted, one.tier))
    return suggestions


def rank(candidate: Candidate) -> tuple[int, float, str]:
    order = {"learned": 0, "exact": 1}.get(candidate.tier, 2 if candidate.accepted else 3)
    return order, -candidate.score, candidate.tier
