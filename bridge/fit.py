"""How the parts of a model's label become those of a task's label: joints by their names, attributes and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.domain import TaskLabel
from bridge.model_labels import of_task
from labelmatch import AttributeMatch, Label, match_attributes, match_sublabels


@dataclass(frozen=True, slots=True)
class Fit:
    """What was found out once, for all detections of a label.

    joints      for each point of the task's skeleton the place of the model's joint, None where the model has none;
                None altogether where either side has no names, and only the order can tell
    attributes  model's attribute -> (task's attribute, {model's value: task's value})
    """

    joints: tuple[int | None, ...] | None = None
    attributes: Mapping[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)

    @property
    def has_no_joint(self) -> bool:
        """Both skeletons name their points, and have none in common."""
        return self.joints is not None and not any(place is not None for place in self.joints)


UNKNOWN = Fit()


def fit(model: Label, task: TaskLabel) -> Fit:
    """The fit of two labels that are mapped to each other."""
    attributes = {
        match.model_attribute: (match.task_attribute, dict(match.values)) for match in shared_attributes(model, task)
    }
    return Fit(_joints(model.sublabels, of_task(task).sublabels), attributes)


def fits(model: Sequence[Label], pairs: Mapping[str, TaskLabel]) -> dict[str, Fit]:
    """Model label -> how it fits the task label that ``pairs`` gives it."""
    return {label.name: fit(label, pairs[label.name]) for label in model if label.name in pairs}


def shared_attributes(model: Label, task: TaskLabel) -> tuple[AttributeMatch, ...]:
    """The attributes that the two labels have in common, in the model's order."""
    theirs = of_task(task).attributes
    return tuple(match_attributes(model.attributes, theirs)) if model.attributes and theirs else ()


def shared_joints(model: Label, task: TaskLabel) -> dict[str, str]:
    """Model's joint -> task's, by names; {} where either side has none."""
    return match_sublabels(model.sublabels, of_task(task).sublabels)


def _joints(model: tuple[str, ...], task: tuple[str, ...]) -> tuple[int | None, ...] | None:
    if not model or not task:
        return None
    place = {name: number for number, name in enumerate(model)}
    source = {theirs: place[mine] for mine, theirs in match_sublabels(model, task).items()}
    return tuple(source.get(name) for name in task)
