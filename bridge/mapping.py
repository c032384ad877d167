"""From label suggestions to the mapping that a job is pinned to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import labelmatch
from bridge.domain import TaskLabel
from bridge.errors import InvalidRequest
from labelmatch import Suggestion

LearnedPairs = Iterable[tuple[str, str, bool]]


@dataclass(frozen=True, slots=True)
class LabelMatch:
    """What becomes of one model label: its best suggestion, if any, and what else it could be."""

    model_label: str
    best: Suggestion | None
    alternatives: tuple[Suggestion, ...] = ()


def match_labels(
    model_labels: Sequence[str],
    task_labels: Sequence[TaskLabel],
    *,
    shape_types: Sequence[str] = (),
    learned: LearnedPairs = (),
) -> list[LabelMatch]:
    """One entry per model label, in the model's order; those without a match have ``best`` None.

    shape_types   what the model produces; a model of tags matches no rectangle label
    learned       (model label, task label, accepted), oldest first: of two that were accepted the later one counts
    """
    kind = shape_types[0] if len(shape_types) == 1 else "any"
    unique = list(dict.fromkeys(model_labels))
    suggestions = labelmatch.suggest(
        [labelmatch.Label(name, type=kind) for name in unique],
        [labelmatch.Label(label.name, type=label.type, sublabels=label.sublabels) for label in task_labels],
        learned=[labelmatch.LearnedPair(*pair) for pair in _last_words(learned)],
    )
    ranked: dict[str, list[Suggestion]] = {name: [] for name in unique}
    for suggestion in suggestions:
        ranked[suggestion.model_label].append(suggestion)
    return [LabelMatch(name, found[0] if found else None, tuple(found[1:])) for name, found in ranked.items()]


def _last_words(learned: LearnedPairs) -> list[tuple[str, str, bool]]:
    """The pairs without those whose model label was later given another task label."""
    pairs = list(learned)
    last = {model_label: task_label for model_label, task_label, accepted in pairs if accepted}
    return [pair for pair in pairs if not pair[2] or last[pair[0]] == pair[1]]


def accepted_pairs(
    matches: Iterable[LabelMatch], chosen: Mapping[str, str], *, accept_suggestions: float | None
) -> dict[str, str]:
    """Model label -> task label: what is certain, what scores at least ``accept_suggestions``, and what was chosen.

    A choice wins over every suggestion; the empty task label leaves the model label out.
    """
    pairs = {
        match.model_label: match.best.task_label
        for match in matches
        if match.best is not None
        and (match.best.accepted or (accept_suggestions is not None and match.best.score >= accept_suggestions))
    }
    pairs.update(chosen)
    return {model_label: task_label for model_label, task_label in pairs.items() if task_label}


def check_choices(chosen: Mapping[str, str], model_labels: Sequence[str], task_labels: Sequence[TaskLabel]) -> None:
    """Raise InvalidRequest where a chosen pair names a label that the model or the task does not have."""
    names = {label.name for label in task_labels}
    known = set(model_labels)
    for model_label, task_label in chosen.items():
        if model_label not in known:
            raise InvalidRequest(
                f"The model has no label {model_label!r}.",
                hint=f"It has: {_some(sorted(known))}.",
                code="unknown_label",
            )
        if task_label and task_label not in names:
            raise InvalidRequest(
                f"The task has no label {task_label!r}.", hint=f"It has: {_some(sorted(names))}.", code="unknown_label"
            )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
