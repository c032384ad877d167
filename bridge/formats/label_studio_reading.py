"""Label Studio's JSON, in: tasks as its export ("JSON", not "JSON-MIN") and its import have them.

A task's annotations are read, those that were skipped left out; its predictions only where none of its annotations
comes out of Label Studio, for there they are what people have corrected. Rectangles with key points as children are
skeletons, what stands beside a region under its id is an attribute, choices of a whole image are tags.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from bridge.domain import Shape, Source, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.document import Document, FileShapes
from bridge.formats.json_reading import Wrong, is_text, number_of, parse_json, read_json, rounded, score_of, side_of
from bridge.formats.unpacking import wanted_files
from bridge.label_studio.brush import mask_from_brush
from bridge.outlines import rectangle_around_corner

_HINT = "Export from Label Studio as JSON."
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file
_GEOMETRY = ("rectangle", "polygon", "brush", "keypoint", "ellipse")
_ASIDE = ("choices", "textarea", "number", "rating")  # of a region, or of the whole image

Region = dict[str, Any]
Joints = dict[str, dict[str, int]]  # label of a skeleton -> names of its points -> their places, as they came


def read_label_studio(path: Path) -> Document:
    """The regions of a JSON file, or of a folder or zip with tasks.json. Raises InvalidRequest, naming the task."""
    if path.suffix.lower() == ".json" and path.is_file():
        data = read_json(path, _HINT)
    else:
        files = list(wanted_files(path, lambda name: name.endswith(".json"), _HINT))
        if len(files) != 1:
            raise InvalidRequest(f"{path.name} holds {len(files)} JSON files, not one.", hint=_HINT)
        data = parse_json(files[0][1], files[0][0], _HINT)
    tasks = data if isinstance(data, list) else [data]
    joints: Joints = {}
    found: list[tuple[str, tuple[int | None, int | None], list[Shape]]] = []
    for position, task in enumerate(tasks, 1):
        try:
            found.append(_task(task, joints))
        except Wrong as wrong:
            which = task.get("id", position) if isinstance(task, dict) else position
            raise InvalidRequest(f"{path.name}, task {str(which)[:40]}: {wrong}.", hint=_HINT) from wrong
    images = [
        FileShapes(name, *size, tuple(_ordered(shape, joints) for shape in shapes)) for name, size, shapes in found
    ]
    labels = {shape.label: shape.type for image in images for shape in image.shapes}
    known = tuple(
        TaskLabel(name, "skeleton" if name in joints else "any", sublabels=tuple(joints.get(name, ())))
        for name in labels
    )
    return Document(known, tuple(images))


def _task(task: Any, joints: Joints) -> tuple[str, tuple[int | None, int | None], list[Shape]]:
    if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
        raise Wrong("it has no data")
    annotations = _objects(task.get("annotations"), "annotations")
    kept = [entry for entry in annotations if not entry.get("was_cancelled")]
    if not any("id" in entry for entry in annotations):
        kept += [{**entry, "is_prediction": True} for entry in _objects(task.get("predictions"), "predictions")]
    shapes: list[Shape] = []
    size: tuple[int | None, int | None] = (None, None)
    for entry in kept:
        regions = _objects(entry.get("result"), "result")
        for region in regions:
            if region.get("original_width") and region.get("original_height"):
                size = side_of(region["original_width"]), side_of(region["original_height"])
        source = Source.AUTOMATIC if "is_prediction" in entry else Source.MANUAL
        shapes += _shapes(regions, source, joints)
    return _image(task["data"]), size, shapes


def _objects(value: Any, what: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise Wrong(f"its {what} is no list of objects")
    return value


def _image(data: Mapping[str, Any]) -> str:
    """The image's path: of a local file, or of its address; under the key image, or the first that holds a path."""
    texts = [data[key] for key in data if is_text(data[key]) and (key == "image" or PurePosixPath(data[key]).suffix)]
    texts.sort(key=lambda text: text != data.get("image"))
    if not texts:
        raise Wrong("its data names no image")
    try:
        address = urlsplit(texts[0])
    except ValueError:
        raise Wrong("its image is no address") from None
    local = parse_qs(address.query).get("d")
    name = local[0] if local else unquote(address.path)
    if address.path.startswith("/data/upload/"):
        path = PurePosixPath(name)
        name = _UPLOADED.sub("", path.name)
    return name.lstrip("/")


def _shapes(regions: Sequence[Region], source: Source, joints: Joints) -> list[Shape]:
    """Regions of one annotation. Those of one id are one shape and what is said of it."""
    by_id: dict[str, list[Region]] = {}
    for number, region in enumerate(regions):
        if region.get("type") == "relation":
            continue
        by_id.setdefault(str(region.get("id", f"without id {number}")), []).append(region)
    children: dict[str, list[Region]] = {}
    for same in by_id.values():
        parent = same[0].get("parentID")
        if _kind(same[0]) == "keypoint" and str(parent) in by_id and _kind(by_id[str(parent)][0]) == "rectangle":
            children.setdefault(str(parent), []).append(same[0])
    taken = {id(child) for group in children.values() for child in group}
    shapes: list[Shape] = []
    for key, same in by_id.items():
        drawn = [region for region in same if _kind(region) in _GEOMETRY]
        if drawn and id(drawn[0]) in taken:
            continue
        if not drawn:
            shapes += _tags(same, source)
        elif key in children:
            shapes.append(_skeleton(same, children[key], source, joints))
        else:
            shapes.append(_shape(drawn[0], same, source))
    return shapes


