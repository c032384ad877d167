"""Objects of consecutive frames linked into tracks by their boxes. Pure: boxes in, numbers out, always the same.

Each track is looked for where it would be if it moved on as before; tracks and boxes are then paired so that the sum of
their overlaps is largest (the Hungarian method). Only what has the same label and kind of shape is paired.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from bridge.job_spec import Tracking
from bridge.overlap import Boxes, ious

_SMOOTHING = 0.5  # how much of its speed a track takes from its last step

Box = NDArray[np.float64]


@dataclass(slots=True)
class _Track:
    number: int
    kind: Hashable
    box: Box
    speed: Box = field(default_factory=lambda: np.zeros(4))  # of its corners, in pixels a frame
    missed: int = 0  # frames since it was seen

    @property
    def expected(self) -> Box:
        return self.box + self.speed * (self.missed + 1)

    def see(self, box: Box) -> None:
        step = (box - self.box) / (self.missed + 1)
        self.speed = step if not self.speed.any() else self.speed * (1 - _SMOOTHING) + step * _SMOOTHING
        self.box, self.missed = box, 0


class Linker:
    """Frames in their order, one after the other; what it holds grows with the tracks that are in sight."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._active: list[_Track] = []
        self._last = 0

    def cut(self) -> None:
        """What follows is another scene: no track goes on."""
        self._active.clear()

    def link(self, boxes: Boxes, kinds: Sequence[Hashable]) -> list[int]:
        """The number of each box's track, from 1; new ones in the order of the boxes (f[n, 4], x1 y1 x2 y2)."""
        found = np.asarray(boxes, np.float64).reshape(-1, 4)
        numbers = [0] * len(found)
        for track, row in self._pairs(found, kinds):
            track.see(found[row])
            numbers[row] = track.number
        seen = set(numbers)
        for track in self._active:
            track.missed += track.number not in seen
        self._active = [track for track in self._active if track.missed <= self._tracking.max_gap]
        for row, number in enumerate(numbers):
            if not number:
                self._last += 1
                numbers[row] = self._last
                self._active.append(_Track(self._last, kinds[row], found[row]))
        return numbers

    def _pairs(self, found: Box, kinds: Sequence[Hashable]) -> list[tuple[_Track, int]]:
        if not self._active or not len(found):
            return []
        overlap = ious(np.array([track.expected for track in self._active]), found)
        alike = np.array([[track.kind == kind for kind in kinds] for track in self._active])
        overlap[~alike | (overlap < max(self._tracking.iou, 1e-9))] = 0
        rows, columns = linear_sum_assignment(overlap, maximize=True)
        return [
            (self._active[row], int(column))
            for row, column in zip(rows, columns, strict=True)
            if overlap[row, column] > 0
        ]
