"""Shapes -> what a CVAT detector answers. Pure.

CVAT stores what it gets without a look, and one NaN makes a task unreadable for ever: so everything that leaves here is
finite, inside of the picture and complete, and what is no shape any more is left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.domain import Shape, TaskLabel
from bridge.masks import Bits, Ring, crop_mask, join_rings, mask_to_polygons, polygon_area
from bridge.outlines import Size, mask_of
from bridge.shapes import DIGITS, rectangle_corners

LEAST_SIDE = 10.0**-DIGITS  # pixels: what is narrower vanishes when it is rounded
SCORE_DIGITS = 4


def encode_items(
    shapes: Iterable[Shape], labels: Sequence[TaskLabel], size: Size, *, score_attribute: str = "", group_base: int = 0
) -> bytes:
    """The answer's JSON, a list with an item per shape.

    labels           the function's, by name the shapes' own
    score_attribute  text attribute that carries the score; empty: none
    group_base       is added to group numbers: CVAT keeps them as they are, and those of two frames should not meet
    """
    known = {label.name: label for label in labels}
    found = (_item(shape, known[shape.label], size, score_attribute, group_base) for shape in shapes)
    return b"[" + b",".join(item for item in found if item is not None) + b"]"


def _item(shape: Shape, label: TaskLabel, size: Size, score_attribute: str, group_base: int) -> bytes | None:
    form = form_of(shape, label, size)
    if form is None:
        return None
    score = 1.0 if shape.score is None else shape.score
    attributes = dict(shape.attributes)
    if score_attribute and any(each.name == score_attribute for each in label.attributes):
        attributes.setdefault(score_attribute, f"{score:.{SCORE_DIGITS}f}")
    item: dict[str, Any] = {
        "confidence": f"{score:.{SCORE_DIGITS}f}",  # as text: so CVAT's own functions send it
        "label": shape.label,
        "type": shape.type,
        **form,
    }
    if attributes:
        item["attributes"] = [{"name": name, "value": value} for name, value in attributes.items()]
    if shape.group:
        item["group_id"] = group_base + shape.group
    bits = item.pop("_bits", None)
    packed = json.dumps(item, allow_nan=False, separators=(",", ":")).encode()
    return packed if bits is None else packed[:-1] + b',"mask":[' + _digits(*bits) + b"]}"


def form_of(shape: Shape, label: TaskLabel, size: Size) -> dict[str, Any] | None:
    """What the shape's type has beside label and type; None where nothing is left of the shape.

    ``points``, ``rotation``, ``elements`` as CVAT has them. A mask's ``points`` are one contour around it; its pixels
    (u8[h, w]) and their box (left, top, right, bottom; inclusive) are ``_bits``.
    """
    if not all(math.isfinite(value) for value in (*shape.points, shape.rotation)):
        return None
    if shape.type == "tag":
        return {}
    if shape.type == "skeleton":
        return _skeleton(shape.points, label.sublabels, size)
    return _FORMS[shape.type](shape, size)


def _rectangle(shape: Shape, size: Size) -> dict[str, Any] | None:
    if shape.rotation:
        # Cut at the picture's edge it would be no rectangle any more, and its unturned corners may well lie outside.
        x1, y1, x2, y2 = shape.points
        seen = polygon_area(_clipped(rectangle_corners(shape.points, shape.rotation), size)) > 0
        narrow = x2 - x1 < LEAST_SIDE or y2 - y1 < LEAST_SIDE
        return None if narrow or not seen else {"points": list(shape.points), "rotation": shape.rotation}
    x1, y1, x2, y2 = points = _clipped(shape.points, size)
    return None if x2 - x1 < LEAST_SIDE or y2 - y1 < LEAST_SIDE else {"points": points}


def _ellipse(shape: Shape, size: Size) -> dict[str, Any] | None:
    """CVAT's points of an ellipse: the centre, then its rightmost and its topmost coordinate."""
    x, y, radius_x, radius_y = shape.points
    if radius_x < LEAST_SIDE or radius_y < LEAST_SIDE or not (0 <= x <= size[0] and 0 <= y <= size[1]):
        return None
    form: dict[str, Any] = {"points": [x, y, round(x + radius_x, DIGITS), round(y - radius_y, DIGITS)]}
    return {**form, "rotation": shape.rotation} if shape.rotation else form


def _skeleton(points: Sequence[float], sublabels: Sequence[str], size: Size) -> dict[str, Any] | None:
    """Every joint of the label; one that was not seen is outside, in the middle of those that were."""
    joints = [points[i : i + 3] for i in range(0, len(points), 3)]
    seen = [_clipped(joint[:2], size) for joint in joints if joint[2]]
    if not seen or len(joints) != len(sublabels):
        return None
    middle = [round(float(value), DIGITS) for value in np.mean(seen, axis=0)]
    elements = [
        {
            "label": name,
            "type": "points",
            "points": _clipped((x, y), size) if visible else middle,
            "outside": 0 if visible else 1,
        }
        for name, (x, y, visible) in zip(sublabels, joints, strict=True)
    ]
    return {"elements": elements}


def _mask(shape: Shape, size: Size) -> dict[str, Any] | None:
    """The crop, and one contour for whoever wants polygons: all parts of the mask, joined by cuts of no width."""
    mask = mask_of(shape, size)
    crop = crop_mask(mask)
    if crop is None:
        return None
    left, top, bits = crop
    parts: list[Ring] = [np.reshape(np.asarray(part, np.float64), (-1, 2)) for part in mask_to_polygons(mask)]
    contour = parts[0]
    for part in parts[1:]:
        contour = join_rings(contour, part)
    height, width = bits.shape
    box = (left, top, left + width - 1, top + height - 1)  # inclusive corners
    return {"points": _clipped(contour.ravel().tolist(), size), "_bits": (bits, box)}


def _polygon(shape: Shape, size: Size) -> dict[str, Any] | None:
    points = _clipped(shape.points, size)
    return {"points": points} if len(points) >= 6 and polygon_area(points) > 0 else None


def _points(shape: Shape, size: Size) -> dict[str, Any] | None:
    points = _clipped(shape.points, size)
    return {"points": points} if points else None


_FORMS: Mapping[str, Callable[[Shape, Size], dict[str, Any] | None]] = {
    "rectangle": _rectangle,
    "ellipse": _ellipse,
    "polygon": _polygon,
    "points": _points,
    "mask": _mask,
}


def _digits(bits: Bits, box: tuple[int, int, int, int]) -> bytes:
    """``0,1,1,...,left,top,right,bottom``. A list of Python's numbers would take 60 bytes and a microsecond a pixel."""
    text: NDArray[np.uint8] = np.full((bits.size, 2), ord(","), np.uint8)
    text[:, 0] = ord("0") + (bits.ravel() != 0)
    return text.tobytes() + ",".join(map(str, box)).encode()


def _clipped(points: Sequence[float], size: Size) -> list[float]:
    """Flat x y ... within the picture."""
    return [min(max(value, 0.0), float(size[place % 2])) for place, value in enumerate(points)]
