"""A format of several files, in: those of a folder or a zip that are wanted, one after another, within bounds."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from bridge.errors import InvalidRequest, TooLarge
from bridge.sources.archive import METHODS, open_bounded

MAX_TEXT_BYTES = 64 * 2**20  # of one text file
MAX_TOTAL_BYTES = 4 * 2**30  # of all files of a zip that are wanted
MAX_FILES = 2_000_000


def wanted_files(path: Path, wanted: Callable[[str], bool], hint: str) -> Iterator[tuple[str, bytes]]:
    """Name (with forward slashes) and content of each file that is wanted, by name.

    Hidden files and macOS' extra ones are passed over, and nothing is written anywhere. Raises InvalidRequest where
    the path is neither a folder nor a readable zip, TooLarge where a file or their number is out of bounds.
    """
    try:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                name = file.relative_to(path).as_posix()
                if not _is_hidden(name) and wanted(name) and file.is_file():
                    yield name, _within_bounds(name, file.stat().st_size, file.read_bytes)
            return
        with open_bounded(path, MAX_FILES) as archive:
            for info in _wanted_entries(archive, path.name, wanted):
                if not info.is_dir():
                    yield info.filename, _within_bounds(info.filename, info.file_size, partial(archive.read, info))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise InvalidRequest(f"{path.name} is neither a folder nor a readable zip file.", hint=hint) from error
    except OSError as error:
        raise InvalidRequest(f"{path.name} cannot be read: {error.strerror or error}.", hint=hint) from error


def _wanted_entries(archive: zipfile.ZipFile, name: str, wanted: Callable[[str], bool]) -> list[zipfile.ZipInfo]:
    entries = [i for i in archive.infolist() if not _is_hidden(i.filename) and wanted(i.filename)]
    if any(i.compress_type not in METHODS for i in entries):
        raise NotImplementedError  # a method that asks for the memory that the file names
    if sum(i.file_size for i in entries) > MAX_TOTAL_BYTES:  # entries may share their bytes
        raise TooLarge(f"{name} unpacks to more than the {MAX_TOTAL_BYTES // 2**20} MB that are read.")
    return sorted(entries, key=lambda info: info.filename)


def text_of(body: bytes, name: str) -> str:
    """Raises InvalidRequest where it is no text in UTF-8."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name} is no text in UTF-8.") from error


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or any(part.startswith(".") for part in parts)


def _within_bounds(name: str, size: int, read: Callable[[], bytes]) -> bytes:
    if size > MAX_TEXT_BYTES:
        raise TooLarge(f"{name} is too large: {size} bytes, at most {MAX_TEXT_BYTES} are read.")
    return read()
