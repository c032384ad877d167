"""YOLO folders and zips, in: data.yaml for the names, and every text file below a folder ``labels``.

A line of 5 numbers is a box, of 6 a box with its score (as Ultralytics saves predictions), of an odd number from 7 a
polygon. What else it can be depends on the kind of data set, which the user names: four corners of an oriented box, or
a box with the points of a pose, as many as ``kpt_shape`` in data.yaml says. Images are known by their path without a
suffix, so a frame is found by that. What is below the folder of label files but no text file is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml  # type: ignore[import-untyped]

from bridge.domain import Shape, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.document import Document, FileShapes
from bridge.formats.unpacking import text_of, wanted_files

_HINT = "A YOLO folder holds data.yaml, with names, and the folder labels."
_NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml")
_SPLITS = ("train", "val", "valid", "test")
_MAX_JOINTS = 1000


@dataclass(frozen=True, slots=True)
class _Line:
    """The numbers behind a line's label, and where they stand."""

    label: TaskLabel
    values: list[float]
    file: str
    number: int
    dimensions: int  # of a pose's points: 2, or 3 with their visibility

    def wrong(self, what: str, hint: str = "") -> InvalidRequest:
        return InvalidRequest(f"{self.file}, line {self.number}: {what}.", hint=hint)


def read_yolo(path: Path) -> Document:
    """The shapes of a YOLO folder, zip, or data.yaml. Raises InvalidRequest, which names the file and the line."""
    return _read(path, _shape)


def read_yolo_obb(path: Path) -> Document:
    """The same of oriented boxes: a line of 9 numbers (10 with a score) is a label and four corners."""
    return _read(path, _oriented)


def read_yolo_pose(path: Path) -> Document:
    """The same of poses: a box, then x, y and, where ``kpt_shape`` says so, visibility of each point."""
    return _read(path, _pose, poses=True)


def _read(path: Path, shape: Callable[[_Line], Shape], *, poses: bool = False) -> Document:
    if path.is_file() and path.suffix.lower() in (".yaml", ".yml"):
        path = path.parent
    head: tuple[tuple[TaskLabel, ...], int] | None = None
    texts = []
    for name, body in wanted_files(path, _wanted, _HINT, dotted=True):
        if PurePosixPath(name).name in _NAME_FILES:
            head = _head(text_of(body, name), name, poses=poses)
        else:
            texts.append((name, text_of(body, name)))
    if head is None:
        raise InvalidRequest(f"{path.name} has no data.yaml.", hint=_HINT)
    found = [
        FileShapes(_image_name(name), None, None, tuple(shape(line) for line in _lines(text, name, *head)), True)
        for name, text in texts
    ]
    return Document(head[0], tuple(found), suffixless=True)


def _wanted(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name in _NAME_FILES or (path.suffix == ".txt" and "labels" in path.parts[:-1])


def _head(text: str, file: str, *, poses: bool) -> tuple[tuple[TaskLabel, ...], int]:
    """The labels of data.yaml, and the dimensions of a pose's points."""
    try:
        data: Any = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{file} is not readable YAML.", hint=_HINT) from error
    names = _names(data, file)
    if not poses:
        return tuple(TaskLabel(name) for name in names), 0
    shape = data.get("kpt_shape")
    whole = isinstance(shape, list) and len(shape) == 2 and all(type(number) is int for number in shape)
    if not whole or not 0 < shape[0] <= _MAX_JOINTS or shape[1] not in (2, 3):
        raise InvalidRequest(
            f"{file} has no kpt_shape.", hint="Poses need one, such as kpt_shape: [17, 3] for 17 points."
        )
    points = data.get("kpt_names")
    labels = []
    for number, name in enumerate(names):
        mine = points.get(number) if isinstance(points, dict) else points
        if not isinstance(mine, list) or not mine or len(mine) > shape[0]:
            mine = list(range(1, shape[0] + 1))
        labels.append(TaskLabel(name, "skeleton", sublabels=tuple(str(point) for point in mine)))
    return tuple(labels), shape[1]


def _names(data: Any, file: str) -> tuple[str, ...]:
    names = data.get("names") if isinstance(data, dict) else None
    if isinstance(names, dict):
        if sorted(key for key in names if isinstance(key, int)) != list(range(len(names))):
            raise InvalidRequest(f"{file} does not number its names from 0 without gaps.", hint=_HINT)
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, (str, int)) and str(name).strip() for name in names):
        raise InvalidRequest(f"{file} has no list of names.", hint=_HINT)
    return tuple(str(name).strip() for name in names)


