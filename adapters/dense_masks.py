"""Dense pictures of masks <-> run lengths, one mask at a time."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from adapters.base import Mask


def mask_of(bits: NDArray[np.bool_]) -> tuple[Mask, tuple[float, float, float, float]] | None:
    """The mask of ``bits`` [height, width] and its box, x2 and y2 behind the last pixel; None where nothing is set."""
    columns, rows = np.flatnonzero(bits.any(axis=0)), np.flatnonzero(bits.any(axis=1))
    if not len(columns):
        return None
    encoded = coco.encode(np.asfortranarray(bits, np.uint8))
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return Mask(bits.shape[0], bits.shape[1], encoded["counts"]), box


def resized_mask(mask: Mask, width: int, height: int) -> tuple[Mask, tuple[float, float, float, float]] | None:
    """The mask at another size, by nearest neighbour; None where nothing of it is left."""
    bits = coco.decode({"size": [mask.height, mask.width], "counts": mask.counts})
    return mask_of(cv2.resize(bits, (width, height), interpolation=cv2.INTER_NEAREST_EXACT).astype(bool))
