"""From label suggestions to the mapping that a job is pinned to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import labelmatch
from bridge.domain import HAND_DRAWN_TYPES, TaskLabel
from bridge.errors import InvalidRequest
from bridge.fit import shared_attributes, shared_joints
from bridge.model_labels import of_task, typed
from labelmatch import DISPLAY_SCORE, AttributeMatch, Label, Suggestion
from labelmatch.normalize import fold

LearnedPairs = Iterable[tuple[str, str, bool]]


@dataclass(frozen=True, slots=True)
class LabelMatch:
    """What becomes of one model label: its best suggestion, if any, and what else it could be.

    attributes, joints: the parts that the label and its best suggestion have in common (joints: model's -> task's).
    """

    model_label: str
    best: Suggestion | None
    alternatives: tuple[Suggestion, ...] = ()
    attributes: tuple[AttributeMatch, ...] = ()
    joints: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The form that the command line and the REST API answer alike."""
        best = self.best
        return {
            "model_label": self.model_label,
            "task_label": best.task_label if best else None,
            "score": round(best.score, 4) if best else None,
            "reason": best.reason if best else None,
            "accepted": bool(best and best.accepted),
            "alternatives": [
                {"task_label": other.task_label, "score": round(other.score, 4), "reason": other.reason}
                for other in self.alternatives
            ],
            "attributes": [
                {
                    "model_attribute": each.model_attribute,
                    "task_attribute": each.task_attribute,
                    "values": dict(each.values),
                    "score": round(each.score, 4),
                    "reason": each.reason,
                    "accepted": each.accepted,
                }
                for each in self.attributes
            ],
            "points": dict(self.joints),
        }


def match_labels(
    model_labels: Sequence[str | Label],
    task_labels: Sequence[TaskLabel],
    *,
    shape_types: Sequence[str] = (),
    learned: LearnedPairs = (),
    min_score: float = DISPLAY_SCORE,
) -> list[LabelMatch]:
    """One entry per model label, in the model's order; those without a match have ``best`` None.

    shape_types   what the model produces, for labels that do not say it: one of tags matches no rectangle label
    learned       (model label, task label, accepted), oldest first: of two that were accepted the later one counts.
                  They hold for labels that differ in case and separators, too
    min_score     of what is suggested
    """
    mine = typed(model_labels, shape_types)
    theirs = {label.name: label for label in task_labels}
    suggestions = labelmatch.suggest(
        mine,
        [of_task(label) for label in task_labels if label.type not in HAND_DRAWN_TYPES],
        learned=[labelmatch.LearnedPair(*pair) for pair in _last_words(learned, theirs)],
        min_score=min_score,
    )
    ranked: dict[str, list[Suggestion]] = {label.name: [] for label in mine}
    for suggestion in suggestions:
        ranked[suggestion.model_label].append(suggestion)
    return [_match(label, ranked[label.name], theirs) for label in mine]


def _match(label: Label, found: Sequence[Suggestion], task_labels: Mapping[str, TaskLabel]) -> LabelMatch:
    if not found:
        return LabelMatch(label.name, None)
    best = task_labels[found[0].task_label]
    attributes, joints = shared_attributes(label, best), shared_joints(label, best)
    return LabelMatch(label.name, found[0], tuple(found[1:]), attributes, joints)


def _last_words(learned: LearnedPairs, task_labels: Iterable[str]) -> list[tuple[str, str, bool]]:
    """What counts of the pairs about these task labels."""
    wanted = {fold(name) for name in task_labels}
    pairs = [pair for pair in learned if fold(pair[1]) in wanted]
    gone = replaced(pairs)
    return [pair for pair in pairs if (pair[0], pair[1]) not in gone]


def replaced(learned: LearnedPairs) -> set[tuple[str, str]]:
    """The (model label, task label) of pairs, oldest first, on which a later one has the last word.

    That is a later word on the same pair, and an accepted one on another task label for the same model label; labels
    that differ in case and separators only are the same.
    """
    pairs = [(fold(one), fold(other), (one, other), accepted) for one, other, accepted in learned]
    last = {(one, other): names for one, other, names, _ in pairs}
    chosen = {one: other for one, other, _, accepted in pairs if accepted}
    return {
        names
        for one, other, names, accepted in pairs
        if last[one, other] != names or (accepted and chosen[one] != other)
    }


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
                hint=f"It has: {some(sorted(known))}.",
                code="unknown_label",
            )
        if task_label and task_label not in names:
            raise InvalidRequest(
                f"The task has no label {task_label!r}.", hint=f"It has: {some(sorted(names))}.", code="unknown_label"
            )


def some(names: Sequence[str]) -> str:
    """The first names, for an error."""
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
