"""A light tracker without weights: each object's small grey picture is looked for around where it was last.

The picture of the first frame and one that follows the object's changes are both compared, by normalised correlation
(OpenCV's TM_CCOEFF_NORMED), at three sizes. States are some two kilobytes of JSON.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from adapters.frame import Frame
from adapters.one_thread import OneThreadModel
from adapters.promptable import Box, State

_AREA = 32 * 32  # pixels of an object's picture
_SHORTEST, _LONGEST = 8, 64  # sides of it
_SCALES = (0.93, 1.0, 1.07)  # growth from one frame to the next
_REACH = 1.0  # how far an object may move, in its longer side; doubled while it is lost
_KNOWN_AGAIN = 0.6  # least correlation; below it the object is lost
_LEARNT = 0.1  # share of the newest look in the picture that follows
_MOST_LOST = 30  # frames; afterwards it is only looked for where it was

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Target:
    """One object: its box, its pictures of the first frame and of now, u8[h, w], and for how long it is lost."""

    box: Box
    first: Picture
    now: Picture
    lost: int = 0

    @classmethod
    def of(cls, grey: Picture, box: Box) -> Self:
        x1, y1, x2, y2 = box
        width, height = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
        share = (_AREA / (width * height)) ** 0.5
        size = tuple(int(np.clip(round(side * share), _SHORTEST, _LONGEST)) for side in (width, height))
        picture = cv2.getRectSubPix(grey, (max(2, round(width)), max(2, round(height))), _middle(box))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
        return cls((x1, y1, x1 + width, y1 + height), small, small)

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> Self:
        """Raises ValueError where the state was not made here."""
        try:
            box, size, lost = [float(v) for v in state["box"]], [int(v) for v in state["size"]], int(state["lost"])
            first, now = (base64.b64decode(state[name], validate=True) for name in ("first", "now"))
        except (KeyError, TypeError, ValueError, OverflowError, binascii.Error) as error:
            raise ValueError("this is no state of the template tracker") from error
        height, width = size if len(size) == 2 else (0, 0)
        fits = min(height, width) >= _SHORTEST and max(height, width) <= _LONGEST
        if not fits or len(first) != height * width or len(now) != len(first):
            raise ValueError("the pictures in the tracker's state are not of the size that it says")
        if len(box) != 4 or not np.isfinite(box).all() or np.abs(box).max() > 1e6:
            raise ValueError("the box in the tracker's state is none")
        if box[2] <= box[0] or box[3] <= box[1]:
            raise ValueError("the box in the tracker's state has no area")
        known, recent = (np.frombuffer(each, np.uint8).reshape(height, width) for each in (first, now))
        return cls((box[0], box[1], box[2], box[3]), known, recent, max(0, lost))

    def state(self) -> State:
        return {
            "box": [round(side, 3) for side in self.box],
            "size": list(self.first.shape),
            "first": base64.b64encode(self.first.tobytes()).decode(),
            "now": base64.b64encode(self.now.tobytes()).decode(),
            "lost": self.lost,
        }


class TemplateTracker(OneThreadModel):
    """A ``Tracker``."""

    async def begin(self, frame: Frame, boxes: Sequence[Box]) -> list[State]:
        return await self.call(partial(_begin, frame, boxes))

    async def follow(self, frame: Frame, states: Sequence[State]) -> list[tuple[Box, State]]:
        targets = [_Target.read(state) for state in states]
        return await self.call(partial(_follow, frame, targets))


def _begin(frame: Frame, boxes: Sequence[Box]) -> list[State]:
    grey = cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2GRAY)
    return [_Target.of(grey, box).state() for box in boxes]


def _follow(frame: Frame, targets: Sequence[_Target]) -> list[tuple[Box, State]]:
    grey = cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2GRAY)
    found = [_found(grey, target) for target in targets]
    return [(_inside(target.box, frame), target.state()) for target in found]


def _found(grey: Picture, target: _Target) -> _Target:
    """The object where it is known again; where it is not, as it was, and lost for one frame more."""
    x, y = _middle(target.box)
    width, height = target.box[2] - target.box[0], target.box[3] - target.box[1]
    if x < 0 or y < 0 or x > grey.shape[1] or y > grey.shape[0] or width * height > 4 * grey.size:
        return replace(target, lost=target.lost + 1)  # not in the picture: there is nothing to compare
    reach = _REACH * max(width, height) * (2 if 0 < target.lost <= _MOST_LOST else 1)
    best, where, size = max((_look(grey, target, reach, scale) for scale in _SCALES), key=lambda look: look[0])
    if best < _KNOWN_AGAIN:
        return replace(target, lost=target.lost + 1)
    (x, y), (width, height) = where, size
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    seen = _Target.of(grey, box).first
    seen = cv2.resize(seen, target.now.shape[::-1], interpolation=cv2.INTER_AREA)
    now = np.round((1 - _LEARNT) * target.now + _LEARNT * seen).astype(np.uint8)
    return _Target(box, target.first, now)


def _look(
    grey: Picture, target: _Target, reach: float, scale: float
) -> tuple[float, tuple[float, float], tuple[float, float]]:
    """(how well the object is known again, its middle, its width and height), if it has grown by ``scale``."""
    x, y = _middle(target.box)
    rows, columns = target.first.shape
    width, height = (target.box[2] - target.box[0]) * scale, (target.box[3] - target.box[1]) * scale
    step_x, step_y = width / columns, height / rows  # pixels of the frame in one of the object's picture
    # Odd numbers of positions on both sides of where it was, so that standing still is one of them.
    beyond_x, beyond_y = round(reach / step_x), round(reach / step_y)
    across, down = columns + 2 * beyond_x, rows + 2 * beyond_y
    left, top = x - across * step_x / 2, y - down * step_y / 2
    to_frame = np.array([[step_x, 0, left + step_x / 2 - 0.5], [0, step_y, top + step_y / 2 - 0.5]])
    around = cv2.warpAffine(
        grey, to_frame, (across, down), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    likeness = cv2.matchTemplate(around, target.now, cv2.TM_CCOEFF_NORMED)
    likeness = 0.5 * (likeness + cv2.matchTemplate(around, target.first, cv2.TM_CCOEFF_NORMED))
    likeness = np.nan_to_num(likeness, nan=-1.0, posinf=-1.0, neginf=-1.0)
    rows_off = (np.arange(likeness.shape[0]) - beyond_y)[:, None] * step_y / reach
    columns_off = (np.arange(likeness.shape[1]) - beyond_x)[None, :] * step_x / reach
    near = 1 - 0.15 * (rows_off**2 + columns_off**2) - 0.3 * abs(scale - 1)  # of two that look alike, the nearer one
    place = np.unravel_index(int((likeness * near).argmax()), likeness.shape)
    row, column = int(place[0]), int(place[1])
    middle = (x + (column - beyond_x) * step_x, y + (row - beyond_y) * step_y)
    return float((likeness * near)[row, column]), middle, (width, height)


def _middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _inside(box: Box, frame: Frame) -> Box:
    """Cut to the frame, and never without area: clients store what they get."""
    x1, y1 = np.clip(box[0], 0, frame.width - 1), np.clip(box[1], 0, frame.height - 1)
    x2, y2 = np.clip(box[2], x1 + 1, frame.width), np.clip(box[3], y1 + 1, frame.height)
    return float(x1), float(y1), float(x2), float(y2)
