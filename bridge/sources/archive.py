"""Images out of a zip, whatever the zip tries.

No entry's name is ever used as a path on disk: files are numbered in a folder of their own, so there is nothing to
slip out of, to collide with or to overwrite. What the archive says of its sizes is checked before anything is
written, and what comes out is never more than it said.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bridge.errors import InvalidRequest, Overloaded, TooLarge

ARCHIVE_SUFFIX = ".zip"
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others ask for the memory that the file names
_MOST_PER_ENTRY = 600  # bytes of the directory, names included
_ENCRYPTED = 0x1  # bit 0 of an entry's general purpose flags (APPNOTE.TXT 4.4.4)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that was written to ``path``, or (``path`` None) was refused for ``reason``."""

    name: str
    path: Path | None
    reason: str = ""


def new_folder(parent: Path) -> Path:
    """A fresh folder below ``parent``: archive-1, archive-2, ..."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = parent / f"archive-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def extract(
    archive: Path, into: Path, *, suffixes: frozenset[str], max_files: int, max_file_bytes: int, max_total_bytes: int
) -> tuple[Iterator[Entry], int]:
    """Entries whose suffix is in ``suffixes``, extracted as they are asked for, and how many others were passed over.

    Raises InvalidRequest where the file is no zip, TooLarge where it holds more than the bounds allow, Overloaded where
    the disk has no room for it.
    """
    entries, skipped = [], 0
    try:
        with open_bounded(archive, 2 * max_files + 1000) as opened:  # beside images there may be annotations
            for info in opened.infolist():
                parts = PurePosixPath(info.filename.replace("\\", "/")).parts
                if info.is_dir() or any(part.startswith(".") and part != ".." for part in parts) or "__MACOSX" in parts:
                    continue
                if PurePosixPath(info.filename).suffix.lower() in suffixes:
                    entries.append(info)
                else:
                    skipped += 1
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise InvalidRequest(
            f"{archive.name} is not a readable zip file.", hint="Pack the images again, as a plain zip."
        ) from error
    if len(entries) > max_files:
        raise TooLarge(
            f"{archive.name} holds {len(entries)} images; at most {max_files} are taken at once.",
            hint="Split the archive into several tasks.",
        )
    total = sum(info.file_size for info in entries if info.file_size <= max_file_bytes)
    free = shutil.disk_usage(into).free
    if total > max_total_bytes:
        raise TooLarge(
            f"{archive.name} unpacks to {total} bytes; at most {max_total_bytes} are taken at once.",
            hint="Split the archive, or unpack it yourself and give the folder.",
        )
    if total > free:
        raise Overloaded(
            f"{archive.name} unpacks to {total} bytes, and the disk has {free} left.",
            hint="Make room, or give the images as a folder.",
            code="disk_full",
        )
    return _extracted(archive, entries, into, max_file_bytes), skipped


class _Directory(list[zipfile.ZipInfo]):
    """What a zip lists; more than ``most`` entries are not even listed."""

    def __init__(self, name: str, most: int) -> None:
        super().__init__()
        self._name, self._most = name, most

    def append(self, entry: zipfile.ZipInfo) -> None:
        if len(self) >= self._most:
            raise _too_many(self._name, self._most)
        super().append(entry)


def open_bounded(archive: Path, most: int) -> zipfile.ZipFile:
    """The zip, without an object for each of a million entries. Raises TooLarge, and what zipfile raises.

    zipfile reads the whole directory at once, so that its size is looked at before.
    """
    with archive.open("rb") as file:
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # its own finding of the directory, or None
    if end is not None and end[5] > most * _MOST_PER_ENTRY:
        raise _too_many(archive.name, most)

    class Bounded(zipfile.ZipFile):
        @property
        def filelist(self) -> list[zipfile.ZipInfo]:
            return self._listed

        @filelist.setter
        def filelist(self, _: list[zipfile.ZipInfo]) -> None:
            self._listed = _Directory(archive.name, most)

    return Bounded(archive)


def _too_many(name: str, most: int) -> TooLarge:
    return TooLarge(
        f"{name} holds more than the {most} files that are taken at once.",
        hint="Split the archive into several tasks, or raise max_files in [archives] of config.toml.",
    )


def _extracted(archive: Path, entries: list[zipfile.ZipInfo], into: Path, max_file_bytes: int) -> Iterator[Entry]:
    with zipfile.ZipFile(archive) as opened:
        for number, info in enumerate(entries):
            name = info.filename
            reason = _refusal(info, max_file_bytes)
            if reason:
                yield Entry(name, None, f"{name} {reason}.")
                continue
            target = into / f"{number:06d}{PurePosixPath(name).suffix.lower()}"
            try:
                with opened.open(info) as source, target.open("xb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)  # zipfile stops at the size that was declared
            except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
                target.unlink(missing_ok=True)
                yield Entry(name, None, f"{name} cannot be unpacked: {str(error).rstrip('.') or 'it is damaged'}.")
                continue
            yield Entry(name, target)


def _refusal(info: zipfile.ZipInfo, max_file_bytes: int) -> str:
    path = PurePosixPath(info.filename.replace("\\", "/"))
    if ".." in path.parts or path.is_absolute() or (path.parts and path.parts[0].endswith(":")):
        return "leads outside its archive"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a symbolic link"
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in METHODS:
        return "is packed by a method that few programs know; pack it again, as a plain zip"
    if info.file_size > max_file_bytes:
        return f"is too large: {info.file_size} bytes, at most {max_file_bytes} are taken"
    return ""
