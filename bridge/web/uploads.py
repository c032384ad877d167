"""Uploaded files, streamed to disk within limits, under names that cannot lead anywhere else.

What arrives stands in ``incoming/`` of the data folder until it is whole, in a folder that names its process: an
upload whose client goes away is removed at once, one whose process was killed at the next start.
"""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

import aiohttp
from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from bridge.errors import InvalidRequest, TooLarge
from bridge.owner import is_dead, owner_here
from bridge.settings_sections import ImagesSettings
from bridge.sources.archive import ARCHIVE_SUFFIX
from bridge.sources.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from bridge.sources.names import printable
from bridge.web.reading import check_content_type

CHUNK = 1 << 18
MAX_FILES = 10_000  # of one request; a zip holds more
MAX_PART_BYTES = 200  # of one name in a path: file systems take 255
MAX_DEPTH = 8

RAW_TYPES = ("image/*", "video/*", "application/zip", "application/octet-stream")
IMAGE_TYPES = ("image/*", "application/octet-stream")
FILE_TYPES = ("application/json", "application/xml", "text/xml", "application/zip", "application/octet-stream")
MULTIPART = "multipart/form-data"
# What reading a body raises where the client goes away, or sends something else than it declared.
CUT = (
    ConnectionError,
    ValueError,
    AssertionError,
    RuntimeError,
    aiohttp.ClientPayloadError,
    web.RequestPayloadError,
    HttpProcessingError,
    web.HTTPException,
)


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Bytes: of the whole request, and of a single file that is neither a zip nor a video."""

    total: int
    file: int


@dataclass(slots=True)
class Upload:
    """Files of one request below ``folder``.

    Images keep the path that they were sent with, below ``images``. What else may be an image, and a second file of
    the same name, stands alone in a folder of its own; so do zips.
    """

    folder: Path
    limits: UploadLimits
    alone: list[Path] = field(default_factory=list)
    count: int = 0
    taken: int = 0
    _has_images: bool = False

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def paths(self) -> list[Path]:
        """What was received, relative to ``folder``, in the form that ``sources.files.collect`` takes."""
        return [*([Path("images")] if self._has_images else []), *self.alone]

    def place(self, name: str) -> Path:
        """Where the next file is to be written. Raises InvalidRequest, TooLarge."""
        self.count += 1
        if self.count > MAX_FILES:
            raise TooLarge(f"More than {MAX_FILES} files were sent at once.", hint="Pack them into a zip.")
        safe = safe_name(name)
        path = self.images / safe
        if safe.suffix.lower() in IMAGE_SUFFIXES and not path.exists() and not _blocked(path, self.images):
            self._has_images = True
        else:
            path = self.folder / f"{self.count:05d}" / safe.name
            self.alone.append(path.relative_to(self.folder))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def take(self, size: int, file_size: int, name: str) -> None:
        """Count bytes that came. Raises TooLarge."""
        self.taken += size
        is_large = PurePosixPath(name).suffix.lower() in (ARCHIVE_SUFFIX, *VIDEO_SUFFIXES)
        if self.taken > self.limits.total or (not is_large and file_size > self.limits.file):
            what = f"{name[:100]} is" if self.taken <= self.limits.total else "The upload is"
            most = self.limits.file if self.taken <= self.limits.total else self.limits.total
            raise TooLarge(
                f"{what} larger than {most // 2**20} MB.", hint="The settings allow more, or send it in parts."
            )


def safe_name(name: str) -> PurePosixPath:
    """A relative path of printable names, none hidden, none leading up. Raises InvalidRequest where nothing is left."""
    parts = []
    for part in printable(name).replace("\\", "/").split("/"):
        kept = part.strip().lstrip(".").strip()
        if kept:
            suffix = PurePosixPath(kept).suffix[:20]
            stem = kept.removesuffix(suffix)
            while len(f"{stem}{suffix}".encode()) > MAX_PART_BYTES:
                stem = stem[:-1]
            parts.append(f"{stem}{suffix}")
    if not parts:
        raise InvalidRequest(f"{name[:80]!r} names no file.", hint="Send each file with its name.")
    return PurePosixPath(*parts[-MAX_DEPTH:])


def _blocked(path: Path, root: Path) -> bool:
    """Whether something above the path is a file: ``a.jpg`` came, and now ``a.jpg/b.jpg``."""
    return any(parent.is_file() for parent in path.parents if root in parent.parents)


@asynccontextmanager
async def incoming_folder(data_dir: Path) -> AsyncIterator[Path]:
    """A fresh folder for what arrives; what still stands in it at the end is removed."""
    folder = data_dir / "incoming" / f"{owner_here().replace('/', '~')}~{uuid.uuid4().hex}"
    await asyncio.to_thread(folder.mkdir, parents=True)
    try:
        yield folder
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


def remove_abandoned(data_dir: Path) -> int:
    """Remove what uploads to processes that are no more left behind; the number of folders. Blocks."""
    removed = 0
    for folder in (data_dir / "incoming").glob("*~*~*~*"):
        owner = folder.name.rpartition("~")[0].replace("~", "/")
        if is_dead(owner):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


async def receive(request: web.Request, folder: Path, limits: UploadLimits, filename: str | None = None) -> Upload:
    """Take the request's files: a multipart form, or one file as the body, named by ``filename`` or X-Filename.

    Raises InvalidRequest, TooLarge, UnsupportedMediaType; also where the client goes away, who will not read it.
    """
    media = check_content_type(request, (MULTIPART, *RAW_TYPES))
    if request.content_length is not None and request.content_length > limits.total + 2**20:  # a form's own lines
        raise TooLarge(f"The upload is larger than {limits.total // 2**20} MB.", hint="The settings allow more.")
    upload = Upload(folder, limits)
    try:
        if media == MULTIPART:
            await _receive_form(request, upload)
        else:
            name = filename or request.headers.get("X-Filename") or f"upload{_suffix(media)}"
            await _write(_Body(request), upload, name)
    except CUT as error:
        raise _cut_off() from error
    if upload.count == 0:
        raise InvalidRequest(
            "The form holds no file.", hint="Send each image or zip as a part with a filename.", code="no_images"
        )
    return upload


def _suffix(media: str) -> str:
    kind, _, name = media.partition("/")
    known = {
        "jpeg": ".jpg",
        "svg+xml": ".svg",
        "x-icon": ".ico",
        "quicktime": ".mov",
        "x-matroska": ".mkv",
        "matroska": ".mkv",
        "x-msvideo": ".avi",
        "mp2t": ".ts",
        "ogg": ".ogv",
        "x-flv": ".flv",
        "x-ms-wmv": ".wmv",
    }
    if media == "application/zip":
        return ".zip"
    return known.get(name, f".{name[:10]}") if kind in ("image", "video") else ""


def _cut_off() -> InvalidRequest:
    return InvalidRequest("The upload was cut off, or is no form.", hint="Nothing was stored; send it again.")


class _Source(Protocol):
    async def chunk(self) -> bytes: ...


class _Body:
    def __init__(self, request: web.Request) -> None:
        self._content = request.content

    async def chunk(self) -> bytes:
        return await self._content.read(CHUNK)


class _Part:
    def __init__(self, part: BodyPartReader) -> None:
        self._part = part

    async def chunk(self) -> bytes:
        return bytes(await self._part.read_chunk(CHUNK))


async def _receive_form(request: web.Request, upload: Upload) -> None:
    form = await request.multipart()
    async for part in form:
        if isinstance(part, MultipartReader) or part is None:
            raise InvalidRequest("The form is nested.", hint="Send each file as a part of its own.")
        if part.filename is None:
            raise InvalidRequest(
                f"The form's part {str(part.name)[:40]!r} is no file.", hint="Give each part a filename."
            )
        await _write(_Part(part), upload, part.filename)


async def _write(source: _Source, upload: Upload, name: str) -> None:
    await _stream(source, upload, upload.place(name))


async def _stream(source: _Source, upload: Upload, path: Path) -> None:
    size = 0
    with await asyncio.to_thread(path.open, "xb") as file:
        while True:
            chunk = await source.chunk()
            if not chunk:
                break
            size += len(chunk)
            upload.take(len(chunk), size, path.name)
            await asyncio.to_thread(file.write, chunk)


async def receive_image(request: web.Request, images: ImagesSettings) -> bytes:
    """One image file in memory: the body itself, or the form's part ``image``. Raises as ``receive``."""
    media = check_content_type(request, (MULTIPART, *IMAGE_TYPES))
    try:
        source: _Source = _Body(request)
        if media == MULTIPART:
            form = await request.multipart()
            found = None
            async for part in form:
                if isinstance(part, BodyPartReader) and part.name == "image":
                    found = part
                    break
            if found is None:
                raise InvalidRequest("The form has no part 'image'.", hint="Send the file as 'image'.")
            source = _Part(found)
        data = bytearray()
        while chunk := await source.chunk():
            data += chunk
            if len(data) > images.max_file_mb * 2**20:
                raise TooLarge(
                    f"The file is larger than {images.max_file_mb} MB.", hint="[images] max_file_mb allows more."
                )
    except CUT as error:
        raise _cut_off() from error
    return bytes(data)


async def receive_file(request: web.Request, upload: Upload, name: str) -> Path | None:
    """One file streamed to disk under ``name``: the body itself, or the form's part ``file``. None for no such part.

    Raises as ``receive``.
    """
    media = check_content_type(request, (MULTIPART, *FILE_TYPES))
    path = upload.folder / name
    try:
        if media != MULTIPART:
            await _stream(_Body(request), upload, path)
            return path
        form = await request.multipart()
        async for part in form:
            if isinstance(part, BodyPartReader) and part.name == "file":
                await _stream(_Part(part), upload, path)
                return path
    except CUT as error:
        raise _cut_off() from error
    return None
