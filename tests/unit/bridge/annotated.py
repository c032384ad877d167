"""Frames with shapes of every kind, for the tests of the formats."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco

from bridge.domain import LabelAttribute, Shape, Source, StoredFrame, TaskLabel

LABELS = (
    TaskLabel("car", "any", "#ff0000", (LabelAttribute("make", "select", ("vw", "bmw")),)),
    TaskLabel("person", "skeleton", "#00ff00", sublabels=("nose", "left hand", "tail")),
    TaskLabel("odd <&\"'> näme", "any", "#0000ff"),
)


def frame(number: int = 0, name: str = "", width: int = 100, height: int = 80) -> StoredFrame:
    return StoredFrame(1, number, name or f"frames/{number:03d}.jpg", "/nowhere", width, height)


def bits() -> np.ndarray:
    """A ring of 100 x 80 with a speck beside it."""
    y, x = np.mgrid[:80, :100]
    far = (x - 50) ** 2 + (y - 40) ** 2
    found = ((far < 30**2) & (far >= 12**2)).astype(np.uint8)
    found[2:12, 2:14] = 1
    return found


def rle(mask: np.ndarray | None = None) -> bytes:
    return coco.encode(np.asfortranarray(bits() if mask is None else mask))["counts"]


RECTANGLE = Shape(
    "car", "rectangle", (10.5, 20, 50.25, 60), score=0.875, source=Source.AUTOMATIC, attributes={"make": "vw"}
)
ROTATED = Shape("car", "rectangle", (20, 30, 60, 50), rotation=90, source=Source.MANUAL)
POLYGON = Shape("odd <&\"'> näme", "polygon", (10, 10, 30, 10, 30, 30, 10.5, 30.25), source=Source.IMPORTED)
PARTS = [Shape("car", "polygon", points, group=3) for points in ((0, 0, 10, 0, 10, 10), (20, 20, 30, 20, 30, 30))]
ELLIPSE = Shape("car", "ellipse", (50, 40, 20, 10))
MASK = Shape("car", "mask", rle=rle(), score=0.5, source=Source.AUTOMATIC)
SKELETON = Shape("person", "skeleton", (10, 20, 2, 30.5, 40, 2, 70, 70, 0))
POINTS = Shape("car", "points", (1, 2, 3, 4))
TAG = Shape("car", "tag", score=0.75, source=Source.AUTOMATIC)
ALL = [RECTANGLE, ROTATED, POLYGON, *PARTS, ELLIPSE, MASK, SKELETON, POINTS, TAG]
