"""A task's labels as people give them: a list, a file with a label a line, or CVAT's label constructor JSON."""

from __future__ import annotations

import colorsys
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge.domain import LABEL_TYPES, LabelAttribute, TaskLabel
from bridge.errors import InvalidRequest
from bridge.skeleton_drawing import skeleton_svg

MAX_NAME = 64  # characters; what CVAT stores of a label's or an attribute's name
MAX_LABELS = 20_000
MAX_FILE_BYTES = 16 * 2**20
INPUT_TYPES = ("select", "radio", "checkbox", "number", "text")
LABEL_FILES = (".txt", ".json", ".names", ".csv", ".yaml", ".yml")
_COLOR = re.compile(r"#?([0-9a-fA-F]{6})")
_GOLDEN_ANGLE = 0.381966  # of a turn: successive hues stay far apart however many there are


def parse_labels(text_or_path: str) -> tuple[TaskLabel, ...]:
    """Labels from what a person wrote on the command line. Reads files: not for text that comes over the network.

    - ``car,person`` or with types ``car:rectangle,road:mask``;
    - the path of a text file, a label a line, ``name`` or ``name:type``; ``#`` begins a comment;
    - the path of a ``.json`` file, or JSON itself, in the raw form of CVAT's label constructor (ids are ignored).

    Names are unique (case counts) and at most 64 characters, as in CVAT. Labels without a colour get one.
    Raises InvalidRequest, which names the label.
    """
    text = text_or_path.strip()
    if text.startswith(("[", "{")):
        return _from_json_text(text, "The labels")
    path = _as_file(text)
    if path is not None:
        body = _read(path)
        if path.suffix.lower() == ".json" or body.lstrip().startswith(("[", "{")):
            return _from_json_text(body, path.name)
        entries = [_uncommented(line) for line in body.splitlines()]
        return _finished(_named(entry) for entry in entries if entry)
    if text.lower().endswith(LABEL_FILES):
        raise InvalidRequest(f"There is no label file {text[:200]}.", hint="Check the path, or list the labels: a,b,c")
    if not text:
        raise InvalidRequest("No label was given.", hint="List them (car,person), or name a file with a label a line.")
    return _finished(_named(entry.strip()) for entry in text.split(","))


def labels_from_json(data: Any) -> tuple[TaskLabel, ...]:
    """Labels from parsed JSON in the raw form of CVAT's label constructor. Raises InvalidRequest."""
    if isinstance(data, dict) and isinstance(data.get("labels"), list):
        data = data["labels"]
    if not isinstance(data, list):
        raise InvalidRequest("Labels must be a JSON list.", hint='For example: [{"name": "car", "type": "rectangle"}]')
    return _finished(_label(entry, position) for position, entry in enumerate(data, 1))


def labels_as_json(labels: Sequence[TaskLabel]) -> list[dict[str, Any]]:
    """The labels in the raw form of CVAT's label constructor. A skeleton's drawing is made anew."""
    found = []
    for label in labels:
        entry: dict[str, Any] = {
            "name": label.name,
            "color": label.color,
            "type": label.type,
            "attributes": [
                {
                    "name": attribute.name,
                    "mutable": attribute.mutable,
                    "input_type": attribute.input_type,
                    "default_value": attribute.default_value,
                    "values": list(attribute.values),
                }
                for attribute in label.attributes
            ],
        }
        if label.type == "skeleton":
            entry["sublabels"] = [{"name": name, "type": "points", "attributes": []} for name in label.sublabels]
            entry["svg"] = skeleton_svg(label.sublabels)
        found.append(entry)
    return found


def as_text(labels: Sequence[TaskLabel]) -> str:
    """The labels as ``parse_labels`` takes them."""
    return json.dumps(labels_as_json(labels))


def color_of(position: int) -> str:
    """The colour of the label at ``position`` (from 0): saturated, of middle lightness, far from its neighbours."""
    hue = (0.58 + position * _GOLDEN_ANGLE) % 1
    lightness = (0.50, 0.62, 0.40)[position // 8 % 3]  # the hues come closer after some turns, so the shade changes
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, lightness, 0.80))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _as_file(text: str) -> Path | None:
    try:
        return Path(text) if text and Path(text).is_file() else None
    except (OSError, ValueError):
        return None  # too long or otherwise impossible for a path


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidRequest(f"{path.name} is too large for a file of labels.")
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path.name} cannot be read as text in UTF-8.") from error


def _uncommented(line: str) -> str:
    """A comment may follow a label after a space: ``car  # any kind``. ``C#`` is a name."""
    return re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()


