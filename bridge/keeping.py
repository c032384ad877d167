"""Which new shapes stand beside what people made, and which would lie on top of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bridge.domain import Shape, Source
from bridge.outlines import Box, Size, box_of
from bridge.overlap import ious


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


def _box(shape: Shape, size: Size) -> Box | None:
    try:
        return box_of(shape, size)
    except ValueError:  # a mask that cannot be read covers nothing
        return None
