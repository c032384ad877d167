"""Resizing pictures as Pillow does it, to the last bit: in C where that was built, by Pillow itself elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adapters.frame import Pixels

Axis = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], int]

_PLACES = 22  # binary places of a coefficient: so many that 255 times all of them fits into 32 bits
_MOST = 65535  # pixels of a side that the C part takes


def _built() -> Any:
    try:
        return import_module("adapters._resample")
    except ImportError:  # there was no C compiler when it was installed
        return None


native = _built()


def _linear(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def _cubic(x: float) -> float:
    a, x = -0.5, abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    if x < 2.0:
        return (((x - 5) * x + 8) * x - 4) * a
    return 0.0


_FILTERS: dict[int, tuple[Callable[[float], float], float]] = {  # and how far from its middle a filter reaches
    Image.Resampling.BILINEAR: (_linear, 1.0),
    Image.Resampling.BICUBIC: (_cubic, 2.0),
}


def resized(pixels: Pixels, height: int, width: int, resample: int) -> Pixels:
    """``pixels`` u8[h, w, 3] -> u8[height, width, 3]. ``resample`` counts as Pillow's ``Image.Resampling``."""
    if pixels.shape[:2] == (height, width):
        return pixels
    if native is None or resample not in _FILTERS or max(*pixels.shape, height, width) > _MOST:
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling(resample)))
    out: Pixels = np.empty((height, width, 3), np.uint8)
    old_height, old_width = pixels.shape[:2]
    columns, rows = _axis(old_width, width, resample), _axis(old_height, height, resample)
    native.resize(np.ascontiguousarray(pixels), out, (old_height, old_width), (height, width), columns, rows)
    return out


@lru_cache(maxsize=64)
def _axis(old: int, new: int, resample: int) -> Axis:
    """First old pixel, number of old pixels, and their coefficients, for every new pixel of an axis.

    The order of the operations is part of the result: another one differs in the last place.
    """
    if old == new:  # the pass that Pillow leaves out
        whole = np.full((new, 1), 1 << _PLACES, np.int32)
        return np.arange(new, dtype=np.int32), np.ones(new, np.int32), whole, 1
    weigh, reach = _FILTERS[resample]
    scale = old / new
    wide = max(scale, 1.0)
    reach *= wide
    taps = math.ceil(reach) * 2 + 1
    first, count = np.empty(new, np.int32), np.empty(new, np.int32)
    coefficients = np.zeros((new, taps), np.int32)
    for i in range(new):
        middle = (i + 0.5) * scale
        low, high = max(0, int(middle - reach + 0.5)), min(old, int(middle + reach + 0.5))
        weights = [weigh((x + low - middle + 0.5) * (1.0 / wide)) for x in range(high - low)]
        total = 0.0
        for weight in weights:  # one after the other: sum() compensates, from Python 3.12 on
            total += weight
        first[i], count[i] = low, high - low
        for x, weight in enumerate(weights):
            exact: Any = weight / total * (1 << _PLACES)
            coefficients[i, x] = int(exact - 0.5) if exact < 0 else int(exact + 0.5)
    return first, count, coefficients, taps
