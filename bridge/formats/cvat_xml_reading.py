"""CVAT for images 1.1 and CVAT for video 1.1, in. Read as a stream."""

from __future__ import annotations

from pathlib import Path

from bridge.domain import LabelAttribute, Shape, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.cvat_shapes_reading import shape_of
from bridge.formats.cvat_tracks_reading import Grid, Tracks
from bridge.formats.document import Document, FileShapes
from bridge.formats.xml_reading import Node, Trees, Wrong, parse_file

_HINT = "Export from CVAT as 'CVAT for images 1.1' or 'CVAT for video 1.1'."
_HEAD = ("label", "original_size", "start_frame", "frame_filter")


def read_cvat_xml(path: Path) -> Document:
    """The labels and shapes of a CVAT XML file. Raises InvalidRequest, which names the image or the track."""
    file = _File()
    trees = Trees("annotations", _is_wanted, file.found)

    def where() -> str:
        node = trees.open
        if node is None or node.tag not in ("image", "track"):
            return ""
        return f", {node.tag} {node.attributes.get('name' if node.tag == 'image' else 'id', '')[:200]}"

    parse_file(path, trees, _HINT, where)
    if file.images and file.tracks.count:
        raise InvalidRequest(f"{path.name} holds images and tracks of a video.", hint="Import them one by one.")
    if file.tracks.count:
        return Document(tuple(file.labels()), file.tracks.images(), numbered=True)
    return Document(tuple(file.labels()), tuple(file.images))


def _is_wanted(path: list[str]) -> bool:
    return path[1:] in (["image"], ["track"]) or (path[1:2] == ["meta"] and path[-1] in _HEAD)


class _File:
    """What was found so far: the head comes before the images and tracks."""

    def __init__(self) -> None:
        self.images: list[FileShapes] = []
        self.tracks = Tracks()
        self._labels: list[Node] = []
        self._parts: dict[str, list[str]] = {}

    def found(self, node: Node) -> None:
        match node.tag:
            case "image":
                self.images.append(self._image(node))
            case "track":
                self.tracks.add(node, self._parts)
            case "label":
                self._labels.append(node)
                if parent := node.text_of("parent"):
                    self._parts.setdefault(parent, []).append(node.text_of("name"))
            case "original_size":
                self.tracks.size = _size(node)
            case "start_frame":
                self.tracks.grid = Grid(_frame(node.text), self.tracks.grid.step)
            case "frame_filter":
                self.tracks.grid = Grid(self.tracks.grid.start, _step(node.text))

    def _image(self, node: Node) -> FileShapes:
        name = node.need("name")
        if not name:
            raise Wrong("an <image> has an empty name")
        size = (node.whole("width", least=1), node.whole("height", least=1))
        return FileShapes(name, *size, tuple(shape_of(child, size, self._parts) for child in node.children))

    def labels(self) -> list[TaskLabel]:
        """Those of the head, or, where it has none, those that shapes have."""
        found = {}
        for node in self._labels:
            name = node.text_of("name")
            if name and not node.text_of("parent"):
                found[name] = TaskLabel(
                    name,
                    node.text_of("type") or "any",
                    node.text_of("color"),
                    tuple(_attribute(child) for group in node.all("attributes") for child in group.all("attribute")),
                    tuple(self._parts.get(name, ())),
                )
        for shape in self._shapes():
            found.setdefault(shape.label, TaskLabel(shape.label))
        return list(found.values())

    def _shapes(self) -> list[Shape]:
        return [shape for image in (*self.images, *self.tracks.images()) for shape in image.shapes]


def _attribute(node: Node) -> LabelAttribute:
    values = tuple(node.text_of("values").splitlines())
    mutable = node.text_of("mutable").lower() == "true"
    return LabelAttribute(
        node.text_of("name"), node.text_of("input_type") or "text", values, mutable, node.text_of("default_value")
    )


def _size(node: Node) -> tuple[int, int]:
    sides = (node.first("width"), node.first("height"))
    width, height = (Node(side.tag, {"text": side.text}).whole("text", least=1) for side in sides)
    return width, height


def _frame(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def _step(text: str) -> int:
    """Of a frame filter, written as ``step=5``."""
    key, _, value = text.partition("=")
    return max(1, _frame(value.strip())) if key.strip() == "step" else 1
