"""What stays of what stands on a frame: new shapes come beside what people made, and nothing goes where the model did
not look. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bridge.domain import Shape, Source
from bridge.job_spec import Region
from bridge.outlines import Box, Size, box_of
from bridge.overlap import ious
from bridge.views import in_region, region_of


def people_made(shapes: Sequence[Shape]) -> list[Shape]:
    """Manual and imported shapes: all but a model's."""
    return [shape for shape in shapes if shape.source is not Source.AUTOMATIC]


def beside(new: Sequence[Shape], known: Sequence[Shape], iou: float, size: Size) -> list[Shape]:
    """The new shapes whose box overlaps that of no known shape by ``iou`` or more, whatever their labels are.

    A tag comes where no known tag has its label; points have no box and always come. ``size`` is the frame's.
    """
    boxes = [box for shape in known for box in [_box(shape, size)] if box is not None]
    tags = {shape.label for shape in known if shape.type == "tag"}
    kept = []
    for shape in new:
        if shape.type == "tag":
            taken = shape.label in tags
        else:
            box = _box(shape, size)
            taken = box is not None and bool(boxes) and bool((ious(np.array([box]), np.array(boxes)) >= iou).any())
        if not taken:
            kept.append(shape)
    return kept


def looked_at(shapes: Sequence[Shape], roi: Region | None, size: Size) -> list[Shape]:
    """The shapes where a model looks that sees this region only: what "clean" may take away.

    Those are the ones whose box (of points: the one around them) has its centre there, and tags, which are of the whole
    frame; none on a frame that the region lies outside of. ``size`` is the frame's.
    """
    if roi is None:
        return list(shapes)
    if region_of(*size, roi) is None:
        return []
    centers = np.array([_center(shape, size) for shape in shapes], np.float64).reshape(-1, 2)
    inside = in_region(centers, roi, *size)
    return [shape for shape, there in zip(shapes, inside, strict=True) if there or shape.type == "tag"]


def _center(shape: Shape, size: Size) -> tuple[float, float]:
    """Outside of every frame where a shape has no place."""
    box = _box(shape, size)
    if box is None and len(shape.points) > 1 and shape.type != "skeleton":  # points, and lines of another tool
        xs, ys = shape.points[::2], shape.points[1::2]
        box = min(xs), min(ys), max(xs), max(ys)
    return (-1.0, -1.0) if box is None else ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)


def _box(shape: Shape, size: Size) -> Box | None:
    try:
        return box_of(shape, size)
    except ValueError:  # a mask that cannot be read covers nothing
        return None
