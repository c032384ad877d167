"""COCO instances and keypoints, out and in (https://cocodataset.org/#format-data).

Out: category ids count from 1 in the order of the labels, image ids are frame numbers plus 1, ``file_name`` is the
frame's name. A rectangle has an empty segmentation, a rotated one and an ellipse that of their outline, with the box
around it. Skeletons are keypoints. Polygons of one group are the parts of one annotation. ``score`` stands where a
shape has one, ``track_id`` as TAO has it. Tags and points are no instances: they are left out and counted. With
``only`` the labels and shapes of that type alone are written, as in COCO's files of keypoints.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from bridge.domain import Shape, StoredFrame, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.coco_reading import read_coco
from bridge.formats.writing import ExportSummary, PendingPath, Tally
from bridge.masks import mask_area, mask_to_polygons, polygon_area
from bridge.outlines import box_around, mask_of, objects_of, outlines_of

__all__ = ["CocoWriter", "Masks", "beside_geometry", "read_coco"]

Masks = Literal["rle", "polygons"]


class CocoWriter:
    """Annotations go straight to the file; the list of images waits in a second one, so memory does not grow."""

    def __init__(
        self, path: Path, labels: Sequence[TaskLabel], *, masks: Masks = "rle", only: Literal["skeleton"] | None = None
    ) -> None:
        self._masks, self._only = masks, only
        self._known = {label.name for label in labels}
        if only is not None:
            labels = [label for label in labels if label.type == only]
            if not labels:
                raise InvalidRequest(f"The task has no label of type {only}.", hint="Export as coco.")
        self._ids = {label.name: number for number, label in enumerate(labels, 1)}
        self._tally, self._written = Tally(), 0
        self._pending = PendingPath(path)
        self._out = self._pending.path.open("w", encoding="utf-8")
        self._images = tempfile.TemporaryFile("w+", encoding="utf-8", dir=self._pending.path.parent)  # noqa: SIM115
        self._out.write('{"info": {"description": "Annotations exported by Hubbridge", "version": "1.0"},\n')
        self._out.write(f'"licenses": [],\n"categories": {_json([self._category(label) for label in labels])},\n')
        self._out.write('"annotations": [')

    def add(self, frame: StoredFrame, shapes: Sequence[Shape]) -> None:
        image = {"id": frame.number + 1, "width": frame.width, "height": frame.height, "file_name": frame.name}
        self._images.write(f"{',' if self._tally.frames else ''}\n{_json(image)}")
        self._tally.frames += 1
        for parts in objects_of(shapes):
            entry = self._annotation(parts, frame)
            if entry is None:
                continue
            entry["id"] = self._written + 1
            self._out.write(f"{',' if self._written else ''}\n{_json(entry)}")
            self._written += 1
            self._tally.shapes += len(parts)

    def finish(self) -> ExportSummary:
        self._out.write('\n],\n"images": [')
        self._images.seek(0)
        shutil.copyfileobj(self._images, self._out)
        self._out.write("\n]}\n")
        self._images.close()
        self._out.close()
        self._pending.keep()
        return self._tally.summary()

    def abort(self) -> None:
        with suppress(OSError):  # a full disk: what cannot be flushed is thrown away
            self._images.close()
        with suppress(OSError):
            self._out.close()
        self._pending.discard()

    def _category(self, label: TaskLabel) -> dict[str, Any]:
        entry: dict[str, Any] = {"id": self._ids[label.name], "name": label.name, "supercategory": ""}
        if label.type == "skeleton":
            entry |= {"keypoints": list(label.sublabels), "skeleton": []}
        return entry

    def _annotation(self, parts: list[Shape], frame: StoredFrame) -> dict[str, Any] | None:
        """The annotation of one object, without an id; None, and counted, where COCO cannot hold it."""
        shape = parts[0]
        reason = ""
        if shape.label not in self._ids or self._only not in (None, shape.type):
            reason = shape.type if shape.label in self._known else "unknown label"
        geometry: dict[str, Any] | None = None
        if not reason:
            try:
                geometry = self._geometry(parts, frame)
            except ValueError:
                reason = "unreadable mask"
        if geometry is None:
            self._tally.leave_out(reason or (shape.type if shape.type in ("tag", "points") else f"empty {shape.type}"))
            return None
        return {
            "id": 0,
            "image_id": frame.number + 1,
            "category_id": self._ids[shape.label],
            "iscrowd": 0,
            **geometry,
            **beside_geometry(shape),
        }

    def _geometry(self, parts: list[Shape], frame: StoredFrame) -> dict[str, Any] | None:
        shape, size = parts[0], (frame.width, frame.height)
        around = box_around(parts, size)
        if around is None:
            return None
        x1, y1, x2, y2 = around
        bbox = [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
        found: dict[str, Any] = {"bbox": bbox, "area": round((x2 - x1) * (y2 - y1), 2), "segmentation": []}
        if shape.type == "mask":
            mask = mask_of(shape, size)
            found["area"] = mask_area(mask)
            found["segmentation"] = (
                {"size": [frame.height, frame.width], "counts": mask.counts.decode("ascii")}
                if self._masks == "rle"
                else mask_to_polygons(mask)
            )
        elif shape.type == "skeleton":
            found["keypoints"] = [
                value if shape.points[i - i % 3 + 2] else 0 for i, value in enumerate(shape.points)
            ]  # COCO: an absent point is 0, 0, 0
            found["num_keypoints"] = sum(1 for seen in shape.points[2::3] if seen)
        elif shape.type != "rectangle" or shape.rotation:
            outlines = [outline for part in parts for outline in outlines_of(part, size)]
            found["segmentation"] = [[round(value, 2) for value in outline] for outline in outlines]
            found["area"] = round(sum(polygon_area(outline) for outline in outlines), 2)
        return found


def beside_geometry(shape: Shape) -> dict[str, Any]:
    """What an entry holds of a shape besides label and outline, where the shape has it: COCO has no keys for these."""
    entry: dict[str, Any] = {}
    if shape.score is not None:
        entry["score"] = shape.score
    if shape.track_id:
        entry["track_id"] = shape.track_id
    if shape.attributes:
        entry["attributes"] = dict(shape.attributes)
    return entry


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
