"""YOLO as Ultralytics has it, out: a folder or, where the path ends in .zip, an archive.

    data.yaml                names of the labels, and where the lists are
    train.txt                an image a line, as ./images/train/NAME
    labels/train/NAME.txt    a line an object; empty where the frame shows none

Detection (``label x y width height``) holds the box of every shape that has one. Segmentation (``label x y x y ...``)
holds outlines: a box or an ellipse gives its own, and several parts of one object are joined by cuts of no width, for
a line is an object. Everything is a share of the frame's width or height. Scores, attributes and rotation have no place
here; tags, points, and in segmentation skeletons, are left out and counted. Images are listed, and with
``copy_images`` also put into ``images/train``.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from bridge.domain import Shape, StoredFrame, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.writing import ExportSummary, PendingPath, Tally
from bridge.formats.yolo_reading import read_yolo
from bridge.masks import join_rings
from bridge.outlines import box_of, objects_of, outlines_of

__all__ = ["YoloWriter", "read_yolo"]

_IMAGES, _LABELS = PurePosixPath("images/train"), PurePosixPath("labels/train")


class YoloWriter:
    """Writes one text file a frame, straight to its place."""

    def __init__(
        self,
        path: Path,
        labels: Sequence[TaskLabel],
        *,
        task: Literal["detect", "segment"] = "detect",
        copy_images: bool = False,
    ) -> None:
        zipped = path.suffix.lower() == ".zip"
        self._labels = labels
        self._ids = {label.name: number for number, label in enumerate(labels)}
        self._segment, self._copy_images = task == "segment", copy_images
        self._tally = Tally()
        self._stems: set[PurePosixPath] = set()
        self._pending = PendingPath(path, folder=not zipped)
        self._zip = zipfile.ZipFile(self._pending.path, "w", zipfile.ZIP_DEFLATED) if zipped else None
        self._list: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", dir=self._pending.path.parent)  # noqa: SIM115

    def add(self, frame: StoredFrame, shapes: Sequence[Shape]) -> None:
        """Raises InvalidRequest where two frames would share a label file, or a name leads out of the folder."""
        name = PurePosixPath(frame.name)
        if name.is_absolute() or ".." in name.parts or not name.name:
            raise InvalidRequest(f"The frame's name {frame.name!r} cannot be a path in a YOLO folder.")
        stem = name.with_suffix("")
        if stem in self._stems:
            raise InvalidRequest(
                f"{frame.name} would share its label file with a frame of the same name and another suffix.",
                hint="Export as COCO or CVAT, which know images by their whole name.",
            )
        self._stems.add(stem)
        lines = [line for parts in objects_of(shapes) for line in self._lines(parts, frame)]
        self._put(f"{_LABELS / stem}.txt", "".join(f"{line}\n" for line in lines))
        self._list.write(f"./{_IMAGES / name}\n")
        if self._copy_images:
            self._copy(Path(frame.path), str(_IMAGES / name))
        self._tally.frames += 1

    def finish(self) -> ExportSummary:
        head = ["path: .", "train: train.txt", "val: train.txt", "names:" if self._labels else "names: {}"]
        if not self._copy_images:
            head.insert(0, "# Put the images below images/train under the names that train.txt lists.")
        names = [f"  {number}: {json.dumps(label.name)}" for number, label in enumerate(self._labels)]
        self._put("data.yaml", "".join(f"{line}\n" for line in [*head, *names]))
        self._list.seek(0)
        if self._zip is not None:
            with self._zip.open("train.txt", "w") as out:
                for line in self._list:
                    out.write(line.encode())
            self._zip.close()
        else:
            with (self._pending.path / "train.txt").open("w", encoding="utf-8") as file:
                shutil.copyfileobj(self._list, file)
        self._list.close()
        self._pending.keep()
        return self._tally.summary()

    def abort(self) -> None:
        with suppress(OSError):
            self._list.close()
        if self._zip is not None:
            with suppress(OSError, ValueError):  # what is still open in it
                self._zip.close()
        self._pending.discard()

    def _put(self, name: str, text: str) -> None:
        if self._zip is not None:
            self._zip.writestr(name, text)
            return
        target = self._pending.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def _copy(self, source: Path, name: str) -> None:
        if self._zip is not None:
            self._zip.write(source, name, zipfile.ZIP_STORED)
            return
        target = self._pending.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)

    def _lines(self, parts: list[Shape], frame: StoredFrame) -> list[str]:
        """The line of one object; none, and counted, where YOLO cannot hold it."""
        shape = parts[0]
        if shape.label not in self._ids:
            self._tally.leave_out("unknown label")
            return []
        try:
            values = self._outline(parts, frame) if self._segment else self._box(parts, frame)
        except ValueError:
            self._tally.leave_out("unreadable mask")
            return []
        if not values:
            without = ("tag", "points", "skeleton") if self._segment else ("tag", "points")
            self._tally.leave_out(shape.type if shape.type in without else f"empty {shape.type}")
            return []
        self._tally.shapes += len(parts)
        return [" ".join([str(self._ids[shape.label]), *(f"{value:.6f}" for value in values)])]

    def _box(self, parts: list[Shape], frame: StoredFrame) -> list[float]:
        boxes = [box for box in (box_of(part, (frame.width, frame.height)) for part in parts) if box is not None]
        if not boxes:
            return []
        corners = np.array(boxes)
        low = np.clip(corners[:, :2].min(axis=0) / (frame.width, frame.height), 0, 1)
        high = np.clip(corners[:, 2:].max(axis=0) / (frame.width, frame.height), 0, 1)
        if (high <= low).any():
            return []
        return [*((low + high) / 2).tolist(), *(high - low).tolist()]

    def _outline(self, parts: list[Shape], frame: StoredFrame) -> list[float]:
        size = (frame.width, frame.height)
        rings = [np.reshape(outline, (-1, 2)) for part in parts for outline in outlines_of(part, size)]
        if not rings:
            return []
        joined: NDArray[np.float64] = rings[0]
        for ring in rings[1:]:
            joined = join_rings(joined, ring)
        return np.clip(joined / size, 0, 1).ravel().tolist()
