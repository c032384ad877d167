"""CVAT for images 1.1, out (https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/).

Every kind of shape is kept: boxes and ellipses with their rotation, polygons, points, masks as run lengths of their
crop (row by row, zeros first), skeletons with their points, tags, attributes and groups. ``source`` is CVAT's: manual,
auto, file. A shape's ``score`` is written as an attribute of its element, which CVAT's importer passes over.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from io import TextIOBase
from pathlib import Path
from typing import IO, cast
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

import numpy as np

from bridge.domain import Shape, Source, StoredFrame, TaskLabel
from bridge.formats.cvat_xml_reading import read_cvat_xml
from bridge.formats.writing import ExportSummary, PendingPath, Tally
from bridge.masks import crop_mask
from bridge.outlines import mask_of
from bridge.task_labels import skeleton_svg

__all__ = ["CvatXmlWriter", "read_cvat_xml"]

SOURCES = {Source.MANUAL: "manual", Source.AUTOMATIC: "auto", Source.IMPORTED: "file"}
_ELEMENTS = {"rectangle": "box"}  # the other elements are named as their shapes


class CvatXmlWriter:
    """Images wait in a second file, for the head of the document holds their number."""

    def __init__(self, path: Path, labels: Sequence[TaskLabel]) -> None:
        self._labels = {label.name: label for label in labels}
        self._tally = Tally()
        self._pending = PendingPath(path)
        self._images = tempfile.TemporaryFile("w+", encoding="utf-8", dir=self._pending.path.parent)  # noqa: SIM115
        self._xml = _Xml(self._images, indent=1)

    def add(self, frame: StoredFrame, shapes: Sequence[Shape]) -> None:
        size = {"width": str(frame.width), "height": str(frame.height)}
        with self._xml.element("image", {"id": str(frame.number), "name": frame.name, **size}):
            for shape in shapes:
                self._shape(shape, frame)
        self._tally.frames += 1

    def finish(self) -> ExportSummary:
        with self._pending.path.open("w", encoding="utf-8") as out:
            out.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n')
            xml = _Xml(out, indent=1)
            xml.text("version", "1.1")
            self._meta(xml)
            self._images.seek(0)
            shutil.copyfileobj(self._images, out)
            out.write("</annotations>\n")
        self._images.close()
        self._pending.keep()
        return self._tally.summary()

    def abort(self) -> None:
        with suppress(OSError):
            self._images.close()
        self._pending.discard()

    def _meta(self, xml: _Xml) -> None:
        with xml.element("meta"), xml.element("task"):
            xml.text("size", str(self._tally.frames))
            xml.text("mode", "annotation")
            with xml.element("labels"):
                for label in self._labels.values():
                    self._label(xml, label)

    def _label(self, xml: _Xml, label: TaskLabel) -> None:
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

    def _shape(self, shape: Shape, frame: StoredFrame) -> None:
        label = self._labels.get(shape.label)
        if label is None:
            self._tally.leave_out("unknown label")
            return
        common = {"label": shape.label, "source": SOURCES[shape.source]}
        if shape.type != "tag":
            common |= {"occluded": "0", "z_order": "0"}
        if shape.group:
            common["group_id"] = str(shape.group)
        if shape.score is not None:
            common["score"] = f"{shape.score:g}"
        geometry = self._geometry(shape, frame, label)
        if geometry is None:
            return
        with self._xml.element(_ELEMENTS.get(shape.type, shape.type), {**common, **geometry}):
            for name, value in shape.attributes.items():
                self._xml.text("attribute", value, {"name": name})
            if shape.type == "skeleton":
                self._elements(shape, label)
        self._tally.shapes += 1

    def _geometry(self, shape: Shape, frame: StoredFrame, label: TaskLabel) -> dict[str, str] | None:
        """The attributes of the shape's element; None, and counted, where there are none to write."""
        turn = {"rotation": f"{shape.rotation:.2f}"} if shape.rotation else {}
        match shape.type:
            case "rectangle":
                return _named(("xtl", "ytl", "xbr", "ybr"), shape.points) | turn
            case "ellipse":
                return _named(("cx", "cy", "rx", "ry"), shape.points) | turn
            case "polygon" | "points":
                return {"points": _pairs(shape.points)}
            case "skeleton" if len(shape.points) != 3 * len(label.sublabels):
                self._tally.leave_out("skeleton of another number of points")
                return None
            case "mask":
                return self._mask(shape, frame)
        return {}

    def _mask(self, shape: Shape, frame: StoredFrame) -> dict[str, str] | None:
        try:
            crop = crop_mask(mask_of(shape, (frame.width, frame.height)))
        except ValueError:
            self._tally.leave_out("unreadable mask")
            return None
        if crop is None:
            self._tally.leave_out("empty mask")
            return None
        left, top, bits = crop
        flat = bits.ravel()
        edges = np.concatenate(([0] if flat[0] else [], np.flatnonzero(np.diff(flat)) + 1, [len(flat)]))
        runs = np.diff(edges, prepend=0).astype(int)
        height, width = bits.shape
        place = {"left": left, "top": top, "width": width, "height": height}
        return {"rle": ", ".join(map(str, runs))} | {key: str(value) for key, value in place.items()}

    def _elements(self, shape: Shape, label: TaskLabel) -> None:
        for number, name in enumerate(label.sublabels):
            x, y, seen = shape.points[3 * number : 3 * number + 3]
            values = {"label": name, "source": SOURCES[shape.source], "occluded": str(int(seen == 1))}
            self._xml.text("points", None, {**values, "outside": str(int(seen == 0)), "points": _pairs((x, y))})


