"""What stays of what stands on a frame: new shapes come beside what people made, and nothing comes or goes where the
model did not look. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bridge.domain import Shape, Source
from bridge.job_spec import Region
from bridge.outlines import Box, Size, box_of, objects_of
from bridge.overlap import ious
from bridge.views import in_region, region_of


def people_made(shapes: Sequence[Shape]) -> list[Shape]:
    """Manual and imported shapes: all but a model's."""
    return [shape for shape in shapes if shape.source is not Source.AUTOMATIC]


def beside(new: Sequence[Shape], known: Sequence[Shape], iou: float, size: Size) -> list[Shape]:
    """The new shapes whose box overlaps that of no known shape by ``iou`` or more, whatever their labels are.

    A tag comes where no known tag has its label; points have no box and always come. ``size`` is the frame's.
    """
    boxes = np.array([box for shape in known if (box := _box(shape, size)) is not None], np.float64).reshape(-1, 4)
    tags = {shape.label for shape in known if shape.type == "tag"}
    kept = []
    for shape in new:
        if shape.type == "tag":
            taken = shape.label in tags
        else:
            box = _box(shape, size)
            taken = box is not None and bool((ious(np.array([box]), boxes) >= iou).any())
        if not taken:
            kept.append(shape)
    return kept


def looked_at(shapes: Sequence[Shape], roi: Region | None, size: Size) -> list[Shape]:
    """The shapes where a model looks that sees this region only: those that it may add, and those that "clean" may
    take away.

    Those are the ones whose box (of points: the one around them; of polygons that a model made of one mask: the one
    around all of them) has its centre there, and tags, which are of the whole frame; none on a frame that the region
    lies outside of. What people put into one group is looked at one by one. ``size`` is the frame's.
    """
    if roi is None:
        return list(shapes)
    if region_of(*size, roi) is None:
        return []
    objects = objects_of([shape for shape in shapes if shape.source is Source.AUTOMATIC])
    objects += ([shape] for shape in people_made(shapes))
    centers = np.array([_center(parts, size) for parts in objects], np.float64).reshape(-1, 2)
    inside = in_region(centers, roi, *size)
    there = {id(part) for parts, seen in zip(objects, inside, strict=True) if seen for part in parts}
    return [shape for shape in shapes if id(shape) in there or shape.type == "tag"]


def _center(parts: Sequence[Shape], size: Size) -> tuple[float, float]:
    """Outside of every frame where an object has no place."""
    boxes = [box for part in parts if (box := _place(part, size)) is not None]
    if not boxes:
        return -1.0, -1.0
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return (min(lefts) + max(rights)) / 2, (min(tops) + max(bottoms)) / 2


def _place(shape: Shape, size: Size) -> Box | None:
    box = _box(shape, size)
    if box is None and len(shape.points) > 1 and shape.type != "skeleton":  # points, and lines of another tool
        xs, ys = shape.points[::2], shape.points[1::2]
        box = min(xs), min(ys), max(xs), max(ys)
    return box


def _box(shape: Shape, size: Size) -> Box | None:
    try:
        return box_of(shape, size)
    except ValueError:  # a mask that cannot be read covers nothing
        return None