def _kind(region: Region) -> str:
    return str(region.get("type", "")).lower().removesuffix("labels")


def _value(region: Region) -> Region:
    value = region.get("value")
    if not isinstance(value, dict):
        raise Wrong(f"region {str(region.get('id'))[:40]} has no value")
    return value


def _tags(regions: Sequence[Region], source: Source) -> list[Shape]:
    names = []
    for region in regions:
        choices = _value(region).get("choices")
        if _kind(region) != "choices" or not isinstance(choices, list) or not all(is_text(one) for one in choices):
            raise Wrong(f"a region is of type {str(region.get('type'))[:40]!r}, which is not kept here")
        names += choices
    score = score_of(regions[0].get("score"))
    return [Shape(name, "tag", score=score, source=source) for name in names]


def _label(regions: Sequence[Region]) -> str:
    for region in regions:
        value = _value(region)
        for key in (str(region.get("type")), "labels"):
            names = value.get(key)
            if key.endswith("labels") and isinstance(names, list) and len(names) == 1 and is_text(names[0]):
                return str(names[0])
    raise Wrong(f"region {str(regions[0].get('id'))[:40]} does not have one label")


def _shape(region: Region, same: Sequence[Region], source: Source) -> Shape:
    size = side_of(region.get("original_width")), side_of(region.get("original_height"))
    if size[0] is None or size[1] is None:
        raise Wrong(f"region {str(region.get('id'))[:40]} does not tell its image's size")
    return Shape(
        _label(same),
        score=score_of(region.get("score")),
        source=source,
        attributes=_attributes(same),
        **_geometry(region, _value(region), (size[0], size[1])),
    )


def _attributes(regions: Sequence[Region]) -> dict[str, str]:
    found: dict[str, str] = {}
    for region in regions:
        if _kind(region) not in _ASIDE:
            continue
        value = _value(region)
        for key in ("choices", "text", "number", "rating"):
            stored = value.get(key)
            plain = stored[0] if isinstance(stored, list) and len(stored) == 1 else stored
            if isinstance(plain, (str, int, float)):
                found[str(region.get("from_name"))] = str(plain)
    return found


def _geometry(region: Region, value: Region, size: tuple[int, int]) -> dict[str, Any]:
    def at(key: str, side: int, default: float | None = None) -> float:
        return number_of(value.get(key, default), key) * size[side] / 100

    match _kind(region):
        case "rectangle":
            turn = number_of(value.get("rotation") or 0, "rotation") % 360
            place = at("x", 0), at("y", 1), at("width", 0), at("height", 1)
            if place[2] < 0 or place[3] < 0:
                raise Wrong("a rectangle has a negative size")
            return {"type": "rectangle", "points": rectangle_around_corner(*place, turn), "rotation": round(turn, 2)}
        case "ellipse":
            points = rounded((at("x", 0), at("y", 1), at("radiusX", 0), at("radiusY", 1)))
            if min(points[2:]) < 0:
                raise Wrong("an ellipse has a negative radius")
            turn = number_of(value.get("rotation") or 0, "rotation") % 360
            return {"type": "ellipse", "points": points, "rotation": round(turn, 2)}
        case "keypoint":
            return {"type": "points", "points": rounded((at("x", 0), at("y", 1)))}
        case "polygon":
            return {"type": "polygon", "points": _polygon(value.get("points"), size)}
    if value.get("format") != "rle":
        raise Wrong("a brush stroke is not written as rle")
    try:
        return {"type": "mask", "rle": mask_from_brush(value.get("rle"), *size).counts}
    except ValueError as error:
        raise Wrong(f"a brush stroke cannot be read: {error}") from error


def _polygon(points: Any, size: tuple[int, int]) -> tuple[float, ...]:
    pairs = isinstance(points, list) and all(isinstance(point, list) and len(point) == 2 for point in points)
    if not pairs or len(points) < 3:
        raise Wrong("a polygon is no list of 3 points or more")
    return rounded(tuple(number_of(point[i], "polygon") * size[i] / 100 for point in points for i in (0, 1)))


def _skeleton(same: Sequence[Region], children: Sequence[Region], source: Source, joints: Joints) -> Shape:
    """Its points carry the number of their name for now: which names there are shows only when all tasks are read."""
    around = _shape(same[0], same, source)
    names = joints.setdefault(around.label, {})
    flat: list[float] = []
    for child in children:
        place = names.setdefault(_label([child]), len(names))
        flat += (*_shape(child, [child], source).points, float(place))
    return Shape(around.label, "skeleton", tuple(flat), score=around.score, source=source, attributes=around.attributes)


def _ordered(shape: Shape, joints: Joints) -> Shape:
    """A skeleton with a place for each point that any skeleton of its label has."""
    if shape.type != "skeleton":
        return shape
    flat = [0.0] * (3 * len(joints[shape.label]))
    for start in range(0, len(shape.points), 3):
        x, y, place = shape.points[start : start + 3]
        flat[3 * int(place) : 3 * int(place) + 3] = x, y, 2.0
    return Shape(
        shape.label, "skeleton", tuple(flat), score=shape.score, source=shape.source, attributes=shape.attributes
    )
