"""RetinaNet with its anchors outside: raw scores and offsets of five levels, as NVIDIA's ODTK exports them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.base import Detections, FloatArray
from adapters.errors import BadOutput
from adapters.frame import Frame
from adapters.onnx_layouts.spec import Spec, best_labels, candidates, finite, rectangles, without_overlaps
from adapters.preprocess import Tensor

Raw = Mapping[str, NDArray[Any]]

LEVELS = 5  # strides 8 to 128 (Lin et al. 2017, section 4: P3 to P7)
SCORES = tuple(f"scores{level}" for level in range(LEVELS))
OFFSETS = tuple(f"boxes{level}" for level in range(LEVELS))
# Anchors of 4 strides times these scales, in these ratios of height to width; the ratio changes first.
_SCALES = tuple(4 * 2 ** (i / 3) for i in range(3))
_RATIOS = (1.0, 2.0, 0.5)
COUNT = len(_SCALES) * len(_RATIOS)
_GREATEST = 20.0  # of an exponent: e^20 is beyond every picture


def decode_retinanet_heads(outputs: Raw, spec: Spec, tensor: Tensor, frame: Frame) -> Detections:
    """``scores`` [9 x labels, h, w], already between 0 and 1, and ``boxes`` [9 x 4, h, w], fine to coarse."""
    parts = [
        _level(finite("scores", outputs[s]), finite("boxes", outputs[b]), spec, tensor)
        for s, b in zip(SCORES, OFFSETS, strict=True)
    ]
    boxes, scores, label_ids = (np.concatenate(each) for each in zip(*parts, strict=True))
    rows = candidates(scores)
    rows = rows[without_overlaps(boxes[rows], scores[rows], label_ids[rows], spec.iou)]
    return rectangles(boxes[rows], scores[rows], label_ids[rows], spec, tensor, frame)


def _level(
    scores: FloatArray, offsets: FloatArray, spec: Spec, tensor: Tensor
) -> tuple[FloatArray, FloatArray, NDArray[np.int32]]:
    labels = len(spec.labels)
    if scores.ndim != 3 or offsets.ndim != 3 or len(scores) != COUNT * labels or len(offsets) != COUNT * 4:
        raise BadOutput(
            f"The model answered scores {list(scores.shape)} and boxes {list(offsets.shape)}; "
            f"[{COUNT * labels}, h, w] and [{COUNT * 4}, h, w] are needed."
        )
    height, width = scores.shape[1:]
    if offsets.shape[1:] != (height, width):
        raise BadOutput("The model answered scores and boxes of different grids.")
    stride = tensor.pixels.shape[1] / height
    best, label_ids = best_labels(
        scores.reshape(COUNT, labels, height, width).transpose(0, 2, 3, 1).reshape(-1, labels)
    )
    moves = offsets.reshape(COUNT, 4, height, width).transpose(0, 2, 3, 1)
    sizes = _anchor_sizes(stride)[:, None, None, :]
    rows, columns = np.mgrid[0:height, 0:width]
    # An anchor lies around the middle of its cell; ODTK counts a box one pixel wider than its corners are apart.
    middles = (np.stack([columns, rows], axis=-1)[None] + 0.5) * stride
    centres = middles + 0.5 + moves[..., :2] * (sizes + 1)
    sides = np.exp(np.minimum(moves[..., 2:], _GREATEST)) * (sizes + 1)
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2 - 1], axis=-1)
    return boxes.reshape(-1, 4).astype(np.float32), best, label_ids


def _anchor_sizes(stride: float) -> FloatArray:
    """Width and height of each anchor, f32[9, 2]: areas of (scale x stride) squared."""
    sizes = [(stride * s / r**0.5, stride * s * r**0.5) for s in _SCALES for r in _RATIOS]
    return np.array(sizes, np.float32)
