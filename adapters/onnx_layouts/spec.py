"""What a layout's decoder needs to know, and what decoders share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from adapters.base import Detections, FloatArray
from adapters.errors import BadOutput
from adapters.frame import Frame
from adapters.preprocess import Tensor

LEAST_SCORE = 0.01  # candidates below it are dropped before overlaps are compared
MOST_CANDIDATES = 3000  # of one frame, the best; more only cost time


@dataclass(frozen=True, slots=True)
class Spec:
    """One model's outputs: the layout's roles -> the names of its outputs, its labels, and numbers of its own.

    iou     boxes of one label that overlap more are one object
    joints  of a pose: how many, and numbers per joint (2: x y; 3: x y score)
    scale   what a number that the model answers is multiplied by
    """

    roles: Mapping[str, str]
    labels: tuple[str, ...]
    iou: float = 0.7
    joints: tuple[int, int] = (0, 0)
    scale: float = 1.0


Decode = Callable[[Mapping[str, NDArray[Any]], Spec, Tensor, Frame], Detections]


def finite(name: str, value: NDArray[Any]) -> NDArray[np.float32]:
    """As f32. Raises BadOutput for NaN and infinity: a comparison would silently drop them."""
    value = np.asarray(value, np.float32)
    if not np.isfinite(value).all():
        raise BadOutput(f"The model answered {name} that are not finite (NaN or infinite).")
    return value


def columns(name: str, value: FloatArray, wanted: int) -> FloatArray:
    if value.ndim != 2 or value.shape[1] != wanted:
        raise BadOutput(f"The model answered {name} of shape {list(value.shape)}; [n, {wanted}] is needed.")
    return value


def corners(boxes: FloatArray) -> FloatArray:
    """Centre and size, f32[n, 4], -> x1 y1 x2 y2."""
    half = boxes[:, 2:4] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def candidates(scores: FloatArray) -> NDArray[np.intp]:
    """Rows that are worth a look, best first."""
    order = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    return order[scores[order] >= LEAST_SCORE]


def without_overlaps(boxes: FloatArray, scores: FloatArray, label_ids: NDArray[Any], iou: float) -> NDArray[np.intp]:
    """Rows that stay when of two boxes of a label that overlap by more than ``iou`` the better one is kept."""
    if not len(boxes):
        return np.empty(0, np.intp)
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(
        sides.astype(float).tolist(), scores.tolist(), label_ids.astype(int).tolist(), 0.0, iou
    )
    return np.asarray(kept, np.intp).reshape(-1)


def rectangles(
    boxes: FloatArray, scores: FloatArray, label_ids: NDArray[Any], spec: Spec, tensor: Tensor, frame: Frame
) -> Detections:
    """Boxes in pixels of the tensor -> detections in pixels of the frame."""
    return Detections(spec.labels, tensor.to_frame(boxes, frame.width, frame.height), clip_scores(scores), label_ids)


def clip_scores(scores: FloatArray) -> FloatArray:
    """Half-precision scores may be a hair above 1."""
    return np.where((scores > 1) & (scores < 1.01), np.float32(1), scores)


def best_labels(scores: FloatArray) -> tuple[FloatArray, NDArray[np.int32]]:
    """[n, labels] -> best score and label id of each row."""
    label_ids = scores.argmax(axis=1) if scores.shape[1] else np.zeros(len(scores), np.intp)
    return scores[np.arange(len(scores)), label_ids], label_ids.astype(np.int32)


def without_batch(value: NDArray[Any]) -> NDArray[Any]:
    """An output of one frame: a leading axis of length 1 goes where at least two are left."""
    return value[0] if value.ndim >= 3 and len(value) == 1 else value
