"""What CVAT's serverless functions answer, and what they say of themselves. Pure.

type        points, and more                                            becomes
rectangle   x1 y1 x2 y2; rotation                                       a box, or a rotated rectangle
polygon     x y x y ...                                                 a polygon
points      x y x y ...                                                 a skeleton whose joints have no names
ellipse     center x, center y, right x, top y; rotation                a rotated rectangle around it
mask        mask: the box's 0 and 1 row by row, then its inclusive      a mask
            x1 y1 x2 y2
skeleton    elements [{label, points: [x, y], outside}]                 a skeleton, joints as the spec orders them
tag         -                                                           a tag
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.base import Detections, Geometry, Polygon, RotatedRectangle, Skeleton, WholeFrame
from adapters.dense_masks import mask_of
from adapters.errors import BadOutput, Unavailable, Unsupported
from adapters.json_reading import as_label_id, as_list, as_number, as_numbers, as_object, as_text, label_index
from adapters.sent_image import SentImage

ANY_SHAPE = ("rectangle", "polygon", "mask")
DETECTOR = "detector"
_SHAPES = ("rectangle", "polygon", "mask", "points", "ellipse", "skeleton", "tag")
_READY = ("ready", "scaledToZero", "")
_REACH = 0.5  # pixels around points, so that the box of a single one is not empty


@dataclass(frozen=True, slots=True)
class LabelSpec:
    """A label of a function. ``type``: a shape type, or any. ``attributes``: as CVAT writes them."""

    name: str
    type: str
    attributes: tuple[Mapping[str, Any], ...] = ()
    sublabels: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        attributes = [dict(each) for each in self.attributes]
        return {"name": self.name, "type": self.type, "attributes": attributes, "sublabels": list(self.sublabels)}


@dataclass(frozen=True, slots=True)
class Function:
    """A function as its dashboard lists it. ``kind``: detector, interactor, tracker, reid ..."""

    id: str
    title: str
    kind: str
    state: str
    revision: str
    labels: tuple[LabelSpec, ...]


def parse_functions(answer: Any) -> list[Function]:
    """All functions of a dashboard, detectors first. What has no CVAT annotations is left out. Raises BadOutput."""
    entries = answer.values() if isinstance(answer, dict) else as_list(answer, "functions")
    found = []
    for entry in entries:
        annotations = as_object(as_object(entry, "function").get("metadata"), "metadata").get("annotations")
        if isinstance(annotations, dict) and "spec" in annotations:
            found.append(parse_function(entry))
    return sorted(found, key=lambda each: (each.kind != DETECTOR, each.id))


def parse_function(answer: Any) -> Function:
    """Raises BadOutput; Unsupported for a function that was not made for CVAT."""
    content = as_object(answer, "function")
    metadata = as_object(content.get("metadata"), "metadata")
    name = as_text(metadata.get("name"), "name")
    annotations = metadata.get("annotations") or {}
    if not isinstance(annotations, dict) or "spec" not in annotations:
        raise Unsupported(f"{name} has no CVAT annotations, so nothing says which labels it has.")
    spec = as_text(annotations["spec"], "spec")
    try:
        labels = as_list(json.loads(spec), "labels")
    except (ValueError, RecursionError) as error:
        raise BadOutput(f"The spec of {name} is no JSON.") from error
    status = content.get("status")
    version = str(annotations.get("version", "1"))[:20]
    return Function(
        id=name,
        title=str(annotations.get("name") or name)[:100],
        kind=str(annotations.get("type", ""))[:40],
        state=str(status.get("state", "")) if isinstance(status, dict) else "",
        revision=f"{version}-{hashlib.sha256(spec.encode()).hexdigest()[:12]}",
        labels=tuple({each.name: each for each in map(_label, labels)}.values()),
    )


def check_runnable(function: Function) -> None:
    """Raises Unsupported for what is no detector, Unavailable for a function that is not running."""
    if function.kind != DETECTOR:
        text = f"{function.id} is of the type {function.kind or 'unknown'}; only detectors annotate whole frames."
        raise Unsupported(text, hint="Choose a detector.")
    if function.state not in _READY:
        raise Unavailable(f"{function.id} is in the state {function.state[:40]}.", hint="Deploy it again.")
    if not function.labels:
        raise Unsupported(f"{function.id} has no labels in its spec.")


def shape_types(labels: Sequence[LabelSpec]) -> tuple[str, ...]:
    """What the labels can become, in CVAT's order; a label of any type can become most."""
    types = {label.type for label in labels}
    if not types <= set(_SHAPES):
        types |= set(ANY_SHAPE)
    return tuple(shape for shape in _SHAPES if shape in types)


