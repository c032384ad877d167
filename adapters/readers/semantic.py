"""Semantic segmentation: a score per label and pixel -> one mask per label that is found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from adapters.base import Detections, FloatArray, Mask, ModelCard
from adapters.dense_masks import mask_of
from adapters.errors import BadOutput
from adapters.frame import Frame
from adapters.local_model import Outputs, Reader
from adapters.preprocess import Tensor


def make_reader(card: ModelCard, folder: Path) -> Reader:
    """Logits [labels, h, w]. Every pixel belongs to its best label; such models give no score, so it is 1.0."""
    labels = card.labels or ()

    def read(outputs: Outputs, tensor: Tensor, frame: Frame) -> Detections:
        logits = outputs["logits"]
        if logits.ndim != 3 or len(logits) != len(labels):
            raise BadOutput(f"The model answered logits {list(logits.shape)} for its {len(labels)} labels.")
        return label_masks(best_label(logits, frame.width, frame.height), labels)

    return read


def best_label(logits: FloatArray, width: int, height: int) -> NDArray[np.int32]:
    """[labels, h, w] -> i32[height, width]: bilinear to the frame's size, then the best; ties go to the first.

    One label after the other, so that memory does not grow with their number. Raises BadOutput where one is NaN.
    """
    if not np.isfinite(logits).all():
        raise BadOutput("The model answered scores that are not finite (NaN or infinite).")
    best = np.full((height, width), -np.inf, np.float32)
    ids = np.zeros((height, width), np.int32)
    for label_id, plane in enumerate(logits):
        scores = cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)
        better = scores > best
        best[better] = scores[better]
        ids[better] = label_id
    return ids


def label_masks(ids: NDArray[np.integer[Any]], labels: Sequence[str]) -> Detections:
    """One mask per label id that occurs in ``ids`` [height, width]; negative ids are nothing."""
    found = [int(label_id) for label_id in np.unique(ids) if label_id >= 0]
    return masks([(label_id, 1.0, ids == label_id) for label_id in found], labels)


def masks(segments: Sequence[tuple[int, float, NDArray[np.bool_]]], labels: Sequence[str]) -> Detections:
    """Label id, score and bits [height, width] of each segment -> detections; empty segments are left out."""
    shapes: list[Mask] = []
    boxes, scores, label_ids = [], [], []
    for label_id, score, bits in segments:
        made = mask_of(bits)
        if made is None:
            continue
        shapes.append(made[0])
        boxes.append(made[1])
        scores.append(score)
        label_ids.append(label_id)
    if not shapes:
        return Detections.empty(labels)
    return Detections(
        tuple(labels), np.array(boxes, np.float32), np.array(scores, np.float32), np.array(label_ids), tuple(shapes)
    )
