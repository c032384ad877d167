"""Heat maps of a top-down pose model -> joints in pixels of the frame. Pure.

Cutting out follows ViTPose's image processor; reading follows "unbiased data processing" (Huang et al., CVPR 2020)
and DARK (Zhang et al., CVPR 2020): one Newton step on the logarithm of the smoothed map.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from adapters.base import FloatArray
from adapters.preprocess import Pixels

_MARGIN = 1.25  # a box is widened by it, so that its surroundings are seen
_UNIT = 200.0  # MMPose's unit of a box's scale, in pixels
_SIGMA, _RADIUS = 0.8, 5  # of the smoothing: the processor's kernel of 11
_LOWEST, _HIGHEST = 0.001, 50.0  # heat is cut to them before its logarithm is taken


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """The part of a frame that is cut out for one box: its centre and size, x y, in pixels."""

    center: FloatArray
    size: FloatArray


def region_of(box: FloatArray, width: int, height: int) -> Region:
    """The region around a box (x1 y1 x2 y2) in the proportions of a crop of ``width`` x ``height``."""
    box = np.asarray(box, np.float32)
    center = (box[:2] + box[2:]) / 2
    box_width, box_height = (float(side) for side in box[2:] - box[:2])
    aspect = width / height
    if box_width > aspect * box_height:
        box_height = box_width / aspect
    elif box_width < aspect * box_height:
        box_width = box_height * aspect
    scale = np.array([box_width / _UNIT, box_height / _UNIT], np.float32) * np.float32(_MARGIN)
    return Region(center.astype(np.float32), scale * np.float32(_UNIT))


def cut_out(pixels: Pixels, region: Region, width: int, height: int) -> Pixels:
    """The region, bilinear, as u8[height, width, 3]; black outside the frame. Corners lie on pixel centres."""
    shares = np.array([width - 1, height - 1], np.float64) / region.size
    shares = shares.astype(np.float32).astype(np.float64)
    start = (shares * (-region.center.astype(np.float64) + region.size.astype(np.float64) / 2)).astype(np.float32)
    columns, x_share, x_inside = _line((np.arange(width) - start[0]) / shares[0], pixels.shape[1])
    rows, y_share, y_inside = _line((np.arange(height) - start[1]) / shares[1], pixels.shape[0])
    next_row, next_column = np.minimum(rows + 1, pixels.shape[0] - 1), np.minimum(columns + 1, pixels.shape[1] - 1)
    above, below = pixels[rows].astype(np.float64), pixels[next_row].astype(np.float64)
    lines = above * (1 - y_share)[:, None, None] + below * y_share[:, None, None]
    x_share = x_share[None, :, None]
    out = lines[:, columns] * (1 - x_share) + lines[:, next_column] * x_share
    out[~y_inside] = 0
    out[:, ~x_inside] = 0
    rounded: Pixels = np.floor(out + 0.5).astype(np.uint8)
    return rounded


def _line(where: NDArray[np.float64], length: int) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.bool_]]:
    """Left neighbour, share of the right one, and whether it lies on the picture, of places along an axis."""
    inside = (where >= 0) & (where <= length - 1)
    first = np.clip(np.floor(where), 0, length - 1)
    return first.astype(np.intp), np.where(inside, where - first, 0.0), inside


def read_heat_maps(maps: FloatArray, region: Region) -> tuple[FloatArray, FloatArray]:
    """f32[joints, h, w] -> points f32[joints, 2] in pixels of the frame, and their scores f32[joints]."""
    joints, height, width = maps.shape
    places = maps.reshape(joints, -1).argmax(axis=1)
    scores = maps.reshape(joints, -1).max(axis=1)
    points: FloatArray = np.stack([places % width, places // width], axis=1).astype(np.float32)
    points[scores <= 0] = -1
    points = points - _newton_step(maps, points)
    shares = region.size / np.array([width - 1, height - 1], np.float32)
    placed = points * shares + region.center - region.size / np.float32(2)
    return placed.astype(np.float32), scores.astype(np.float32)


def _newton_step(maps: FloatArray, points: FloatArray) -> FloatArray:
    line = cv2.getGaussianKernel(2 * _RADIUS + 1, _SIGMA, cv2.CV_64F)
    heat = np.stack([cv2.sepFilter2D(plane, cv2.CV_32F, line, line, borderType=cv2.BORDER_REFLECT) for plane in maps])
    heat = np.pad(np.log(np.clip(heat, _LOWEST, _HIGHEST)), ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows, x, y = np.arange(len(maps)), points[:, 0].astype(int) + 1, points[:, 1].astype(int) + 1
    # A joint that was not found stands at (-1, -1), on the edge: its step is of no use, and is not taken.
    lost = (x < 1) | (y < 1)
    x, y = np.maximum(x, 1), np.maximum(y, 1)

    def at(dx: int, dy: int) -> NDArray[np.float32]:
        value: NDArray[np.float32] = heat[rows, y + dy, x + dx]
        return value

    here = at(0, 0)
    gradient = np.stack([(at(1, 0) - at(-1, 0)) / 2, (at(0, 1) - at(0, -1)) / 2], axis=1)
    xx, yy = at(1, 0) - 2 * here + at(-1, 0), at(0, 1) - 2 * here + at(0, -1)
    xy = (at(1, 1) - at(1, 0) - at(0, 1) + 2 * here - at(-1, 0) - at(0, -1) + at(-1, -1)) / 2
    hessian = np.stack([np.stack([xx, xy], 1), np.stack([xy, yy], 1)], 1) + np.finfo(np.float32).eps * np.eye(2)
    step: FloatArray = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0].astype(np.float32)
    step[lost] = 0
    return step