def _label(value: Any) -> LabelSpec:
    content = as_object(value, "label")
    attributes = as_list(content.get("attributes") or [], "attributes")
    sublabels = as_list(content.get("sublabels") or [], "sublabels")
    return LabelSpec(
        as_text(content.get("name"), "label").strip(),
        str(content.get("type") or "any"),
        tuple(as_object(each, "attribute") for each in attributes),
        tuple(as_text(as_object(each, "sublabel").get("name"), "sublabel") for each in sublabels),
    )


_Numbers = NDArray[np.floating[Any]]
_Shape = tuple[_Numbers, Geometry] | None


@dataclass(frozen=True, slots=True)
class _Item:
    """One thing of an answer, and what is needed to read it."""

    content: Mapping[str, Any]
    image: SentImage
    sublabels: Sequence[str]

    def points(self) -> NDArray[np.float32]:
        """f32[n, 2]"""
        flat = as_numbers(self.content.get("points"), "points")
        if len(flat) % 2:
            raise BadOutput("The host answered an odd number of coordinates.")
        return flat.reshape(-1, 2)

    def rotation(self) -> float:
        return as_number(self.content.get("rotation") or 0, "rotation")


def parse_answer(
    answer: Any, image: SentImage, labels: tuple[str, ...], sublabels: Mapping[str, Sequence[str]]
) -> Detections:
    """The detections in the sent picture's pixels.

    ``sublabels``: label -> its joints in order. A polygon of fewer than 3 points, an empty mask and a skeleton or
    points without any point are no shapes, and are left out. Raises BadOutput.
    """
    index = label_index(labels)
    ids, boxes, scores, shapes, attributes = [], [], [], [], []
    for value in as_list(answer, "detections"):
        item = as_object(value, "detection")
        label_id = as_label_id(item.get("label"), index)
        kind = item.get("type")
        if not isinstance(kind, str) or kind not in _READERS:
            raise BadOutput(f"The host answered a shape of the type {str(kind)[:40]!r}.")
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large becomes infinite, and that is refused
            shape = _READERS[kind](_Item(item, image, sublabels.get(labels[label_id], ())))
        if shape is None:
            continue
        ids.append(label_id)
        boxes.append(shape[0])
        shapes.append(shape[1])
        scores.append(_score(item.get("confidence")))
        attributes.append(_attributes(item.get("attributes")))
    return Detections(
        labels,
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(scores, np.float32),
        np.asarray(ids, np.int32),
        tuple(shapes),
        tuple(attributes) if any(attributes) else (),
    )


