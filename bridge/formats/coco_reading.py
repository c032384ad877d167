"""COCO files of any origin: every number is checked before it becomes a shape.

A bounding box without a segmentation is a rectangle (turned, where CVAT left a ``rotation``), polygons are polygons
(several of one annotation share a group), run lengths, compressed or not, are a mask, keypoints are a skeleton.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

from adapters.base import Mask
from bridge.domain import Shape, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.document import Document, FileShapes
from bridge.masks import mask_from_runs, run_lengths

_HINT = "COCO is an object with the lists images, annotations and categories."
_CVAT_FIELDS = ("occluded", "rotation")  # what CVAT's export keeps under attributes without their being a label's
MAX_SIDE = 1_000_000  # pixels; a size in a file decides how long its masks' runs may be


_Image = tuple[str, int | None, int | None]  # file name, width, height


class _Wrong(Exception):
    """What is wrong with one entry, without saying which."""


def read_coco(path: Path) -> Document:
    """The annotations of a COCO file by ``file_name``. Raises InvalidRequest, which names the annotation."""
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidRequest(f"{path.name} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{path.name} is not JSON.", hint=_HINT) from error
    return parse_coco(data, path.name)


def parse_coco(data: Any, name: str = "The file") -> Document:
    """The same of parsed JSON."""
    if isinstance(data, list):
        raise InvalidRequest(f"{name} is a list of results that does not name its images.", hint=_HINT)
    if not isinstance(data, dict):
        raise InvalidRequest(f"{name} is no COCO file.", hint=_HINT)
    for key in ("images", "annotations", "categories"):
        if not isinstance(data.get(key), list) or not all(isinstance(entry, dict) for entry in data[key]):
            raise InvalidRequest(f"{name} has no list of objects under {key!r}.", hint=_HINT)
    categories = _by_id(data["categories"], "Category", _category)
    images = _by_id(data["images"], "Image", _image)
    shapes: dict[Any, list[Shape]] = {key: [] for key in images}
    for position, entry in enumerate(data["annotations"]):
        try:
            image = _known(images, entry.get("image_id"), "image")
            label = _known(categories, entry.get("category_id"), "category")
            group = 1 + max((shape.group for shape in shapes[entry["image_id"]]), default=0)
            shapes[entry["image_id"]] += _shapes(entry, image, label, group)
        except _Wrong as wrong:
            raise InvalidRequest(
                f"{_which('Annotation', entry, position)} {wrong}.", hint="Nothing was read."
            ) from wrong
    found: dict[str, FileShapes] = {}
    for key, (file_name, width, height) in images.items():
        before = found[file_name].shapes if file_name in found else ()
        found[file_name] = FileShapes(file_name, width, height, before + tuple(shapes[key]))
    return Document(tuple(categories.values()), tuple(found.values()))


def _which(kind: str, entry: dict[str, Any], position: int) -> str:
    key = entry.get("id")
    return f"{kind} {str(key)[:40]}" if isinstance(key, (int, str)) else f"{kind} number {position + 1}"


def _by_id(entries: list[dict[str, Any]], kind: str, read: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for position, entry in enumerate(entries):
        key = entry.get("id")
        which = _which(kind, entry, position)
        if not isinstance(key, (int, str)):
            raise InvalidRequest(f"{which} has no id.")
        if key in found:
            raise InvalidRequest(f"{which} is there twice.")
        try:
            found[key] = read(entry)
        except _Wrong as wrong:
            raise InvalidRequest(f"{which} {wrong}.") from wrong
    return found


def _known(found: dict[Any, Any], key: Any, kind: str) -> Any:
    if not isinstance(key, (int, str)) or key not in found:
        raise _Wrong(f"belongs to the {kind} {str(key)[:40]}, which the file does not have")
    return found[key]


def _category(entry: dict[str, Any]) -> TaskLabel:
    name, keypoints = entry.get("name"), entry.get("keypoints") or []
    if not _is_text(name):
        raise _Wrong("has no name")
    if not isinstance(keypoints, list) or not all(_is_text(point) for point in keypoints):
        raise _Wrong("has keypoints that are no list of names")
    return TaskLabel(name, "skeleton" if keypoints else "any", sublabels=tuple(keypoints))


def _image(entry: dict[str, Any]) -> _Image:
    name = entry.get("file_name")
    if not _is_text(name):
        raise _Wrong("has no file_name")
    return name, _side(entry.get("width")), _side(entry.get("height"))


def _is_text(value: Any) -> TypeGuard[str]:
    """Text that can be stored and printed: not empty, no lone surrogates (which JSON can spell)."""
    return isinstance(value, str) and bool(value) and not any("\ud800" <= char <= "\udfff" for char in value)


def _side(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_SIDE:
        raise _Wrong("has a size that is no positive whole number")
    return value


def _shapes(entry: dict[str, Any], image: _Image, label: TaskLabel, group: int) -> list[Shape]:
    """The shapes of an annotation; ``group`` is a number that none of its image's shapes has yet."""
    attributes = _attributes(entry.get("attributes"))
    common = Shape(label.name, "", score=_score(entry.get("score")), attributes=attributes)
    segmentation = entry.get("segmentation")
    if label.sublabels and entry.get("keypoints") is not None:
        return [replace(common, type="skeleton", points=_keypoints(entry["keypoints"], label))]
    if isinstance(segmentation, dict):
        return [replace(common, type="mask", rle=_mask(segmentation, image).counts)]
    if segmentation:
        if not isinstance(segmentation, list):
            raise _Wrong("has a segmentation that is neither polygons nor run lengths")
        polygons = [_polygon(points) for points in segmentation]
        number = group if len(polygons) > 1 else 0
        return [replace(common, type="polygon", points=points, group=number) for points in polygons]
    if entry.get("bbox") is None:
        raise _Wrong("has neither bbox nor segmentation")
    x, y, width, height = _numbers(entry["bbox"], "bbox", exactly=4)
    if width < 0 or height < 0:
        raise _Wrong("has a bbox of negative size")
    turn = (entry.get("attributes") or {}).get("rotation", 0)
    rotation = _numbers([turn], "rotation", exactly=1)[0] % 360
    return [replace(common, type="rectangle", points=_points((x, y, x + width, y + height)), rotation=rotation)]


