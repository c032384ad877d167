"""COCO files of any origin: every number is checked before it becomes a shape.

A bounding box without a segmentation is a rectangle (turned, where CVAT left a ``rotation``), polygons are polygons
(several of one annotation share a group), run lengths, compressed or not, are a mask, keypoints are a skeleton.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge.domain import Shape, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.document import Document, FileShapes
from bridge.formats.json_reading import (
    Wrong,
    attributes_of,
    is_text,
    mask_of_rle,
    numbers_of,
    polygon_of,
    read_json,
    rounded,
    score_of,
    side_of,
    whole_of,
)

_HINT = "COCO is an object with the lists images, annotations and categories."
# What CVAT's export keeps under attributes without their being a label's.
_CVAT_FIELDS = ("occluded", "rotation", "track_id", "keyframe")

_Image = tuple[str, int | None, int | None]  # file name, width, height


def read_coco(path: Path) -> Document:
    """The annotations of a COCO file by ``file_name``. Raises InvalidRequest, which names the annotation."""
    return parse_coco(read_json(path, _HINT), path.name)


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
    groups = dict.fromkeys(images, 0)  # the highest number of a group so far
    for position, entry in enumerate(data["annotations"]):
        try:
            image = _known(images, entry.get("image_id"), "image")
            label = _known(categories, entry.get("category_id"), "category")
            key = entry["image_id"]
            found = _shapes(entry, image, label, groups[key] + 1)
            groups[key] = max([groups[key], *(shape.group for shape in found)])
            shapes[key] += found
        except Wrong as wrong:
            raise InvalidRequest(
                f"{_which('Annotation', entry, position)} {wrong}.", hint="Nothing was read."
            ) from wrong
    by_name: dict[str, FileShapes] = {}
    for key, (file_name, width, height) in images.items():
        before = by_name[file_name].shapes if file_name in by_name else ()
        by_name[file_name] = FileShapes(file_name, width, height, before + tuple(shapes[key]))
    return Document(tuple(categories.values()), tuple(by_name.values()))


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
        except Wrong as wrong:
            raise InvalidRequest(f"{which} {wrong}.") from wrong
    return found


def _known(found: dict[Any, Any], key: Any, kind: str) -> Any:
    if not isinstance(key, (int, str)) or key not in found:
        raise Wrong(f"belongs to the {kind} {str(key)[:40]}, which the file does not have")
    return found[key]


def _category(entry: dict[str, Any]) -> TaskLabel:
    name, keypoints = entry.get("name"), entry.get("keypoints") or []
    if not is_text(name):
        raise Wrong("has no name")
    if not isinstance(keypoints, list) or not all(is_text(point) for point in keypoints):
        raise Wrong("has keypoints that are no list of names")
    return TaskLabel(name, "skeleton" if keypoints else "any", sublabels=tuple(keypoints))


def _image(entry: dict[str, Any]) -> _Image:
    name = entry.get("file_name")
    if not is_text(name):
        raise Wrong("has no file_name")
    return name, side_of(entry.get("width")), side_of(entry.get("height"))


def _shapes(entry: dict[str, Any], image: _Image, label: TaskLabel, group: int) -> list[Shape]:
    """The shapes of an annotation; ``group`` is a number that none of its image's shapes has yet."""
    attributes = attributes_of(entry.get("attributes"), _CVAT_FIELDS)
    common = Shape(label.name, "", score=score_of(entry.get("score")), attributes=attributes, track_id=_track(entry))
    segmentation = entry.get("segmentation")
    if label.sublabels and entry.get("keypoints") is not None:
        return [replace(common, type="skeleton", points=_keypoints(entry["keypoints"], label))]
    if isinstance(segmentation, dict):
        return [replace(common, type="mask", rle=mask_of_rle(segmentation, image[1:]).counts)]
    if segmentation:
        if not isinstance(segmentation, list):
            raise Wrong("has a segmentation that is neither polygons nor run lengths")
        polygons = [polygon_of(points) for points in segmentation]
        number = group if len(polygons) > 1 else 0
        return [replace(common, type="polygon", points=points, group=number) for points in polygons]
    if entry.get("bbox") is None:
        raise Wrong("has neither bbox nor segmentation")
    x, y, width, height = numbers_of(entry["bbox"], "bbox", exactly=4)
    if width < 0 or height < 0:
        raise Wrong("has a bbox of negative size")
    turn = (entry.get("attributes") or {}).get("rotation", 0)
    rotation = numbers_of([turn], "rotation", exactly=1)[0] % 360
    return [replace(common, type="rectangle", points=rounded((x, y, x + width, y + height)), rotation=rotation)]


def _keypoints(values: Any, label: TaskLabel) -> tuple[float, ...]:
    flat = numbers_of(values, "keypoints list", exactly=3 * len(label.sublabels))
    if not all(seen in (0, 1, 2) for seen in flat[2::3]):
        raise Wrong("has a keypoint whose visibility is not 0, 1 or 2")
    return rounded(flat)


def _track(entry: dict[str, Any]) -> int:
    """Where TAO and CVAT put it; 0 where there is none."""
    inner = entry.get("attributes")
    value = entry.get("track_id", inner.get("track_id") if isinstance(inner, dict) else None)
    return 0 if value is None else whole_of(value, "track_id")
