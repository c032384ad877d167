"""OWLv2's image processor: a square, a Gaussian against aliasing, then linear interpolation.

Smoothing and interpolation are linear and act on rows and columns alike, so each side is one matrix: the picture is
multiplied from both sides. Numerically the processor of transformers, which filters pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from adapters.base import FloatArray
from adapters.errors import Unsupported
from adapters.image_processors import CLIP_NORMAL, read_size
from adapters.preprocess import Pixels, Tensor

_TRUNCATE = 4.0  # the Gaussian ends after so many deviations: scipy's default


class Owlv2Preprocessor:
    """Pictures -> f32[3, h, w]: rescaled, filled up to a square on the right and below, resized, normalised."""

    def __init__(self, height: int, width: int, factor: float, mean: FloatArray, std: FloatArray) -> None:
        self._height, self._width, self._factor, self._mean, self._std = height, width, factor, mean, std

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Owlv2Preprocessor:
        """Raises Unsupported for a form that no OWLv2 has."""
        options = {**CLIP_NORMAL, "size": {"height": 960, "width": 960}, "rescale_factor": 1 / 255, **config}
        steps = ("do_rescale", "do_pad", "do_resize", "do_normalize")
        if not all(options.get(step, True) for step in steps):
            raise Unsupported(f"An Owlv2ImageProcessor without one of {', '.join(steps)} is not supported.")
        try:
            size = read_size(options["size"], square=True)
            mean, std = (np.array(options[key], np.float32).reshape(3, 1, 1) for key in ("image_mean", "image_std"))
            return cls(size["height"], size["width"], float(options["rescale_factor"]), mean, std)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise Unsupported(f"preprocessor_config.json cannot be understood: {error}.") from error

    def __call__(self, pixels: Pixels) -> Tensor:
        height, width = pixels.shape[:2]
        side = max(height, width)
        # What is filled up is zero, so only the columns of the matrices that meet the picture count.
        rows = resizing_matrix(side, self._height)[:, :height]
        columns = resizing_matrix(side, self._width)[:, :width].T
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32) * np.float32(self._factor)
        out = rows @ planes @ columns
        low = planes.min() if height == width else min(planes.min(), 0)
        out = np.clip(out, low, planes.max())
        out = ((out - self._mean) / self._std).astype(np.float32)
        return Tensor(out, self._height, self._width)


@lru_cache(maxsize=32)
def resizing_matrix(old: int, new: int) -> FloatArray:
    """f32[new, old]: what one axis of ``old`` pixels becomes, with half pixels at the ends mirrored."""
    sigma = max(0.0, (old / new - 1) / 2)
    radius = int(_TRUNCATE * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2) if sigma else np.ones(1)
    kernel /= kernel.sum()
    smooth = np.zeros((old, old))
    for offset, weight in zip(offsets, kernel, strict=True):
        smooth[np.arange(old), _mirrored(np.arange(old) + offset, old)] += weight
    where = (np.arange(new) + 0.5) * (old / new) - 0.5
    first = np.floor(where).astype(int)
    share = (where - first)[:, None]
    near, far = _mirrored(first, old), _mirrored(first + 1, old)
    matrix: FloatArray = ((1 - share) * smooth[near] + share * smooth[far]).astype(np.float32)
    return matrix


def _mirrored(index: Any, length: int) -> Any:
    """Indices outside 0 .. length-1 reflected at the centres of the last pixels: -1 is 1."""
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    index = np.mod(index, period)
    return np.where(index >= length, period - index, index)
