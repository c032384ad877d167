"""What several overlapping views show of one frame, put together so that each object comes once.

Two detections of neighbouring views are one object where, of what both views see in common, they claim the same: the
intersection over union of their boxes within the strip that the views share is at least ``AGREED``. A box that ends at
an inner edge of its view is cut there and is taken to go on behind it. A cut box that within the strip lies almost
wholly in another one belongs to that one as well. Of one object, a view that shows it whole wins; where all of them cut
it, the parts are united: boxes by the box around them, masks by their union, joints by their scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from adapters.base import Detections, Geometry, Mask, Polygon, RotatedRectangle, Skeleton, WholeFrame
from bridge.masks import mask_from_polygon, mask_to_polygons
from bridge.overlap import areas, intersections, ious
from bridge.shapes import rectangle_corners
from bridge.views import View

AGREED = 0.5  # intersection over union within the shared strip
CONTAINED = 0.8  # share of a cut box, within the strip, that lies in another one
EDGE = 0.005  # of a view's side, and at least two pixels: so near to an inner edge a box is cut

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Seen:
    """The detections of all views as one, in pixels of the frame.

    view    i[n], which view each comes from
    cut     bool[n]
    reach   f64[n, 4], the boxes with cut sides carried beyond the edge that cuts them
    """

    found: Detections
    view: NDArray[np.intp]
    cut: Flags
    reach: NDArray[np.float64]


def put_together(parts: Sequence[Detections], views: Sequence[View], region: View, size: tuple[int, int]) -> Detections:
    """One frame's detections from those of its views (as many, moved to the frame, in its pixels).

    ``size`` is the frame's width and height, ``region`` what the views cover: its own edges cut nothing. Best first;
    a tag comes once, with its best score. Track ids are left out, for they count within a view.
    """
    joined = _joined(parts)
    whole = np.array([isinstance(shape, WholeFrame) for shape in joined.geometry], bool)
    origin = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    objects = _seen(joined.take(~whole), origin[~whole], views, region)
    merged = [_united(objects, rows, size) for rows in _groups(objects, views)]
    return _joined([_best_tags(joined.take(whole)), *merged]).best(len(joined))


def _joined(parts: Sequence[Detections]) -> Detections:
    """Detections behind each other, under one list of labels."""
    labels = list(dict.fromkeys(label for part in parts for label in part.labels))
    place = {label: number for number, label in enumerate(labels)}
    attributes = any(part.attributes for part in parts)
    return Detections(
        tuple(labels),
        np.concatenate([np.empty((0, 4), np.float32), *(part.boxes for part in parts)]),
        np.concatenate([np.empty(0, np.float32), *(part.scores for part in parts)]),
        np.array([place[part.labels[i]] for part in parts for i in part.label_ids], np.int32),
        tuple(shape for part in parts for shape in part.geometry),
        tuple(entry for part in parts for entry in (part.attributes or ({},) * len(part))) if attributes else (),
    )


def _best_tags(tags: Detections) -> Detections:
    ordered = tags.best(len(tags))
    _, first = np.unique(ordered.label_ids, return_index=True)
    return ordered.take(np.sort(first))


def _seen(found: Detections, origin: NDArray[np.intp], views: Sequence[View], region: View) -> _Seen:
    """Which boxes their view cuts: those that reach an edge of it that is not the region's own."""
    edges = np.array([_sides(view) for view in views], np.float64).reshape(-1, 4)
    inner = edges != np.array(_sides(region), np.float64)
    sides = np.array([[view.width, view.height] * 2 for view in views], np.float64).reshape(-1, 4)
    near = np.maximum(2.0, EDGE * sides)[origin]
    boxes = found.boxes.astype(np.float64)
    cut = inner[origin] & (np.abs(boxes - edges[origin]) <= near)
    beyond = edges[origin] + near * np.array([-1, -1, 1, 1])
    return _Seen(found, origin, cut.any(axis=1), np.where(cut, beyond, boxes))


def _sides(view: View) -> tuple[int, int, int, int]:
    return view.left, view.top, view.right, view.bottom


def _groups(seen: _Seen, views: Sequence[View]) -> list[list[int]]:
    """The rows of each object. Of one view, a group holds one row: what a model tells apart stays apart."""
    group = {row: [row] for row in range(len(seen.found))}
    for one, other in _pairs(seen, views):
        first, second = group[one], group[other]
        if first is second or {seen.view[row] for row in first} & {seen.view[row] for row in second}:
            continue
        first += second
        for row in second:
            group[row] = first
    return list({id(rows): rows for rows in group.values()}.values())


