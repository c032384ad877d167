"""Raw results as they are kept beside the ledger: a frame's Detections as compressed bytes, and back.

Format 1: zlib over a line of JSON (count, the label names in use, geometry) and the arrays behind it, little-endian:
boxes f32[n, 4], scores f32[n], label ids i32[n] (into the names in use), track ids i32[n] where there are any.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np

from adapters.base import (
    Detections,
    Geometry,
    Mask,
    Polygon,
    RotatedRectangle,
    Skeleton,
    WholeFrame,
)


def encode(detections: Detections) -> bytes:
    used = np.unique(detections.label_ids)
    head = {
        "n": len(detections),
        "labels": [detections.labels[i] for i in used],
        "geometry": [_pack(shape) for shape in detections.geometry] if any(detections.geometry) else [],
        "attributes": [dict(entry) for entry in detections.attributes],
        "tracked": detections.track_ids is not None,
    }
    arrays = [
        detections.boxes.astype("<f4"),
        detections.scores.astype("<f4"),
        np.searchsorted(used, detections.label_ids).astype("<i4"),
    ]
    if detections.track_ids is not None:
        arrays.append(detections.track_ids.astype("<i4"))
    body = json.dumps(head, separators=(",", ":")).encode() + b"\n" + b"".join(a.tobytes() for a in arrays)
    return zlib.compress(body, 1)


def decode(data: bytes) -> Detections:
    head_line, _, body = zlib.decompress(data).partition(b"\n")
    head: dict[str, Any] = json.loads(head_line)
    n = head["n"]
    boxes = np.frombuffer(body, "<f4", 4 * n).reshape(n, 4)
    scores = np.frombuffer(body, "<f4", n, 16 * n)
    label_ids = np.frombuffer(body, "<i4", n, 20 * n)
    return Detections(
        tuple(head["labels"]),
        boxes,
        scores,
        label_ids,
        tuple(_unpack(entry) for entry in head["geometry"]),
        tuple(head["attributes"]),
        np.frombuffer(body, "<i4", n, 24 * n) if head["tracked"] else None,
    )


def _pack(shape: Geometry) -> list[Any] | None:
    match shape:
        case Polygon(points):
            return ["polygon", points.ravel().tolist()]
        case Mask(height, width, counts):
            return ["mask", height, width, base64.b64encode(counts).decode()]
        case Skeleton(points, scores):
            return ["skeleton", points.ravel().tolist(), scores.tolist()]
        case RotatedRectangle(x, y, width, height, rotation):
            return ["rotated", *map(float, (x, y, width, height, rotation))]
        case WholeFrame():
            return ["frame"]
    return None


def _unpack(entry: list[Any] | None) -> Geometry:
    match entry:
        case ["polygon", flat]:
            return Polygon(np.array(flat, np.float32).reshape(-1, 2))
        case ["mask", height, width, counts]:
            return Mask(height, width, base64.b64decode(counts))
        case ["skeleton", flat, scores]:
            return Skeleton(np.array(flat, np.float32).reshape(-1, 2), np.array(scores, np.float32))
        case ["rotated", x, y, width, height, rotation]:
            return RotatedRectangle(x, y, width, height, rotation)
        case ["frame"]:
            return WholeFrame()
    return None
