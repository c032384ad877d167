"""MOT challenge, out (https://arxiv.org/abs/1603.00831): a folder or, where the path ends in .zip, an archive.

    gt/gt.txt       frame, track, left, top, width, height, flag, label, visibility: a line a box
    gt/labels.txt   names of the labels, a line each, as CVAT and Datumaro read them
    seqinfo.ini     length and size of the sequence, where all frames have one size

Frames and labels count from 1. Every shape that has a box gives it; one without a track has the number -1. The flag
says that the box counts, and visibility is 1. Scores, attributes and rotation have no place here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO

from bridge.domain import Shape, StoredFrame, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.packing import Pack
from bridge.formats.writing import ExportSummary, Tally
from bridge.outlines import objects_of


class MotWriter:
    """Writes one line a shape to a temporary file, and that into its place when it is whole."""

    def __init__(self, path: Path, labels: Sequence[TaskLabel]) -> None:
        if not all(label.name.isprintable() and label.name == label.name.strip() for label in labels):
            raise InvalidRequest("A label's name does not fit on a line of its own.", hint="Export as coco or cvat.")
        self._ids = {label.name: number for number, label in enumerate(labels, 1)}
        self._tally = Tally()
        self._sizes: set[tuple[int, int]] = set()
        self._suffix = ".jpg"
        self.pack = Pack(path)
        self._lines: IO[bytes] = tempfile.TemporaryFile(dir=self.pack.beside)  # noqa: SIM115

    def add(self, frame: StoredFrame, shapes: Sequence[Shape]) -> None:
        size = (frame.width, frame.height)
        if len(self._sizes) < 2:
            self._sizes.add(size)
        self._suffix = PurePosixPath(frame.name).suffix or self._suffix
        for parts in objects_of(shapes):
            self._object(parts, frame.number + 1, size)
        self._tally.frames += 1

    def finish(self) -> ExportSummary:
        self._lines.seek(0)
        self.pack.put_stream("gt/gt.txt", self._lines)
        self._lines.close()
        self.pack.put("gt/labels.txt", "".join(f"{name}\n" for name in self._ids))
        if len(self._sizes) == 1:
            ((width, height),) = self._sizes
            values = {
                "name": "hubbridge",
                "imDir": "img1",
                "frameRate": 30,
                "seqLength": self._tally.frames,
                "imWidth": width,
                "imHeight": height,
                "imExt": self._suffix,
            }
            self.pack.put("seqinfo.ini", "".join(["[Sequence]\n", *(f"{k}={v}\n" for k, v in values.items())]))
        self.pack.keep()
        return self._tally.summary()

    def abort(self) -> None:
        with suppress(OSError):
            self._lines.close()
        self.pack.discard()

    def _object(self, parts: list[Shape], frame: int, size: tuple[int, int]) -> None:
        shape = parts[0]
        if shape.label not in self._ids:
            self._tally.leave_out("unknown label")
            return
        box = self._tally.boxed(parts, size)
        if box is not None:
            place = ",".join(f"{value:.2f}" for value in (box[0], box[1], box[2] - box[0], box[3] - box[1]))
            self._lines.write(f"{frame},{shape.track_id or -1},{place},1,{self._ids[shape.label]},1\n".encode())
