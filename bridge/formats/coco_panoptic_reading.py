"""COCO panoptic folders and zips, in: a JSON file, and the picture of each image's segments."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adapters.frame import MAX_PIXELS
from bridge.domain import Shape, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.document import Document, FileShapes
from bridge.formats.json_reading import (
    Wrong,
    attributes_of,
    is_text,
    numbers_of,
    parse_json,
    score_of,
    side_of,
    whole_of,
)
from bridge.formats.unpacking import wanted_files
from bridge.masks import mask_from_crop

_HINT = "COCO panoptic is a folder or zip with a JSON file and the PNG pictures that it names."


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the file says of one image."""

    name: str
    size: tuple[int, int]
    segments: list[dict[str, Any]]


def read_panoptic(path: Path) -> Document:
    """The segments of a COCO panoptic folder or zip as masks. Raises InvalidRequest, which names the picture."""
    files = list(wanted_files(path, lambda name: name.endswith(".json"), _HINT))
    if len(files) != 1:
        raise InvalidRequest(f"{path.name} holds {len(files)} JSON files, not one.", hint=_HINT)
    name, body = files[0]
    try:
        labels, entries = _parsed(parse_json(body, name, _HINT))
    except Wrong as wrong:
        raise InvalidRequest(f"{name} {wrong}.", hint=_HINT) from wrong
    images: dict[str, FileShapes] = {}
    for picture, content in wanted_files(path, _is_segments, _HINT, dotted=True):
        key = _key(picture, entries)
        if key is None:
            continue
        entry = entries[key]
        try:
            shapes = _shapes(_pixels(content, entry.size), entry, labels)
        except Wrong as wrong:
            raise InvalidRequest(f"{picture}: {wrong}.", hint="Nothing was read.") from wrong
        images[key] = FileShapes(entry.name, *entry.size, shapes)
    missing = [key for key, entry in entries.items() if key not in images and entry.segments]
    if missing:
        raise InvalidRequest(f"{path.name} does not hold the picture {missing[0]}.", hint=_HINT)
    return Document(tuple(labels.values()), tuple(images.values()))


def _is_segments(file: str) -> bool:
    """Whether it is a picture of segments, and not one of the images that were exported along."""
    return file.endswith(".png") and "images" not in PurePosixPath(file).parts[:-1]


def _key(picture: str, entries: Mapping[str, _Entry]) -> str | None:
    """The end of a picture's path that the file names."""
    parts = PurePosixPath(picture).parts
    return next((end for i in range(len(parts)) if (end := "/".join(parts[i:])) in entries), None)


def _parsed(data: Any) -> tuple[dict[int, TaskLabel], dict[str, _Entry]]:
    lists: list[Any] = (
        [data.get(key) for key in ("images", "annotations", "categories")] if isinstance(data, dict) else []
    )
    if not lists or not all(isinstance(each, list) and all(isinstance(e, dict) for e in each) for each in lists):
        raise Wrong("has no lists of images, annotations and categories")
    labels = {whole_of(entry.get("id"), "category without id"): TaskLabel(_name(entry, "name")) for entry in lists[2]}
    images = {}
    for entry in lists[0]:
        width, height = side_of(entry.get("width")), side_of(entry.get("height"))
        if width is None or height is None or width * height > MAX_PIXELS:
            raise Wrong("has an image without a size that can be")
        images[whole_of(entry.get("id"), "image without id")] = (_name(entry, "file_name"), (width, height))
    entries = {}
    for entry in lists[1]:
        image = images.get(whole_of(entry.get("image_id"), "image_id"))
        segments = entry.get("segments_info")
        if image is None:
            raise Wrong(f"speaks of the image {entry['image_id']}, which it does not have")
        if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
            raise Wrong(f"has no segments_info for {image[0][:200]}")
        entries[_name(entry, "file_name")] = _Entry(*image, segments)
    return labels, entries


def _name(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not is_text(value):
        raise Wrong(f"has an entry without {key}")
    return value


def _pixels(content: bytes, size: tuple[int, int]) -> NDArray[np.uint32]:
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            if picture.size != size:
                raise Wrong(f"it is {picture.width}x{picture.height}, its image {size[0]}x{size[1]}")
            channels = np.asarray(picture.convert("RGB")).astype(np.uint32)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Wrong("it is no readable PNG") from error
    return channels @ np.array([1, 1 << 8, 1 << 16], np.uint32)


def _shapes(pixels: NDArray[np.uint32], entry: _Entry, labels: Mapping[int, TaskLabel]) -> tuple[Shape, ...]:
    found = []
    for segment in entry.segments:
        number = whole_of(segment.get("id"), "segment without id")
        label = labels.get(whole_of(segment.get("category_id"), "category_id"))
        if label is None:
            raise Wrong(f"its segment {number} belongs to a category that the file does not have")
        left, top, bits = _crop(pixels, number, segment.get("bbox"))
        found.append(
            Shape(
                label.name,
                "mask",
                rle=mask_from_crop(left, top, bits, *entry.size).counts,
                score=score_of(segment.get("score")),
                attributes=attributes_of(segment.get("attributes")),
                track_id=whole_of(segment.get("track_id", 0), "track_id"),
            )
        )
    return tuple(found)


def _crop(pixels: NDArray[np.uint32], number: int, bbox: Any) -> tuple[int, int, NDArray[np.uint8]]:
    """Left, top and the segment's pixels: within its box, which spares time, or wherever they are."""
    height, width = pixels.shape
    x, y, w, h = (int(value) for value in numbers_of(bbox, "bbox", exactly=4)) if bbox else (0, 0, width, height)
    left, top = min(max(0, x), width), min(max(0, y), height)
    bits = (pixels[top : max(top, y + h + 1), left : max(left, x + w + 1)] == number).astype(np.uint8)
    if not bits.any():
        left, top, bits = 0, 0, (pixels == number).astype(np.uint8)
    if not bits.any():
        raise Wrong(f"it shows no pixel of its segment {number}")
    return left, top, bits