class _Xml:
    """Indented elements, written as they come."""

    def __init__(self, out: IO[str], indent: int) -> None:
        self._generator = XMLGenerator(cast(TextIOBase, out), "utf-8", short_empty_elements=True)
        self._depth = indent

    def element(self, name: str, attributes: Mapping[str, str] | None = None) -> _Element:
        return _Element(self, name, attributes or {})

    def text(self, name: str, content: str | None, attributes: Mapping[str, str] | None = None) -> None:
        self._pad()
        self._generator.startElement(name, _clean_all(attributes or {}))
        if content:
            self._generator.characters(_clean(content))
        self._generator.endElement(name)
        self._generator.ignorableWhitespace("\n")

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._pad()
        self._generator.startElement(name, _clean_all(attributes))
        self._generator.ignorableWhitespace("\n")
        self._depth += 1

    def end(self, name: str) -> None:
        self._depth -= 1
        self._pad()
        self._generator.endElement(name)
        self._generator.ignorableWhitespace("\n")

    def _pad(self) -> None:
        self._generator.ignorableWhitespace("  " * self._depth)


class _Element:
    def __init__(self, xml: _Xml, name: str, attributes: Mapping[str, str]) -> None:
        self._xml, self._name, self._attributes = xml, name, attributes

    def __enter__(self) -> None:
        self._xml.start(self._name, self._attributes)

    def __exit__(self, *_: object) -> None:
        self._xml.end(self._name)


_ILLEGAL = re.compile("[^\\t\\n\\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # not a Char of XML 1.0, section 2.2


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold at all."""
    return _ILLEGAL.sub("", text)


def _clean_all(attributes: Mapping[str, str]) -> AttributesImpl[str]:
    return AttributesImpl({key: _clean(value) for key, value in attributes.items()})


def _named(keys: Sequence[str], values: Sequence[float]) -> dict[str, str]:
    return {key: f"{value:.2f}" for key, value in zip(keys, values, strict=True)}


def _pairs(points: Sequence[float]) -> str:
    pairs: Iterator[tuple[float, float]] = zip(points[::2], points[1::2], strict=True)
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in pairs)
