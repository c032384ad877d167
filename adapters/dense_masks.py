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


def bits_of(mask: Mask) -> NDArray[np.uint8]:
    """u8[height, width] of 0 and 1, of a mask that we made ourselves: its counts are not checked.

    COCO's text has six bits a character from '0': five of a number, lowest first, and one that says that more follow;
    from the fourth run on a number is the difference to the run two before. (pycocotools' own decoder warns under
    NumPy 2.)
    """
    runs: list[int] = []
    number, shift = 0, 0
    for character in mask.counts:
        code = character - 48
        number |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            number -= 1 << shift
        runs.append(number + runs[-2] if len(runs) > 2 else number)
        number, shift = 0, 0
    values = (np.arange(len(runs)) & 1).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(values, runs).reshape(mask.width, mask.height).T)


def resized_mask(mask: Mask, width: int, height: int) -> tuple[Mask, tuple[float, float, float, float]] | None:
    """The mask at another size, by nearest neighbour; None where nothing of it is left."""
    resized = cv2.resize(bits_of(mask), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return mask_of(resized.astype(bool))
