"""The matcher: what goes in is checked, the tiers' candidates are filtered and ranked, what comes out is explained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Real

from labelmatch.kinds import UNTYPED, compatible
from labelmatch.normalize import fold, kept
from labelmatch.readings import Reading, read
from labelmatch.semantic import Embed
from labelmatch.tiers import Candidate, Candidates, Fits, find_candidates
from labelmatch.translations import Translations, coco_dictionary, dictionary
from labelmatch.types import DISPLAY_SCORE, Label, LearnedPair, Suggestion

MAX_LABELS = 50_000  # in one list
MAX_SUGGESTIONS = 10  # of one model label
Verdicts = dict[tuple[int, int], bool]
LEARNED = Candidate(1.0, "learned", lambda: "accepted before", accepted=True)


def suggest(
    model_labels: Sequence[str | Label],
    task_labels: Sequence[str | Label],
    *,
    learned: Iterable[LearnedPair] = (),
    min_score: float = DISPLAY_SCORE,
    translations: Translations | None = None,
    embed: Embed | None = None,
) -> list[Suggestion]:
    """The likely matches of a model's labels among a task's.

    Returns a flat list: model labels in the order given (each name once), for each its suggestions of at least
    `min_score`, best first, ten at most. A model label without any is absent. Several model labels may share a task
    label; at most one suggestion of a model label is `accepted`. The order of the labels does not change a score, nor
    which pairs are suggested; equal scores are ordered by the task label.

    learned: pairs that the user accepted (they come first, with score 1) or rejected (they never come again); they
    hold for the same names, and for names that differ in case and separators only.
    translations: {language: {word: English word}}; None means our table of the COCO names, {} means none.
    embed: names to vectors, see `labelmatch.semantic`; with it, names that no other tier matches are compared too.

    Raises ValueError for something that is not a label, for options of another form, for a `min_score` outside 0 to 1
    and for a list of more than 50,000 labels. Finding nothing is a result: []. Names may be anything: blank ones, and
    those that name no object (`background`, `LABEL_0`), match an identical name only.
    """
    learned = list(learned) if isinstance(learned, Iterable) else learned
    check_options(min_score, learned, translations)
    model, task = checked(model_labels, "model_labels"), checked(task_labels, "task_labels")
    if not model or not task:
        return []
    words = coco_dictionary() if translations is None else dictionary(translations)
    mine, theirs = (read([label.name for label in labels], words) for labels in (model, task))
    said = verdicts(model, task, learned)
    found = find_candidates(mine, theirs, min_score, embed, fitting(model, task, mine, theirs, said))
    found.update((pair, LEARNED) for pair, accepted in said.items() if accepted)
    return ranked(found, model, task, dict.fromkeys(name_of(label) for label in model_labels), min_score)


def check_options(min_score: object, learned: object, translations: object) -> None:
    """What is not a label is checked too, so that a mistake is a sentence."""
    if isinstance(min_score, bool) or not isinstance(min_score, Real) or not 0 <= float(min_score) <= 1:
        raise ValueError(f"min_score must be a number between 0 and 1, not {min_score!r:.80}")
    if not isinstance(learned, Collection) or not all(isinstance(pair, LearnedPair) for pair in learned):
        raise ValueError("learned must be a list of LearnedPair(model_label, task_label, accepted)")
    if not all(isinstance(name, str) for pair in learned for name in (pair.model_label, pair.task_label)):
        raise ValueError("the labels of a learned pair must be strings")
    tables = translations.values() if isinstance(translations, Mapping) else [translations]
    words = [word for table in tables if isinstance(table, Mapping) for item in table.items() for word in item]
    fits = all(isinstance(table, Mapping) for table in tables) and all(isinstance(word, str) for word in words)
    if translations is not None and not (fits and isinstance(translations, Mapping)):
        raise ValueError("translations must be {language: {word: English word}}")


def checked(labels: Sequence[str | Label], argument: str) -> list[Label]:
    """The labels, each once, in an order that does not depend on the caller's."""
    if isinstance(labels, str) or not isinstance(labels, Collection):
        raise ValueError(f"{argument} must be a list of labels, not {labels!r:.80}")  # noqa: TRY004 - ValueError only
    if len(labels) > MAX_LABELS:
        raise ValueError(f"{argument} holds {len(labels):,} labels; {MAX_LABELS:,} are the most that can be matched")
    for label in labels:
        if not isinstance(label, (str, Label)):
            raise ValueError(f"{argument} holds {type(label).__name__} {label!r}, which is no label")  # noqa: TRY004
    names = {label for label in labels if isinstance(label, str)}
    typed = {label for label in labels if isinstance(label, Label)}
    full = [
        *map(untyped, names),
        *(label for label in typed if label.name not in names or label != untyped(label.name)),
    ]
    return sorted(full, key=sorting_key)


