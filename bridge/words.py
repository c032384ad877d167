"""The words of a function: what labels it has in CVAT, and how a raw result becomes shapes of those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from adapters.base import Detections, ModelCard
from bridge.domain import HAND_DRAWN_TYPES, LABEL_TYPES, LabelAttribute, Shape, TaskLabel
from bridge.fit import Fit, fits
from bridge.model_labels import describe, only_type
from bridge.outlines import Size
from bridge.profiles import Named
from bridge.refine import Refinement, refine
from bridge.task_labels import INPUT_TYPES
from labelmatch import Attribute, Label

_ANSWERED = tuple(kind for kind in LABEL_TYPES if kind not in HAND_DRAWN_TYPES)


@dataclass(frozen=True, slots=True)
class Words:
    """``labels`` are the function's in CVAT, ``pairs`` and ``fits`` lead from the model's to them."""

    labels: tuple[TaskLabel, ...]
    pairs: dict[str, TaskLabel]
    fits: dict[str, Fit]

    def shapes(
        self, found: Detections, threshold: float, size: Size, *, masks_as_polygons: bool = False
    ) -> list[Shape]:
        """What was found as shapes of ``labels``; with ``masks_as_polygons`` also those of labels of type mask."""
        pairs = self.pairs
        if masks_as_polygons:
            pairs = {k: replace(v, type="polygon") if v.type == "mask" else v for k, v in pairs.items()}
        refinement = Refinement(pairs, threshold, masks_as_polygons=masks_as_polygons, fits=self.fits)
        return refine(found, refinement, size)


def words_of(named: Named, score_attribute: str = "") -> Words:
    """A model's own labels, or those of a profile with their types narrowed to what the model makes.

    ``score_attribute`` names a text attribute that every label gets, where it has none of that name.
    """
    if named.profile is None:
        own = [_own(label, named.model.card) for label in describe(named.model.card)]
        labels = [_with_score(label, score_attribute) for label in own]
        return Words(tuple(labels), {label.name: label for label in labels}, {})
    card, profile = named.model.card, named.profile
    theirs = describe(card) if card.labels is not None else _looked_for(profile.labels, card)
    pairs = profile.pairs if card.labels is not None else {label.name: label.name for label in profile.labels}
    target = {label.name: label for label in profile.labels}
    found = fits(theirs, {mine: target[ours] for mine, ours in pairs.items()})
    labels = [_with_score(_narrowed(label, theirs, pairs, found), score_attribute) for label in profile.labels]
    narrowed = {label.name: label for label in labels}
    return Words(tuple(labels), {mine: narrowed[ours] for mine, ours in pairs.items()}, found)


def _looked_for(labels: Sequence[TaskLabel], card: ModelCard) -> list[Label]:
    """The labels of an open vocabulary, as the model answers them."""
    return [Label(label.name, only_type(card.shape_types)) for label in labels]


def _own(label: Label, card: ModelCard) -> TaskLabel:
    joints = _joints(label, card) if label.type == "skeleton" else ()
    kind = label.type if label.type in _ANSWERED else "any"
    if kind == "skeleton" and not joints:
        kind = "points"  # CVAT's skeletons name their points
    attributes = tuple(_attribute(attribute) for attribute in label.attributes)
    return TaskLabel(label.name, kind, attributes=attributes, sublabels=joints)


def _joints(label: Label, card: ModelCard) -> tuple[str, ...]:
    """The joints' names, also where they are numbers."""
    for spec in card.settings.get("label_specs") or ():
        if spec["name"] == label.name:
            return tuple(spec.get("sublabels") or ())
    return tuple(card.settings.get("sublabels") or ())


def _attribute(attribute: Attribute) -> LabelAttribute:
    """Of a type that CVAT knows; whatever else it may be is text."""
    kind = attribute.input_type if attribute.input_type in INPUT_TYPES else "text"
    if kind in ("select", "radio") and not attribute.values:
        kind = "text"
    return LabelAttribute(attribute.name, kind, attribute.values)


def _narrowed(
    label: TaskLabel, theirs: Sequence[Label], pairs: Mapping[str, str], found: Mapping[str, Fit]
) -> TaskLabel:
    """A task's label of type any as what the model makes of it; only the attributes that the model fills."""
    mine = [each for each in theirs if pairs.get(each.name) == label.name]
    filled = {name for each in mine for name, _ in found[each.name].attributes.values()}
    kinds = {each.type if each.type in _ANSWERED else "any" for each in mine}
    kind = label.type
    if kind == "any" and len(kinds) == 1:
        kind = next(iter(kinds))
        kind = "points" if kind == "skeleton" else kind  # a label of type any holds no joints
    return replace(label, type=kind, attributes=tuple(each for each in label.attributes if each.name in filled))


def _with_score(label: TaskLabel, name: str) -> TaskLabel:
    if not name or any(attribute.name == name for attribute in label.attributes):
        return label
    return replace(label, attributes=(*label.attributes, LabelAttribute(name, "text", ())))
