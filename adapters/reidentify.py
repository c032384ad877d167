"""Which boxes of two frames are the same object: by where they lie, or by what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from adapters.base import FloatArray, ModelCard
from adapters.cards import on_device
from adapters.errors import BadOutput
from adapters.frame import Frame
from adapters.local_model import PIXELS, Engine
from adapters.one_thread import OneThreadModel
from adapters.preprocess import FrameToTensor
from adapters.promptable import Box

Likeness = NDArray[np.float64]  # f64[n, m], 0 to 1
_IMPOSSIBLE = 1e6


def pair(likeness: Likeness, near: NDArray[np.bool_], threshold: float) -> list[int]:
    """For each row its column, each at most once, or -1: the pairing of the greatest sum of likeness.

    Only pairs that are ``near`` and of at least ``threshold`` count.
    """
    allowed = near & (likeness >= threshold)
    rows, columns = linear_sum_assignment(np.where(allowed, 1 - likeness, _IMPOSSIBLE))
    found = [-1] * len(likeness)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if allowed[row, column]:
            found[row] = column
    return found


def are_near(one: FloatArray, other: FloatArray, most: float) -> NDArray[np.bool_]:
    """bool[n, m]: whether the centres of boxes, f32[n, 4] and f32[m, 4], are at most so many pixels apart."""
    centres = [(boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (one, other)]
    apart = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=2)
    near: NDArray[np.bool_] = apart <= most
    return near


def ious(one: FloatArray, other: FloatArray) -> Likeness:
    """f64[n, m]: intersection over union of boxes."""
    corner = np.maximum(one[:, None, :2], other[None, :, :2])
    common = np.clip(np.minimum(one[:, None, 2:], other[None, :, 2:]) - corner, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None] - common
    share: Likeness = np.divide(common, union, out=np.zeros(union.shape), where=union > 0)
    return share


class OverlapReIdentifier(OneThreadModel):
    """A ``ReIdentifier`` without weights: likeness is the intersection over union of the boxes."""

    async def match(
        self,
        before: tuple[Frame, Sequence[Box]],
        after: tuple[Frame, Sequence[Box]],
        *,
        threshold: float,
        max_distance: float,
    ) -> list[int]:
        one, other = as_array(before[1]), as_array(after[1])
        return await self.call(lambda: pair(ious(one, other), are_near(one, other, max_distance), threshold))


class EmbeddingReIdentifier(OneThreadModel):
    """A ``ReIdentifier`` of a model that embeds pictures: likeness is the cosine of what two boxes hold, as 0 to 1.

    ``output`` is the engine's embedding, [n, d] or [n, tokens, d], of which the first token counts.
    """

    def __init__(self, card: ModelCard, to_tensor: FrameToTensor, engine: Engine, output: str) -> None:
        super().__init__(on_device(card, engine.device, half=engine.half))
        self._to_tensor, self._engine, self._output = to_tensor, engine, output

    async def match(
        self,
        before: tuple[Frame, Sequence[Box]],
        after: tuple[Frame, Sequence[Box]],
        *,
        threshold: float,
        max_distance: float,
    ) -> list[int]:
        return await self.call(partial(self._match, before, after, threshold, max_distance))

    def release(self) -> None:
        self._engine.close()

    def _match(
        self, before: tuple[Frame, Sequence[Box]], after: tuple[Frame, Sequence[Box]], threshold: float, most: float
    ) -> list[int]:
        if not before[1] or not after[1]:
            return [-1] * len(before[1])
        likeness = (self._embed(*before) @ self._embed(*after).T + 1) / 2
        one, other = as_array(before[1]), as_array(after[1])
        return pair(likeness.astype(np.float64), are_near(one, other, most), threshold)

    def _embed(self, frame: Frame, boxes: Sequence[Box]) -> FloatArray:
        """Unit vectors f32[n, d] of what the boxes hold."""
        parts: list[Any] = []
        size = self.card.limits.max_batch
        crops = [self._to_tensor(crop(frame, box)).pixels for box in boxes]
        for start in range(0, len(crops), size):
            found = self._engine.run({PIXELS: np.stack(crops[start : start + size])})[self._output]
            parts.append(found[:, 0] if found.ndim == 3 else found.reshape(len(found), -1))
        vectors = np.concatenate(parts).astype(np.float32)
        if not np.isfinite(vectors).all():
            raise BadOutput("The model answered numbers that are not finite (NaN or infinite).")
        units: FloatArray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return units


def crop(frame: Frame, box: Box) -> NDArray[np.uint8]:
    """What the box holds, one pixel at least."""
    left, top = int(np.clip(box[0], 0, frame.width - 1)), int(np.clip(box[1], 0, frame.height - 1))
    right, bottom = (
        int(np.clip(np.ceil(box[2]), left + 1, frame.width)),
        int(np.clip(np.ceil(box[3]), top + 1, frame.height)),
    )
    return frame.pixels[top:bottom, left:right]


def as_array(boxes: Sequence[Box]) -> FloatArray:
    return np.asarray(boxes, np.float32).reshape(-1, 4)
