"""Shapes as CVAT's REST API has them, and back. Pure.

CVAT stores what it gets, unchecked. So everything leaves here finite, inside its frame and complete: every attribute of
the label with a value, every point of a skeleton.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from adapters.base import Mask
from bridge.domain import Shape, Source
from bridge.masks import crop_mask, mask_from_crop
from bridge.remotes.cvat.description import Labels, RemoteLabel, default_of

Body = dict[str, Any]
Size = tuple[int, int]
Kind = Literal["tags", "shapes", "tracks"]
Place = tuple[Kind, int]  # CVAT numbers each kind apart

KINDS: tuple[Kind, ...] = ("tags", "shapes", "tracks")
AUTO = "auto"
_COMMON = ("frame", "label_id", "group", "source", "attributes")
_OF_SHAPE = ("type", "occluded", "outside", "z_order", "rotation", "points", "elements", "score")
_OF_KEYFRAME = ("type", "frame", "occluded", "outside", "z_order", "rotation", "points", "attributes")
_OF_ELEMENT = (
    "type",
    "frame",
    "label_id",
    "occluded",
    "outside",
    "z_order",
    "rotation",
    "points",
    "attributes",
    "source",
)


def to_body(shape: Shape, frame: int, size: Size, label: RemoteLabel, group: int) -> Body | None:
    """A shape or a tag (which has no ``type``) as it is created; None where nothing of it lies on the frame.

    ``group``: its number in the whole CVAT job, 0 for none. ``size`` is the frame's width and height.
    """
    body: Body = {
        "frame": frame,
        "label_id": label.id,
        "group": group,
        "source": AUTO,
        "attributes": [
            {
                "spec_id": label.attribute_ids[attribute.name],
                "value": _value(shape, attribute.name, default_of(attribute)),
            }
            for attribute in label.label.attributes
        ],
    }
    if shape.type == "tag":
        return body
    if not all(math.isfinite(value) for value in (*shape.points, shape.rotation)):
        return None
    points = _points(shape, size)
    if points is None:
        return None
    body |= {"type": shape.type, "occluded": False, "outside": False, "z_order": 0, "points": points}
    body["rotation"] = shape.rotation % 360 if shape.type in ("rectangle", "ellipse") else 0.0
    if shape.score is not None and math.isfinite(shape.score):
        body["score"] = min(1.0, max(0.0, shape.score))  # kept by newer versions
    if shape.type == "skeleton":
        body["elements"] = _elements(shape, frame, size, label)
        if not any(not element["outside"] for element in body["elements"]):
            return None
    return body


def _value(shape: Shape, name: str, default: str) -> str:
    return str(shape.attributes.get(name, default))


def _points(shape: Shape, size: Size) -> list[float] | None:  # noqa: PLR0911  (one return for each type)
    width, height = size
    match shape.type:
        case "skeleton":
            return []
        case "mask":
            return _mask(shape, size)
        case "rectangle" if not shape.rotation:
            x1, y1, x2, y2 = _clipped(shape.points, size)
            return [x1, y1, x2, y2] if x2 > x1 and y2 > y1 else None
        case "rectangle":  # its corners may leave the frame, and cutting them off would turn it into another one
            x1, y1, x2, y2 = shape.points
            inside = 0 <= (x1 + x2) / 2 <= width and 0 <= (y1 + y2) / 2 <= height
            return [*shape.points] if inside and x2 > x1 and y2 > y1 else None
        case "ellipse":
            x, y, rx, ry = shape.points
            return [x, y, x + rx, y - ry] if 0 <= x <= width and 0 <= y <= height and rx > 0 and ry > 0 else None
        case "polygon":
            points = _clipped(shape.points, size)
            corners = set(zip(points[::2], points[1::2], strict=True))
            return points if len(corners) >= 3 else None
        case "points":
            return _clipped(shape.points, size) or None
    return None


def _clipped(points: Sequence[float], size: Size) -> list[float]:
    return [min(max(0.0, value), float(size[place % 2])) for place, value in enumerate(points)]


def _mask(shape: Shape, size: Size) -> list[float] | None:
    """Run lengths of the box's crop, row by row and zeros first, then left, top, right, bottom (included)."""
    try:
        crop = crop_mask(Mask(size[1], size[0], shape.rle or b""))
    except ValueError:
        return None
    if crop is None:
        return None
    left, top, bits = crop
    flat = bits.ravel()
    edges = np.concatenate(([0], np.flatnonzero(np.diff(flat)) + 1, [len(flat)]))
    runs = np.diff(edges).tolist()
    if flat[0]:
        runs = [0, *runs]
    height, width = bits.shape
    return [*runs, left, top, left + width - 1, top + height - 1]


