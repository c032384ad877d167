"""Whether two engines answer alike: the question before one may stand in for the other."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_masks

from adapters.base import Detections, Geometry, Mask, Polygon, RotatedRectangle, Skeleton
from adapters.frame import Frame

MOST_SCORE = 0.005  # how far scores may be apart
MOST_PIXELS = 1.0  # how far corners and points may be apart, on pictures of 640 x 480
LEAST_OVERLAP = 0.98  # of masks
COMPARED = 20  # detections of a frame, the best
_AMONG = 3 * COMPARED  # what they are looked for in: where scores are alike, places may be exchanged


def probes() -> list[Frame]:
    """Three drawn pictures that are alike on every machine, one of them upright: things on a ground, and noise."""
    return [_drawn(0, 640, 480), _drawn(1, 640, 480), _drawn(2, 480, 640)]


def _drawn(number: int, width: int, height: int) -> Frame:
    rng = np.random.default_rng(number)
    ground = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    pixels: NDArray[np.uint8] = np.asarray(ground, np.uint8)
    for _ in range(12):
        colour = [int(each) for each in rng.integers(0, 256, 3)]
        x, y, w, h = (int(each) for each in rng.integers((0, 0, 20, 20), (width, height, width // 3, height // 3)))
        if rng.random() < 0.5:
            cv2.rectangle(pixels, (x, y), (x + w, y + h), colour, -1)
        else:
            cv2.ellipse(pixels, (x, y), (w // 2, h // 2), 0, 0, 360, colour, -1)
    noise = rng.normal(0, 6, pixels.shape)
    return Frame(f"probe {number}", width, height, pixels=(pixels + noise).clip(0, 255).astype(np.uint8))


def difference(reference: Sequence[Detections], other: Sequence[Detections]) -> str | None:
    """Where the answers to the same frames differ by more than the tolerances, in words; None where they do not.

    Finding nothing anywhere proves nothing, and is a difference as well.
    """
    if not any(len(found) for found in (*reference, *other)):
        return "nothing is found in the test pictures, so nothing can be compared"
    for one, two in zip(reference, other, strict=True):
        for mine, all_theirs in ((one, two), (two, one)):
            best, among = mine.best(COMPARED), all_theirs.best(_AMONG)
            for i in range(len(best)):
                if not any(_alike(best, i, among, j) for j in range(len(among))):
                    return (
                        f"a {best.labels[best.label_ids[i]]} with the score {best.scores[i]:.3f} is not found by both"
                    )
    return None


def _alike(one: Detections, i: int, two: Detections, j: int) -> bool:
    return bool(
        one.label_ids[i] == two.label_ids[j]
        and abs(one.scores[i] - two.scores[j]) <= MOST_SCORE
        and np.abs(one.boxes[i] - two.boxes[j]).max() <= MOST_PIXELS
        and _same_shape(one.geometry[i], two.geometry[j])
    )


def _same_shape(one: Geometry, two: Geometry) -> bool:
    match one, two:
        case Polygon(a), Polygon(b):
            return a.shape != b.shape or bool(np.abs(a - b).max() <= MOST_PIXELS)  # contours may gain a point
        case Skeleton(a, scores), Skeleton(b, other_scores):
            if a.shape != b.shape:
                return False
            return bool(np.abs(a - b).max() <= MOST_PIXELS and np.abs(scores - other_scores).max() <= MOST_SCORE)
        case RotatedRectangle(), RotatedRectangle():
            a, b = (np.array([r.center_x, r.center_y, r.width, r.height, r.rotation]) for r in (one, two))
            return bool(np.abs(a - b).max() <= MOST_PIXELS)
        case Mask(), Mask():
            first, second = ({"size": [m.height, m.width], "counts": m.counts} for m in (one, two))
            return bool(coco_masks.iou([first], [second], [0])[0, 0] >= LEAST_OVERLAP)
    return type(one) is type(two)
