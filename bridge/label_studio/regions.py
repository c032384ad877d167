"""Shapes -> regions as Label Studio draws them. It checks nothing of what it is given, so this must be right.

Coordinates are percents of the picture, 0 to 100; ids are unique within a task; ``type`` is the control's tag in lower
case; labels are lists; a brush's run lengths are of the picture's true size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from adapters.base import Mask
from bridge.domain import Shape
from bridge.label_studio.brush import brush_rle
from bridge.label_studio.config import SHAPE_OF, Control, ImageTag, LabelConfig
from bridge.label_studio.labels import skeleton_controls
from bridge.masks import mask_box, mask_from_polygon, mask_to_polygons
from bridge.shapes import rectangle_corners

Region = dict[str, Any]
Size = tuple[int, int]  # width, height

NEARLY = "Turned by {:.4g} degrees: the box around what is seen, for no corner that could say it lies in the image."
POINT_WIDTH = 0.5  # of a key point as it is drawn, in percent
_DIGITS = 4  # a hundredth of a pixel in a picture of 10,000
_ID_BYTES = 6

# A shape's own type -> the types of controls in the order in which they hold it best.
_PREFERENCE: Mapping[str, Sequence[str]] = {
    "rectangle": ("rectangle", "polygon", "mask", "ellipse", "points", "tag"),
    "ellipse": ("ellipse", "rectangle", "polygon", "mask", "points", "tag"),
    "polygon": ("polygon", "mask", "rectangle", "ellipse", "points", "tag"),
    "mask": ("mask", "polygon", "rectangle", "ellipse", "points", "tag"),
    "points": ("points", "tag"),
    "tag": ("tag",),
}
# Of a turned rectangle that percents of the picture cannot say: its outline says it, a rectangle only nearly.
_UNANCHORED = ("polygon", "mask", "rectangle", "ellipse", "points", "tag")


def prediction(
    shapes_on: Mapping[str, tuple[Sequence[Shape], Size]], config: LabelConfig, version: str, key: str
) -> Region:
    """One task's prediction, always complete.

    shapes_on   name of an Image tag -> its shapes, and its size
    key         what tells this task from others: region ids are made of it, the same for the same key
    """
    regions: list[Region] = []
    for image in config.images:
        if image.name in shapes_on:
            shapes, size = shapes_on[image.name]
            regions += to_regions(shapes, config, image, size)
    stem = id_stem(version, key)
    for number, region in enumerate(regions):
        region["id"] = f"{stem}-{number}"
    scores = [region["score"] for region in regions]
    return {
        "result": regions,
        "score": round(sum(scores) / len(scores), 6) if scores else 0.0,
        "model_version": version,
    }


def id_stem(version: str, key: str) -> str:
    """What the ids of a prediction's regions begin with."""
    return hashlib.blake2b(f"{version}\0{key}".encode(), digest_size=_ID_BYTES).hexdigest()


def to_regions(shapes: Iterable[Shape], config: LabelConfig, image: ImageTag, size: Size) -> list[Region]:
    """The regions of an image's shapes, still without ids; shapes that no control of the image holds are left out.

    The tags of one Choices control are one region: all of them where it is multiple, else the one with the best score.
    """
    controls = config.on(image.name)
    skeletons = skeleton_controls(config)
    regions: list[Region] = []
    chosen: dict[str, list[Shape]] = {}
    for shape in shapes:
        if shape.type == "skeleton":
            if shape.label in skeletons:
                points = next((c for c in controls if c.name == skeletons[shape.label].name), None)
                regions += _joints(shape, points, size) if points is not None else []
            continue
        holder = _holder(shape, controls, size)
        if holder is None:
            continue
        if holder.shape == "tag":
            chosen.setdefault(holder.name, []).append(shape)
            continue
        for part in _as_type(shape, holder.shape, size):
            value = _VALUES[holder.shape](part, size)
            region = _region(holder, shape.label, value, shape.score, size)
            if holder.shape == "rectangle" and _anchored(part, size) is None:
                region["meta"] = {"text": [NEARLY.format(part.rotation % 360)]}  # Label Studio shows it with the region
            regions.append(region)
    for control in controls:
        if control.name in chosen:
            regions.append(_choices(control, chosen[control.name]))
    return regions


