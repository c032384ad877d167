"""The box and the outlines of any shape, for what knows only those. ``size`` is the frame's width and height."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from adapters.base import Mask
from bridge.domain import Shape
from bridge.masks import mask_box, mask_to_polygons
from bridge.shapes import rectangle_corners

ELLIPSE_CORNERS = 64  # a regular 64-gon covers 99.8 % of its circle

Box = tuple[float, float, float, float]
Size = tuple[int, int]


def mask_of(shape: Shape, size: Size) -> Mask:
    return Mask(size[1], size[0], shape.rle or b"")


def box_of(shape: Shape, size: Size) -> Box | None:
    """x1, y1, x2, y2 around a shape; None of a tag, of points, of an empty mask, and of a skeleton without points.

    Raises ValueError where a mask cannot be read.
    """
    match shape.type:
        case "tag" | "points":
            return None
        case "mask":
            return mask_box(mask_of(shape, size))
        case "rectangle" if not shape.rotation:
            x1, y1, x2, y2 = shape.points
            return x1, y1, x2, y2
        case "skeleton":
            joints = [shape.points[i : i + 3] for i in range(0, len(shape.points), 3)]
            return _around([(x, y) for x, y, seen in joints if seen])
    flat = [value for outline in outlines_of(shape, size) for value in outline]
    return _around(zip(flat[::2], flat[1::2], strict=True))


def box_around(parts: Sequence[Shape], size: Size) -> Box | None:
    """The box around all parts of an object; None where ``box_of`` is None for each. Raises ValueError as it does."""
    boxes = [box for box in (box_of(part, size) for part in parts) if box is not None]
    if not boxes:
        return None
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def outlines_of(shape: Shape, size: Size) -> list[list[float]]:
    """Flat polygons of a shape that has an area, none of another."""
    match shape.type:
        case "polygon":
            return [list(shape.points)]
        case "mask":
            return mask_to_polygons(mask_of(shape, size))
        case "rectangle":
            return [rectangle_corners(shape.points, shape.rotation)]
        case "ellipse":
            return [_ellipse(shape.points, shape.rotation)]
    return []


def objects_of(shapes: Sequence[Shape]) -> list[list[Shape]]:
    """Shapes, object by object: polygons of one label and job that share a group are the parts of one."""
    objects: list[list[Shape]] = []
    groups: dict[tuple[object, ...], list[Shape]] = {}
    for shape in shapes:
        key = (shape.group, shape.label, shape.job_id, shape.source)
        if shape.type == "polygon" and shape.group and key in groups:
            groups[key].append(shape)
            continue
        objects.append([shape])
        if shape.type == "polygon" and shape.group:
            groups[key] = objects[-1]
    return objects


def _around(points: Iterable[tuple[float, float]]) -> Box | None:
    some = list(points)
    if not some:
        return None
    xs, ys = zip(*some, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _ellipse(points: Sequence[float], rotation: float) -> list[float]:
    center_x, center_y, radius_x, radius_y = points
    turn = math.radians(rotation)
    flat: list[float] = []
    for corner in range(ELLIPSE_CORNERS):
        angle = 2 * math.pi * corner / ELLIPSE_CORNERS
        dx, dy = radius_x * math.cos(angle), radius_y * math.sin(angle)
        flat += (
            center_x + dx * math.cos(turn) - dy * math.sin(turn),
            center_y + dx * math.sin(turn) + dy * math.cos(turn),
        )
    return flat


def rectangle_of(corners: Sequence[float]) -> tuple[tuple[float, ...], float]:
    """Four corners (flat, in order around) as x1 y1 x2 y2 and degrees clockwise around the centre.

    Where they are no rectangle by more than a pixel, the smallest one around them.
    """
    ring = np.reshape(corners, (4, 2)).astype(np.float64)
    center = ring.mean(axis=0)
    if np.ptp(np.linalg.norm(ring - center, axis=1)) > 1:
        (x, y), (width, height), angle = cv2.minAreaRect(ring.astype(np.float32))
        center = np.array([x, y])
    else:
        width, height = (float(np.linalg.norm(ring[i + 1] - ring[i])) for i in (0, 1))
        angle = math.degrees(math.atan2(ring[1, 1] - ring[0, 1], ring[1, 0] - ring[0, 0]))
    half = np.array([width, height]) / 2
    points = tuple(round(float(value), 2) for value in (*(center - half), *(center + half)))
    return points, round(angle % 360, 2) % 360


def rectangle_around_corner(x: float, y: float, width: float, height: float, rotation: float) -> tuple[float, ...]:
    """x1 y1 x2 y2, before turning around its centre, of a rectangle that was turned around its top left corner x y."""
    angle = math.radians(rotation)
    sin, cos = math.sin(angle), math.cos(angle)
    center_x = x + width / 2 * cos - height / 2 * sin
    center_y = y + width / 2 * sin + height / 2 * cos
    corners = (center_x - width / 2, center_y - height / 2, center_x + width / 2, center_y + height / 2)
    return tuple(round(value, 2) for value in corners)
