"""CVAT for video 1.1, out: track by track, every frame of a track a keyframe.

A shape without a track becomes a track of one frame, as CVAT exports it. After the last frame of a track, and in its
gaps, stands its last shape as ``outside``. Frames are known by number: those of the task, from 0. Tags have no place,
and a track has one shape a frame, all of one label and kind, so one that has several becomes several. Groups are of
whole tracks here: those that share a group on any frame are one, under a number of its own.
"""

from __future__ import annotations

import io
import tempfile
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO

from bridge.domain import Shape, StoredFrame, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.cvat_shapes import SOURCES, CannotHold, element_name, geometry_of, write_inside, write_label
from bridge.formats.cvat_xml_reading import read_cvat_xml
from bridge.formats.writing import ExportSummary, PendingPath, Tally
from bridge.formats.xml_writing import Xml

__all__ = ["CvatVideoWriter", "read_cvat_xml"]

_OPENING = b"  <track "


@dataclass(slots=True)
class _Track:
    """The last shape of a track, with its geometry, and where its elements stand: offset, length, offset, length ...

    grouped   whether it was in a group
    together  an earlier track that was in one group with it: the last one of that chain stands for the group
    """

    last: Shape
    geometry: Mapping[str, str]
    frame: int
    places: array[int] = field(default_factory=lambda: array("q"))
    grouped: bool = False
    together: _Track | None = None

    def first(self) -> _Track:
        track = self
        while track.together is not None:
            track = track.together
        return track

    def join(self, other: _Track) -> None:
        self.grouped = True
        mine, theirs = self.first(), other.first()
        if mine is not theirs:
            mine.together = theirs


