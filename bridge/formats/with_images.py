"""Annotations together with their images, in one folder or zip: each image where readers of the format look for it.

An image is the very file that the task has; only a frame of a video, which has none, is made a JPEG. Names without an
image's suffix get one, in the annotations too, so that these name the files that are there. An image that cannot be had
is left out, and ``missing-images.txt`` says which and why; what is known of it stands in the annotations all the same.

Where an image stands is a template: ``{name}`` of the frame, its ``{number}`` from 0, its ``{count}`` from 1, and the
``{suffix}`` of its name.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from adapters.errors import BadFrame
from adapters.frame import Frame, read_info
from bridge.domain import Shape, StoredFrame
from bridge.errors import InvalidRequest
from bridge.formats.packing import Pack
from bridge.formats.stems import check_name
from bridge.formats.writing import ExportSummary, Writer
from bridge.sources.files import IMAGE_SUFFIXES

MISSING = "missing-images.txt"
Pictured = tuple[StoredFrame, Sequence[Shape], Frame | BadFrame]
# By Pillow's names of formats, where they are not the suffix.
_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "JPEG2000": ".jp2", "DIB": ".bmp"}


class PackWriter(Writer, Protocol):
    """A writer of several files."""

    @property
    def pack(self) -> Pack: ...


class SingleInPack:
    """A format of a single file as a file of a folder or zip, under ``name``."""

    def __init__(self, path: Path, name: str, open_writer: Callable[[Path], Writer]) -> None:
        self.pack = Pack(path)
        self._name = name
        self._file = self.pack.beside / f".{secrets.token_hex(8)}.part"
        try:
            self._writer = open_writer(self._file)
        except BaseException:
            self.pack.discard()
            raise

    def add(self, frame: StoredFrame, shapes: Sequence[Shape]) -> None:
        self._writer.add(frame, shapes)

    def finish(self) -> ExportSummary:
        summary = self._writer.finish()
        with self._file.open("rb") as file:
            self.pack.put_stream(self._name, file)
        self._file.unlink()
        self.pack.keep()
        return summary

    def abort(self) -> None:
        self._writer.abort()
        self._file.unlink(missing_ok=True)
        self.pack.discard()


class WithImages:
    """Puts the image of each frame beside what ``writer`` says of it."""

    def __init__(self, writer: PackWriter, template: str) -> None:
        self._writer, self._template = writer, template
        self._taken: set[str] = set()
        self._images = self._missing = 0
        self._reasons: IO[bytes] = tempfile.TemporaryFile(dir=writer.pack.beside)  # noqa: SIM115

    def add(self, frame: StoredFrame, shapes: Sequence[Shape], picture: Frame | BadFrame) -> None:
        """Raises InvalidRequest where two images would share a file, or a name leads out of the folder."""
        content, suffix = _content(picture, frame)
        named = _as_file(frame, suffix)
        place = self._place(named)
        self._writer.add(named, shapes)
        if isinstance(content, BadFrame):
            self._missing += 1
            self._reasons.write(f"{named.name}: {content}\n".encode())
            return
        self._writer.pack.put_file(place, content)
        self._images += 1

    def finish(self) -> ExportSummary:
        if self._missing:
            self._reasons.seek(0)
            self._writer.pack.put_stream(MISSING, self._reasons)
        self._reasons.close()
        return replace(self._writer.finish(), images=self._images, missing=self._missing)

    def abort(self) -> None:
        with suppress(OSError):
            self._reasons.close()
        self._writer.abort()

    def _place(self, frame: StoredFrame) -> str:
        check_name(frame.name, "a folder of images")
        suffix = PurePosixPath(frame.name).suffix
        place = self._template.format(name=frame.name, number=frame.number, count=frame.number + 1, suffix=suffix)
        if place in self._taken:
            raise InvalidRequest(
                f"Two frames would share the image {frame.name}.", hint="Export without images, or rename one of them."
            )
        self._taken.add(place)
        return place


def _content(picture: Frame | BadFrame, frame: StoredFrame) -> tuple[bytes | Path | BadFrame, str]:
    """The file of a picture, and the suffix of such files."""
    if isinstance(picture, BadFrame):
        return picture, ".jpg"
    try:
        original = picture.original
        if original is None:
            return picture.encoded, ".jpg"
        info = read_info(frame.name, original)
    except BadFrame as error:
        return error, ".jpg"
    if (info.width, info.height) != (frame.width, frame.height):
        actual = f"{info.width} x {info.height}"
        return BadFrame(frame.name, f"it is {actual}, not {frame.width} x {frame.height} as recorded."), ".jpg"
    return original, _SUFFIXES.get(info.format, f".{info.format.lower()}")


def _as_file(frame: StoredFrame, suffix: str) -> StoredFrame:
    """The frame under the name of its image: no frame of a video any more."""
    known = frame.video_pts is None and PurePosixPath(frame.name).suffix.lower() in IMAGE_SUFFIXES
    return replace(frame, name=frame.name if known else f"{frame.name}{suffix}", video_pts=None)
