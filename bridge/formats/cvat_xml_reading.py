"""CVAT for images 1.1, in. Read as a stream; a document type is refused, so there are no entities to expand.

Elements that are no shape of ours (polylines, cuboids) and tracks of CVAT for video are refused by name rather than
dropped.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError, XMLParser

import numpy as np

from bridge.domain import LabelAttribute, Shape, Source, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.document import Document, FileShapes
from bridge.masks import mask_from_crop

SOURCES = {"manual": Source.MANUAL, "auto": Source.AUTOMATIC, "semi-auto": Source.AUTOMATIC, "file": Source.IMPORTED}
MAX_SIDE = 1_000_000
MAX_PIXELS = 2**28  # of a mask's crop
_SHAPES = ("box", "polygon", "points", "ellipse", "mask", "skeleton", "tag")
_HINT = "Export from CVAT as 'CVAT for images 1.1'."
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


class _Wrong(Exception):
    """What is wrong, without saying where."""


def read_cvat_xml(path: Path) -> Document:
    """The labels and shapes of a CVAT XML file. Raises InvalidRequest, which names the image."""
    target = _Target()
    parser = XMLParser(target=target)  # noqa: S314
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 18):
                parser.feed(block)
        parser.close()
    except OSError as error:
        raise InvalidRequest(f"{path.name} cannot be read: {error.strerror or error}.") from error
    except ParseError as error:
        raise InvalidRequest(f"{path.name} is not whole XML: {error.msg}.", hint=_HINT) from error
    except (ValueError, LookupError) as error:  # an encoding that is unknown, or of several bytes
        raise InvalidRequest(f"{path.name} is in an encoding that cannot be read.", hint=_HINT) from error
    except _Wrong as wrong:
        where = f", image {target.image_name[:200]}" if target.image_name else ""
        raise InvalidRequest(f"{path.name}{where}: {wrong}.", hint=_HINT) from wrong
    return Document(tuple(target.labels()), tuple(target.images))


class _Target:
    """Receives the parser's events. Only the open image, or the open label, is held as a small tree."""

    def __init__(self) -> None:
        self.images: list[FileShapes] = []
        self.image_name = ""
        self._path: list[str] = []
        self._tree: list[_Node] = []
        self._labels: list[_Node] = []

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise _Wrong("it declares a document type, which CVAT never does")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._path and tag != "annotations":
            raise _Wrong(f"it begins with <{tag[:40]}>, not <annotations>")
        if len(self._path) > 20:
            raise _Wrong("its elements are nested too deeply")
        if tag == "track" and len(self._path) == 1:
            raise _Wrong("it holds tracks of a video; only annotations of images can be read")
        self._path.append(tag)
        in_image = self._path[1:2] == ["image"]
        if in_image or self._tree or (tag == "label" and self._path[1:2] == ["meta"]):
            node = _Node(tag, attributes)
            if self._tree:
                self._tree[-1].children.append(node)
            elif in_image:
                self.image_name = attributes.get("name", "")
            self._tree.append(node)

    def data(self, text: str) -> None:
        if self._tree:
            self._tree[-1].texts.append(text)

    def end(self, tag: str) -> None:
        self._path.pop()
        if not self._tree:
            return
        node = self._tree.pop()
        if self._tree:
            return
        if node.tag == "image":
            self.images.append(_image(node))
            self.image_name = ""
        else:
            self._labels.append(node)

    def close(self) -> None:
        return None

    def labels(self) -> list[TaskLabel]:
        """Those of the head, or, where it has none, those that shapes have."""
        parts: dict[str, list[str]] = {}
        for node in self._labels:
            parent = node.text_of("parent")
            if parent:
                parts.setdefault(parent, []).append(node.text_of("name"))
        found = {}
        for node in self._labels:
            name = node.text_of("name")
            if name and not node.text_of("parent"):
                found[name] = TaskLabel(
                    name,
                    node.text_of("type") or "any",
                    node.text_of("color"),
                    tuple(_attribute(child) for group in node.all("attributes") for child in group.all("attribute")),
                    tuple(parts.get(name, ())),
                )
        for image in self.images:
            for shape in image.shapes:
                found.setdefault(shape.label, TaskLabel(shape.label))
        return list(found.values())