def _holder(shape: Shape, controls: Sequence[Control], size: Size) -> Control | None:
    """The control that holds a shape best."""
    kinds = _PREFERENCE.get(shape.type, ())
    if shape.type == "rectangle" and _anchored(shape, size) is None:
        kinds = _UNANCHORED
    holders = [control for control in controls if shape.label in control.labels and control.shape in kinds]
    return min(holders, key=lambda control: kinds.index(control.shape), default=None)


def _region(control: Control, label: str, value: Region, score: float | None, size: Size) -> Region:
    return {
        "id": "",
        "from_name": control.name,
        "to_name": control.to_name,
        "type": control.kind,
        "original_width": size[0],
        "original_height": size[1],
        "image_rotation": 0,
        "score": _score(score),
        "value": {**value, control.kind: [control.labels[label]]},
    }


def _choices(control: Control, shapes: Sequence[Shape]) -> Region:
    best = sorted(shapes, key=lambda shape: -_score(shape.score))
    taken = list(dict.fromkeys(control.labels[shape.label] for shape in best))
    return {
        "id": "",
        "from_name": control.name,
        "to_name": control.to_name,
        "type": control.kind,
        "score": _score(best[0].score),
        "value": {"choices": taken if control.multiple else taken[:1]},
    }


def _score(score: float | None) -> float:
    return 1.0 if score is None else min(max(float(score), 0.0), 1.0)


def _joints(shape: Shape, control: Control | None, size: Size) -> list[Region]:
    """A key point for every joint that was seen; the skeleton's points are the control's labels, in their order."""
    if control is None:
        return []
    regions = []
    for place, label in enumerate(control.labels):
        x, y, visible = shape.points[3 * place : 3 * place + 3] or (0.0, 0.0, 0.0)
        if visible:
            point = replace(shape, type="points", points=(x, y))
            regions.append(_region(control, label, _key_point(point, size), shape.score, size))
    return regions


