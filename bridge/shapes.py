"""From arrays to dataclasses, once: a frame's detections become shapes of the task's labels.

What becomes of what, by the type of the task's label (``any`` takes each geometry as it is):

    label        box          rotated     polygon     mask        skeleton      whole frame
    rectangle    itself       itself      its box     its box     its box       -
    polygon      4 corners    4 corners   itself      outlines    its box       -
    mask         filled       filled      filled      itself      its box       -
    ellipse      inscribed    inscribed   inscribed   inscribed   inscribed     -
    points       its centre   centre      centre      centre      its points    -
    skeleton     -            -           -           -           itself        -
    tag          tag          tag         tag         tag         tag           tag

``-`` makes no shape: a tag says nothing of a place, and a box has no joints; ``can_become`` tells so before a job
starts. A label of type ``any`` holds no joints either, so there a skeleton becomes points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from adapters.base import Detections, Geometry, Mask, Polygon, RotatedRectangle, Skeleton, WholeFrame
from bridge.domain import HAND_DRAWN_TYPES, LabelAttribute, Shape, Source, TaskLabel
from bridge.fit import UNKNOWN, Fit
from bridge.masks import mask_from_polygon, mask_to_polygons

POINT_SCORE = 0.3  # joints below it count as absent: the default cut of MMPose's visualizer (kpt_thr)
DIGITS = 2  # coordinates are kept to 0.01 pixel

Box = NDArray[np.float32]


def above(detections: Detections, threshold: float, label_thresholds: Mapping[str, float]) -> Detections:
    """The detections of at least ``threshold``, or of their own label's, by the model's label names.

    Compared in float32, as scores are: a score of 0.7 is not below a threshold of 0.7.
    """
    cuts = np.array([label_thresholds.get(label, threshold) for label in detections.labels], np.float32)
    if not len(detections):
        return detections
    return detections.take(detections.scores >= cuts[detections.label_ids])


def can_become(shape_type: str, label_type: str) -> bool:
    """Whether a model's ``shape_type`` makes shapes of a label of ``label_type``."""
    if label_type in HAND_DRAWN_TYPES:
        return False
    if label_type == "skeleton" or shape_type == "tag":
        return label_type == shape_type or (shape_type == "tag" and label_type == "any")
    return True


def to_shapes(
    detections: Detections,
    choose: Mapping[str, TaskLabel],
    *,
    masks_as_polygons: bool,
    frame_size: tuple[int, int] | None = None,
    fits: Mapping[str, Fit] = MappingProxyType({}),
) -> list[Shape]:
    """The shapes of the detections whose model label ``choose`` maps to a task label, in order.

    ``masks_as_polygons`` holds for labels of type any; elsewhere the label's type decides. The polygons of one mask
    share a ``group``, numbered from 1 within the frame. A label's tag comes once, with its best score. ``fits`` (by
    model label) says which joint is which and what attributes are called; without it joints go by their order, where
    there are as many, and attributes by their names. Attributes that the label does not have, or with a value that it
    does not allow, are left out. ``frame_size`` (width, height) is needed only where a label of type mask meets
    something else than a mask: ValueError without it.
    """
    shapes: list[Shape] = []
    tags: dict[str, int] = {}  # label -> where its tag stands
    groups = 0
    for row in range(len(detections)):
        name = detections.labels[detections.label_ids[row]]
        label, fit = choose.get(name), fits.get(name, UNKNOWN)
        if label is None:
            continue
        geometry, box = detections.geometry[row], detections.boxes[row]
        parts = _parts(geometry, box, label, fit, masks_as_polygons, frame_size)
        score = round(float(detections.scores[row]), 6)
        groups += len(parts) > 1
        values = detections.attributes[row] if detections.attributes else {}
        for part in parts:
            shape = Shape(
                label.name,
                part.type,
                part.points,
                part.rle,
                part.rotation,
                score,
                Source.AUTOMATIC,
                _allowed(values, label.attributes, fit),
                groups if len(parts) > 1 else 0,
            )
            if shape.type == "tag" and label.name in tags:
                at = tags[label.name]
                if score > (shapes[at].score or 0):
                    shapes[at] = shape
                continue
            if shape.type == "tag":
                tags[label.name] = len(shapes)
            shapes.append(shape)
    return shapes


@dataclass(frozen=True, slots=True)
class _Part:
    type: str
    points: tuple[float, ...] = ()
    rle: bytes | None = None
    rotation: float = 0.0


def _parts(
    geometry: Geometry,
    box: Box,
    label: TaskLabel,
    fit: Fit,
    masks_as_polygons: bool,
    frame_size: tuple[int, int] | None,
) -> list[_Part]:
    wanted = label.type if label.type != "any" else _natural(geometry, masks_as_polygons)
    if wanted == "tag":
        return [_Part("tag")]
    if isinstance(geometry, WholeFrame):
        return []
    if wanted == "mask":
        return _mask(geometry, box, frame_size)
    if wanted == "skeleton":
        return _skeleton(geometry, label, fit)
    return _MAKERS[wanted](geometry, box)


def _natural(geometry: Geometry, masks_as_polygons: bool) -> str:
    match geometry:
        case Polygon():
            return "polygon"
        case Mask():
            return "polygon" if masks_as_polygons else "mask"
        case Skeleton():
            return "points"
        case WholeFrame():
            return "tag"
    return "rectangle"


