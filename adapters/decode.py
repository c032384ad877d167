"""What detection transformers answer -> detections in pixels of the frame. Pure numpy.

Two conventions exist. The DETR of 2020 and YOLOS end in a softmax whose last entry means "no object"; each query
gives its best label. RT-DETR, D-FINE, Deformable DETR and later ones end in a sigmoid per label; the best pairs of
query and label count, as many as there are queries, so one query may appear under several labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adapters.base import Detections, FloatArray
from adapters.errors import BadOutput

SOFTMAX = "softmax"
SIGMOID = "sigmoid"

# model_type of config.json -> how its scores are read
SCORES_OF = {
    "detr": SOFTMAX,
    "table-transformer": SOFTMAX,
    "yolos": SOFTMAX,
    "conditional_detr": SIGMOID,
    "d_fine": SIGMOID,
    "dab-detr": SIGMOID,
    "deformable_detr": SIGMOID,
    "deimv2": SIGMOID,
    "lw_detr": SIGMOID,
    "rt_detr": SIGMOID,
    "rt_detr_v2": SIGMOID,
}


def decode_queries(
    logits: FloatArray, boxes: FloatArray, scores_by: str, labels: Sequence[str], width: int, height: int
) -> Detections:
    """The detections of one frame.

    logits   f32[queries, labels], or one more column for softmax (no object, last)
    boxes    f32[queries, 4]: centre x, centre y, width, height as shares of the frame

    Best first. Raises BadOutput where the shapes do not fit the labels or a logit is NaN.
    """
    queries = len(logits) if logits.ndim == 2 else -1
    columns = len(labels) + (scores_by == SOFTMAX)
    if logits.shape != (queries, columns) or boxes.shape != (queries, 4):
        raise BadOutput(
            f"The model answered logits {list(logits.shape)} and boxes {list(boxes.shape)}; "
            f"its {len(labels)} labels need [queries, {columns}] and [queries, 4]."
        )
    if np.isnan(logits).any():
        raise BadOutput("The model answered scores that are NaN.")
    read = _softmax_scores if scores_by == SOFTMAX else _sigmoid_scores
    scores, label_ids, rows = read(logits)
    return Detections(tuple(labels), to_corners(boxes[rows], width, height), scores, label_ids)


def to_corners(boxes: FloatArray, width: int, height: int) -> FloatArray:
    """Relative centre and size, f32[n, 4], -> x1 y1 x2 y2 in pixels."""
    half = boxes[:, 2:] / 2
    corners = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    return corners * np.array([width, height, width, height], np.float32)


def _softmax_scores(logits: FloatArray) -> tuple[FloatArray, NDArray[np.int32], NDArray[np.intp]]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = (powers / powers.sum(axis=1, keepdims=True))[:, :-1]
    label_ids = shares.argmax(axis=1)
    scores = shares[np.arange(len(shares)), label_ids]
    order = np.argsort(-scores, kind="stable")
    return scores[order], label_ids[order].astype(np.int32), order


def _sigmoid_scores(logits: FloatArray) -> tuple[FloatArray, NDArray[np.int32], NDArray[np.intp]]:
    queries, columns = logits.shape
    flat = logits.ravel()  # the order of the logits is the order of the scores
    if flat.size > queries:
        chosen = np.argpartition(-flat, queries - 1)[:queries] if queries else np.empty(0, np.intp)
    else:
        chosen = np.arange(flat.size)
    order = chosen[np.argsort(-flat[chosen], kind="stable")]
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and the score 0, as it should be
        scores = (1 / (1 + np.exp(-flat[order]))).astype(np.float32)
    return scores, (order % columns).astype(np.int32), order // columns
