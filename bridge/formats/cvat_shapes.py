"""Shapes as the elements of CVAT's XML, of images and of tracks, out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bridge.domain import Shape, Source, StoredFrame, TaskLabel
from bridge.formats.xml_writing import Xml
from bridge.masks import crop_mask
from bridge.outlines import mask_of
from bridge.skeleton_drawing import skeleton_svg

SOURCES = {Source.MANUAL: "manual", Source.AUTOMATIC: "auto", Source.IMPORTED: "file"}
_ELEMENTS = {"rectangle": "box"}  # the other elements are named as their shapes


class CannotHold(Exception):
    """What of a shape the format cannot hold, as it is counted."""


def element_name(shape: Shape) -> str:
    return _ELEMENTS.get(shape.type, shape.type)


def geometry_of(shape: Shape, frame: StoredFrame, label: TaskLabel) -> dict[str, str]:
    """The attributes of the shape's element. Raises CannotHold."""
    turn = {"rotation": f"{shape.rotation:.2f}"} if shape.rotation else {}
    match shape.type:
        case "rectangle":
            return _named(("xtl", "ytl", "xbr", "ybr"), shape.points) | turn
        case "ellipse":
            return _named(("cx", "cy", "rx", "ry"), shape.points) | turn
        case "polygon" | "points":
            return {"points": _pairs(shape.points)}
        case "skeleton" if len(shape.points) != 3 * len(label.sublabels):
            raise CannotHold("skeleton of another number of points")
        case "mask":
            return _mask(shape, frame)
    return {}


def write_inside(xml: Xml, shape: Shape, label: TaskLabel) -> None:
    """A shape's attributes, and the points of a skeleton."""
    for name, value in shape.attributes.items():
        xml.text("attribute", value, {"name": name})
    if shape.type != "skeleton":
        return
    for number, name in enumerate(label.sublabels):
        x, y, seen = shape.points[3 * number : 3 * number + 3]
        values = {"label": name, "source": SOURCES[shape.source], "occluded": str(int(seen == 1))}
        xml.text("points", None, {**values, "outside": str(int(seen == 0)), "points": _pairs((x, y))})


def write_label(xml: Xml, label: TaskLabel) -> None:
    """A label of the document's head, and after it those of a skeleton's points."""
    with xml.element("label"):
        for key in ("name", "color", "type"):
            xml.text(key, getattr(label, key))
        with xml.element("attributes"):
            for attribute in label.attributes:
                with xml.element("attribute"):
                    xml.text("name", attribute.name)
                    xml.text("mutable", str(attribute.mutable))
                    xml.text("input_type", attribute.input_type)
                    xml.text("default_value", attribute.default_value)
                    xml.text("values", "\n".join(attribute.values))
        if label.type == "skeleton":
            xml.text("svg", skeleton_svg(label.sublabels))
    for name in label.sublabels:
        with xml.element("label"):
            for key, value in (("name", name), ("color", label.color), ("type", "points"), ("parent", label.name)):
                xml.text(key, value)
            xml.text("attributes", "")


def _mask(shape: Shape, frame: StoredFrame) -> dict[str, str]:
    try:
        crop = crop_mask(mask_of(shape, (frame.width, frame.height)))
    except ValueError:
        raise CannotHold("unreadable mask") from None
    if crop is None:
        raise CannotHold("empty mask")
    left, top, bits = crop
    flat = bits.ravel()
    edges = np.concatenate(([0] if flat[0] else [], np.flatnonzero(np.diff(flat)) + 1, [len(flat)]))
    runs = np.diff(edges, prepend=0).astype(int)
    height, width = bits.shape
    place = {"left": left, "top": top, "width": width, "height": height}
    return {"rle": ", ".join(map(str, runs))} | {key: str(value) for key, value in place.items()}


def _named(keys: Sequence[str], values: Sequence[float]) -> dict[str, str]:
    return {key: f"{value:.2f}" for key, value in zip(keys, values, strict=True)}


def _pairs(points: Sequence[float]) -> str:
    pairs: Iterator[tuple[float, float]] = zip(points[::2], points[1::2], strict=True)
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in pairs)