def _rectangle(geometry: Geometry, box: Box) -> list[_Part]:
    if isinstance(geometry, RotatedRectangle):
        half_w, half_h = geometry.width / 2, geometry.height / 2
        x, y = geometry.center_x, geometry.center_y
        points = (x - half_w, y - half_h, x + half_w, y + half_h)
        return [_Part("rectangle", _rounded(points), rotation=_degrees(geometry.rotation))]
    return [_Part("rectangle", _rounded(box))]


def _polygon(geometry: Geometry, box: Box) -> list[_Part]:
    return [_Part("polygon", _rounded(points)) for points in _outlines(geometry, box)]


def _outlines(geometry: Geometry, box: Box) -> list[Sequence[float]]:
    match geometry:
        case Polygon(points):
            return [points.ravel().tolist()]
        case Mask():
            return list(mask_to_polygons(geometry))
        case RotatedRectangle(x, y, width, height, rotation):
            corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            return [rectangle_corners(corners, rotation)]
    return [rectangle_corners(box.tolist())]


def rectangle_corners(points: Sequence[float], rotation: float = 0.0) -> list[float]:
    """The corners of a rectangle (x1 y1 x2 y2), flat, turned by ``rotation`` degrees clockwise around its centre."""
    x1, y1, x2, y2 = points
    angle = math.radians(rotation)
    sin, cos = math.sin(angle), math.cos(angle)
    center_x, center_y = (x1 + x2) / 2, (y1 + y2) / 2
    flat: list[float] = []
    for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2)):
        dx, dy = x - center_x, y - center_y
        flat += (center_x + dx * cos - dy * sin, center_y + dx * sin + dy * cos)  # y down: this turns clockwise
    return flat


def _ellipse(geometry: Geometry, box: Box) -> list[_Part]:
    if isinstance(geometry, RotatedRectangle):
        points = (geometry.center_x, geometry.center_y, geometry.width / 2, geometry.height / 2)
        return [_Part("ellipse", _rounded(points), rotation=_degrees(geometry.rotation))]
    x1, y1, x2, y2 = box.tolist()
    return [_Part("ellipse", _rounded(((x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2)))]


def _points(geometry: Geometry, box: Box) -> list[_Part]:
    if isinstance(geometry, Skeleton):
        seen = geometry.points[geometry.scores >= np.float32(POINT_SCORE)]
        return [_Part("points", _rounded(seen.ravel()))] if len(seen) else []
    x1, y1, x2, y2 = box.tolist()
    return [_Part("points", _rounded(((x1 + x2) / 2, (y1 + y2) / 2)))]


def _mask(geometry: Geometry, box: Box, frame_size: tuple[int, int] | None) -> list[_Part]:
    if isinstance(geometry, Mask):
        return [_Part("mask", rle=geometry.counts)]
    if frame_size is None:
        raise ValueError("a mask of something that is no mask needs frame_size")
    return [_Part("mask", rle=mask_from_polygon(_outlines(geometry, box), *frame_size).counts)]


def _skeleton(geometry: Geometry, label: TaskLabel, fit: Fit) -> list[_Part]:
    """The task's points in the task's order; those that the model has not, or has not seen, are absent."""
    if not isinstance(geometry, Skeleton) or fit.has_no_joint:
        return []
    count = len(geometry.points)
    if fit.joints is None and count != len(label.sublabels):
        return []
    points, scores = geometry.points.tolist(), geometry.scores
    flat: list[float] = []
    for place in range(count) if fit.joints is None else fit.joints:
        if place is None or place >= count:
            flat += (0.0, 0.0, 0.0)
        else:
            flat += (*points[place], 2.0 if scores[place] >= np.float32(POINT_SCORE) else 0.0)
    return [_Part("skeleton", _rounded(flat))]  # COCO's visibility: 2 seen, 0 absent


_MAKERS: dict[str, Callable[[Geometry, Box], list[_Part]]] = {
    "rectangle": _rectangle,
    "polygon": _polygon,
    "ellipse": _ellipse,
    "points": _points,
}


def _rounded(points: Sequence[float] | NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(round(float(value), DIGITS) for value in points)


def _degrees(rotation: float) -> float:
    """0 up to 360, as CVAT stores it."""
    return round(rotation % 360, DIGITS) % 360


def _allowed(values: Mapping[str, str], attributes: Sequence[LabelAttribute], fit: Fit) -> dict[str, str]:
    """The values under the task's names; a name that fits goes before one that is merely spelled the same."""
    known = {attribute.name: attribute for attribute in attributes}
    allowed: dict[str, str] = {}
    for theirs, answered in sorted(values.items(), key=lambda item: item[0] not in fit.attributes):
        name, meanings = fit.attributes.get(theirs, (theirs, {}))
        value = meanings.get(answered, answered)
        if name in known and _fits(value, known[name]):
            allowed.setdefault(name, value)
    return allowed


def _fits(value: str, attribute: LabelAttribute) -> bool:
    """As CVAT keeps values: listed ones, true and false, whole numbers, any text."""
    match attribute.input_type:
        case "select" | "radio":
            return value in attribute.values
        case "checkbox":
            return value in ("true", "false")
        case "number":
            return value.isascii() and value.isdigit()
    return True
