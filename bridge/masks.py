"""Masks as run lengths, as crops, and as polygons.

A mask is COCO's RLE of the whole frame, column by column. Work is done on the strip of columns that holds it, never
on a dense picture of the frame. Run lengths are read here and checked before pycocotools' C code sees them: what
comes from a file or from the network must not decide how much memory is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from adapters.base import Mask

Bits = NDArray[np.uint8]
Ring = NDArray[np.float64]  # [n, 2], x y

MAX_AREA_ERROR = 0.01  # of an outline that is simplified
MIN_TOLERANCE = 0.1  # pixels; below it, an outline is left as it is


def run_lengths(mask: Mask) -> NDArray[np.int64]:
    """The runs of zeros, ones, zeros ... of a mask.

    COCO's text has six bits a character from '0': five of a number, lowest first, and one that says that more
    follow; the number is signed, and from the fourth run on it is the difference to the run two before.
    Raises ValueError where the text is none, a run is negative, or the runs do not fill the frame.
    """
    codes = np.frombuffer(mask.counts, np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 0x20:
        raise ValueError("it is no run-length text")
    last = np.flatnonzero((codes & 0x20) == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    place = np.arange(len(codes)) - np.repeat(first, last - first + 1)
    if place.max() > 7:
        raise ValueError("a run is too long")
    numbers = np.add.reduceat((codes & 0x1F) << (5 * place), first)
    numbers -= np.where(codes[last] & 0x10, np.int64(1) << (5 * (place[last] + 1)), 0)
    runs = numbers.copy()
    for start in (1, 2):  # differences to the run two before, the first three runs being absolute
        chain = numbers[start::2]
        runs[start::2] = np.cumsum(chain)
    return _checked(runs, mask)


def _checked(runs: NDArray[np.int64], mask: Mask) -> NDArray[np.int64]:
    if mask.height < 1 or mask.width < 1:
        raise ValueError("its frame is empty")
    if runs.min() < 0:
        raise ValueError("a run is negative")
    if runs.sum() != mask.height * mask.width:
        raise ValueError(f"its runs cover {runs.sum()} of {mask.height * mask.width} pixels")
    return runs


def mask_from_runs(runs: Iterable[int], width: int, height: int) -> Mask:
    """The mask of run lengths (zeros first, column by column). Raises ValueError where they do not fit the frame."""
    counts = np.fromiter(runs, np.int64)
    _checked(counts if len(counts) else np.zeros(1, np.int64), Mask(height, width, b""))
    encoded = coco.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return Mask(height, width, encoded["counts"])


def crop_mask(mask: Mask) -> tuple[int, int, Bits] | None:
    """Left, top and the u8[h, w] of 0 and 1 within the mask's bounding box; None of an empty mask."""
    runs = run_lengths(mask)
    ends = np.cumsum(runs)
    starts, stops = (ends - runs)[1::2], ends[1::2]
    filled = stops > starts
    if not filled.any():
        return None
    left = int(starts[filled][0]) // mask.height
    right = (int(stops[filled][-1]) - 1) // mask.height
    from_, to = left * mask.height, (right + 1) * mask.height
    clipped = np.clip(ends, from_, to)
    strip = _columns(clipped - np.concatenate(([from_], clipped[:-1])), mask.height)
    rows = np.flatnonzero(strip.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1])
    return left, top, np.ascontiguousarray(strip[top : bottom + 1])


def _columns(runs: NDArray[np.int64], height: int) -> Bits:
    """u8[height, as many columns as the runs fill]."""
    values = (np.arange(len(runs)) & 1).astype(np.uint8)
    return np.repeat(values, runs).reshape(-1, height).T


def mask_from_crop(left: int, top: int, bits: Bits, width: int, height: int) -> Mask:
    """The mask of a frame that shows ``bits`` (u8[h, w], not 0: set) at left, top. What is outside is cut off."""
    inside = bits[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)] != 0
    left, top = max(0, left), max(0, top)
    if not inside.size or not inside.any():
        return mask_from_runs([width * height], width, height)
    strip = np.zeros((inside.shape[1], height), np.uint8)  # column by column, as COCO counts
    strip[:, top : top + inside.shape[0]] = inside.T
    flat = strip.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate(([0] if flat[0] else [], changes, [len(flat)] if flat[-1] else [])).astype(np.int64)
    edges += left * height
    behind = [] if edges[-1] == width * height else [width * height]  # no empty run at the end
    return mask_from_runs(np.diff(np.concatenate(([0], edges, behind)).astype(np.int64)), width, height)


def mask_area(mask: Mask) -> int:
    """In pixels. Raises ValueError."""
    return int(run_lengths(mask)[1::2].sum())


def mask_box(mask: Mask) -> tuple[int, int, int, int] | None:
    """x1, y1, x2, y2 around the set pixels (x2 and y2 behind the last one); None of an empty mask."""
    crop = crop_mask(mask)
    if crop is None:
        return None
    left, top, bits = crop
    return left, top, left + bits.shape[1], top + bits.shape[0]


