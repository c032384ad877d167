"""From a frame's raw result to its shapes: thresholds, least size, mapping, suppression. Pure.

The runner, ``job apply`` and previews all go through ``refine``, so the same result always becomes the same shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from adapters.base import Detections, ModelCard, RotatedRectangle, WholeFrame
from bridge.domain import Shape, TaskLabel
from bridge.fit import Fit, fits
from bridge.job_spec import JobSpec, Nms, Region
from bridge.keeping import looked_at
from bridge.model_labels import describe
from bridge.overlap import suppress
from bridge.shapes import above, to_shapes


@dataclass(frozen=True, slots=True)
class Refinement:
    """What is done with a raw result.

    pairs              model label -> task label; other model labels are left out
    threshold          least score, ``label_thresholds`` that of single model labels
    min_size           least width and height of a shape's box, in pixels
    top_k              most tags of a frame; None: all
    roi                where shapes have their centres, as those that "clean" takes away; None: anywhere
    nms                which of overlapping shapes stay; None: all
    fits               model label -> how its joints and attributes become those of its task label
    """

    pairs: Mapping[str, TaskLabel]
    threshold: float
    label_thresholds: Mapping[str, float] = field(default_factory=dict)
    masks_as_polygons: bool = False
    nms: Nms | None = None
    min_size: float = 0.0
    fits: Mapping[str, Fit] = field(default_factory=dict)
    top_k: int | None = None
    roi: Region | None = None

    @classmethod
    def of(cls, spec: JobSpec, pairs: Mapping[str, TaskLabel], threshold: float, card: ModelCard) -> Refinement:
        """What a job asks for, with its labels and threshold as they were pinned."""
        found = fits(describe(card), pairs)
        return cls(
            pairs,
            threshold,
            spec.label_thresholds,
            spec.masks_as_polygons,
            spec.nms,
            spec.min_size,
            found,
            spec.top_k,
            spec.roi,
        )


def refine(found: Detections, refinement: Refinement, size: tuple[int, int]) -> list[Shape]:
    """The shapes of a frame of ``size`` (width, height).

    In this order: thresholds, least size, labels without a task label, suppression among what is left, the best tags,
    the region (by the shapes themselves: a mask, or joints, need not lie as the model's box does).
    Tags have no place, so neither size nor overlap touches them.
    """
    kept = above(found, refinement.threshold, refinement.label_thresholds)
    if refinement.min_size > 0:
        kept = kept.take(_large_enough(kept, refinement.min_size))
    if refinement.nms is not None:
        kept = _suppressed(kept, refinement.pairs, refinement.nms)
    if refinement.top_k is not None:
        kept = kept.take(_best_tags(kept, refinement.pairs, refinement.top_k))
    shapes = to_shapes(
        kept,
        refinement.pairs,
        masks_as_polygons=refinement.masks_as_polygons,
        frame_size=size,
        fits=refinement.fits,
    )
    return looked_at(shapes, refinement.roi, size)


def _large_enough(found: Detections, least: float) -> NDArray[np.bool_]:
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]).astype(np.float64)
    for row, shape in enumerate(found.geometry):
        if isinstance(shape, RotatedRectangle):
            sides[row] = shape.width, shape.height
        elif isinstance(shape, WholeFrame):
            sides[row] = np.inf
    return np.asarray((sides >= least).all(axis=1))


def _best_tags(found: Detections, pairs: Mapping[str, TaskLabel], most: int) -> NDArray[np.bool_]:
    """Everything but the tags of other task labels than the best ``most``; labels that are not mapped do not count."""
    names = {
        row: pairs[found.labels[found.label_ids[row]]].name
        for row, shape in enumerate(found.geometry)
        if isinstance(shape, WholeFrame) and found.labels[found.label_ids[row]] in pairs
    }
    by_score = sorted(names, key=lambda row: -float(found.scores[row]))
    best = list(dict.fromkeys(names[row] for row in by_score))[:most]
    return np.array([row not in names or names[row] in best for row in range(len(found))], bool)


def _suppressed(found: Detections, pairs: Mapping[str, TaskLabel], nms: Nms) -> Detections:
    """What suppression leaves: labels that are not mapped take nothing away, and those of one task label are one."""
    names = list(dict.fromkeys(label.name for label in pairs.values()))
    place = {model_label: names.index(label.name) for model_label, label in pairs.items()}
    found = found.take(np.array([found.labels[i] in place for i in found.label_ids], bool))
    groups = np.array([place[found.labels[i]] for i in found.label_ids], np.int64)
    tags = np.array([isinstance(shape, WholeFrame) for shape in found.geometry], bool)
    if nms.class_agnostic:
        groups = np.zeros_like(groups)
    groups[tags] = -1 - np.flatnonzero(tags)  # each by itself
    return found.take(suppress(found.boxes, found.scores, groups, nms.iou))
