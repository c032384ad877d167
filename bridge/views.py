"""What part of a frame a model sees, and the way back.

A view is a rectangle of whole pixels. Cut out of a frame it is a frame of its own, so models know of nothing else; what
they find there is moved back by whole pixels. A rectangular region is one view, rounded outwards; a polygonal one is
the rectangle around it, where only detections count whose box has its centre in the polygon. Tiles divide a region
into views that overlap; ``bridge/seams.py`` puts together what several of them show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from adapters.base import Detections, Geometry, Mask, Polygon, RotatedRectangle, Skeleton, WholeFrame
from adapters.errors import BadOutput
from adapters.frame import Frame
from bridge.job_spec import Region, Tiling
from bridge.masks import crop_mask, mask_from_crop

MAX_VIEWS = 1000  # of one frame


@dataclass(frozen=True, slots=True)
class View:
    """A rectangle of whole pixels within a frame."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height


@lru_cache(maxsize=1024)
def region_of(width: int, height: int, roi: Region | None) -> View | None:
    """The pixels of a frame of this size that a region touches; None where it lies outside."""
    if roi is None:
        return View(0, 0, width, height)
    corners = np.round(_corners(roi, width, height), 6)  # 0.1 * 3 is no more than 0.3
    left, top = (max(0, math.floor(value)) for value in corners.min(axis=0))
    right, bottom = (math.ceil(value) for value in corners.max(axis=0))
    right, bottom = min(width, right), min(height, bottom)
    return View(left, top, right - left, bottom - top) if right > left and bottom > top else None


def _corners(roi: Region, width: int, height: int) -> NDArray[np.float64]:
    corners = np.array(roi.corners(), np.float64)
    return corners * (width, height) if roi.unit == "fraction" else corners


@lru_cache(maxsize=1024)
def views_of(width: int, height: int, roi: Region | None, tiling: Tiling | None) -> tuple[View, ...]:
    """What a model sees of a frame of this size, row by row: one view, or tiles; nothing where the region is outside.

    Tiles that a polygon does not touch are left out.
    """
    region = region_of(width, height, roi)
    if region is None:
        return ()
    if tiling is None:
        return (region,)
    tile_width, tile_height = min(tiling.width, region.width), min(tiling.height, region.height)
    views = [
        View(region.left + left, region.top + top, tile_width, tile_height)
        for top in _starts(region.height, tile_height, tiling.overlap)
        for left in _starts(region.width, tile_width, tiling.overlap)
    ]
    if roi is not None and roi.points is not None and len(views) > 1:
        views = _touched(views, region, _corners(roi, width, height))
    return tuple(views)


def count_views(width: int, height: int, roi: Region | None, tiling: Tiling | None) -> int:
    """How many views ``views_of`` gives at most, without making them."""
    region = region_of(width, height, roi)
    if region is None or tiling is None:
        return 0 if region is None else 1
    columns = _count(region.width, min(tiling.width, region.width), tiling.overlap)
    return columns * _count(region.height, min(tiling.height, region.height), tiling.overlap)


def _count(length: int, tile: int, overlap: float) -> int:
    step = max(1, math.floor(tile * (1 - overlap)))
    return 1 + math.ceil((length - tile) / step)


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where tiles begin: as few as the overlap allows, all of one size, evenly spread from edge to edge."""
    count = _count(length, tile, overlap)
    return [round(place * (length - tile) / max(1, count - 1)) for place in range(count)]


def _touched(views: Sequence[View], region: View, corners: NDArray[np.float64]) -> list[View]:
    """The views that hold pixels of a polygon."""
    inside = np.zeros((region.height, region.width), np.uint8)
    cv2.fillPoly(inside, [np.round(corners - (region.left, region.top)).astype(np.int32)], 1)

    def part(view: View) -> NDArray[np.uint8]:
        left, top = view.left - region.left, view.top - region.top
        return inside[top : top + view.height, left : left + view.width]

    return [view for view in views if part(view).any()]


def crop(frame: Frame, view: View) -> Frame:
    """The part of a frame as a frame with the same id; the frame itself where that is all of it. Raises BadFrame."""
    if (view.width, view.height) == (frame.width, frame.height):
        return frame
    pixels = frame.pixels[view.top : view.bottom, view.left : view.right]
    return Frame(frame.id, view.width, view.height, pixels=np.ascontiguousarray(pixels))


def moved(found: Detections, view: View, width: int, height: int) -> Detections:
    """What was found in a view, in pixels of the whole frame of this size. Raises BadOutput for a broken mask."""
    if (view.width, view.height) == (width, height):
        return found
    offset = np.array([view.left, view.top], np.float32)
    boxes = found.boxes + np.tile(offset, 2)
    geometry = tuple(_moved(shape, offset, view, width, height) for shape in found.geometry)
    for row, shape in enumerate(geometry):
        if isinstance(shape, WholeFrame):
            boxes[row] = 0, 0, width, height
    return replace(found, boxes=boxes, geometry=geometry)


def _moved(shape: Geometry, offset: NDArray[np.float32], view: View, width: int, height: int) -> Geometry:
    match shape:
        case Polygon(points):
            return Polygon(points + offset)
        case Skeleton(points, scores):
            return Skeleton(points + offset, scores)
        case RotatedRectangle():
            x, y = shape.center_x + view.left, shape.center_y + view.top
            return replace(shape, center_x=x, center_y=y)
        case Mask():
            try:
                part = crop_mask(shape)
            except ValueError as error:
                raise BadOutput(f"The model answered a mask that cannot be read: {error}.") from error
            if part is None:
                return mask_from_crop(0, 0, np.zeros((1, 1), np.uint8), width, height)
            return mask_from_crop(part[0] + view.left, part[1] + view.top, part[2], width, height)
    return shape


def within(found: Detections, roi: Region | None, width: int, height: int) -> Detections:
    """The detections whose box has its centre in a polygonal region; those of any other region all. Tags stay."""
    if roi is None or roi.points is None or not len(found):
        return found
    inside = in_region((found.boxes[:, :2] + found.boxes[:, 2:]) / 2, roi, width, height)
    tags = np.array([isinstance(shape, WholeFrame) for shape in found.geometry], bool)
    return found.take(inside | tags)


def in_region(points: NDArray[np.floating], roi: Region, width: int, height: int) -> NDArray[np.bool_]:
    """Which points (f[n, 2], pixels) of a frame of this size lie in a region, edges included."""
    region = region_of(width, height, roi)
    if region is None or not len(points):
        return np.zeros(len(points), bool)
    if roi.points is None:
        low, high = (region.left, region.top), (region.right, region.bottom)
        return np.asarray(((points >= low) & (points <= high)).all(axis=1))
    corners = _corners(roi, width, height).astype(np.float32)
    return np.array([cv2.pointPolygonTest(corners, (float(x), float(y)), False) >= 0 for x, y in points], bool)