def _elements(shape: Shape, frame: int, size: Size, label: RemoteLabel) -> list[Body]:
    """All points of the skeleton, the absent ones (``outside``) where the others are."""
    joints = [shape.points[at : at + 3] for at in range(0, len(shape.points) - 2, 3)]
    seen = [(x, y) for x, y, v in joints if v]
    middle = (sum(x for x, _ in seen) / len(seen), sum(y for _, y in seen) / len(seen)) if seen else (0.0, 0.0)
    elements = []
    for place, name in enumerate(label.label.sublabels):
        x, y, v = joints[place] if place < len(joints) else (0.0, 0.0, 0.0)
        at = _clipped((x, y) if v else middle, size)
        outside = not v or at != [x, y]  # a joint off the picture is not seen
        elements.append(
            {
                "type": "points",
                "frame": frame,
                "label_id": label.point_ids[name],
                "occluded": v == 1,
                "outside": outside,
                "z_order": 0,
                "rotation": 0.0,
                "points": [round(value, 2) for value in at],
                "attributes": [{"spec_id": i, "value": value} for i, value in label.point_attributes.get(name, ())],
                "source": AUTO,
            }
        )
    return elements


def kind_of(body: Mapping[str, Any]) -> Kind:
    """A track has ``shapes``, a shape has a ``type``."""
    return "tracks" if "shapes" in body else "shapes" if "type" in body else "tags"


def place_at(body: Mapping[str, Any]) -> Place:
    """Where an annotation of CVAT stands; 0 where it has no number."""
    return kind_of(body), body.get("id") or 0


def by_kind(bodies: Iterable[Body]) -> dict[str, list[Body]]:
    """As CVAT takes and answers annotations: every kind is there, and the order within it is kept."""
    found: dict[str, list[Body]] = {kind: [] for kind in KINDS}
    for body in bodies:
        found[kind_of(body)].append(body)
    return found


def again(body: Mapping[str, Any]) -> Body:
    """What stood in CVAT, as it is created anew: without ids."""
    kept = {key: body[key] for key in (*_COMMON, *_OF_SHAPE) if body.get(key) is not None}
    if "shapes" in body:
        kept["shapes"] = [
            {key: placed[key] for key in _OF_KEYFRAME if placed.get(key) is not None} for placed in body["shapes"]
        ]
        if "elements" in kept:  # the points of a skeleton are tracks of their own
            kept["elements"] = [again(element) for element in kept["elements"]]
    elif "elements" in kept:
        kept["elements"] = [
            {key: element[key] for key in _OF_ELEMENT if element.get(key) is not None} for element in kept["elements"]
        ]
    return kept


def reference_to(body: Mapping[str, Any]) -> Body:
    """What CVAT needs to take an annotation away; a track is named as a whole, as CVAT's own page does."""
    if kind_of(body) == "tracks":
        return {**again(body), "id": body["id"]}
    return {key: body[key] for key in ("id", "frame", "label_id", "type") if key in body}


def from_body(body: Mapping[str, Any], size: Size, labels: Labels) -> Shape:
    """What stands in CVAT, as one of our shapes. Raises KeyError where its label is none of these.

    What cannot be read (a mask of a wrong length) has no points. A track is what it is on its first keyframe.
    """
    if kind_of(body) == "tracks":
        first = min(body["shapes"], key=lambda placed: int(placed.get("frame", 0)), default={"type": "rectangle"})
        body = {**first, **{key: body[key] for key in _COMMON if key in body}}
    kind = str(body["type"]) if "type" in body else "tag"
    given = [float(value) for value in body.get("points") or ()]
    rle = None
    if kind == "mask":
        rle, given = _rle(given, size), []
    elif kind == "ellipse" and len(given) == 4:
        given = [given[0], given[1], given[2] - given[0], given[1] - given[3]]
    elif kind == "skeleton":
        by_label = {element.get("label_id"): element for element in body.get("elements") or ()}
        given = [value for each in labels.points[body["label_id"]] for value in _joint(by_label.get(each))]
    score = body.get("score")
    return Shape(
        labels.names[body["label_id"]],
        kind,
        tuple(given),
        rle,
        float(body.get("rotation") or 0.0),
        float(score) if isinstance(score, int | float) else None,
        Source.AUTOMATIC if body.get("source") == AUTO else Source.MANUAL,
        {
            labels.attributes[each["spec_id"]]: str(each.get("value"))
            for each in body.get("attributes") or ()
            if each.get("spec_id") in labels.attributes
        },
        group=int(body.get("group") or 0),
    )


def _joint(element: Mapping[str, Any] | None) -> tuple[float, float, float]:
    if element is None or len(element.get("points") or ()) != 2:
        return 0.0, 0.0, 0.0
    x, y = element["points"]
    return float(x), float(y), 0.0 if element.get("outside") else 1.0 if element.get("occluded") else 2.0


def _rle(points: Sequence[float], size: Size) -> bytes | None:
    if len(points) < 5:
        return None
    left, top, right, bottom = (int(value) for value in points[-4:])
    runs = np.array(points[:-4], np.int64)
    width, height = right - left + 1, bottom - top + 1
    if width < 1 or height < 1 or runs.min() < 0 or runs.sum() != width * height or width * height > 2**28:
        return None
    bits = np.repeat((np.arange(len(runs)) & 1).astype(np.uint8), runs).reshape(height, width)
    return mask_from_crop(left, top, bits, *size).counts
