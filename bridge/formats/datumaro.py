"""Datumaro's own format, out (https://openvinotoolkit.github.io/datumaro/): a folder or, for .zip, an archive.

    annotations/default.json    labels, and an item for each frame

Every kind of shape is kept; rotation, score and track stand among a shape's attributes, as CVAT writes them. A skeleton
is points with a label that has a category of points. Images are named.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from bridge.domain import Shape, StoredFrame, TaskLabel
from bridge.formats.packing import Pack
from bridge.formats.stems import stem_of
from bridge.formats.writing import ExportSummary, Tally
from bridge.masks import run_lengths
from bridge.outlines import mask_of

_IMAGES = 2  # Datumaro's MediaType.IMAGE


class DatumaroWriter:
    """Items go to a temporary file, and that into its place when it is whole."""

    def __init__(self, path: Path, labels: Sequence[TaskLabel]) -> None:
        self._labels = {label.name: number for number, label in enumerate(labels)}
        self._joints = {label.name: len(label.sublabels) for label in labels}
        self._tally = Tally()
        self.pack = Pack(path)
        self._out: IO[bytes] = tempfile.TemporaryFile(dir=self.pack.beside)  # noqa: SIM115
        head = {"dm_format_version": "1.0", "media_type": _IMAGES, "infos": {}, "categories": _categories(labels)}
        self._out.write(_json(head)[:-1] + b', "items": [')

    def add(self, frame: StoredFrame, shapes: Sequence[Shape]) -> None:
        annotations: list[dict[str, Any]] = []
        for shape in shapes:
            entry = self._annotation(shape, frame, len(annotations))
            if entry is not None:
                annotations.append(entry)
        item = {
            "id": stem_of(frame),
            "annotations": annotations,
            "attr": {"frame": frame.number},
            "image": {"path": frame.name, "size": [frame.height, frame.width]},
        }
        self._out.write((b",\n" if self._tally.frames else b"\n") + _json(item))
        self._tally.frames += 1
        self._tally.shapes += len(annotations)

    def finish(self) -> ExportSummary:
        self._out.write(b"\n]}\n")
        self._out.seek(0)
        self.pack.put_stream("annotations/default.json", self._out)
        self._out.close()
        self.pack.keep()
        return self._tally.summary()

    def abort(self) -> None:
        with suppress(OSError):
            self._out.close()
        self.pack.discard()

    def _annotation(self, shape: Shape, frame: StoredFrame, number: int) -> dict[str, Any] | None:
        if shape.label not in self._labels:
            self._tally.leave_out("unknown label")
            return None
        if shape.type == "skeleton" and len(shape.points) != 3 * self._joints[shape.label]:
            self._tally.leave_out("skeleton of another number of points")
            return None
        try:
            geometry = _geometry(shape, frame)
        except ValueError:
            self._tally.leave_out("unreadable mask")
            return None
        return {
            "id": number,
            "attributes": _attributes(shape),
            "group": shape.group,
            "label_id": self._labels[shape.label],
            **geometry,
        }


def _categories(labels: Sequence[TaskLabel]) -> dict[str, Any]:
    names = [
        {"name": label.name, "parent": "", "attributes": [attribute.name for attribute in label.attributes]}
        for label in labels
    ]
    points = [
        {"label_id": number, "labels": list(label.sublabels), "joints": []}
        for number, label in enumerate(labels)
        if label.type == "skeleton"
    ]
    common = ["rotation", "score", "track_id"]
    found: dict[str, Any] = {"label": {"labels": names, "label_groups": [], "attributes": common}}
    return found | ({"points": {"items": points}} if points else {})


def _attributes(shape: Shape) -> dict[str, Any]:
    values: dict[str, Any] = dict(shape.attributes)
    if shape.rotation:
        values["rotation"] = shape.rotation
    if shape.score is not None:
        values["score"] = shape.score
    if shape.track_id:
        values["track_id"] = shape.track_id
    return values


def _geometry(shape: Shape, frame: StoredFrame) -> dict[str, Any]:
    """Raises ValueError where a mask cannot be read."""
    points = list(shape.points)
    match shape.type:
        case "tag":
            return {"type": "label"}
        case "mask":
            mask = mask_of(shape, (frame.width, frame.height))
            run_lengths(mask)
            rle = {"counts": mask.counts.decode("ascii"), "size": [frame.height, frame.width]}
            return {"type": "mask", "rle": rle, "z_order": 0}
        case "rectangle":
            x1, y1, x2, y2 = points
            return {"type": "bbox", "bbox": [x1, y1, round(x2 - x1, 4), round(y2 - y1, 4)], "z_order": 0}
        case "ellipse":
            x, y, rx, ry = points
            return {"type": "ellipse", "points": [x - rx, y - ry, x + rx, y + ry], "z_order": 0}
        case "polygon":
            return {"type": "polygon", "points": points, "z_order": 0}
    seen = [2] * (len(points) // 2)
    if shape.type == "skeleton":
        seen = [int(value) for value in points[2::3]]
        points = [value for place in range(0, len(points), 3) for value in points[place : place + 2]]
    return {"type": "points", "points": points, "visibility": seen, "z_order": 0}


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