class CvatVideoWriter:
    """Elements wait in a second file until their track is whole, and tracks of one frame in a third.

    What is in memory grows with the number of tracks, and by two numbers for each of their shapes.
    """

    def __init__(self, path: Path, labels: Sequence[TaskLabel]) -> None:
        self._labels = {label.name: label for label in labels}
        self._tally = Tally()
        self._tracks: dict[tuple[int, str, str, int], _Track] = {}
        self._size: tuple[int, int] | None = None
        self._latest = -1  # number of the frame that came last: those of a task elsewhere may begin anywhere
        self._pending = PendingPath(path)
        self._elements = _temporary(self._pending.path.parent)
        self._singles = _temporary(self._pending.path.parent)
        self._end = 0  # of the file of elements
        self._held: list[tuple[Shape, Mapping[str, str]]] = []  # single shapes of the latest frame
        self._groups: dict[int, _Track] = {}  # of the latest frame, each with a track in it
        self._highest_group = 0  # of single shapes

    def add(self, frame: StoredFrame, shapes: Sequence[Shape]) -> None:
        """Raises InvalidRequest where the frames are of different sizes, which a video's cannot be."""
        self._size = self._size or (frame.width, frame.height)
        if (frame.width, frame.height) != self._size:
            raise InvalidRequest(
                f"{frame.name} is of another size than the frames before it, so they are no video.",
                hint="Export as cvat, which knows the size of each image.",
            )
        self._put_singles(last=False)
        self._groups.clear()
        self._latest = frame.number
        for shape in shapes:
            try:
                self._shape(shape, frame)
            except CannotHold as reason:
                self._tally.leave_out(str(reason))
        self._tally.frames += 1

    def finish(self) -> ExportSummary:
        self._put_singles(last=True)
        for track in self._tracks.values():
            if track.frame < self._latest:
                self._put_outside(track)
        with self._pending.path.open("wb") as out:
            out.write(self._head().encode())
            ids: set[int] = set()
            highest = -1
            groups: dict[int, int] = {}
            for (track_id, *_), track in sorted(self._tracks.items(), key=lambda entry: entry[0]):
                number = track_id - 1 if track_id - 1 not in ids else highest + 1
                ids.add(number)
                highest = max(highest, number)
                group = groups.setdefault(id(track.first()), self._highest_group + len(groups) + 1)
                self._copy_track(out, track, number, group if track.grouped else 0)
            self._singles.seek(0)
            following = count(highest + 1)
            for line in self._singles:  # what follows an opening is known only now that all tracks have their ids
                opening = line.startswith(_OPENING)
                out.write(line.replace(_OPENING, _OPENING + b'id="%d" ' % next(following), 1) if opening else line)
            out.write(b"</annotations>\n")
        self._close()
        self._pending.keep()
        return self._tally.summary()

    def abort(self) -> None:
        self._close()
        self._pending.discard()

    def _close(self) -> None:
        for file in (self._elements, self._singles):
            with suppress(OSError):
                file.close()

    def _head(self) -> str:
        text = io.StringIO()
        text.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n')
        xml = Xml(text, indent=1)
        xml.text("version", "1.1")
        with xml.element("meta"), xml.element("task"):
            xml.text("size", str(self._tally.frames))
            xml.text("mode", "interpolation")
            xml.text("start_frame", "0")
            xml.text("stop_frame", str(max(0, self._latest)))
            xml.text("frame_filter", None)
            with xml.element("labels"):
                for label in self._labels.values():
                    write_label(xml, label)
            if self._size is not None:
                with xml.element("original_size"):
                    xml.text("width", str(self._size[0]))
                    xml.text("height", str(self._size[1]))
        return text.getvalue()

    def _shape(self, shape: Shape, frame: StoredFrame) -> None:
        """Raises CannotHold."""
        if shape.label not in self._labels:
            raise CannotHold("unknown label")
        if shape.type == "tag":
            raise CannotHold("tag")
        geometry = geometry_of(shape, frame, self._labels[shape.label])
        if not shape.track_id:
            self._held.append((shape, geometry))
        else:
            key = (shape.track_id, shape.label, shape.type, 0)
            while key in self._tracks and self._tracks[key].frame == frame.number:
                key = (*key[:3], key[3] + 1)
            track = self._tracks.get(key)
            if track is None:
                track = self._tracks[key] = _Track(shape, geometry, frame.number)
            elif frame.number > track.frame + 1:
                self._put_outside(track)
            track.last, track.geometry, track.frame = shape, geometry, frame.number
            if shape.group:  # groups are of one frame: another number there, and it is the same object all the same
                track.join(self._groups.setdefault(shape.group, track))
            self._put(track, self._element(shape, geometry, frame.number))
        self._tally.shapes += 1

    def _put_singles(self, *, last: bool) -> None:
        """Those of the frame before the one that comes, which end there, or those of the last frame."""
        frame = self._latest
        for shape, geometry in self._held:
            attributes = {"label": shape.label, "source": SOURCES[shape.source]}
            if shape.group:
                attributes["group_id"] = str(shape.group)
                self._highest_group = max(self._highest_group, shape.group)
            text = io.StringIO()
            with Xml(text, indent=1).element("track", attributes):
                text.write(self._element(shape, geometry, frame).decode())
                if not last:
                    text.write(self._element(shape, geometry, frame + 1, outside=True).decode())
            self._singles.write(text.getvalue().encode())
        self._held.clear()

    def _put_outside(self, track: _Track) -> None:
        self._put(track, self._element(track.last, track.geometry, track.frame + 1, outside=True))

    def _put(self, track: _Track, element: bytes) -> None:
        self._elements.write(element)
        track.places.extend((self._end, len(element)))
        self._end += len(element)

    def _element(self, shape: Shape, geometry: Mapping[str, str], frame: int, *, outside: bool = False) -> bytes:
        text = io.StringIO()
        xml = Xml(text, indent=2)
        common = {"frame": str(frame), "outside": str(int(outside)), "occluded": "0", "keyframe": "1", "z_order": "0"}
        if shape.score is not None and not outside:
            common["score"] = f"{shape.score:g}"
        if shape.type == "skeleton" and outside:
            gone = [0.0 if place % 3 == 2 else value for place, value in enumerate(shape.points)]
            shape = Shape(shape.label, shape.type, tuple(gone), attributes=shape.attributes)
        with xml.element(element_name(shape), {**common, **geometry}):
            write_inside(xml, shape, self._labels[shape.label])
        return text.getvalue().encode()

    def _copy_track(self, out: IO[bytes], track: _Track, number: int, group: int) -> None:
        text = io.StringIO()
        attributes = {"id": str(number), "label": track.last.label, "source": SOURCES[track.last.source]}
        if group:
            attributes["group_id"] = str(group)
        with Xml(text, indent=1).element("track", attributes):
            text.write("\0")
        opening, _, closing = text.getvalue().partition("\0")
        out.write(opening.encode())
        for offset, length in zip(track.places[::2], track.places[1::2], strict=True):
            self._elements.seek(offset)
            out.write(self._elements.read(length))
        out.write(closing.encode())


def _temporary(folder: Path) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=folder)
