"""Datumaro folders, zips and single JSON files, in: every file below ``annotations`` is a subset, and all are read.

Points of a label that has a category of points are a skeleton. What is no shape of ours (polylines, captions, cuboids)
is refused by name rather than dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bridge.domain import Shape, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.document import Document, FileShapes
from bridge.formats.json_reading import (
    Wrong,
    attributes_of,
    is_text,
    mask_of_rle,
    number_of,
    numbers_of,
    parse_json,
    polygon_of,
    rounded,
    score_of,
    side_of,
    whole_of,
)
from bridge.formats.unpacking import wanted_files

_HINT = "Datumaro is a folder or zip with JSON files below annotations."
_KEPT_APART = ("rotation", "score", "track_id", "occluded", "keyframe", "outside")  # what CVAT puts there


def read_datumaro(path: Path) -> Document:
    """The shapes of a Datumaro data set. Raises InvalidRequest, which names the item."""
    if path.is_file() and path.suffix.lower() == ".json":
        files = [(path.name, path.read_bytes())]
    else:
        files = list(wanted_files(path, lambda name: name.endswith(".json"), _HINT))
        files = [(name, body) for name, body in files if "annotations" in PurePosixPath(name).parts[:-1]]
    if not files:
        raise InvalidRequest(f"{path.name} holds no annotations.", hint=_HINT)
    labels: dict[str, TaskLabel] = {}
    images: list[FileShapes] = []
    for name, body in files:
        data = parse_json(body, name, _HINT)
        try:
            found = _labels(data)
        except Wrong as wrong:
            raise InvalidRequest(f"{name} {wrong}.", hint=_HINT) from wrong
        for label in found:
            labels.setdefault(label.name, label)
        for position, item in enumerate(data["items"], 1):
            try:
                images.append(_item(item, found))
            except Wrong as wrong:
                which = str(item.get("id", position))[:200]
                raise InvalidRequest(f"{name}, item {which}: {wrong}.", hint="Nothing was read.") from wrong
    return Document(tuple(labels.values()), tuple(images))


def _labels(data: Any) -> list[TaskLabel]:
    if not isinstance(data, dict) or not isinstance(data.get("categories"), dict):
        raise Wrong("has no categories")
    items = data.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Wrong("has no list of items")
    names = _entries(data["categories"], "label", "labels")
    points: dict[int, tuple[str, ...]] = {}
    for entry in _entries(data["categories"], "points", "items"):
        joints = entry.get("labels")
        if not isinstance(joints, list) or not all(is_text(joint) for joint in joints):
            raise Wrong("has a category of points without their labels")
        points[whole_of(entry.get("label_id"), "label_id")] = tuple(joints)
    found = []
    for number, entry in enumerate(names):
        if not is_text(entry.get("name")):
            raise Wrong("has a label without a name")
        joints = points.get(number, ())
        found.append(TaskLabel(entry["name"], "skeleton" if joints else "any", sublabels=tuple(joints)))
    return found


def _entries(categories: dict[str, Any], kind: str, key: str) -> list[dict[str, Any]]:
    group = categories.get(kind) or {}
    entries = group.get(key) if isinstance(group, dict) else None
    if entries is None:
        return []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Wrong(f"has categories of {kind} that are no list of objects")
    return entries


def _item(item: dict[str, Any], labels: Sequence[TaskLabel]) -> FileShapes:
    image = item.get("image") or {}
    name = image.get("path") if isinstance(image, dict) else None
    name = name or item.get("id")
    if not is_text(name):
        raise Wrong("it has no id")
    size = image.get("size") if isinstance(image, dict) else None
    height, width = (side_of(side) for side in size) if isinstance(size, list) and len(size) == 2 else (None, None)
    annotations = item.get("annotations") or []
    if not isinstance(annotations, list) or not all(isinstance(entry, dict) for entry in annotations):
        raise Wrong("it has no list of annotations")
    shapes = tuple(_shape(entry, labels, (width, height)) for entry in annotations)
    return FileShapes(name, width, height, shapes)


def _shape(entry: dict[str, Any], labels: Sequence[TaskLabel], size: tuple[int | None, int | None]) -> Shape:
    number = whole_of(entry.get("label_id"), "label_id")
    if number >= len(labels):
        raise Wrong(f"a shape has the label {number}, and there are {len(labels)}")
    label, values = labels[number], entry.get("attributes") or {}
    return Shape(
        label.name,
        group=whole_of(entry.get("group") or 0, "group"),
        attributes=attributes_of(values, _KEPT_APART),
        rotation=number_of(values.get("rotation", 0), "rotation") % 360,
        score=score_of(values.get("score")),
        track_id=whole_of(values.get("track_id") or 0, "track_id"),
        **_geometry(entry, label, size),
    )


def _geometry(entry: dict[str, Any], label: TaskLabel, size: tuple[int | None, int | None]) -> dict[str, Any]:
    kind = entry.get("type")
    match kind:
        case "label":
            return {"type": "tag"}
        case "bbox":
            x, y, width, height = numbers_of(entry.get("bbox"), "bbox", exactly=4)
            if width < 0 or height < 0:
                raise Wrong("a bbox has a negative size")
            return {"type": "rectangle", "points": rounded((x, y, x + width, y + height))}
        case "polygon":
            return {"type": "polygon", "points": polygon_of(entry.get("points"))}
        case "ellipse":
            x1, y1, x2, y2 = numbers_of(entry.get("points"), "ellipse", exactly=4)
            if x2 < x1 or y2 < y1:
                raise Wrong("an ellipse is inverted")
            return {"type": "ellipse", "points": rounded(((x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2))}
        case "mask":
            rle = entry.get("rle")
            if not isinstance(rle, dict):
                raise Wrong("a mask has no run lengths")
            return {"type": "mask", "rle": mask_of_rle(rle, size).counts}
        case "points":
            return _points(entry, label)
    raise Wrong(f"{str(kind)[:40]!r} is a kind of annotation that is not kept here")


def _points(entry: dict[str, Any], label: TaskLabel) -> dict[str, Any]:
    flat = numbers_of(entry.get("points"), "points")
    if not flat or len(flat) % 2:
        raise Wrong("points are no pairs of x and y")
    seen = numbers_of(entry.get("visibility") or [2] * (len(flat) // 2), "visibility", exactly=len(flat) // 2)
    if not all(value in (0, 1, 2) for value in seen):
        raise Wrong("a point has a visibility that is not 0, 1 or 2")
    if not label.sublabels:
        return {"type": "points", "points": rounded(flat)}
    if len(seen) != len(label.sublabels):
        raise Wrong(f"a skeleton has {len(seen)} points, and its label {len(label.sublabels)}")
    joints = zip(flat[::2], flat[1::2], seen, strict=True)
    return {"type": "skeleton", "points": rounded(tuple(value for joint in joints for value in joint))}