def _as_type(shape: Shape, wanted: str, size: Size) -> list[Shape]:
    """The shape in the type of the control that holds it; several where a mask has several outlines."""
    if shape.type == "mask" and mask_box(_mask(shape, size)) is None:
        return []
    if wanted == "points":
        places = list(zip(shape.points[::2], shape.points[1::2], strict=True)) if shape.type == "points" else []
        return [replace(shape, type=wanted, points=place) for place in places or [_center(shape, size)]]
    if shape.type == wanted:
        return [shape]
    if wanted == "polygon":
        return [replace(shape, type=wanted, points=tuple(points)) for points in _outlines(shape, size)]
    if wanted == "mask":
        outlines = _outlines(shape, size)
        return [replace(shape, type=wanted, points=(), rle=mask_from_polygon(outlines, *size).counts)]
    x1, y1, x2, y2 = _box(shape, size)
    ellipse = ((x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2)
    return [replace(shape, type=wanted, points=ellipse if wanted == "ellipse" else (x1, y1, x2, y2))]


def _outlines(shape: Shape, size: Size) -> list[Sequence[float]]:
    if shape.type == "mask":
        return list(mask_to_polygons(_mask(shape, size)))
    if shape.type == "polygon":
        return [shape.points]
    if shape.type == "rectangle" and shape.rotation % 360:
        return [_seen(shape, size)]
    return [rectangle_corners(_box(shape, size), 0.0)]


def _box(shape: Shape, size: Size) -> tuple[float, float, float, float]:
    """Around a shape: x1 y1 x2 y2; of a rectangle itself, before it is turned."""
    if shape.type == "mask":
        return mask_box(_mask(shape, size)) or (0.0, 0.0, 0.0, 0.0)
    if shape.type == "ellipse":
        x, y, rx, ry = shape.points
        return x - rx, y - ry, x + rx, y + ry
    xs, ys = shape.points[::2], shape.points[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _center(shape: Shape, size: Size) -> tuple[float, float]:
    x1, y1, x2, y2 = _box(shape, size)
    return (x1 + x2) / 2, (y1 + y2) / 2


def percent(value: float, whole: float) -> float:
    """Of a picture's side, within 0 to 100."""
    return round(min(max(100 * value / whole, 0.0), 100.0), _DIGITS)


def _rectangle(shape: Shape, size: Size) -> Region:
    """As it is where that can be said, else the box around what is seen of it."""
    anchored = _anchored(shape, size)
    if anchored is not None and anchored["rotation"]:
        return anchored
    corners = _seen(shape, size)
    left, right = percent(min(corners[::2]), size[0]), percent(max(corners[::2]), size[0])
    top, bottom = percent(min(corners[1::2]), size[1]), percent(max(corners[1::2]), size[1])
    return {
        "x": left,
        "y": top,
        "width": round(right - left, _DIGITS),
        "height": round(bottom - top, _DIGITS),
        "rotation": 0,
    }


def _anchored(shape: Shape, size: Size) -> Region | None:
    """Label Studio turns a rectangle clockwise around its own top left corner, CVAT around its centre: so it needs a
    corner within the picture, and sides no longer than the picture's. An upright one is always cut to fit."""
    if not shape.rotation % 360:
        return {"rotation": 0}
    able = (t for t in _turned(shape, size) if all(0 <= t[side] <= 100 for side in ("x", "y", "width", "height")))
    return next(able, None)


def _seen(shape: Shape, size: Size) -> Sequence[float]:
    """The corners of the part of a rectangle that lies within the picture; its own where none does."""
    corners = rectangle_corners(_box(shape, size), shape.rotation)
    width, height = size
    picture = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    area, points = cv2.intersectConvexConvex(np.reshape(corners, (4, 2)).astype(np.float32), picture)
    return corners if area <= 0 or points is None else [float(number) for number in points.ravel()]


def _turned(shape: Shape, size: Size) -> list[Region]:
    """The same turned rectangle from each of its four corners."""
    corners = rectangle_corners(shape.points, shape.rotation)
    x1, y1, x2, y2 = shape.points
    found = []
    for quarter in range(4):
        x, y = corners[2 * quarter], corners[2 * quarter + 1]
        width, height = (x2 - x1, y2 - y1) if quarter % 2 == 0 else (y2 - y1, x2 - x1)
        found.append(
            {
                "x": round(100 * x / size[0], _DIGITS),
                "y": round(100 * y / size[1], _DIGITS),
                "width": round(100 * width / size[0], _DIGITS),
                "height": round(100 * height / size[1], _DIGITS),
                "rotation": round((shape.rotation + 90 * quarter) % 360, 2),
            }
        )
    return found


def _polygon(shape: Shape, size: Size) -> Region:
    places = zip(shape.points[::2], shape.points[1::2], strict=True)
    return {"points": [[percent(x, size[0]), percent(y, size[1])] for x, y in places], "closed": True}


def _brush(shape: Shape, size: Size) -> Region:
    return {"format": "rle", "rle": brush_rle(_mask(shape, size))}


def _mask(shape: Shape, size: Size) -> Mask:
    return Mask(size[1], size[0], shape.rle or b"")


def _key_point(shape: Shape, size: Size) -> Region:
    x, y = shape.points[:2]
    return {"x": percent(x, size[0]), "y": percent(y, size[1]), "width": POINT_WIDTH}


def _ellipse(shape: Shape, size: Size) -> Region:
    x, y, rx, ry = shape.points
    return {
        "x": percent(x, size[0]),
        "y": percent(y, size[1]),
        "radiusX": percent(rx, size[0]),
        "radiusY": percent(ry, size[1]),
        "rotation": round(shape.rotation % 360, 2),
    }


_VALUES: Mapping[str, Callable[[Shape, Size], Region]] = {
    "rectangle": _rectangle,
    "polygon": _polygon,
    "mask": _brush,
    "points": _key_point,
    "ellipse": _ellipse,
}
assert {*_VALUES, "tag"} == set(SHAPE_OF.values())