def _rectangle(item: _Item) -> _Shape:
    points = item.points()
    if len(points) != 2:
        raise BadOutput("The host answered a rectangle that has not two corners.")
    rotation = item.rotation()
    if rotation % 360 == 0:
        return points.ravel(), None
    (x1, y1), (x2, y2) = points.astype(np.float64)
    return _turned((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, rotation)


def _ellipse(item: _Item) -> _Shape:
    points = item.points()
    if len(points) != 2:
        raise BadOutput("The host answered an ellipse that has not a centre and two radii.")
    (x, y), (right, top) = points.astype(np.float64)
    return _turned(x, y, 2 * abs(right - x), 2 * abs(y - top), item.rotation())


def _turned(x: float, y: float, width: float, height: float, rotation: float) -> _Shape:
    """A rotated rectangle, and the upright box around it."""
    angle = math.radians(rotation) if math.isfinite(rotation) else math.nan
    sin, cos = abs(math.sin(angle)), abs(math.cos(angle))
    half_x, half_y = (width * cos + height * sin) / 2, (width * sin + height * cos) / 2
    box = np.array([x - half_x, y - half_y, x + half_x, y + half_y])
    return box, RotatedRectangle(float(x), float(y), float(width), float(height), float(rotation))


def _polygon(item: _Item) -> _Shape:
    points = item.points()
    return (_around(points), Polygon(points)) if len(points) >= 3 else None


def _points(item: _Item) -> _Shape:
    points = item.points()
    if not len(points):
        return None
    return _around(points, _REACH), Skeleton(points, np.ones(len(points), np.float32))


def _skeleton(item: _Item) -> _Shape:
    elements = [as_object(each, "element") for each in as_list(item.content.get("elements"), "elements")]
    names = list(item.sublabels) or [as_text(each.get("label"), "label") for each in elements]
    points, scores = np.zeros((len(names), 2), np.float32), np.zeros(len(names), np.float32)
    place = {name: i for i, name in enumerate(names)}
    for element in elements:
        name = as_text(element.get("label"), "label")
        if name not in place:
            raise BadOutput(f"The host answered the joint {name[:80]!r}, which the skeleton has not.")
        xy = as_numbers(element.get("points"), "points")
        if len(xy) != 2:
            raise BadOutput("The host answered a joint that is not one point.")
        points[place[name]] = xy
        scores[place[name]] = 0.0 if element.get("outside") else 1.0
    seen = points[scores > 0]
    return (_around(seen, _REACH), Skeleton(points, scores)) if len(seen) else None


def _mask(item: _Item) -> _Shape:
    values = _plain_numbers(item.content.get("mask"))
    if len(values) < 5:
        raise BadOutput("The host answered a mask without its box.")
    left, top, right, bottom = (int(side) for side in values[-4:])
    width, height = right - left + 1, bottom - top + 1
    if width < 1 or height < 1 or width * height != len(values) - 4:
        raise BadOutput(f"The host answered a mask of {len(values) - 4} pixels for a box of {width}x{height}.")
    bits = values[:-4].reshape(height, width) != 0
    whole = np.zeros((item.image.height, item.image.width), bool)
    inside = bits[max(0, -top) : max(0, whole.shape[0] - top), max(0, -left) : max(0, whole.shape[1] - left)]
    rows, columns = inside.shape
    if rows and columns:
        whole[max(0, top) : max(0, top) + rows, max(0, left) : max(0, left) + columns] = inside
    cut = mask_of(whole)
    return None if cut is None else (np.array(cut[1]), cut[0])


def _tag(item: _Item) -> _Shape:
    return np.array([0, 0, item.image.width, item.image.height], np.float32), WholeFrame()


def _around(points: NDArray[np.float32], reach: float = 0.0) -> _Numbers:
    return np.concatenate([points.min(axis=0) - reach, points.max(axis=0) + reach])


def _plain_numbers(value: Any) -> _Numbers:
    """f64[n] of a long flat list: fast, and as strict as ``as_numbers``; finite."""
    try:
        values = np.asarray(as_list(value, "mask"))
    except (ValueError, OverflowError) as error:
        raise BadOutput("The host's answer holds no flat list of numbers as mask.") from error
    if values.ndim != 1 or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise BadOutput("The host's answer holds no flat list of numbers as mask.")
    if values.size and np.abs(values[-4:].astype(np.float64)).max() > 1e6:
        raise BadOutput("The host answered a mask far outside of the picture.")
    return values.astype(np.float64)


def _score(value: Any) -> float:
    """A score; many functions send it as text."""
    if value is None:
        return 1.0
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError as error:
            raise BadOutput("The host's answer holds no number as confidence.") from error
    return as_number(value, "confidence")


def _attributes(value: Any) -> dict[str, str]:
    """Attribute name -> its value as text, true and false as CVAT writes them."""
    found = {}
    for each in as_list(value or [], "attributes"):
        attribute = as_object(each, "attribute")
        content = attribute.get("value")
        text = str(content).lower() if isinstance(content, bool) else str(content)
        found[as_text(attribute.get("name"), "attribute")] = text[:1000]
    return found


_READERS: Mapping[str, Callable[[_Item], _Shape]] = {
    "rectangle": _rectangle,
    "polygon": _polygon,
    "points": _points,
    "ellipse": _ellipse,
    "mask": _mask,
    "skeleton": _skeleton,
    "tag": _tag,
}
