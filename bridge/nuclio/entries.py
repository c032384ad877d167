"""How a function stands in the list that CVAT reads, and a checker that is as strict as CVAT's own reader.

One entry that CVAT cannot read empties its whole model page, so nothing leaves without having been through
``check_entry``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bridge.domain import LabelAttribute, TaskLabel
from bridge.skeleton_drawing import skeleton_svg
from bridge.task_labels import INPUT_TYPES

FunctionType = Literal["detector", "interactor", "tracker", "reid"]
TYPES: tuple[FunctionType, ...] = ("detector", "interactor", "tracker", "reid")
FUNCTION_ID = re.compile(r"[a-zA-Z0-9_.-]+")
SHAPE_TYPES = ("any", "rectangle", "polygon", "mask", "tag", "points", "ellipse", "skeleton")


@dataclass(frozen=True, slots=True)
class Entry:
    """A function as CVAT sees it.

    id           the slug in CVAT's URLs
    name         what people read on the Models page
    framework    what runs it
    labels       its words, with type, attributes and joints; none of an interactor, a tracker or a reid function
    version      of the interface: 2 for interactors that answer a crop
    annotations  further ones, such as ``min_pos_points``; CVAT takes any text of a flag for true, "false" as well
    """

    id: str
    type: FunctionType
    name: str
    description: str
    framework: str
    labels: tuple[TaskLabel, ...] = ()
    version: int = 1
    annotations: Mapping[str, str] = field(default_factory=dict)

    def as_json(self, http_port: int) -> dict[str, Any]:
        """As Nuclio's dashboard describes a deployed function."""
        return {
            "metadata": {
                "name": self.id,
                "namespace": "nuclio",
                "labels": {"nuclio.io/project-name": "cvat"},
                "annotations": {
                    **self.annotations,
                    "type": self.type,
                    "name": self.name,
                    "framework": self.framework,
                    "version": str(self.version),
                    "spec": json.dumps(label_specs(self.labels)),
                },
            },
            "spec": {"description": self.description},
            "status": {"state": "ready", "httpPort": http_port},
        }


def label_specs(labels: Sequence[TaskLabel]) -> list[dict[str, Any]]:
    """Labels as a function's ``spec`` lists them; ids count from 1 within each list."""
    return [_label_spec(label, number) for number, label in enumerate(labels, 1)]


def _label_spec(label: TaskLabel, number: int) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "id": number,
        "name": label.name,
        "type": label.type,
        "attributes": [_attribute_spec(attribute) for attribute in label.attributes],
    }
    if label.type == "skeleton":
        spec["sublabels"] = [
            {"id": joint, "name": name, "type": "points", "attributes": []}
            for joint, name in enumerate(label.sublabels, 1)
        ]
        spec["svg"] = skeleton_svg(label.sublabels, with_ids=True)
    return spec


def _attribute_spec(attribute: LabelAttribute) -> dict[str, Any]:
    return {"name": attribute.name, "input_type": attribute.input_type, "values": list(attribute.values)}


def check_entry(entry: Any) -> None:
    """Raises ValueError, with the reason, for a function that CVAT could not read or show."""
    metadata = _object(entry, "metadata")
    name, annotations = _text(metadata, "name"), _object(metadata, "annotations")
    if not FUNCTION_ID.fullmatch(name):
        raise ValueError(f"the id {name!r} holds other characters than letters, digits, dots, dashes and underscores")
    wrong = [key for key, value in annotations.items() if not isinstance(value, str)]
    if wrong:
        raise ValueError(f"the annotations {', '.join(wrong)} are no text")
    if annotations.get("type") not in TYPES:
        raise ValueError(f"the type is {annotations.get('type')!r}")
    for key in ("name", "framework", "spec"):
        if not _text(annotations, key).strip():
            raise ValueError(f"{key} is empty")
    for key in ("version", "min_pos_points", "min_neg_points"):
        int(annotations.get(key, "1"))  # a ValueError that names the text
    if "supported_shape_types" in annotations and not annotations["supported_shape_types"].strip(" ,"):
        raise ValueError("supported_shape_types is empty")
    _check_labels(json.loads(annotations["spec"]))
    _text(_object(entry, "spec"), "description")
    status = _object(entry, "status")
    _text(status, "state")
    if not isinstance(status.get("httpPort"), int):
        raise ValueError("httpPort is no number")  # noqa: TRY004
    json.dumps(entry, allow_nan=False).encode()  # a lone surrogate in a label is a UnicodeEncodeError


def _check_labels(specs: Any, allowed: Sequence[str] = SHAPE_TYPES) -> None:
    specs = _list(specs, "labels")
    _check_unique([_text(spec, "name") for spec in specs], "labels")
    for spec in specs:
        if not isinstance(spec.get("id"), int):
            raise ValueError(f"the label {spec['name']!r} has no id")  # noqa: TRY004
        if spec.get("type") not in allowed:
            raise ValueError(f"the label {spec['name']!r} is of the type {spec.get('type')!r}")
        attributes = _list(spec.get("attributes"), "attributes")
        _check_unique([_text(attribute, "name") for attribute in attributes], f"attributes of {spec['name']!r}")
        for attribute in attributes:
            values = _list(attribute.get("values"), "values")
            if attribute.get("input_type") not in INPUT_TYPES or not all(isinstance(v, str) for v in values):
                raise ValueError(f"the attribute {attribute['name']!r} has a wrong input type or wrong values")
        if spec["type"] == "skeleton":
            _text(spec, "svg")
            if not _list(spec.get("sublabels"), "sublabels"):
                raise ValueError(f"the skeleton {spec['name']!r} has no points")
            _check_labels(spec["sublabels"], ("points",))


def _check_unique(names: Sequence[str], what: str) -> None:
    if not all(name.strip() for name in names):
        raise ValueError(f"one of the {what} has no name")
    for name in names:
        name.encode()  # CVAT's database takes no lone surrogates
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise ValueError(f"two {what} are named {twice!r}")


def _object(value: Any, key: str) -> dict[str, Any]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"{key} is missing")  # noqa: TRY004
    return found


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(each, dict | str) for each in value):
        raise ValueError(f"{what} are no list")
    return value


def _text(value: Any, key: str) -> str:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, str):
        raise ValueError(f"{key} is missing")  # noqa: TRY004
    return found