def mask_from_polygon(polygons: Sequence[Sequence[float]], width: int, height: int) -> Mask:
    """The union of polygons (flat x y ... of at least 3 points each), drawn as pycocotools draws them."""
    limit = np.array([width, height], np.float64)
    clipped = [np.clip(np.reshape(points, (-1, 2)), 0, limit).ravel().tolist() for points in polygons]
    merged: Any = coco.merge(coco.frPyObjects(clipped, height, width))
    return Mask(height, width, merged["counts"])


def mask_to_polygons(mask: Mask, tolerance: float = 1.0) -> list[list[float]]:
    """Flat polygons along the outer edges of a mask's pixels, one for each connected part, largest first.

    Corners are whole pixels; simplifying moves an outline by at most ``tolerance`` pixels, and by less where its area
    would change by more than 1 %. A hole is joined to its outline by a cut of no width, so that the enclosed area is
    the mask's. Holes smaller than the tolerance are filled and parts smaller than it left out, but the largest part
    always stays. Never fewer than 3 points. An empty mask gives none.
    """
    crop = crop_mask(mask)
    if crop is None:
        return []
    left, top, bits = crop
    found = []
    for outline, holes in _rings(bits, tolerance):
        joined = outline
        for hole in holes:
            joined = join_rings(joined, hole)
        found.append((_area(joined), (joined + np.array([left, top])).ravel().tolist()))
    found.sort(key=lambda part: -part[0])
    return [polygon for _, polygon in found]


def _rings(bits: Bits, tolerance: float) -> list[tuple[Ring, list[Ring]]]:
    """Simplified outlines with their holes, in pixels of the crop.

    OpenCV's contours run through the centres of pixels. So the mask is laid on a grid of twice its size, where odd
    positions are centres and even ones are edges, and every set pixel also sets the edges and corners around it:
    there the contour runs along the pixels' edges.
    """
    height, width = bits.shape
    grid: Bits = np.zeros((2 * height + 1, 2 * width + 1), np.uint8)
    grid[1::2, 1::2] = bits
    grid = cast(Bits, cv2.dilate(grid, np.ones((3, 3), np.uint8)))
    contours, hierarchy = cv2.findContours(grid, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if hierarchy is None:
        return []
    parents = hierarchy[0][:, 3]
    exact = [_corners(contour.reshape(-1, 2)) for contour in contours]
    simple = [_simplified(ring, tolerance) for ring in exact]
    outer = [number for number, parent in enumerate(parents) if parent < 0]
    largest = max(outer, key=lambda number: _area(exact[number]))
    if len(simple[largest]) < 3:
        simple[largest] = exact[largest]
    parts: dict[int, tuple[Ring, list[Ring]]] = {
        number: (simple[number], []) for number in outer if len(simple[number]) >= 3
    }
    for ring, parent in zip(simple, parents, strict=True):
        if parent in parts and len(ring) >= 3:
            parts[parent][1].append(ring)
    return list(parts.values())


def _corners(nodes: NDArray[np.int32]) -> Ring:
    """The corners of pixels, without those on straight lines, that a contour on the doubled grid runs through.

    In an inward corner the contour takes a diagonal step from edge to edge; the corner between the two is the node
    whose coordinates are both even.
    """
    following = np.roll(nodes, -1, axis=0)
    between = np.where(nodes % 2 == 0, nodes, following)
    diagonal = (np.abs(following - nodes) == 1).all(axis=1)
    path = np.stack((nodes, np.where(diagonal[:, None], between, nodes)), axis=1).reshape(-1, 2)
    taken = np.stack((np.ones(len(nodes), bool), diagonal), axis=1).ravel()
    path = path[taken]
    ring: Ring = (path[(path % 2 == 0).all(axis=1)] // 2).astype(np.float64)
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    return cast(Ring, ring[(before != after).any(axis=1)])


def _simplified(ring: Ring, tolerance: float) -> Ring:
    """By the tolerance, or by a finer one where the area would change by more than a hundredth: of small shapes."""
    exact, wanted = _area(ring), tolerance
    while wanted > MIN_TOLERANCE:
        simple: Ring = cv2.approxPolyDP(ring.astype(np.float32), wanted, True).reshape(-1, 2).astype(np.float64)
        if len(simple) < 3 or abs(_area(simple) - exact) <= MAX_AREA_ERROR * exact:
            return simple
        wanted /= 2
    return ring


def join_rings(outline: Ring, other: Ring) -> Ring:
    """One ring that runs along ``outline``, across to ``other``, around it, and back: a cut of no width."""
    at = int(((outline - other[0]) ** 2).sum(axis=1).argmin())
    return np.concatenate((outline[: at + 1], other, other[:1], outline[at:]))


def polygon_area(points: Sequence[float]) -> float:
    """The area that a flat polygon encloses; a hole that is joined by a cut counts as outside."""
    return _area(np.reshape(np.asarray(points, np.float64), (-1, 2)))


def _area(ring: Ring) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
