"""Pascal VOC folders and zips, in: every XML file below a folder ``Annotations``, or every one where there is none.

An object's ``bndbox`` is a rectangle. Coordinates are taken as CVAT, LabelImg and Datumaro write them, from 0. Labels
come from labelmap.txt where there is one, else from the objects. Parts, poses and the flags difficult, truncated and
occluded are passed over.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path, PurePosixPath

from bridge.domain import Shape, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.document import Document, FileShapes
from bridge.formats.unpacking import text_of, wanted_files
from bridge.formats.xml_reading import Node, Trees, Wrong, parse_stream

_HINT = "Pascal VOC is a folder or zip with an XML file for each image below Annotations."
_OURS = ("score", "track_id")


def read_voc(path: Path) -> Document:
    """The boxes of a VOC folder, zip, or a single XML file. Raises InvalidRequest, which names the file."""
    if path.is_file() and path.suffix.lower() == ".xml":
        files = [(path.name, path.read_bytes())]
    else:
        files = list(wanted_files(path, _wanted, _HINT, dotted=True))
    labels: dict[str, TaskLabel] = {}
    for name, body in files:
        if PurePosixPath(name).name == "labelmap.txt":
            labels |= {label.name: label for label in _labels(text_of(body, name), name)}
    annotated = [(name, body) for name, body in files if name.endswith(".xml")]
    below = [(name, body) for name, body in annotated if "Annotations" in PurePosixPath(name).parts[:-1]]
    images = [_image(name, body) for name, body in below or annotated]
    if not images and not labels:
        raise InvalidRequest(f"{path.name} holds no XML file.", hint=_HINT)
    for image in images:
        for shape in image.shapes:
            labels.setdefault(shape.label, TaskLabel(shape.label))
    return Document(tuple(labels.values()), tuple(images))


def _wanted(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".xml" or path.name == "labelmap.txt"


def _labels(text: str, file: str) -> list[TaskLabel]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, *rest = line.strip().split(":")
        if not name or len(rest) != 3:
            raise InvalidRequest(f"{file}, line {number}: it is not written as name:r,g,b:parts:actions.")
        if name != "background":
            found.append(TaskLabel(name))
    return found


def _image(name: str, body: bytes) -> FileShapes:
    found: list[FileShapes] = []

    def take(root: Node) -> None:
        size = root.all("size")
        width, height = (_side(size[0], key) if size else None for key in ("width", "height"))
        image = root.text_of("filename") or PurePosixPath(name).stem
        folder = PurePosixPath(name).parent.parts
        if "Annotations" in folder and "/" not in image:  # the file stands where its image would stand
            image = "/".join((*folder[folder.index("Annotations") + 1 :], image))
        shapes = tuple(_object(node) for node in root.all("object"))
        found.append(FileShapes(image, width, height, shapes))

    parse_stream(io.BytesIO(body), name, Trees("annotation", lambda path: len(path) == 1, take), _HINT)
    return found[0]


def _side(size: Node, key: str) -> int | None:
    """0 stands for unknown, as some programs write it."""
    text = size.text_of(key)
    return Node("size", {key: text}).whole(key) or None if text else None


def _object(node: Node) -> Shape:
    name = node.text_of("name")
    if not name:
        raise Wrong("an <object> has no name")
    box = node.first("bndbox")
    x1, y1, x2, y2 = (box.number(box.first(key).text, key) for key in ("xmin", "ymin", "xmax", "ymax"))
    if x2 < x1 or y2 < y1:
        raise Wrong("a <bndbox> is inverted")
    values = {
        entry.text_of("name"): entry.text_of("value")
        for group in node.all("attributes")
        for entry in group.all("attribute")
    }
    shape = Shape(name, "rectangle", (x1, y1, x2, y2), attributes={k: v for k, v in values.items() if k not in _OURS})
    if "score" in values:
        score = node.number(values["score"], "score")
        if not 0 <= score <= 1:
            raise Wrong("an <object> has a score that is not between 0 and 1")
        shape = replace(shape, score=score)
    if "track_id" in values:
        shape = replace(shape, track_id=Node("object", values).whole("track_id", most=2**31 - 1))
    return shape
