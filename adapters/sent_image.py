"""A frame as it is sent to a host, and the way back from the host's pixels to the frame's."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, UnidentifiedImageError

from adapters.base import Detections, FloatArray, Geometry, Mask, Polygon, RotatedRectangle, Skeleton
from adapters.dense_masks import resized_mask
from adapters.errors import BadFrame
from adapters.frame import Frame

JPEG, PNG = "image/jpeg", "image/png"
_TYPES = {"JPEG": JPEG, "PNG": PNG}
_QUALITY = 95
_SHRINK = 0.8  # of a side, at each step until the picture is small enough


@dataclass(frozen=True, slots=True)
class SentImage:
    """What a host sees of a frame: a JPEG or PNG in grey or RGB, upright, of ``width`` x ``height`` pixels."""

    data: bytes
    content_type: str
    width: int
    height: int


def sent_image(frame: Frame, max_bytes: int | None = None) -> SentImage:
    """The frame's own file where every host reads it alike (JPEG and PNG in grey or RGB), else a JPEG of its pixels.

    A picture of more than ``max_bytes`` becomes a JPEG, and is scaled down until it fits. Raises BadFrame.
    """
    data = frame.encoded
    try:
        with Image.open(io.BytesIO(data)) as image:
            kind = _TYPES.get(image.format or "")
            plain = image.mode in ("RGB", "L") and "transparency" not in image.info
            size = image.size
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise BadFrame(frame.id, f"{frame.id} is not an image.") from error
    if kind and plain and size == (frame.width, frame.height) and (max_bytes is None or len(data) <= max_bytes):
        return SentImage(data, kind, *size)
    picture = Image.fromarray(frame.pixels)
    side = 1.0
    while True:
        size = max(1, round(frame.width * side)), max(1, round(frame.height * side))
        packed = io.BytesIO()
        (picture if side == 1.0 else picture.resize(size, Image.Resampling.LANCZOS)).save(
            packed, "JPEG", quality=_QUALITY
        )
        data = packed.getvalue()
        if max_bytes is None or len(data) <= max_bytes:
            return SentImage(data, JPEG, *size)
        if size == (1, 1):
            raise BadFrame(frame.id, f"{frame.id} does not fit into the {max_bytes} bytes that the host takes.")
        side *= _SHRINK


def scale_back(detections: Detections, sent: SentImage, frame: Frame) -> Detections:
    """Detections in the sent picture's pixels -> the frame's. A mask of which nothing is left goes."""
    if (sent.width, sent.height) == (frame.width, frame.height):
        return detections
    x, y = frame.width / sent.width, frame.height / sent.height
    boxes: FloatArray = (detections.boxes * np.array([x, y, x, y])).astype(np.float32)
    geometry: list[Geometry] = []
    kept = np.ones(len(detections), bool)
    for row, shape in enumerate(detections.geometry):
        scaled = _scaled(shape, x, y)
        if isinstance(shape, Mask):
            resized = resized_mask(shape, frame.width, frame.height)
            if resized is None:
                kept[row] = False
            else:
                scaled, boxes[row] = resized
        geometry.append(scaled)
    return replace(detections, boxes=boxes, geometry=tuple(geometry)).take(kept)


def _scaled(shape: Geometry, x: float, y: float) -> Geometry:
    factors = np.array([x, y], np.float32)
    match shape:
        case Polygon(points):
            return Polygon(points * factors)
        case Skeleton(points, scores):
            return Skeleton(points * factors, scores)
        case RotatedRectangle(center_x, center_y, width, height, rotation):
            # Both sides were scaled alike, but for rounding to whole pixels.
            side = (x * y) ** 0.5
            return RotatedRectangle(center_x * x, center_y * y, width * side, height * side, rotation)
    return shape
