"""Annotation files in JSON: reading them, and checking what they say before it becomes a shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from adapters.base import Mask
from bridge.errors import InvalidRequest
from bridge.masks import mask_from_runs, run_lengths

MAX_SIDE = 1_000_000  # pixels; a size in a file decides how long its masks' runs may be


class Wrong(Exception):
    """What is wrong with one entry, without saying which."""


def read_json(path: Path, hint: str) -> Any:
    """Raises InvalidRequest."""
    try:
        return parse_json(path.read_bytes(), path.name, hint)
    except OSError as error:
        raise InvalidRequest(f"{path.name} cannot be read: {error.strerror or error}.") from error


def parse_json(body: bytes, name: str, hint: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{name} is not JSON.", hint=hint) from error


def is_text(value: Any) -> TypeGuard[str]:
    """Text that can be stored and printed: not empty, no lone surrogates (which JSON can spell)."""
    return isinstance(value, str) and bool(value) and not any("\ud800" <= char <= "\udfff" for char in value)


def side_of(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_SIDE:
        raise Wrong("has a size that is no positive whole number")
    return value


def rounded(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(value, 2) for value in values)


def number_of(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e9 < value < 1e9:  # also NaN
        raise Wrong(f"has a {what} that is no finite number")
    return float(value)


def whole_of(value: Any, what: str, *, least: int = 0) -> int:
    number = number_of(value, what)
    if not number.is_integer() or number < least:
        raise Wrong(f"has a {what} that is no whole number from {least}")
    return int(number)


def numbers_of(values: Any, what: str, *, exactly: int = 0) -> tuple[float, ...]:
    if not isinstance(values, list) or (exactly and len(values) != exactly):
        raise Wrong(f"has a {what} that is no list" + (f" of {exactly} numbers" if exactly else " of numbers"))
    found = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e9 < value < 1e9:  # also NaN
            raise Wrong(f"has a {what} with something that is no finite number")
        found.append(float(value))
    return tuple(found)


def polygon_of(points: Any) -> tuple[float, ...]:
    flat = numbers_of(points, "polygon")
    if len(flat) < 6 or len(flat) % 2:
        raise Wrong(f"has a polygon of {len(flat)} numbers, where x and y of 3 points or more are needed")
    return rounded(flat)


def mask_of_rle(rle: Mapping[str, Any], size: tuple[int | None, int | None]) -> Mask:
    """COCO's run lengths, compressed or not, on an image of this width and height."""
    sides, counts = rle.get("size"), rle.get("counts")
    if not isinstance(sides, list) or len(sides) != 2:
        raise Wrong("has run lengths without their size")
    height, width = (side_of(side) for side in sides)
    if height is None or width is None:
        raise Wrong("has run lengths without their size")
    if (size[0] or width, size[1] or height) != (width, height):
        raise Wrong(f"has a mask of {width}x{height} on an image of {size[0]}x{size[1]}")
    try:
        if isinstance(counts, str):
            mask = Mask(height, width, counts.encode("ascii"))
            run_lengths(mask)
            return mask
        return mask_from_runs((int(run) for run in numbers_of(counts, "list of run lengths")), width, height)
    except ValueError as error:
        reason = "it is no ASCII" if isinstance(error, UnicodeEncodeError) else str(error)
        raise Wrong(f"has a mask that cannot be read: {reason}") from error


def score_of(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:  # also NaN
        raise Wrong("has a score that is not between 0 and 1")
    return float(value)


def attributes_of(values: Any, but: tuple[str, ...] = ()) -> dict[str, str]:
    """Plain values as texts, true and false in small letters; ``but`` those of these names."""
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise Wrong("has attributes that are no object")
    plain = {key: value for key, value in values.items() if isinstance(value, (str, int, float)) and key not in but}
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in plain.items()}
