"""Frames from folders, single files and zips: what is an image goes in, what should be one and is not gets named."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from adapters.errors import BadFrame
from adapters.frame import MAX_PIXELS, decode, read_info
from bridge.domain import NewFrame
from bridge.errors import InvalidRequest, TooLarge
from bridge.sources import archive
from bridge.sources.names import UniqueNames, natural_key, printable

# HEIC stands here although Pillow cannot open it: such a photo is to be named as unreadable, not passed over.
IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".webp", ".avif", ".heic", ".heif"),
        *(".bmp", ".dib", ".tif", ".tiff", ".tga", ".jp2", ".j2k", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm"),
    )
)
# What FFmpeg's demuxers of plain files read; see ``video``.
VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2v", ".ts", ".mts", ".m2ts", ".vob"),
        *(".wmv", ".asf", ".flv", ".ogv", ".3gp", ".3g2", ".mj2"),
    )
)
_HEADER_READERS = 8  # threads; they wait for the disk, not for the processor
_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class VideoRange:
    """Which frames of a video, or which of the images given with it: numbers from 0, ``stop`` exclusive, every
    ``step``-th."""

    start: int = 0
    stop: int | None = None
    step: int = 1


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """Of one video: frames that are taken, bytes of its file, pixels of a frame, time to look through it."""

    max_frames: int = 500_000
    max_file_bytes: int = 64 * 2**30
    max_pixels: int = MAX_PIXELS
    max_seconds: int = 1800


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is taken in one go; bytes of single files and of what an archive unpacks to; frames of a whole task."""

    max_files: int = 1_000_000
    max_file_bytes: int = 512 * 2**20
    max_pixels: int = MAX_PIXELS
    max_archive_bytes: int = 64 * 2**30
    max_task_frames: int = 1_000_000
    video: VideoLimits = VideoLimits()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file that should have been an image or a video; ``reason`` is a sentence that names it."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Collected:
    """``frames`` in natural order of each given path, ``rejected`` by name, ``skipped``: files that are no images.

    ``known``: frames left out, for the task has some of their names.
    """

    frames: list[NewFrame] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    skipped: int = 0
    known: int = 0


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    parent: str
    path: Path


def collect(
    paths: Sequence[Path],
    *,
    extract_to: Path,
    limits: ImageLimits | None = None,
    within: Sequence[Path] | None = None,
    video: VideoRange | None = None,
) -> Collected:
    """The frames of folders (with all below), single files, zips and videos, in the order given.

    A frame is named by its path within the given folder or zip, with forward slashes, made unique where two are the
    same. In folders and zips a file counts as an image by its suffix; a single file is always tried. Hidden files and
    linked folders are passed over. Sizes are of the upright image. Headers are read, and the ends of files that can
    tell a cut; only a file that looks cut short is decoded to be sure. Zips are unpacked into a new folder below
    ``extract_to`` and left there. A single file is a video by its suffix; videos in folders and zips are passed over.
    ``video`` says which frames of each video are taken, and which of all images, in their order. With ``within``, a
    file that links lead out of all those folders is rejected.

    Blocks; call it in a thread. Raises InvalidRequest (a path is missing or no zip, or no image is in the range) and
    TooLarge.
    """
    bounds, wanted = limits or ImageLimits(), video or VideoRange()
    gathering = _Gathering(extract_to, bounds)
    candidates = _taken([found for path in paths for found in gathering.candidates(path)], wanted)
    if within is not None:
        roots = [root.resolve() for root in (*within, extract_to)]
        inside = []
        for found in candidates:
            if _is_below(found.path, roots):
                inside.append(found)
                continue
            name = printable(found.name)
            gathering.rejected.append(Rejected(name, f"{name} is a link out of the folders that are allowed."))
        candidates = inside
    names, seen = UniqueNames(), set[Path]()
    frames: list[NewFrame] = []
    with ThreadPoolExecutor(_HEADER_READERS) as pool:
        for start in range(0, len(candidates), 1024):  # in parts: a million waiting futures are no small thing
            some = candidates[start : start + 1024]
            for candidate, result in zip(some, pool.map(lambda c: _inspect(c, bounds, wanted), some), strict=True):
                if candidate.path in seen:
                    continue
                seen.add(candidate.path)
                if isinstance(result, Rejected):
                    gathering.rejected.append(result)
                else:
                    parent = printable(candidate.parent)
                    frames += [_named(frame, names.claim(printable(frame.name), parent)) for frame in result]
    return Collected(frames, gathering.rejected, gathering.skipped)


def _taken(candidates: Sequence[_Candidate], wanted: VideoRange) -> list[_Candidate]:
    """All videos, and of the images, which are one sequence in the order given, those that are wanted.

    Raises InvalidRequest where there are images and the range takes none.
    """
    images = [place for place, each in enumerate(candidates) if each.path.suffix.lower() not in VIDEO_SUFFIXES]
    taken = images[wanted.start : wanted.stop : wanted.step]
    if images and not taken:
        raise InvalidRequest(
            f"None of the given images is in the range; their number is {len(images)}.",
            hint="They are numbered from 0 in their order, and the end of the range is not part of it.",
        )
    left = set(images).difference(taken)
    return [each for place, each in enumerate(candidates) if place not in left]


def _is_below(path: Path, roots: Sequence[Path]) -> bool:
    real = path.resolve()
    return any(real.is_relative_to(root) for root in roots)


