"""The elements of CVAT's XML, of images and of tracks, in.

Elements that are no shape of ours (polylines, cuboids) are refused by name rather than dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bridge.domain import Shape, Source
from bridge.formats.xml_reading import Node, Wrong
from bridge.masks import mask_from_crop

SOURCES = {"manual": Source.MANUAL, "auto": Source.AUTOMATIC, "semi-auto": Source.AUTOMATIC, "file": Source.IMPORTED}
MAX_PIXELS = 2**28  # of a mask's crop
_SHAPES = ("box", "polygon", "points", "ellipse", "mask", "skeleton", "tag")

Parts = Mapping[str, Sequence[str]]  # label of a skeleton -> names of its points


def shape_of(node: Node, size: tuple[int, int] | None, parts: Parts, label: str = "") -> Shape:
    """The shape of an element, on a frame of this size (None: unknown); ``label`` where it stands on its track."""
    if node.tag not in _SHAPES:
        raise Wrong(f"<{node.tag[:40]}> is a kind of shape that is not kept here")
    name = label or node.need("label")
    values = _geometry(node, size, parts.get(name, ()))
    values["type"] = "rectangle" if node.tag == "box" else node.tag
    if node.tag in ("box", "ellipse") and "rotation" in node.attributes:
        values["rotation"] = node.numbers("rotation")[0] % 360
    if "score" in node.attributes:
        values["score"] = node.numbers("score")[0]
        if not 0 <= values["score"] <= 1:
            raise Wrong(f"a <{node.tag}> has a score that is not between 0 and 1")
    if "group_id" in node.attributes:
        values["group"] = node.whole("group_id", most=2**31 - 1)
    if "track_id" in node.attributes:
        values["track_id"] = node.whole("track_id", most=2**31 - 1)
    return Shape(
        name,
        source=SOURCES.get(node.attributes.get("source", "manual"), Source.MANUAL),
        attributes={child.need("name"): child.text for child in node.all("attribute")},
        **values,
    )


def _geometry(node: Node, size: tuple[int, int] | None, parts: Sequence[str]) -> dict[str, Any]:
    match node.tag:
        case "box":
            points = node.numbers("xtl", "ytl", "xbr", "ybr")
            if points[2] < points[0] or points[3] < points[1]:
                raise Wrong("a <box> is inverted")
            return {"points": points}
        case "ellipse":
            points = node.numbers("cx", "cy", "rx", "ry")
            if min(points[2:]) < 0:
                raise Wrong("an <ellipse> has a negative radius")
            return {"points": points}
        case "polygon" | "points":
            return {"points": node.pairs("points", 3 if node.tag == "polygon" else 1)}
        case "mask":
            if size is None:
                raise Wrong("it holds masks but not the size of the frames")
            return {"rle": _mask(node, size)}
        case "skeleton":
            return {"points": tuple(value for joint in _joints(node, parts) for value in joint)}
    return {}


def _joints(node: Node, parts: Sequence[str]) -> list[tuple[float, float, float]]:
    """In the order of the label's parts where the head names them; a part that is not there is absent."""
    found = [(child.attributes.get("label"), _joint(child)) for child in node.all("points")]
    if not parts or not {name for name, _ in found} <= set(parts):
        return [joint for _, joint in found]
    by_name = dict(found)
    return [by_name.get(part, (0.0, 0.0, 0.0)) for part in parts]


def _joint(node: Node) -> tuple[float, float, float]:
    x, y = node.pairs("points", 1)[:2]
    if node.attributes.get("outside") == "1":
        return x, y, 0.0
    return x, y, 1.0 if node.attributes.get("occluded") == "1" else 2.0


def _mask(node: Node, size: tuple[int, int]) -> bytes:
    left, top = node.whole("left"), node.whole("top")
    width, height = node.whole("width", least=1), node.whole("height", least=1)
    if width * height > MAX_PIXELS or left + width > size[0] or top + height > size[1]:
        raise Wrong("a <mask> is larger than its image")
    try:
        runs = np.array([int(run) for run in node.need("rle").split(",")], np.int64)
    except (ValueError, OverflowError) as error:
        raise Wrong("a <mask> has run lengths that are no whole numbers") from error
    if runs.min() < 0 or runs.max() > width * height or runs.sum() != width * height:
        raise Wrong("a <mask> has run lengths that do not fill its box")
    bits = np.repeat((np.arange(len(runs)) & 1).astype(np.uint8), runs).reshape(height, width)
    return mask_from_crop(left, top, bits, *size).counts
