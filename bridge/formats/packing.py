"""A format of several files, out: a folder or, where the path ends in .zip, an archive."""

from __future__ import annotations

import shutil
import zipfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO

from bridge.errors import Overloaded
from bridge.formats.writing import PendingPath

SPARE_BYTES = 256 * 2**20  # of the disk, left to others
_LOOSE = frozenset((".bmp", ".dib", ".tif", ".tiff", ".tga", ".ppm", ".pgm", ".pbm", ".pnm"))  # mostly not packed


class Pack:
    """Files under names with forward slashes; they appear together when it is kept, or not at all."""

    def __init__(self, path: Path) -> None:
        zipped = path.suffix.lower() == ".zip"
        self._pending = PendingPath(path, folder=not zipped)
        self._zip = (
            zipfile.ZipFile(self._pending.path, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) if zipped else None
        )

    @property
    def beside(self) -> Path:
        """The folder for temporary files: that of the path, so that they are on the same disk."""
        return self._pending.path.parent

    def put(self, name: str, body: str | bytes) -> None:
        data = body.encode() if isinstance(body, str) else body
        if self._zip is not None:
            self._zip.writestr(name, data)
        else:
            self._place(name).write_bytes(data)

    def put_file(self, name: str, content: bytes | Path) -> None:
        """An image's bytes, or a copy of its file; what is packed by itself, as JPEG is, is not packed again.

        Raises Overloaded rather than to take the last room of the disk.
        """
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if shutil.disk_usage(self.beside).free < size + SPARE_BYTES:
            raise Overloaded(
                "The disk has no room left for the images.",
                hint="Make room, or export without images.",
                code="disk_full",
            )
        if self._zip is None:
            target = self._place(name)
            if isinstance(content, bytes):
                target.write_bytes(content)
            else:
                shutil.copyfile(content, target)
            return
        method = zipfile.ZIP_DEFLATED if PurePosixPath(name).suffix.lower() in _LOOSE else zipfile.ZIP_STORED
        if isinstance(content, bytes):
            self._zip.writestr(name, content, method)
        else:
            self._zip.write(content, name, method)

    def put_stream(self, name: str, source: IO[bytes]) -> None:
        """All that ``source`` holds from where it stands."""
        if self._zip is not None:
            with self._zip.open(name, "w", force_zip64=True) as out:
                shutil.copyfileobj(source, out, 1 << 20)
        else:
            with self._place(name).open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)

    def keep(self) -> None:
        if self._zip is not None:
            self._zip.close()
        self._pending.keep()

    def discard(self) -> None:
        if self._zip is not None:
            with suppress(OSError, ValueError):  # a full disk, or what is still open in it
                self._zip.close()
        self._pending.discard()

    def _place(self, name: str) -> Path:
        target = self._pending.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target
