"""Pascal VOC boxes, out: a folder or, where the path ends in .zip, an archive.

    Annotations/NAME.xml            an object a box, in pixels
    ImageSets/Main/default.txt      the names of the images, without suffix
    labelmap.txt                    names and colours of the labels, as CVAT and Datumaro read them

Every shape that has a box gives it. Coordinates begin at 0 and keep their fractions, as CVAT and Datumaro write them,
though VOC's own begin at 1. Attributes stand where CVAT puts them; scores and tracks stand beside them under those
names. Images are listed.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO

from bridge.domain import Shape, StoredFrame, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.packing import Pack
from bridge.formats.stems import Stems
from bridge.formats.writing import ExportSummary, Tally
from bridge.formats.xml_writing import Xml
from bridge.outlines import objects_of


class VocWriter:
    """Writes one file a frame, straight to its place."""

    def __init__(self, path: Path, labels: Sequence[TaskLabel]) -> None:
        for label in labels:
            if ":" in label.name or label.name.startswith("#") or not label.name.isprintable():
                raise InvalidRequest(
                    f"The label {label.name!r} cannot stand in a VOC label map.", hint="Export as coco or cvat."
                )
        self._labels = {label.name: label for label in labels}
        self._tally, self._stems = Tally(), Stems("VOC")
        self.pack = Pack(path)
        self._names: IO[bytes] = tempfile.TemporaryFile(dir=self.pack.beside)  # noqa: SIM115

    def add(self, frame: StoredFrame, shapes: Sequence[Shape]) -> None:
        """Raises InvalidRequest where two frames would share a file, or a name leads out of the folder."""
        stem = self._stems.claim(frame)
        text = io.StringIO()
        xml = Xml(text)
        with xml.element("annotation"):
            xml.text("folder", str(PurePosixPath(frame.name).parent).strip("."))
            xml.text("filename", frame.name)
            with xml.element("source"):
                xml.text("database", "Unknown")
            with xml.element("size"):
                for key, value in (("width", frame.width), ("height", frame.height), ("depth", 3)):
                    xml.text(key, str(value))
            xml.text("segmented", "0")
            for parts in objects_of(shapes):
                self._object(xml, parts, (frame.width, frame.height))
        self.pack.put(f"Annotations/{stem}.xml", text.getvalue())
        self._names.write(f"{stem}\n".encode())
        self._tally.frames += 1

    def finish(self) -> ExportSummary:
        self._names.seek(0)
        self.pack.put_stream("ImageSets/Main/default.txt", self._names)
        self._names.close()
        lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
        lines += [f"{name}:{_rgb(label.color)}::" for name, label in self._labels.items() if name != "background"]
        self.pack.put("labelmap.txt", "".join(f"{line}\n" for line in lines))
        self.pack.keep()
        return self._tally.summary()

    def abort(self) -> None:
        with suppress(OSError):
            self._names.close()
        self.pack.discard()

    def _object(self, xml: Xml, parts: list[Shape], size: tuple[int, int]) -> None:
        shape = parts[0]
        box = self._tally.boxed(parts, size) if shape.label in self._labels else None
        if box is None:
            if shape.label not in self._labels:
                self._tally.leave_out("unknown label")
            return
        with xml.element("object"):
            xml.text("name", shape.label)
            for key in ("difficult", "truncated", "occluded"):
                xml.text(key, "0")
            with xml.element("bndbox"):
                for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
                    xml.text(key, f"{value:.2f}")
            _attributes(xml, shape)


def _attributes(xml: Xml, shape: Shape) -> None:
    values = dict(shape.attributes)
    if shape.score is not None:
        values.setdefault("score", f"{shape.score:g}")
    if shape.track_id:
        values.setdefault("track_id", str(shape.track_id))
    if not values:
        return
    with xml.element("attributes"):
        for name, value in values.items():
            with xml.element("attribute"):
                xml.text("name", name)
                xml.text("value", value)


def _rgb(color: str) -> str:
    digits = color.removeprefix("#")
    return ",".join(str(int(digits[i : i + 2], 16)) for i in (0, 2, 4)) if len(digits) == 6 else ""
