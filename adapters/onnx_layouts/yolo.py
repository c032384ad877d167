"""The YOLO family: v5 and v7, v8 to v12 in all their tasks, and v10 and v26, which need no suppression.

Layouts as Ultralytics exports them (output shapes and their order: its documentation of exports); boxes are in
pixels of the letterboxed input. Pose, mask and angle numbers follow the label scores of a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from adapters.base import Detections, FloatArray, Geometry, Mask, RotatedRectangle, Skeleton
from adapters.dense_masks import mask_of
from adapters.errors import BadOutput
from adapters.frame import Frame
from adapters.onnx_layouts.spec import (
    Spec,
    best_labels,
    candidates,
    clip_scores,
    columns,
    corners,
    finite,
    rectangles,
    without_overlaps,
)
from adapters.preprocess import Tensor

_MOST_MASKS = 300  # of one frame are drawn
Raw = Mapping[str, NDArray[Any]]


def decode_v5(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """[n, 5 + labels]: centre, size, objectness, a score per label; the score is the product of the two."""
    rows = columns("rows", finite("rows", outputs["rows"]), 5 + len(spec.labels))
    scores, label_ids = best_labels(rows[:, 5:] * rows[:, 4:5])
    return _suppressed(rows[:, :4], scores, label_ids, spec, tensor, frame)


def decode_v7_end(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """[n, 7] after suppression: picture, x1 y1 x2 y2, label, score."""
    rows = columns("rows", finite("rows", outputs["rows"]), 7)
    return rectangles(rows[:, 1:5], rows[:, 6], rows[:, 5].astype(np.int32), spec, tensor, frame)


def decode_v8(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """[4 + labels, n]: centre, size, a score per label."""
    rows = columns("rows", finite("rows", outputs["rows"]).T, 4 + len(spec.labels))
    scores, label_ids = best_labels(rows[:, 4:])
    return _suppressed(rows[:, :4], scores, label_ids, spec, tensor, frame)


def decode_end(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """[n, 6], nothing to suppress: x1 y1 x2 y2, score, label; rows of score 0 fill up."""
    rows = columns("rows", finite("rows", outputs["rows"]), 6)
    rows = rows[rows[:, 4] > 0]
    return rectangles(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32), spec, tensor, frame)


def _suppressed(
    boxes: FloatArray, scores: FloatArray, label_ids: NDArray[np.int32], spec: Spec, tensor: Tensor, frame: Frame
) -> Detections:
    kept = _kept(corners(boxes), scores, label_ids, spec.iou)
    return rectangles(corners(boxes[kept]), scores[kept], label_ids[kept], spec, tensor, frame)


def _kept(boxes: FloatArray, scores: FloatArray, label_ids: NDArray[Any], iou: float) -> NDArray[np.intp]:
    rows = candidates(scores)
    return rows[without_overlaps(boxes[rows], scores[rows], label_ids[rows], iou)]


def decode_segment(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """[4 + labels + k, n] and prototypes [k, h, w]: a mask is the sum of the prototypes by its k numbers, above 0."""
    prototypes = _prototypes(outputs)
    rows = columns("rows", finite("rows", outputs["rows"]).T, 4 + len(spec.labels) + len(prototypes))
    scores, label_ids = best_labels(rows[:, 4 : 4 + len(spec.labels)])
    boxes = corners(rows[:, :4])
    kept = _kept(boxes, scores, label_ids, spec.iou)[:_MOST_MASKS]
    weights = rows[kept, 4 + len(spec.labels) :]
    return _masks(boxes[kept], scores[kept], label_ids[kept], weights, prototypes, spec, tensor, frame)


def decode_segment_end(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """[n, 6 + k], nothing to suppress, and prototypes [k, h, w]."""
    prototypes = _prototypes(outputs)
    rows = columns("rows", finite("rows", outputs["rows"]), 6 + len(prototypes))
    rows = rows[rows[:, 4] > 0][:_MOST_MASKS]
    label_ids = rows[:, 5].astype(np.int32)
    return _masks(rows[:, :4], rows[:, 4], label_ids, rows[:, 6:], prototypes, spec, tensor, frame)


def _prototypes(outputs: Raw) -> FloatArray:
    prototypes = finite("prototypes", outputs["prototypes"])
    if prototypes.ndim != 3:
        raise BadOutput(f"The model answered prototypes of shape {list(prototypes.shape)}; [k, h, w] is needed.")
    return prototypes


def _masks(
    boxes: FloatArray,
    scores: FloatArray,
    label_ids: NDArray[np.int32],
    weights: FloatArray,
    prototypes: FloatArray,
    spec: Spec,
    tensor: Tensor,
    frame: Frame,
) -> Detections:
    """Masks are drawn one at a time at the frame's size, and cut by their boxes; empty ones are left out."""
    k, height, width = prototypes.shape
    place = _frame_to_grid(tensor, frame, height, width)
    placed = np.clip(tensor.to_frame(boxes, frame.width, frame.height), 0, [frame.width, frame.height] * 2)
    shapes: list[Mask] = []
    rows: list[int] = []
    for row in range(len(boxes)):
        plane = (weights[row] @ prototypes.reshape(k, -1)).reshape(height, width)
        x1, y1 = np.floor(placed[row, :2]).astype(int)
        x2, y2 = np.ceil(placed[row, 2:]).astype(int)
        bits = np.zeros((frame.height, frame.width), bool)
        if x2 > x1 and y2 > y1:
            moved = place.copy()
            moved[:, 2] += place[:, :2] @ (x1, y1)
            part = cv2.warpAffine(
                plane,
                moved,
                (int(x2 - x1), int(y2 - y1)),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            bits[y1:y2, x1:x2] = part > 0
        made = mask_of(bits)
        if made is not None:
            shapes.append(made[0])
            rows.append(row)
    return Detections(spec.labels, placed[rows], clip_scores(scores[rows]), label_ids[rows], tuple(shapes))


def _frame_to_grid(tensor: Tensor, frame: Frame, height: int, width: int) -> NDArray[np.float64]:
    """The affine map, 2 x 3, from pixel centres of the frame to those of a grid over the whole tensor."""
    full_height, full_width = tensor.pixels.shape[1:]
    x_share = tensor.width / frame.width * width / full_width
    y_share = tensor.height / frame.height * height / full_height
    return np.array(
        [
            [x_share, 0, 0.5 * x_share + tensor.left * width / full_width - 0.5],
            [0, y_share, 0.5 * y_share + tensor.top * height / full_height - 0.5],
        ]
    )


def decode_pose(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """[4 + labels + joints x 2 or 3, n]: after the label scores x y [score] of every joint."""
    per_row = spec.joints[0] * spec.joints[1]
    rows = columns("rows", finite("rows", outputs["rows"]).T, 4 + len(spec.labels) + per_row)
    scores, label_ids = best_labels(rows[:, 4 : 4 + len(spec.labels)])
    boxes = corners(rows[:, :4])
    kept = _kept(boxes, scores, label_ids, spec.iou)
    return _skeletons(boxes[kept], scores[kept], label_ids[kept], rows[kept, -per_row:], spec, tensor, frame)


def decode_pose_end(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """[n, 6 + joints x 2 or 3], nothing to suppress."""
    rows = columns("rows", finite("rows", outputs["rows"]), 6 + spec.joints[0] * spec.joints[1])
    rows = rows[rows[:, 4] > 0]
    return _skeletons(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32), rows[:, 6:], spec, tensor, frame)


def _skeletons(
    boxes: FloatArray,
    scores: FloatArray,
    label_ids: NDArray[np.int32],
    numbers: FloatArray,
    spec: Spec,
    tensor: Tensor,
    frame: Frame,
) -> Detections:
    joints, width = spec.joints
    numbers = numbers.reshape(len(boxes), joints, width)
    points = tensor.to_frame(numbers[:, :, :2].reshape(len(boxes), -1), frame.width, frame.height)
    points = points.reshape(len(boxes), joints, 2)
    seen = numbers[:, :, 2].clip(0, 1) if width == 3 else np.ones((len(boxes), joints), np.float32)
    shapes = tuple(Skeleton(points[i], seen[i]) for i in range(len(boxes)))
    placed = tensor.to_frame(boxes, frame.width, frame.height)
    return Detections(spec.labels, placed, clip_scores(scores), label_ids, shapes)


def decode_obb(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """[4 + labels + 1, n]: centre, size, a score per label, and the angle in radians, clockwise on the screen."""
    rows = columns("rows", finite("rows", outputs["rows"]).T, 5 + len(spec.labels))
    scores, label_ids = best_labels(rows[:, 4:-1])
    chosen = candidates(scores)
    kept: list[int] = []
    for label_id in np.unique(label_ids[chosen]):
        of_label = chosen[label_ids[chosen] == label_id]
        turned = [_turned(rows[row, [0, 1, 2, 3, -1]]) for row in of_label]
        stays = cv2.dnn.NMSBoxesRotated(turned, scores[of_label].tolist(), 0.0, spec.iou)
        kept += of_label[np.asarray(stays, np.intp).reshape(-1)].tolist()
    return _rotated(rows[kept][:, [0, 1, 2, 3, -1]], scores[kept], label_ids[kept], spec, tensor, frame)


def decode_obb_end(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """[n, 7], nothing to suppress: centre, size, score, label, angle."""
    rows = columns("rows", finite("rows", outputs["rows"]), 7)
    rows = rows[rows[:, 4] > 0]
    return _rotated(rows[:, [0, 1, 2, 3, 6]], rows[:, 4], rows[:, 5].astype(np.int32), spec, tensor, frame)


def _turned(row: FloatArray) -> tuple[tuple[float, float], tuple[float, float], float]:
    x, y, width, height, angle = (float(value) for value in row)
    return (x, y), (width, height), float(np.degrees(angle))


def _rotated(
    rows: FloatArray,
    scores: FloatArray,
    label_ids: NDArray[np.int32],
    spec: Spec,
    tensor: Tensor,
    frame: Frame,
) -> Detections:
    """``rows``: x, y, width, height, angle in pixels of the tensor. A letterbox keeps angles."""
    share = frame.width / tensor.width
    centers = tensor.to_frame(rows[:, :2], frame.width, frame.height)
    shapes: list[Geometry] = []
    boxes = np.empty((len(rows), 4), np.float32)
    for i, (_, _, width, height, angle) in enumerate(rows):
        x, y = (float(value) for value in centers[i])
        shapes.append(
            RotatedRectangle(x, y, float(width) * share, float(height) * share, float(np.degrees(angle)) % 360)
        )
        reach_x = abs(width * np.cos(angle)) + abs(height * np.sin(angle))
        reach_y = abs(width * np.sin(angle)) + abs(height * np.cos(angle))
        boxes[i] = np.array([x, y, x, y]) + np.array([-reach_x, -reach_y, reach_x, reach_y]) * share / 2
    return Detections(spec.labels, boxes, clip_scores(scores), label_ids, tuple(shapes))
