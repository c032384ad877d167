"""CVAT for images 1.1, out (https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/).

Every kind of shape is kept: boxes and ellipses with their rotation, polygons, points, masks as run lengths of their
crop (row by row, zeros first), skeletons with their points, tags, attributes and groups. ``source`` is CVAT's: manual,
auto, file. A shape's ``score`` and ``track_id`` are written as attributes of its element, which CVAT's importer passes
over.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bridge.domain import Shape, StoredFrame, TaskLabel
from bridge.formats.cvat_shapes import SOURCES, CannotHold, element_name, geometry_of, write_inside, write_label
from bridge.formats.cvat_xml_reading import read_cvat_xml
from bridge.formats.writing import ExportSummary, PendingPath, Tally
from bridge.formats.xml_writing import Xml

__all__ = ["CvatXmlWriter", "read_cvat_xml"]


class CvatXmlWriter:
    """Images wait in a second file, for the head of the document holds their number."""

    def __init__(self, path: Path, labels: Sequence[TaskLabel]) -> None:
        self._labels = {label.name: label for label in labels}
        self._tally = Tally()
        self._pending = PendingPath(path)
        self._images = tempfile.TemporaryFile("w+", encoding="utf-8", dir=self._pending.path.parent)  # noqa: SIM115
        self._xml = Xml(self._images, indent=1)

    def add(self, frame: StoredFrame, shapes: Sequence[Shape]) -> None:
        size = {"width": str(frame.width), "height": str(frame.height)}
        with self._xml.element("image", {"id": str(frame.number), "name": frame.name, **size}):
            for shape in shapes:
                self._shape(shape, frame)
        self._tally.frames += 1

    def finish(self) -> ExportSummary:
        with self._pending.path.open("w", encoding="utf-8") as out:
            out.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n')
            xml = Xml(out, indent=1)
            xml.text("version", "1.1")
            with xml.element("meta"), xml.element("task"):
                xml.text("size", str(self._tally.frames))
                xml.text("mode", "annotation")
                with xml.element("labels"):
                    for label in self._labels.values():
                        write_label(xml, label)
            self._images.seek(0)
            shutil.copyfileobj(self._images, out)
            out.write("</annotations>\n")
        self._images.close()
        self._pending.keep()
        return self._tally.summary()

    def abort(self) -> None:
        with suppress(OSError):
            self._images.close()
        self._pending.discard()

    def _shape(self, shape: Shape, frame: StoredFrame) -> None:
        label = self._labels.get(shape.label)
        if label is None:
            self._tally.leave_out("unknown label")
            return
        common = {"label": shape.label, "source": SOURCES[shape.source]}
        if shape.type != "tag":
            common |= {"occluded": "0", "z_order": "0"}
        if shape.group:
            common["group_id"] = str(shape.group)
        if shape.score is not None:
            common["score"] = f"{shape.score:g}"
        if shape.track_id:
            common["track_id"] = str(shape.track_id)
        try:
            geometry = geometry_of(shape, frame, label)
        except CannotHold as reason:
            self._tally.leave_out(str(reason))
            return
        with self._xml.element(element_name(shape), {**common, **geometry}):
            write_inside(self._xml, shape, label)
        self._tally.shapes += 1
