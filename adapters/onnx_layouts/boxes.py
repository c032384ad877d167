"""Detectors that are no YOLO of today: transformers, SSD, RetinaNet and torchvision, YOLO v3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.base import Detections, FloatArray
from adapters.decode import SIGMOID, SOFTMAX, decode_queries
from adapters.errors import BadOutput
from adapters.frame import Frame
from adapters.onnx_layouts.spec import (
    Spec,
    best_labels,
    candidates,
    columns,
    finite,
    rectangles,
    without_overlaps,
)
from adapters.preprocess import Tensor
from adapters.readers.classification import sigmoid

Raw = Mapping[str, NDArray[Any]]

# Widths and heights in pixels, of the three grids from coarse to fine, as YOLO v3 was published (Redmon, Farhadi 2018,
# section 2.3); the small one has two.
_ANCHORS = {
    3: (((116, 90), (156, 198), (373, 326)), ((30, 61), (62, 45), (59, 119)), ((10, 13), (16, 30), (33, 23))),
    2: (((81, 82), (135, 169), (344, 319)), ((10, 14), (23, 27), (37, 58))),
}


def decode_detr(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """``logits`` [queries, labels, or one more for no object] and relative ``boxes`` [queries, 4]."""
    logits, boxes = outputs["logits"].astype(np.float32), outputs["boxes"].astype(np.float32)
    scores_by = SOFTMAX if logits.shape[-1] == len(spec.labels) + 1 else SIGMOID
    height, width = tensor.pixels.shape[1:]
    found = decode_queries(logits, boxes, scores_by, spec.labels, width, height)
    return rectangles(found.boxes, found.scores, found.label_ids, spec, tensor, frame)


def decode_separate(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """``boxes`` [n, 4], x1 y1 x2 y2 in pixels of the input, ``labels`` [n] and ``scores`` [n]."""
    boxes, scores = finite("boxes", outputs["boxes"]), finite("scores", outputs["scores"]).reshape(-1)
    label_ids = np.asarray(outputs["labels"]).reshape(-1).astype(np.int32)
    boxes = columns("boxes", boxes.reshape(-1, boxes.shape[-1]) if boxes.ndim > 1 else boxes.reshape(-1, 4), 4)
    if not len(boxes) == len(scores) == len(label_ids):
        raise BadOutput(f"The model answered {len(boxes)} boxes, {len(label_ids)} labels and {len(scores)} scores.")
    kept = np.flatnonzero(label_ids >= 0)  # -1 fills up
    return rectangles(boxes[kept], scores[kept], label_ids[kept], spec, tensor, frame)


def decode_with_scores(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """``boxes`` [n, 5], x1 y1 x2 y2 in pixels of the input and the score, and ``labels`` [n]: MMDetection's."""
    rows = finite("boxes", outputs["boxes"])
    rows = columns("boxes", rows.reshape(-1, rows.shape[-1]) if rows.ndim > 1 else rows.reshape(-1, 5), 5)
    separate = {"boxes": rows[:, :4], "scores": rows[:, 4], "labels": outputs["labels"]}
    return decode_separate(separate, spec, tensor, frame)


def decode_ssd(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """[n, 7], OpenVINO's DetectionOutput: picture, label, score, x1 y1 x2 y2 as shares; picture -1 ends the list."""
    rows = finite("rows", outputs["rows"])
    rows = columns("rows", rows.reshape(-1, rows.shape[-1]), 7)
    ends = np.flatnonzero(rows[:, 0] < 0)
    rows = rows[: ends[0]] if len(ends) else rows
    height, width = tensor.pixels.shape[1:]
    boxes = rows[:, 3:] * np.array([width, height, width, height], np.float32)
    return rectangles(boxes, rows[:, 2], rows[:, 1].astype(np.int32), spec, tensor, frame)


def decode_yolo3_indices(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """``boxes`` [n, 4] as y1 x1 y2 x2, ``scores`` [labels, n], and ``indices`` [m, 3]: picture, label, box."""
    boxes, scores = finite("boxes", outputs["boxes"]), finite("scores", outputs["scores"])
    boxes, scores = boxes.reshape(-1, 4), scores.reshape(scores.shape[-2:])
    indices: NDArray[np.intp] = np.asarray(outputs["indices"]).reshape(-1, 3).astype(np.intp)
    indices = indices[indices[:, 2] >= 0]
    if len(indices) and (indices[:, 2].max() >= len(boxes) or indices[:, 1].max() >= len(scores)):
        raise BadOutput("The model answered indices of boxes or labels that it does not have.")
    chosen = boxes[indices[:, 2]][:, [1, 0, 3, 2]]
    label_ids = indices[:, 1].astype(np.int32)
    return rectangles(chosen, scores[indices[:, 1], indices[:, 2]], label_ids, spec, tensor, frame)


def decode_yolo3_heads(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """Raw grids [3 x (5 + labels), rows, columns], coarse to fine: x y as sigmoids within a cell, sizes as powers."""
    grids = sorted((finite("grids", value) for value in outputs.values()), key=lambda grid: grid.shape[-1])
    if len(grids) not in _ANCHORS:
        raise BadOutput(f"The model answered {len(grids)} grids; 2 or 3 are needed.")
    parts = [
        _grid(grid, np.array(sizes, np.float32), spec, tensor)
        for grid, sizes in zip(grids, _ANCHORS[len(grids)], strict=True)
    ]
    boxes, scores, label_ids = (np.concatenate(each) for each in zip(*parts, strict=True))
    rows = candidates(scores)
    rows = rows[without_overlaps(boxes[rows], scores[rows], label_ids[rows], spec.iou)]
    return rectangles(boxes[rows], scores[rows], label_ids[rows], spec, tensor, frame)


def _grid(
    grid: FloatArray, anchors: FloatArray, spec: Spec, tensor: Tensor
) -> tuple[FloatArray, FloatArray, NDArray[np.int32]]:
    per_anchor = 5 + len(spec.labels)
    if grid.ndim != 3 or len(grid) != 3 * per_anchor:
        raise BadOutput(f"The model answered a grid {list(grid.shape)}; [{3 * per_anchor}, h, w] is needed.")
    height, width = grid.shape[1:]
    cells = grid.reshape(3, per_anchor, height, width)
    full_height, full_width = tensor.pixels.shape[1:]
    columns_, rows = np.meshgrid(np.arange(width), np.arange(height))
    x = (sigmoid(cells[:, 0]) + columns_) * (full_width / width)
    y = (sigmoid(cells[:, 1]) + rows) * (full_height / height)
    size_x = np.exp(np.minimum(cells[:, 2], 20)) * anchors[:, 0, None, None]
    size_y = np.exp(np.minimum(cells[:, 3], 20)) * anchors[:, 1, None, None]
    boxes = np.stack([x - size_x / 2, y - size_y / 2, x + size_x / 2, y + size_y / 2], axis=-1).reshape(-1, 4)
    products = sigmoid(cells[:, 4:5]) * sigmoid(cells[:, 5:])
    scores, label_ids = best_labels(products.transpose(0, 2, 3, 1).reshape(-1, len(spec.labels)))
    return boxes.astype(np.float32), scores, label_ids