def _image_name(name: str) -> str:
    """``labels/train/a/1.txt`` -> ``a/1``."""
    parts = PurePosixPath(name).with_suffix("").parts
    below = parts[parts.index("labels") + 1 :]
    return "/".join(below[1:] if len(below) > 1 and below[0] in _SPLITS else below)


def _lines(text: str, file: str, labels: tuple[TaskLabel, ...], dimensions: int) -> Iterator[_Line]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        label_id, *values = _numbers(line, file, number)
        if not label_id.is_integer() or not 0 <= label_id < len(labels):
            raise InvalidRequest(f"{file}, line {number}: there is no label {label_id:g}; data.yaml has {len(labels)}.")
        yield _Line(labels[int(label_id)], values, file, number, dimensions)


def _numbers(line: str, file: str, number: int) -> list[float]:
    try:
        found = [float(part) for part in line.split()]
    except ValueError as error:
        raise InvalidRequest(f"{file}, line {number}: not all of it is numbers.") from error
    if not all(-1e9 < value < 1e9 for value in found):  # also NaN
        raise InvalidRequest(f"{file}, line {number}: a number is not finite.")
    return found


def _shape(line: _Line) -> Shape:
    values = line.values
    if len(values) in (4, 5):
        return _box(line)
    if len(values) >= 6 and len(values) % 2 == 0:
        return Shape(line.label.name, "polygon", tuple(_share(value, line) for value in values))
    raise line.wrong(f"{len(values) + 1} numbers are no box (5 or 6) and no polygon (7, 9 ...)")


def _box(line: _Line) -> Shape:
    x, y, width, height = line.values[:4]
    if width < 0 or height < 0:
        raise line.wrong("the box has a negative size")
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    points = tuple(_share(value, line) for value in corners)
    return Shape(line.label.name, "rectangle", points, score=_score(line, 4))


def _oriented(line: _Line) -> Shape:
    """A rectangle of four corners: what it is turned by shows only in pixels, where the frame is known."""
    if len(line.values) not in (8, 9):
        raise line.wrong(f"{len(line.values) + 1} numbers are no label and four corners (9, or 10 with a score)")
    points = tuple(_share(value, line) for value in line.values[:8])
    return Shape(line.label.name, "rectangle", points, score=_score(line, 8))


def _pose(line: _Line) -> Shape:
    joints, step = len(line.label.sublabels), line.dimensions
    most = (len(line.values) - 4) // step
    if len(line.values) < 4 + joints * step or (len(line.values) - 4) % step:
        raise line.wrong(f"{most} points are no box with {joints} points of {step} numbers, as data.yaml says")
    flat: list[float] = []
    for start in range(4, 4 + joints * step, step):
        x, y, *rest = line.values[start : start + step]
        seen = rest[0] if rest else (2.0 if x or y else 0.0)
        if seen not in (0, 1, 2):
            raise line.wrong(f"a point's visibility is {seen:g}, not 0, 1 or 2")
        flat += (_share(x, line), _share(y, line), seen) if seen else (0.0, 0.0, 0.0)
    return Shape(line.label.name, "skeleton", tuple(flat))


def _score(line: _Line, place: int) -> float | None:
    if len(line.values) <= place:
        return None
    if not 0 <= line.values[place] <= 1:
        raise line.wrong("the score is not between 0 and 1")
    return line.values[place]


def _share(value: float, line: _Line) -> float:
    """Within the frame. Rounding puts a point a little outside; far outside, the numbers are pixels."""
    if not -0.05 <= value <= 1.05:
        raise line.wrong(f"{value:g} is no share of the frame", "YOLO's numbers are from 0 to 1, not pixels.")
    return min(max(value, 0.0), 1.0)