def _pairs(seen: _Seen, views: Sequence[View]) -> list[tuple[int, int]]:
    """Rows of different views that show one object, those that agree most first."""
    found: list[tuple[float, int, int]] = []
    rows = [np.flatnonzero(seen.view == number) for number in range(len(views))]
    for first, one in enumerate(views):
        for second in range(first + 1, len(views)):
            strip = _shared(one, views[second])
            if strip is None or not len(rows[first]) or not len(rows[second]):
                continue
            agreed = _agreement(seen, rows[first], rows[second], strip)
            found += [
                (float(agreed[a, b]), int(rows[first][a]), int(rows[second][b]))
                for a, b in zip(*np.nonzero(agreed), strict=True)
            ]
    return [(a, b) for _, a, b in sorted(found, key=lambda entry: (-entry[0], entry[1], entry[2]))]


def _shared(one: View, other: View) -> NDArray[np.float64] | None:
    """The strip that two views have in common, a little wider than it is; None where they do not even touch."""
    near_x = max(2.0, EDGE * max(one.width, other.width))
    near_y = max(2.0, EDGE * max(one.height, other.height))
    left, right = max(one.left, other.left), min(one.right, other.right)
    top, bottom = max(one.top, other.top), min(one.bottom, other.bottom)
    if right < left or bottom < top:
        return None
    return np.array([left - near_x, top - near_y, right + near_x, bottom + near_y])


def _agreement(
    seen: _Seen, one: NDArray[np.intp], other: NDArray[np.intp], strip: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How sure it is that two rows are one object, 0 to 1, [n, m]; 0 where they are not."""
    low, high = np.tile(strip[:2], 2), np.tile(strip[2:], 2)
    first, second = np.clip(seen.reach[one], low, high), np.clip(seen.reach[other], low, high)
    agreed = ious(first, second)
    agreed[agreed < AGREED] = 0
    common = intersections(first, second)
    for cut, area in (
        (seen.cut[one][:, None], areas(first)[:, None]),
        (seen.cut[other][None, :], areas(second)[None, :]),
    ):
        inside = np.divide(common, area, out=np.zeros_like(common), where=area > 0)
        agreed = np.maximum(agreed, np.where(cut & (inside >= CONTAINED), inside, 0))
    labels = seen.found.label_ids
    return np.where(labels[one][:, None] == labels[other][None, :], agreed, 0)


def _united(seen: _Seen, rows: Sequence[int], size: tuple[int, int]) -> Detections:
    """One detection from those of one object."""
    best = max(rows, key=lambda row: (not seen.cut[row], seen.found.scores[row]))
    chosen = seen.found.take([best])
    if len(rows) == 1 or not seen.cut[best]:
        return chosen
    boxes = seen.found.boxes[list(rows)]
    box = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
    shapes = [seen.found.geometry[row] for row in rows]
    return replace(chosen, boxes=box[None], geometry=(_union(seen.found.geometry[best], shapes, size),))


def _union(best: Geometry, shapes: Sequence[Geometry], size: tuple[int, int]) -> Geometry:
    match best:
        case Mask(height, width, _):
            masks = [shape for shape in shapes if isinstance(shape, Mask)]
            merged = coco.merge([{"size": [height, width], "counts": mask.counts} for mask in masks])
            return Mask(height, width, merged["counts"])
        case Polygon():
            flat = [shape.points.ravel().tolist() for shape in shapes if isinstance(shape, Polygon)]
            outlines = mask_to_polygons(mask_from_polygon(flat, *size))  # to the pixel
            return Polygon(np.array(outlines[0], np.float32).reshape(-1, 2)) if outlines else best
        case Skeleton():
            return _surest_joints([s for s in shapes if isinstance(s, Skeleton) and len(s.points) == len(best.points)])
        case RotatedRectangle():
            return _around_all(best, [shape for shape in shapes if isinstance(shape, RotatedRectangle)])
    return best


def _surest_joints(skeletons: Sequence[Skeleton]) -> Skeleton:
    scores = np.stack([skeleton.scores for skeleton in skeletons])
    surest = scores.argmax(axis=0)
    points = np.stack([skeleton.points for skeleton in skeletons])
    joints = np.arange(scores.shape[1])
    return Skeleton(points[surest, joints], scores[surest, joints])


def _around_all(best: RotatedRectangle, parts: Sequence[RotatedRectangle]) -> RotatedRectangle:
    """The rectangle of ``best``'s rotation around the corners of all parts."""
    corners = np.array([_corners_of(part) for part in parts]).reshape(-1, 2)
    angle = np.radians(best.rotation)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    upright = corners @ turn  # turned back by the rotation
    low, high = upright.min(axis=0), upright.max(axis=0)
    x, y = turn @ ((low + high) / 2)
    width, height = high - low
    return RotatedRectangle(float(x), float(y), float(width), float(height), best.rotation)


def _corners_of(part: RotatedRectangle) -> list[float]:
    half_width, half_height = part.width / 2, part.height / 2
    x, y = part.center_x, part.center_y
    return rectangle_corners((x - half_width, y - half_height, x + half_width, y + half_height), part.rotation)
