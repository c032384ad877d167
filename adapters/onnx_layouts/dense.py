"""Classifiers, semantic segmentation and PP-OCR's text detector: outputs over the whole frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from adapters.base import Detections, FloatArray, Polygon
from adapters.errors import BadOutput
from adapters.frame import Frame
from adapters.onnx_layouts.spec import Spec, finite
from adapters.preprocess import Tensor
from adapters.readers.classification import softmax, tags
from adapters.readers.semantic import best_label, label_masks

Raw = Mapping[str, NDArray[Any]]

# PP-OCR's own settings of its text detector: https://github.com/PaddlePaddle/PaddleOCR, configs/det.
_TEXT_THRESHOLD = 0.3  # of a pixel
_TEXT_LEAST_SIDE = 3  # pixels of the map
_TEXT_GROWTH = 1.6  # of a shrunk box: area x growth / perimeter is added on every side
_MOST_TEXTS = 1000


def decode_classes(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """[labels]: shares that add up to 1, or logits, which are made shares by a softmax."""
    values = finite("scores", outputs["scores"]).reshape(-1)
    if len(values) != len(spec.labels):
        raise BadOutput(f"The model answered {len(values)} scores for its {len(spec.labels)} labels.")
    shares = values.min() >= 0 and abs(float(values.sum()) - 1) < 1e-2
    return tags(spec.labels, values if shares else softmax(values), frame)


def decode_number(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """One number, such as an age: a tag that carries it as the attribute ``value``, whole and not negative."""
    values = finite("value", outputs["value"]).reshape(-1)
    if len(values) != 1:
        raise BadOutput(f"The model answered {len(values)} numbers; one is needed.")
    number = max(0, round(float(values[0]) * spec.scale))
    found = tags(spec.labels, np.ones(1, np.float32), frame)
    return replace(found, attributes=({"value": str(number)},))


def decode_semantic(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """[labels, h, w] over the whole tensor: what lies on the picture is resized to the frame, the best label counts."""
    logits = finite("scores", outputs["scores"])
    if logits.ndim != 3 or len(logits) != len(spec.labels):
        raise BadOutput(f"The model answered scores {list(logits.shape)} for its {len(spec.labels)} labels.")
    top, bottom, left, right = _inside(tensor, *logits.shape[1:])
    return label_masks(best_label(logits[:, top:bottom, left:right], frame.width, frame.height), spec.labels)


def _inside(tensor: Tensor, height: int, width: int) -> tuple[int, int, int, int]:
    """Where the picture lies on a grid over the whole tensor."""
    full_height, full_width = tensor.pixels.shape[1:]
    top, left = round(tensor.top * height / full_height), round(tensor.left * width / full_width)
    bottom = round((tensor.top + tensor.height) * height / full_height)
    right = round((tensor.left + tensor.width) * width / full_width)
    return max(0, top), max(top + 1, bottom), max(0, left), max(left + 1, right)


def decode_text(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """A map [1, h, w] of how likely each pixel is text -> one turned box per line, as a polygon of four corners.

    The model was taught shrunk boxes (differentiable binarization, Liao et al. 2020), so each is grown again.
    """
    heat = finite("scores", outputs["scores"])
    if heat.ndim < 2 or heat.size != heat.shape[-1] * heat.shape[-2]:
        raise BadOutput(f"The model answered a map {list(heat.shape)}; [1, h, w] is needed.")
    return _texts(heat.reshape(heat.shape[-2:]), spec, tensor, frame)


def _texts(heat: FloatArray, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    height, width = heat.shape
    bits = cv2.dilate((heat > _TEXT_THRESHOLD).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(bits, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    full_height, full_width = tensor.pixels.shape[1:]
    share = np.array([full_width / width, full_height / height], np.float32)
    shapes, scores = [], []
    for contour in contours[:_MOST_TEXTS]:
        center, (long, short), angle = cv2.minAreaRect(contour)
        if min(long, short) < _TEXT_LEAST_SIDE:
            continue
        scores.append(_mean_inside(heat, cv2.boxPoints((center, (long, short), angle))))
        growth = long * short * _TEXT_GROWTH / (2 * (long + short))
        grown = cv2.boxPoints((center, (long + 2 * growth, short + 2 * growth), angle))
        shapes.append(Polygon(tensor.to_frame(grown * share, frame.width, frame.height)))
    boxes = [[*shape.points.min(axis=0), *shape.points.max(axis=0)] for shape in shapes]
    return Detections(
        spec.labels,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.zeros(len(shapes), np.int32),
        tuple(shapes),
    )


def _mean_inside(heat: FloatArray, points: FloatArray) -> float:
    height, width = heat.shape
    low = np.clip(np.floor(points.min(axis=0)), 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)), 0, [width - 1, height - 1]).astype(int)
    inside = np.zeros((high[1] - low[1] + 1, high[0] - low[0] + 1), np.uint8)
    cv2.fillPoly(inside, [(points - low).astype(np.int32)], 1)
    return float(cv2.mean(heat[low[1] : high[1] + 1, low[0] : high[0] + 1], inside)[0])
