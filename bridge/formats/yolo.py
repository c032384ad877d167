"""YOLO as Ultralytics has it, out: a folder or, where the path ends in .zip, an archive.

    data.yaml                names of the labels, and where the lists are
    train.txt                an image a line, as ./images/train/NAME
    labels/train/NAME.txt    a line an object; empty where the frame shows none

Detection (``label x y width height``) holds the box of every shape that has one. Segmentation (``label x y x y ...``)
holds outlines: a box or an ellipse gives its own, and several parts of one object are joined by cuts of no width, for
a line is an object. Oriented boxes (``label`` and four corners) hold turned rectangles, and the smallest one around
any other outline. Poses (``label x y width height``, then ``x y visibility`` of each point) hold skeletons; a label
with fewer points than another ends in absent ones. Everything is a share of the frame's width or height. Scores,
attributes and tracks have no place here; what has no box, outline or points is left out and counted. Images are listed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

import cv2
import numpy as np
import yaml  # type: ignore[import-untyped]

from bridge.domain import Shape, StoredFrame, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.packing import Pack
from bridge.formats.stems import Stems
from bridge.formats.writing import ExportSummary, Tally
from bridge.formats.yolo_reading import read_yolo, read_yolo_obb, read_yolo_pose
from bridge.masks import Ring, join_rings
from bridge.outlines import box_around, box_of, objects_of, outlines_of
from bridge.shapes import rectangle_corners

__all__ = ["YoloWriter", "read_yolo", "read_yolo_obb", "read_yolo_pose"]

Task = Literal["detect", "segment", "obb", "pose"]
_IMAGES, _LABELS = PurePosixPath("images/train"), PurePosixPath("labels/train")
_CANNOT = {
    "detect": ("tag", "points"),
    "segment": ("tag", "points", "skeleton"),
    "obb": ("tag", "points"),
    "pose": ("tag", "points", "rectangle", "polygon", "mask", "ellipse"),
}


class YoloWriter:
    """Writes one text file a frame, straight to its place."""

    def __init__(self, path: Path, labels: Sequence[TaskLabel], *, task: Task = "detect") -> None:
        self._labels = [label for label in labels if task != "pose" or label.type == "skeleton"]
        if task == "pose" and not self._labels:
            raise InvalidRequest(
                "The task has no label of type skeleton, so there are no poses.", hint="Export as yolo or coco."
            )
        self._known = {label.name for label in labels}
        self._ids = {label.name: number for number, label in enumerate(self._labels)}
        self._joints = max((len(label.sublabels) for label in self._labels), default=0)
        self._task: Task = task
        self._tally, self._stems = Tally(), Stems("YOLO")
        self.pack = Pack(path)
        self._list: IO[bytes] = tempfile.TemporaryFile(dir=self.pack.beside)  # noqa: SIM115

    def add(self, frame: StoredFrame, shapes: Sequence[Shape]) -> None:
        """Raises InvalidRequest where two frames would share a label file, or a name leads out of the folder."""
        stem = self._stems.claim(frame)
        lines = [line for parts in objects_of(shapes) for line in self._lines(parts, frame)]
        self.pack.put(f"{_LABELS / stem}.txt", "".join(f"{line}\n" for line in lines))
        image = frame.name if frame.video_pts is None else f"{frame.name}.jpg"  # without a suffix it is passed over
        self._list.write(f"./{_IMAGES / image}\n".encode())
        self._tally.frames += 1

    def finish(self) -> ExportSummary:
        head = [
            "# Put the images below images/train under the names that train.txt lists.",
            "path: .",
            "train: train.txt",
            "val: train.txt",
        ]
        names = [f"  {number}: {_yaml(label.name)}" for number, label in enumerate(self._labels)]
        head += ["names:", *names] if names else ["names: {}"]
        if self._task == "pose":
            head += [f"kpt_shape: [{self._joints}, 3]", "kpt_names:"]
            joints = [", ".join(map(_yaml, label.sublabels)) for label in self._labels]
            head += [f"  {number}: [{names}]" for number, names in enumerate(joints)]
        self.pack.put("data.yaml", "".join(f"{line}\n" for line in head))
        self._list.seek(0)
        self.pack.put_stream("train.txt", self._list)
        self._list.close()
        self.pack.keep()
        return self._tally.summary()

    def abort(self) -> None:
        with suppress(OSError):
            self._list.close()
        self.pack.discard()

    def _lines(self, parts: list[Shape], frame: StoredFrame) -> list[str]:
        """The line of one object; none, and counted, where YOLO cannot hold it."""
        shape = parts[0]
        if shape.label not in self._known:
            self._tally.leave_out("unknown label")
            return []
        if shape.type in _CANNOT[self._task] or shape.label not in self._ids:
            self._tally.leave_out(shape.type, len(parts))
            return []
        try:
            values = self._values(parts, frame)
        except ValueError:
            self._tally.leave_out("unreadable mask")
            return []
        if not values:
            self._tally.leave_out(f"empty {shape.type}")
            return []
        self._tally.shapes += len(parts)
        return [" ".join([str(self._ids[shape.label]), *(f"{value:.6f}" for value in values)])]

    def _values(self, parts: list[Shape], frame: StoredFrame) -> list[float]:
        size = (frame.width, frame.height)
        match self._task:
            case "detect":
                return _box(parts, size)
            case "segment":
                return _outline(parts, size)
            case "obb":
                return _oriented(parts, size)
        box = _box(parts, size)
        return [*box, *self._pose(parts[0], size)] if box else []

    def _pose(self, shape: Shape, size: tuple[int, int]) -> list[float]:
        joints = np.reshape(shape.points, (-1, 3))
        shares = np.clip(joints[:, :2] / size, 0, 1)
        found = np.zeros((self._joints, 3))
        found[: len(joints)] = np.column_stack((shares, joints[:, 2])) * (joints[:, 2:] > 0)
        return _flat(found)


def _box(parts: list[Shape], size: tuple[int, int]) -> list[float]:
    box = box_around(parts, size)
    if box is None:
        return []
    low, high = (np.clip(np.array(corner) / size, 0, 1) for corner in (box[:2], box[2:]))
    if (high <= low).any():
        return []
    return [*_flat((low + high) / 2), *_flat(high - low)]


def _outline(parts: list[Shape], size: tuple[int, int]) -> list[float]:
    rings = [np.asarray(outline).reshape(-1, 2) for part in parts for outline in outlines_of(part, size)]
    if not rings:
        return []
    joined: Ring = rings[0]
    for ring in rings[1:]:
        joined = join_rings(joined, ring)
    return _flat(np.clip(joined / size, 0, 1))


def _oriented(parts: list[Shape], size: tuple[int, int]) -> list[float]:
    """The four corners, clipped to the frame, for Ultralytics passes over files with a number outside of 0 to 1."""
    shape = parts[0]
    if shape.type == "rectangle":
        corners: list[float] = rectangle_corners(shape.points, shape.rotation)
    elif shape.type == "ellipse":
        x, y, radius_x, radius_y = shape.points
        corners = rectangle_corners((x - radius_x, y - radius_y, x + radius_x, y + radius_y), shape.rotation)
    else:
        rings = [outline for part in parts for outline in outlines_of(part, size)]
        box = box_of(shape, size) if not rings else None
        points = np.reshape([value for ring in rings for value in ring], (-1, 2))
        if box is not None:
            corners = rectangle_corners(box)
        elif len(points):
            corners = cv2.boxPoints(cv2.minAreaRect(points.astype(np.float32))).ravel().tolist()
        else:
            return []
    shares = np.clip(np.reshape(corners, (4, 2)) / size, 0, 1)
    if (np.ptp(shares, axis=0) <= 0).any():
        return []
    return _flat(shares)


def _yaml(text: str) -> str:
    """In double quotes, on one line."""
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf"))).strip()


def _flat(values: Any) -> list[float]:
    return [float(value) for value in np.ravel(values)]