def sorting_key(label: Label) -> tuple[str, str, tuple[str, ...], str]:
    return label.name, label.type, label.sublabels, repr(label.attributes) if label.attributes else ""


@kept(16_384)
def untyped(name: str) -> Label:
    return Label(name)


def name_of(label: str | Label) -> str:
    return label if isinstance(label, str) else label.name


def fitting(
    model: Sequence[Label], task: Sequence[Label], mine: Sequence[Reading], theirs: Sequence[Reading], said: Verdicts
) -> Fits:
    """Whether two labels, by index, may match: their kinds fit, both deny or neither, and no user rejected the pair."""
    untyped_lists = all(label.type in UNTYPED for label in (*model, *task))
    denied = any(reading.parsed.polarity for reading in (*mine, *theirs))

    def fits(index: int, other: int) -> bool:
        if not said.get((index, other), True):
            return False
        one, two = mine[index], theirs[other]
        if denied and one.parsed.polarity != two.parsed.polarity and one.name != two.name:
            return False
        return untyped_lists or compatible(model[index], task[other])

    return fits


def verdicts(model: Sequence[Label], task: Sequence[Label], learned: Iterable[LearnedPair]) -> Verdicts:
    """What the user said of pairs, by index; what is said of the very names beats what is said of like ones.

    Accepted pairs whose kinds do not fit are left out.
    """
    said = {(pair.model_label, pair.task_label): pair.accepted for pair in learned}
    if not said:
        return {}
    loosely = {(fold(one), fold(other)): accepted for (one, other), accepted in sorted(said.items())}
    task_by_fold: dict[str, list[int]] = defaultdict(list)
    for index, label in enumerate(task):
        task_by_fold[fold(label.name)].append(index)
    partners: dict[str, list[str]] = defaultdict(list)
    for one, partner in loosely:
        partners[one].append(partner)
    found: Verdicts = {}
    for index, label in enumerate(model):
        for partner in partners.get(fold(label.name), ()):
            for other in task_by_fold.get(partner, ()):
                accepted = said.get((label.name, task[other].name), loosely[fold(label.name), partner])
                if not accepted or compatible(label, task[other]):
                    found[index, other] = accepted
    return found


def ranked(
    found: Candidates, model: Sequence[Label], task: Sequence[Label], order: Iterable[str], min_score: float
) -> list[Suggestion]:
    """The suggestions in the order of the model's names, best first, with at most one accepted for each."""
    by_model: dict[str, dict[str, Candidate]] = defaultdict(dict)
    for (index, other), one in found.items():
        if one.score >= min_score:
            names, name = by_model[model[index].name], task[other].name
            present = names.get(name)
            if present is None or rank(one) < rank(present):
                names[name] = one
    suggestions = []
    for name in order:
        if name not in by_model:
            continue
        best = sorted(by_model[name].items(), key=lambda item: (*rank(item[1]), item[0]))[:MAX_SUGGESTIONS]
        for position, (other_name, one) in enumerate(best):
            accepted = one.accepted and position == 0
            suggestions.append(Suggestion(name, other_name, round(one.score, 4), one.explain(), accepted, one.tier))
    return suggestions


def rank(candidate: Candidate) -> tuple[int, float, str]:
    """Learned first, then exact, then accepted ones, then by the score."""
    if candidate.accepted:
        return ({"learned": 0, "exact": 1}.get(candidate.tier, 2), -candidate.score, candidate.tier)
    return 3, -candidate.score, candidate.tier