def _points(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(value, 2) for value in values)


def _numbers(values: Any, what: str, *, exactly: int = 0) -> tuple[float, ...]:
    if not isinstance(values, list) or (exactly and len(values) != exactly):
        raise _Wrong(f"has a {what} that is no list" + (f" of {exactly} numbers" if exactly else " of numbers"))
    found = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e9 < value < 1e9:  # also NaN
            raise _Wrong(f"has a {what} with something that is no finite number")
        found.append(float(value))
    return tuple(found)


def _polygon(points: Any) -> tuple[float, ...]:
    flat = _numbers(points, "polygon")
    if len(flat) < 6 or len(flat) % 2:
        raise _Wrong(f"has a polygon of {len(flat)} numbers, where x and y of 3 points or more are needed")
    return _points(flat)


def _keypoints(values: Any, label: TaskLabel) -> tuple[float, ...]:
    flat = _numbers(values, "keypoints list", exactly=3 * len(label.sublabels))
    if not all(seen in (0, 1, 2) for seen in flat[2::3]):
        raise _Wrong("has a keypoint whose visibility is not 0, 1 or 2")
    return _points(flat)


def _mask(segmentation: dict[str, Any], image: _Image) -> Mask:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or len(size) != 2:
        raise _Wrong("has run lengths without their size")
    height, width = (_side(side) for side in size)
    if height is None or width is None:
        raise _Wrong("has run lengths without their size")
    if (image[1] or width, image[2] or height) != (width, height):
        raise _Wrong(f"has a mask of {width}x{height} on an image of {image[1]}x{image[2]}")
    try:
        if isinstance(counts, str):
            mask = Mask(height, width, counts.encode("ascii"))
            run_lengths(mask)
            return mask
        return mask_from_runs((int(run) for run in _numbers(counts, "list of run lengths")), width, height)
    except ValueError as error:
        reason = "it is no ASCII" if isinstance(error, UnicodeEncodeError) else str(error)
        raise _Wrong(f"has a mask that cannot be read: {reason}") from error


def _score(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and 0 <= value <= 1):
        raise _Wrong("has a score that is not between 0 and 1")
    return float(value)


def _attributes(values: Any) -> dict[str, str]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise _Wrong("has attributes that are no object")
    plain = {
        key: value for key, value in values.items() if isinstance(value, (str, int, float)) and key not in _CVAT_FIELDS
    }
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in plain.items()}
