"""Masks as whole pictures, which the product itself never makes of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adapters.base import Mask
from bridge.masks import run_lengths


def decode_mask(mask: Mask) -> NDArray[np.uint8]:
    """u8[height, width] of 0 and 1: runs of the two in turn, down one column after the other."""
    runs = run_lengths(mask)
    pixels = np.repeat(np.arange(len(runs), dtype=np.uint8) % 2, runs)
    return pixels.reshape((mask.height, mask.width), order="F")
