"""How much boxes overlap, and which of them stay where only the best of several is wanted. Pure numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.floating]  # [n, 4], x1 y1 x2 y2


def intersections(one: Boxes, other: Boxes) -> NDArray[np.float64]:
    """Areas that boxes [n, 4] and [m, 4] have in common, [n, m]."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    common: NDArray[np.float64] = np.maximum(width, 0) * np.maximum(height, 0)
    return common


def areas(boxes: Boxes) -> NDArray[np.float64]:
    sides = np.asarray(boxes, np.float64)
    area: NDArray[np.float64] = np.maximum(sides[:, 2] - sides[:, 0], 0) * np.maximum(sides[:, 3] - sides[:, 1], 0)
    return area


def ious(one: Boxes, other: Boxes) -> NDArray[np.float64]:
    """Intersection over union, [n, m]; 0 where both boxes are empty."""
    common = intersections(one, other)
    union = areas(one)[:, None] + areas(other)[None, :] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def suppress(boxes: Boxes, scores: NDArray[np.floating], groups: NDArray[np.integer], iou: float) -> NDArray[np.bool_]:
    """Which of n boxes stay: best first, each takes away those of its group that overlap it by more than ``iou``.

    Greedy non-maximum suppression; of equal scores the earlier box stays.
    """
    overlapping = (ious(boxes, boxes) > iou) & (groups[:, None] == groups[None, :])
    kept = np.ones(len(scores), bool)
    for row in np.argsort(-np.asarray(scores), kind="stable"):
        if kept[row]:
            kept &= ~overlapping[row]
            kept[row] = True
    return kept
