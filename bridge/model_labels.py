"""A model's labels as the matcher takes them: names with the type, attributes and joints that its card tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adapters.base import ModelCard
from bridge.domain import TaskLabel
from labelmatch import Attribute, Label
from labelmatch.attributes import CHOICES


def describe(card: ModelCard) -> list[Label]:
    """The labels in the model's order, each name once; [] for an open vocabulary.

    Where the card describes each label (``settings["label_specs"]``: functions on Nuclio), type, attributes and joints
    are the label's own; else the type is the card's only shape type, and ``settings["sublabels"]`` names the joints
    of every skeleton.
    """
    kind = only_type(card.shape_types)
    joints = tuple(card.settings.get("sublabels") or ()) if kind == "skeleton" else ()
    specs = {spec["name"]: spec for spec in card.settings.get("label_specs") or ()}
    names = dict.fromkeys(card.labels or ())
    return [_specified(specs[name]) if name in specs else Label(name, kind, (), named(joints)) for name in names]


def own_labels(card: ModelCard) -> list[dict[str, Any]]:
    """A task's labels as the model would have them, in the raw form of CVAT's label constructor.

    Only skeletons are given their type: every other label can hold whatever the model makes. Attributes for which CVAT
    has no input are left out.
    """
    return [
        {
            "name": label.name,
            "type": label.type if label.sublabels else "any",
            "attributes": [_input(each) for each in label.attributes if _has_input(each)],
            "sublabels": [{"name": name} for name in label.sublabels],
        }
        for label in describe(card)
    ]


def _has_input(attribute: Attribute) -> bool:
    return attribute.input_type in ("checkbox", "number", "text") or (
        attribute.input_type in CHOICES and bool(attribute.values)
    )


def _input(attribute: Attribute) -> dict[str, Any]:
    return {"name": attribute.name, "input_type": attribute.input_type, "values": list(attribute.values)}


def typed(labels: Iterable[str | Label], shape_types: Sequence[str]) -> list[Label]:
    """Each name once; those that say no type are of the only one of ``shape_types``, where there is just one."""
    kind = only_type(shape_types)
    found: dict[str, Label] = {}
    for label in labels:
        full = Label(label) if isinstance(label, str) else label
        if full.type == "any" and kind != "any":
            full = Label(full.name, kind, full.attributes, full.sublabels)
        found.setdefault(full.name, full)
    return list(found.values())


def of_task(label: TaskLabel) -> Label:
    """A task's label as the matcher takes it."""
    attributes = tuple(Attribute(each.name, each.input_type, each.values) for each in label.attributes)
    return Label(label.name, label.type, attributes, named(label.sublabels))


def named(joints: Sequence[str]) -> tuple[str, ...]:
    """The joints' names, or () where they have none: CVAT numbers the points of a new skeleton from 1."""
    return () if all(name.strip().isdigit() for name in joints) else tuple(joints)


def only_type(shape_types: Sequence[str]) -> str:
    return shape_types[0] if len(shape_types) == 1 else "any"


def _specified(spec: Mapping[str, Any]) -> Label:
    attributes = (_attribute(each) for each in spec.get("attributes") or ())
    return Label(
        spec["name"],
        spec.get("type") or "any",
        tuple(attribute for attribute in attributes if attribute is not None),
        named(spec.get("sublabels") or ()),
    )


def _attribute(written: Mapping[str, Any]) -> Attribute | None:
    """As the function's author wrote it, so nothing is sure; None where it has no name."""
    name, values = written.get("name"), written.get("values") or ()
    if isinstance(values, str):
        values = values.splitlines()
    if not isinstance(name, str) or not isinstance(values, list | tuple):
        return None
    texts = (str(value).lower() if isinstance(value, bool) else str(value) for value in values)
    return Attribute(name, str(written.get("input_type") or "any"), tuple(texts))
