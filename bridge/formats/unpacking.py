"""A format of several files, in: those of a folder or a zip that are wanted, one after another, within bounds."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from bridge.errors import InvalidRequest, TooLarge
from bridge.sources.archive import METHODS, open_bounded

MAX_TEXT_BYTES = 64 * 2**20  # of one text file
MAX_TOTAL_BYTES = 4 * 2**30  # of all files of a zip that are wanted
MAX_SINGLE_BYTES = 2**30  # of the one file that is wanted, which is read whole
MAX_FILES = 2_000_000


def wanted_files(
    path: Path, wanted: Callable[[str], bool], hint: str, *, dotted: bool = False
) -> Iterator[tuple[str, bytes]]:
    """Name (with forward slashes) and content of each file that is wanted, by name.

    dotted   also files whose own name begins with a dot, where each file is that of an image: an image may be so named

    Other hidden files and macOS' extra ones are passed over, and nothing is written anywhere. Raises InvalidRequest
    where the path is neither a folder nor a readable zip, TooLarge where a file or their number is out of bounds.
    """
    with _refusing(path.name, hint):
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                name = file.relative_to(path).as_posix()
                if not _is_hidden(name, dotted) and wanted(name) and file.is_file():
                    yield name, _within_bounds(name, file.stat().st_size, file.read_bytes)
            return
        with open_bounded(path, MAX_FILES) as archive:
            for info in _wanted_entries(archive, path.name, wanted, dotted=dotted):
                if not info.is_dir():
                    yield info.filename, _within_bounds(info.filename, info.file_size, partial(archive.read, info))


@contextmanager
def single_file(path: Path, suffix: str) -> Iterator[Path]:
    """The only file of that suffix in a folder or zip, as in CVAT's exports; a file that is no zip is itself.

    Raises InvalidRequest where there is none or several, TooLarge.
    """
    if path.is_dir():
        files = [file.relative_to(path).as_posix() for file in path.rglob(f"*{suffix}") if file.is_file()]
        yield path / _only([name for name in sorted(files) if not _is_hidden(name)], path.name, suffix)
    elif not path.is_file() or not zipfile.is_zipfile(path):
        yield path
    else:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"annotations{suffix}"
            with _refusing(path.name, f"Unpack it, and give the {suffix} file."):
                _unpack_single(path, suffix, file)
            yield file


def _unpack_single(path: Path, suffix: str, target: Path) -> None:
    with open_bounded(path, MAX_FILES) as archive:
        wanted = _wanted_entries(archive, path.name, lambda name: name.lower().endswith(suffix))
        name = _only([info.filename for info in wanted], path.name, suffix)
        if wanted[0].file_size > MAX_SINGLE_BYTES:
            raise TooLarge(f"{name} is too large: {wanted[0].file_size} bytes, at most {MAX_SINGLE_BYTES} are read.")
        with archive.open(wanted[0]) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)


def _only(names: Sequence[str], where: str, suffix: str) -> str:
    if len(names) == 1:
        return names[0]
    found = f"holds {len(names)} {suffix} files: {', '.join(names[:3])}" if names else f"holds no {suffix} file"
    raise InvalidRequest(f"{where} {found}.", hint=f"Give the one {suffix} file with the annotations.")


def _wanted_entries(
    archive: zipfile.ZipFile, name: str, wanted: Callable[[str], bool], *, dotted: bool = False
) -> list[zipfile.ZipInfo]:
    entries = [i for i in archive.infolist() if not _is_hidden(i.filename, dotted) and wanted(i.filename)]
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


@contextmanager
def _refusing(name: str, hint: str) -> Iterator[None]:
    """What cannot be read becomes InvalidRequest."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise InvalidRequest(f"{name} is neither a folder nor a readable zip file.", hint=hint) from error
    except OSError as error:
        raise InvalidRequest(f"{name} cannot be read: {error.strerror or error}.", hint=hint) from error


def _is_hidden(name: str, dotted: bool = False) -> bool:
    path = PurePosixPath(name)
    hidden = "__MACOSX" in path.parts or any(part.startswith(".") for part in path.parts[:-1])
    return hidden or path.name.startswith("._" if dotted else ".")


def _within_bounds(name: str, size: int, read: Callable[[], bytes]) -> bytes:
    if size > MAX_TEXT_BYTES:
        raise TooLarge(f"{name} is too large: {size} bytes, at most {MAX_TEXT_BYTES} are read.")
    return read()