class _Gathering:
    """Lists what may be an image, and keeps count of what is not."""

    def __init__(self, extract_to: Path, limits: ImageLimits) -> None:
        self._extract_to, self._limits = extract_to, limits
        self._count = 0
        self.rejected: list[Rejected] = []
        self.skipped = 0

    def candidates(self, given: Path) -> Iterator[_Candidate]:
        path = given.absolute()
        if path.is_dir():
            found: Iterable[_Candidate] = self._folder(path)
        elif not path.exists():
            raise InvalidRequest(f"There is no file or folder {given}.", hint="Check the path.")
        elif path.suffix.lower() == archive.ARCHIVE_SUFFIX:
            found = self._archive(path)
        else:
            found = [_Candidate(path.name, path.parent.name, path)]
        for candidate in found:
            self._count += 1
            if self._count > self._limits.max_files:
                raise TooLarge(
                    f"More than {self._limits.max_files} images were given at once.", hint="Make several tasks."
                )
            yield candidate

    def _folder(self, folder: Path) -> Iterator[_Candidate]:
        names: list[str] = []
        for where, folders, files in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            below = Path(where).relative_to(folder).as_posix()
            for file in files:
                if file.startswith("."):
                    continue
                if Path(file).suffix.lower() in IMAGE_SUFFIXES:
                    names.append(file if below == "." else f"{below}/{file}")
                else:
                    self.skipped += 1
        for name in sorted(names, key=lambda name: (natural_key(name), name)):
            yield _Candidate(name, folder.name, folder / name)

    def _archive(self, path: Path) -> list[_Candidate]:
        entries, skipped = archive.extract(
            path,
            archive.new_folder(self._extract_to.absolute()),
            suffixes=IMAGE_SUFFIXES,
            max_files=self._limits.max_files,
            max_file_bytes=self._limits.max_file_bytes,
            max_total_bytes=self._limits.max_archive_bytes,
        )
        self.skipped += skipped
        found = []
        for entry in entries:
            name = PurePosixPath(entry.name.replace("\\", "/")).as_posix()
            if entry.path is None:
                self.rejected.append(Rejected(printable(name), printable(entry.reason)))
            else:
                found.append(_Candidate(name, path.stem, entry.path))
        return sorted(found, key=lambda candidate: (natural_key(candidate.name), candidate.name))


def _named(frame: NewFrame, name: str) -> NewFrame:
    return replace(frame, name=name)


def _inspect(candidate: _Candidate, limits: ImageLimits, video: VideoRange) -> list[NewFrame] | Rejected:
    """The frame under its candidate's name, those of a video under theirs, or why there is none."""
    if candidate.path.suffix.lower() in VIDEO_SUFFIXES:
        return _inspect_video(candidate, limits.video, video)
    return _inspect_image(candidate, limits)


def _inspect_image(candidate: _Candidate, limits: ImageLimits) -> list[NewFrame] | Rejected:
    name, path = printable(candidate.name), candidate.path
    try:
        reason = _refusal(path, limits)
        if reason:
            return Rejected(name, f"{name} {reason}.")
        info = read_info(name, path)
        if info.width * info.height > limits.max_pixels:
            return Rejected(name, f"{name} is too large: {info.width} x {info.height} pixels.")
        if not _looks_whole(path, info.format, path.stat().st_size):
            decode(name, path)
    except BadFrame as error:
        if path.suffix.lower() in (".heic", ".heif"):
            return Rejected(name, f"{name} is HEIC, which cannot be read here; convert it to JPEG.")
        return Rejected(name, error.message)
    except (OSError, struct.error, OverflowError) as error:
        return Rejected(name, f"{name} cannot be read: {type(error).__name__}.")
    return [NewFrame(name, str(path), info.width, info.height)]


def _inspect_video(candidate: _Candidate, limits: VideoLimits, wanted: VideoRange) -> list[NewFrame] | Rejected:
    from bridge.sources.video import BadVideo  # noqa: PLC0415  (FFmpeg is loaded where it is needed)
    from bridge.sources.video_frames import video_frames  # noqa: PLC0415

    name = printable(candidate.name)
    if not candidate.path.is_file():  # opening a pipe or a device would wait for ever
        return Rejected(name, f"{name} is not a regular file.")
    try:
        return video_frames(candidate.path, wanted, limits)
    except BadVideo as error:
        return Rejected(name, f"{name} {error}.")
    except OSError as error:
        return Rejected(name, f"{name} cannot be read: {type(error).__name__}.")


def _refusal(path: Path, limits: ImageLimits) -> str:
    """Why a file is not even opened; empty where it may be."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "has a path that is not UTF-8; rename it"
    if not path.is_file():  # opening a pipe or a device would wait for ever
        return "is not a regular file" if path.exists() else "is a link to nothing"
    size = path.stat().st_size
    if size > limits.max_file_bytes:
        return f"is too large: {size} bytes, at most {limits.max_file_bytes} are taken"
    return ""


def _looks_whole(path: Path, image_format: str, size: int) -> bool:
    """Whether the file ends as its format says: a few bytes read, so that no good file has to be decoded for it.

    A JPEG ends with the marker EOI (data that cameras append may follow it closely), a PNG with the chunk IEND, a
    GIF with a semicolon, and a WebP is as long as its RIFF header says. Other formats are taken at their word.
    """
    with path.open("rb") as file:
        head = file.read(12)
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read(_TAIL_BYTES)
    match image_format:
        case "JPEG" | "MPO":
            return b"\xff\xd9" in tail
        case "PNG":
            return b"IEND" in tail
        case "GIF":
            return tail.rstrip(b"\0").endswith(b";")
        case "WEBP":
            return size >= 8 + int.from_bytes(head[4:8], "little")
    return True
