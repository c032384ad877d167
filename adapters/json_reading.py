"""Reading JSON that a host answered: the wanted type, or BadOutput that names what was wrong. Pure."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adapters.errors import BadOutput


def as_list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadOutput(f"The host's answer holds no list of {what}.")
    return value


def as_object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadOutput(f"The host's answer holds no object as {what}.")
    return value


def as_text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise BadOutput(f"The host's answer holds no text as {what}.")
    return value


def as_number(value: Any, what: str) -> float:
    """An int or a float, finite or not; no bool, no text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadOutput(f"The host's answer holds no number as {what}.")
    try:
        return float(value)
    except OverflowError as error:
        raise BadOutput(f"The host's answer holds a number beyond all bounds as {what}.") from error


def as_score(value: Any) -> float:
    """A score; null, from a model that gives none, is 1.0."""
    return 1.0 if value is None else as_number(value, "score")


def as_numbers(value: Any, what: str) -> NDArray[np.float32]:
    """f32[n] of a flat list of numbers."""
    numbers = [as_number(each, what) for each in as_list(value, what)]
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which Detections.inside refuses
        return np.asarray(numbers, np.float64).astype(np.float32)


def label_index(labels: tuple[str, ...]) -> dict[str, int]:
    """Label name -> its id."""
    return {label: i for i, label in enumerate(labels)}


def as_label_id(value: Any, index: dict[str, int]) -> int:
    """The id of a label. Raises BadOutput, naming it, where the model's card does not list it."""
    name = as_text(value, "label").strip()
    if name not in index:
        raise BadOutput(
            f"The host answered the label {name[:80]!r}, which is none of the model's {len(index)} labels.",
            hint="Has another model been put in its place? Add the model again.",
        )
    return index[name]


def as_png(value: Any, width: int, height: int, what: str) -> NDArray[np.uint8]:
    """u8[height, width]: a one-channel PNG in base64. The size is checked before the picture is unpacked."""
    try:
        data = base64.b64decode(as_text(value, what).rpartition(",")[2], validate=True)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.size != (width, height):
                actual = f"{image.size[0]}x{image.size[1]}"
                raise BadOutput(f"The host answered a {what} of {actual} for a picture of {width}x{height}.")
            if image.mode == "P":  # of class ids: the index counts, not its colour
                return np.asarray(image)
            return np.asarray(image.convert("L"))
    except (binascii.Error, OSError, ValueError, SyntaxError, EOFError) as error:
        raise BadOutput(f"The host's {what} is no PNG in base64.") from error
