"""The labels of a config as a task has them, and how a model's joints find the points of a KeyPointLabels control.

A label that stands in controls of one kind has the type of their shapes. One that stands in several kinds is of type
any: each shape then goes to the control that holds it best (``regions``). A KeyPointLabels control is, beside its
single labels, a skeleton whose points are its labels, so that a pose model's joints are told apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from adapters.base import ModelCard
from bridge.domain import TaskLabel
from bridge.label_studio.config import Control, LabelConfig
from bridge.model_labels import describe
from bridge.task_labels import color_of
from labelmatch import match_sublabels


def task_labels(config: LabelConfig) -> tuple[TaskLabel, ...]:
    """The labels, each name once, in the config's order; skeletons of key points come last."""
    shapes: dict[str, set[str]] = {name: set() for name in config.label_names}
    for control in config.controls:
        for name in control.labels:
            shapes[name].add(control.shape)
    plain = [TaskLabel(name, shape.pop() if len(shape) == 1 else "any") for name, shape in shapes.items()]
    skeletons = [
        TaskLabel(name, "skeleton", sublabels=tuple(control.labels))
        for name, control in skeleton_controls(config).items()
    ]
    return tuple(
        TaskLabel(label.name, label.type, color_of(place), sublabels=label.sublabels)
        for place, label in enumerate([*plain, *skeletons])
    )


def matchable(labels: Iterable[TaskLabel], card: ModelCard) -> list[TaskLabel]:
    """The labels as the matcher is to see them: a control takes whatever is drawn and turns it into its own kind
    (``regions``), so names decide. A tag cannot be drawn, nor a drawing be a choice, unless a person says so."""
    if set(card.shape_types) <= {"tag"}:
        return list(labels)
    return [label if label.type in ("tag", "skeleton") else replace(label, type="any") for label in labels]


def skeleton_controls(config: LabelConfig) -> dict[str, Control]:
    """Name of a skeleton label -> the KeyPointLabels control whose labels are its points."""
    taken = set(config.label_names)
    found: dict[str, Control] = {}
    for control in config.controls:
        if control.kind != "keypointlabels" or any(known.name == control.name for known in found.values()):
            continue  # the same control on another image has the same points
        name = control.name
        while name in taken:
            name += " (points)"
        taken.add(name)
        found[name] = control
    return found


def joint_pairs(card: ModelCard, labels: Iterable[TaskLabel]) -> dict[str, str]:
    """Model label -> the skeleton whose points share the most names with its joints; {} where none does."""
    skeletons = [label for label in labels if label.type == "skeleton"]
    pairs = {}
    for label in describe(card):
        shared = {each.name: len(match_sublabels(label.sublabels, each.sublabels)) for each in skeletons}
        best = max(shared, key=lambda name: shared[name], default=None)
        if best is not None and shared[best]:
            pairs[label.name] = best
    return pairs
