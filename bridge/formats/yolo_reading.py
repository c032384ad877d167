"""YOLO folders and zips, in: data.yaml for the names, and every text file below a folder ``labels``.

A line of 5 numbers is a box, of 6 a box with its score (as Ultralytics saves predictions), of an odd number from 7 a
polygon. Images are known by their path without a suffix, so a frame is found by that. What is below the folder of
label files but no text file is passed over.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml  # type: ignore[import-untyped]

from bridge.domain import Shape, TaskLabel
from bridge.errors import InvalidRequest, TooLarge
from bridge.formats.document import Document, FileShapes

MAX_FILE_BYTES = 64 * 2**20  # of one text file
MAX_FILES = 2_000_000
_HINT = "A YOLO folder holds data.yaml, with names, and the folder labels."
_NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml")
_SPLITS = ("train", "val", "valid", "test")


def read_yolo(path: Path) -> Document:
    """The shapes of a YOLO folder, zip, or data.yaml. Raises InvalidRequest, which names the file and the line."""
    if path.is_file() and path.suffix.lower() in (".yaml", ".yml"):
        path = path.parent
    names: tuple[str, ...] | None = None
    images = []
    for name, text in _files(path):
        if PurePosixPath(name).name in _NAME_FILES:
            names = _names(text, name)
        else:
            images.append((name, text))
    if names is None:
        raise InvalidRequest(f"{path.name} has no data.yaml.", hint=_HINT)
    found = [
        FileShapes(_image_name(name), None, None, tuple(_shapes(text, name, names)), True) for name, text in images
    ]
    return Document(tuple(TaskLabel(name) for name in names), tuple(found), suffixless=True)


def _files(path: Path) -> Iterator[tuple[str, str]]:
    """data.yaml and the label files, with their text, in order."""
    try:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                name = file.relative_to(path).as_posix()
                if _wanted(name) and file.is_file():
                    yield name, _text(file.read_bytes() if file.stat().st_size <= MAX_FILE_BYTES else None, name)
            return
        with zipfile.ZipFile(path) as archive:
            entries = [info for info in archive.infolist() if _wanted(info.filename)]
            if len(entries) > MAX_FILES:
                raise TooLarge(f"{path.name} holds too many files.")
            for info in sorted(entries, key=lambda info: info.filename):
                yield (
                    info.filename,
                    _text(archive.read(info) if info.file_size <= MAX_FILE_BYTES else None, info.filename),
                )
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise InvalidRequest(f"{path.name} is neither a folder nor a readable zip file.", hint=_HINT) from error
    except OSError as error:
        raise InvalidRequest(f"{path.name} cannot be read: {error.strerror or error}.", hint=_HINT) from error


def _wanted(name: str) -> bool:
    path = PurePosixPath(name)
    if any(part.startswith(".") for part in path.parts) or "__MACOSX" in path.parts:
        return False
    return path.name in ("data.yaml", "data.yml", "dataset.yaml") or (
        path.suffix == ".txt" and "labels" in path.parts[:-1]
    )


def _text(body: bytes | None, name: str) -> str:
    if body is None:
        raise TooLarge(f"{name} is too large for a text file of labels.")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name} is no text in UTF-8.") from error


def _names(text: str, file: str) -> tuple[str, ...]:
    try:
        data: Any = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{file} is not readable YAML.", hint=_HINT) from error
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


def _shapes(text: str, file: str, names: tuple[str, ...]) -> Iterator[Shape]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        label_id, *values = _numbers(line, file, number)
        if not label_id.is_integer() or not 0 <= label_id < len(names):
            raise InvalidRequest(f"{file}, line {number}: there is no label {label_id:g}; data.yaml has {len(names)}.")
        label = names[int(label_id)]
        if len(values) in (4, 5):
            yield _box(label, values, file, number)
        elif len(values) >= 6 and len(values) % 2 == 0:
            yield Shape(label, "polygon", tuple(_share(value, file, number) for value in values))
        else:
            count = len(values) + 1
            raise InvalidRequest(
                f"{file}, line {number}: {count} numbers are no box (5 or 6) and no polygon (7, 9 ...)."
            )


def _numbers(line: str, file: str, number: int) -> list[float]:
    try:
        found = [float(part) for part in line.split()]
    except ValueError as error:
        raise InvalidRequest(f"{file}, line {number}: not all of it is numbers.") from error
    if not all(-1e9 < value < 1e9 for value in found):  # also NaN
        raise InvalidRequest(f"{file}, line {number}: a number is not finite.")
    return found


def _box(label: str, values: list[float], file: str, number: int) -> Shape:
    x, y, width, height = values[:4]
    score = values[4] if len(values) == 5 else None
    if score is not None and not 0 <= score <= 1:
        raise InvalidRequest(f"{file}, line {number}: the score is not between 0 and 1.")
    if width < 0 or height < 0:
        raise InvalidRequest(f"{file}, line {number}: the box has a negative size.")
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Shape(label, "rectangle", tuple(_share(value, file, number) for value in corners), score=score)


def _share(value: float, file: str, number: int) -> float:
    """Within the frame. Rounding puts a point a little outside; far outside, the numbers are pixels."""
    if not -0.05 <= value <= 1.05:
        raise InvalidRequest(
            f"{file}, line {number}: {value:g} is no share of the frame.",
            hint="YOLO's numbers are from 0 to 1, not pixels.",
        )
    return min(max(value, 0.0), 1.0)