class _Node:
    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag, self.attributes = tag, attributes
        self.children: list[_Node] = []
        self.texts: list[str] = []

    def all(self, tag: str) -> list[_Node]:
        return [child for child in self.children if child.tag == tag]

    def text_of(self, tag: str) -> str:
        return "".join(text for child in self.all(tag)[:1] for text in child.texts).strip()

    def need(self, key: str) -> str:
        try:
            return self.attributes[key]
        except KeyError:
            raise _Wrong(f"a <{self.tag}> has no {key}") from None

    def numbers(self, *keys: str) -> tuple[float, ...]:
        return tuple(self._number(self.need(key), key) for key in keys)

    def whole(self, key: str, *, least: int = 0, most: int = MAX_SIDE) -> int:
        value = self._number(self.need(key), key)
        if not value.is_integer() or not least <= value <= most:
            raise _Wrong(f"a <{self.tag}> has a {key} that is no whole number from {least} to {most}")
        return int(value)

    def pairs(self, key: str, least: int) -> tuple[float, ...]:
        flat: list[float] = []
        for pair in self.need(key).split(";"):
            values = pair.split(",")
            if len(values) != 2:
                raise _Wrong(f"a <{self.tag}> has points that are not written as x,y;x,y")
            flat += [self._number(value, key) for value in values]
        if len(flat) < 2 * least:
            raise _Wrong(f"a <{self.tag}> has fewer than {least} points")
        return tuple(flat)

    def _number(self, text: str, key: str) -> float:
        stripped = text.strip()
        value = float(stripped) if _NUMBER.fullmatch(stripped) else float("nan")
        if not -1e9 < value < 1e9:
            raise _Wrong(f"a <{self.tag}> has a {key} that is no finite number")
        return value


def _attribute(node: _Node) -> LabelAttribute:
    values = tuple(node.text_of("values").splitlines())
    mutable = node.text_of("mutable").lower() == "true"
    return LabelAttribute(
        node.text_of("name"), node.text_of("input_type") or "text", values, mutable, node.text_of("default_value")
    )


def _image(node: _Node) -> FileShapes:
    name = node.need("name")
    if not name:
        raise _Wrong("an <image> has an empty name")
    size = (node.whole("width", least=1), node.whole("height", least=1))
    return FileShapes(name, *size, tuple(_shape(child, size) for child in node.children))


def _shape(node: _Node, size: tuple[int, int]) -> Shape:
    if node.tag not in _SHAPES:
        raise _Wrong(f"<{node.tag[:40]}> is a kind of shape that is not kept here")
    values: dict[str, Any] = {"type": "rectangle" if node.tag == "box" else node.tag, **_geometry(node, size)}
    if node.tag in ("box", "ellipse") and "rotation" in node.attributes:
        values["rotation"] = node.numbers("rotation")[0] % 360
    if "score" in node.attributes:
        values["score"] = node.numbers("score")[0]
        if not 0 <= values["score"] <= 1:
            raise _Wrong(f"a <{node.tag}> has a score that is not between 0 and 1")
    if "group_id" in node.attributes:
        values["group"] = node.whole("group_id", most=2**31 - 1)
    return Shape(
        node.need("label"),
        source=SOURCES.get(node.attributes.get("source", "manual"), Source.MANUAL),
        attributes={child.need("name"): "".join(child.texts).strip() for child in node.all("attribute")},
        **values,
    )


def _geometry(node: _Node, size: tuple[int, int]) -> dict[str, Any]:
    match node.tag:
        case "box":
            points = node.numbers("xtl", "ytl", "xbr", "ybr")
            if points[2] < points[0] or points[3] < points[1]:
                raise _Wrong("a <box> is inverted")
            return {"points": points}
        case "ellipse":
            points = node.numbers("cx", "cy", "rx", "ry")
            if min(points[2:]) < 0:
                raise _Wrong("an <ellipse> has a negative radius")
            return {"points": points}
        case "polygon" | "points":
            return {"points": node.pairs("points", 3 if node.tag == "polygon" else 1)}
        case "mask":
            return {"rle": _mask(node, size)}
        case "skeleton":
            return {"points": tuple(value for child in node.all("points") for value in _joint(child))}
    return {}


def _joint(node: _Node) -> tuple[float, float, float]:
    x, y = node.pairs("points", 1)[:2]
    if node.attributes.get("outside") == "1":
        return x, y, 0.0
    return x, y, 1.0 if node.attributes.get("occluded") == "1" else 2.0


def _mask(node: _Node, size: tuple[int, int]) -> bytes:
    left, top = node.whole("left"), node.whole("top")
    width, height = node.whole("width", least=1), node.whole("height", least=1)
    if width * height > MAX_PIXELS or left + width > size[0] or top + height > size[1]:
        raise _Wrong("a <mask> is larger than its image")
    try:
        runs = np.array([int(run) for run in node.need("rle").split(",")], np.int64)
    except (ValueError, OverflowError) as error:
        raise _Wrong("a <mask> has run lengths that are no whole numbers") from error
    if runs.min() < 0 or runs.max() > width * height or runs.sum() != width * height:
        raise _Wrong("a <mask> has run lengths that do not fill its box")
    bits = np.repeat((np.arange(len(runs)) & 1).astype(np.uint8), runs).reshape(height, width)
    return mask_from_crop(left, top, bits, *size).counts