def _from_json_text(text: str, what: str) -> tuple[TaskLabel, ...]:
    try:
        return labels_from_json(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(
            f"{what} cannot be read as JSON.", hint='For example: [{"name": "car", "type": "rectangle"}]'
        ) from error


def _named(entry: str) -> TaskLabel:
    name, colon, label_type = entry.rpartition(":")
    if not colon:
        return TaskLabel(_name(entry, "A label"))
    name, label_type = name.strip(), label_type.strip()
    if label_type == "skeleton":
        raise InvalidRequest(
            f"Label {name[:80]!r} is a skeleton, whose points cannot be listed here.",
            hint="Give the labels as JSON, with sublabels.",
        )
    return TaskLabel(_name(name, "A label"), _type(label_type, name))


def _label(entry: Any, position: int) -> TaskLabel:
    if isinstance(entry, str):
        return TaskLabel(_name(entry, f"Label {position}"))
    if not isinstance(entry, dict):
        raise InvalidRequest(f"Label {position} is neither a name nor an object.", hint='For example: {"name": "car"}')
    name = _name(entry.get("name"), f"Label {position}")
    sublabels = entry.get("sublabels") or []
    label_type = entry.get("type") or ("skeleton" if sublabels else "any")
    found = TaskLabel(
        name,
        _type(label_type, name),
        _color(entry.get("color"), name),
        _attributes(entry.get("attributes"), name),
        _sublabels(sublabels, name),
    )
    if (found.type == "skeleton") != bool(found.sublabels):
        raise InvalidRequest(
            f"Label {name!r} "
            + ("is a skeleton without sublabels." if found.type == "skeleton" else "has sublabels but is no skeleton."),
            hint='A skeleton is {"name": "person", "type": "skeleton", "sublabels": [{"name": "nose"}]}.',
        )
    return found


def _name(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"{what} has no name.", hint='For example: {"name": "car"}')
    name = value.strip()
    if not name:
        raise InvalidRequest(f"{what} has an empty name.", hint="Look for a comma too many.")
    if len(name) > MAX_NAME:
        raise InvalidRequest(
            f"Label {name[:40]!r}... is longer than {MAX_NAME} characters.", hint="CVAT stores no longer names."
        )
    if not name.isprintable():
        raise InvalidRequest(f"Label {name!r} holds characters that cannot be printed.")
    return name


def _type(value: Any, name: str) -> str:
    if value not in LABEL_TYPES:
        raise InvalidRequest(
            f"Label {name[:80]!r} has the unknown type {str(value)[:40]!r}.",
            hint=f"Types are {', '.join(LABEL_TYPES)}. A name with a colon can be given as JSON.",
        )
    return str(value)


def _color(value: Any, name: str) -> str:
    if value is None or value == "":
        return ""
    match = _COLOR.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise InvalidRequest(f"Label {name!r} has a colour that is not #rrggbb.", hint="For example: #33aaff")
    return f"#{match[1].lower()}"


def _sublabels(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidRequest(f"Label {name!r} has sublabels that are no list.")
    found = []
    for position, entry in enumerate(value, 1):
        point = entry.get("name") if isinstance(entry, dict) else entry
        found.append(_name(point, f"Sublabel {position} of label {name!r}"))
    return _unique(found, f"Label {name!r} has two sublabels named")


def _attributes(value: Any, name: str) -> tuple[LabelAttribute, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise InvalidRequest(f"Label {name!r} has attributes that are no list of objects.")
    found = [_attribute(entry, name) for entry in value]
    _unique([attribute.name for attribute in found], f"Label {name!r} has two attributes named")
    return tuple(found)


def _attribute(entry: dict[str, Any], label: str) -> LabelAttribute:
    name = _name(entry.get("name"), f"An attribute of label {label!r}")
    input_type = entry.get("input_type", "text")
    if input_type not in INPUT_TYPES:
        raise InvalidRequest(
            f"Attribute {name!r} of label {label!r} has the unknown input type {str(input_type)[:40]!r}.",
            hint=f"Input types are {', '.join(INPUT_TYPES)}.",
        )
    values = entry.get("values") or []
    mutable, default = entry.get("mutable", False), entry.get("default_value")
    if isinstance(values, str):
        values = values.splitlines()
    plain = (str, int, float)  # bool is an int
    if not isinstance(values, list) or not all(isinstance(value, plain) for value in values):
        raise InvalidRequest(f"Attribute {name!r} of label {label!r} has values that are no list of texts.")
    if not isinstance(mutable, bool) or not (default is None or isinstance(default, plain)):
        raise InvalidRequest(f"Attribute {name!r} of label {label!r} has a wrong mutable or default_value.")
    texts = tuple(_text(value) for value in values)
    if input_type in ("select", "radio") and not texts:
        raise InvalidRequest(f"Attribute {name!r} of label {label!r} offers no values to choose from.")
    return LabelAttribute(name, input_type, texts, mutable, _text(default) if default is not None else "")


def _text(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unique(names: list[str], what: str) -> tuple[str, ...]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidRequest(f"{what} {name!r}.", hint="Leave one of them out.")
        seen.add(name)
    return tuple(names)


def _finished(labels: Iterable[TaskLabel]) -> tuple[TaskLabel, ...]:
    """At least one label, no name twice, and a colour for each."""
    found = list(labels)
    if not found:
        raise InvalidRequest("No label was given.", hint="List them (car,person), or name a file with a label a line.")
    if len(found) > MAX_LABELS:
        raise InvalidRequest(f"{len(found)} labels are too many; at most {MAX_LABELS} are taken.")
    _unique([label.name for label in found], "There are two labels named")
    return tuple(
        label if label.color else replace(label, color=color_of(position)) for position, label in enumerate(found)
    )
