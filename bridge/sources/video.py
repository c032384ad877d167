"""Videos: which frames there are, and their pictures, decoded in order and after a seek from the keyframe before.

A frame is known by its time stamp in the file (``pts``, in the stream's own unit), which holds for any frame rate. Its
picture is upright: the rotation that phones write is applied. Demuxers and protocols are limited to those of plain
video files, for FFmpeg's playlists could name other files and hosts.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import numpy.typing as npt

from adapters.frame import Pixels

Stamps = npt.NDArray[np.int64]

_NONE: Stamps = np.zeros(0, np.int64)
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg",
}
_CHECKED = 64  # decoded frames that must be those that the packets announce
_FAR_S = 5.0  # what lies further ahead is sought, not decoded up to
_BACK_S = (0.0, 1.0, 5.0, 30.0, math.inf)  # how far before a frame to begin, until it can be decoded from there

MOST_FRAMES = 10_000_000  # of a file, wanted or not: 90 hours at 30 frames/s

_UNRELIABLE = ("mpeg",)  # program streams: without an index, time stamps differ after a seek


class BadVideo(Exception):
    """Why a file is no video that can be read: the rest of a sentence that begins with its name."""


class VideoReader:
    """One video file, open for reading; used by one thread at a time.

    Frames of more than ``max_pixels`` are not decoded, whatever the file says of itself, nor where they become larger
    in its middle. ``threads``: of the decoder; 0: as many as FFmpeg takes. Raises BadVideo.
    """

    def __init__(self, path: Path, max_pixels: int, *, threads: int = 0) -> None:
        self._path, self._max_pixels, self._threads = path, max_pixels, threads
        self._container, self._stream = _opened(path, max_pixels, threads)
        self._frames: Iterator[av.VideoFrame] = self._decoded()
        self._held: av.VideoFrame | None = None  # decoded, and behind the one that was asked for last
        self._at: int | None = None  # time stamp of the frame decoded last

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def size(self) -> tuple[int, int]:
        """Width and height of the upright frames, by the first that can be decoded."""
        declared = self._stream.codec_context
        _check_size(declared.width, declared.height, self._max_pixels)
        self._seek(None)
        first = next(self._frames, None)
        if first is None:
            raise BadVideo(f"holds no frame that can be decoded and has at most {self._max_pixels} pixels")
        _check_size(first.width, first.height, self._max_pixels)
        turned = _quarters(first) % 2
        return (first.height, first.width) if turned else (first.width, first.height)

    def stamps(self) -> Stamps:
        """The time stamps of all frames, in order: i64[n]."""
        announced = self._announced()
        self._seek(None)
        real = [frame.pts for _, frame in zip(range(_CHECKED), self._frames, strict=False)]
        if len(real) == min(len(announced), _CHECKED) > 0 and real == announced[: len(real)].tolist():
            return announced
        self._seek(None)
        decoded = _counted(frame.pts for frame in self._frames)
        if decoded is None:
            raise BadVideo("has no time stamps; put it into a container: ffmpeg -i IN -c copy OUT.mp4")
        return np.unique(decoded)

    def picture(self, pts: int) -> Pixels:
        """RGB u8[h, w, 3], upright. Raises BadVideo where that frame cannot be decoded."""
        at = self._held.pts if self._held is not None and self._held.pts is not None else self._at
        unit = float(self._stream.time_base or 1)  # seconds
        can_seek = self._container.format.name not in _UNRELIABLE
        is_far = at is None or pts < at or (can_seek and (pts - at) * unit > _FAR_S)
        for back in (_BACK_S if can_seek else _BACK_S[-1:]) if is_far else (None,):
            if back is not None:
                self._seek(None if math.isinf(back) else pts - round(back / unit))
            frame, passed = self._up_to(pts)
            if frame is not None and not frame.is_corrupt:
                return _pixels(frame)
            if passed and frame is None:
                break
        raise BadVideo("cannot be decoded; the video is damaged there")

    def _up_to(self, pts: int) -> tuple[av.VideoFrame | None, bool]:
        """The frame of this time stamp, from where the reader stands, or None; and whether earlier ones came before.

        Where none did, the seek led behind it: some files have no index, and in others frames need a keyframe that
        stands behind them.
        """
        passed = False
        while True:
            frame = self._held or next(self._frames, None)
            self._held = None
            if frame is None:
                return None, passed
            self._at = frame.pts
            if frame.pts is not None and frame.pts >= pts:
                if frame.pts > pts:
                    self._held = frame
                    return None, passed
                return frame, passed
            passed = True

    def _seek(self, pts: int | None) -> None:
        """To the keyframe at or before a time stamp; None, and where the file cannot be sought in: to its beginning."""
        self._held = self._at = None
        first = min(self._stream.start_time or 0, 0)
        try:
            self._container.seek(first if pts is None else max(pts, first), stream=self._stream, backward=True)
        except av.FFmpegError:
            self._container.close()
            self._container, self._stream = _opened(self._path, self._max_pixels, self._threads)
        self._frames = self._decoded()

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """All frames from here on; what is damaged is passed over."""
        for packet in self._packets():
            try:
                yield from packet.decode()
            except av.FFmpegError:
                continue

    def _packets(self) -> Iterator[av.Packet[av.VideoStream]]:
        """The stream's packets, an empty one last, which brings out what the decoder still holds."""
        try:
            yield from self._container.demux(self._stream)
        except av.FFmpegError:
            return

    def _announced(self) -> Stamps:
        """The time stamps that packets have; none where one has none, or two have the same."""
        self._seek(None)
        found = _counted(packet.pts for packet in self._packets() if packet.size and not packet.is_discard)
        sorted_ = np.unique(found) if found is not None else _NONE
        return sorted_ if found is not None and len(sorted_) == len(found) else _NONE


def _counted(stamps: Iterable[int | None]) -> Stamps | None:
    """As an array; None where one is missing. Raises BadVideo where there are too many."""
    found = array("q")
    for pts in stamps:
        if pts is None:
            return None
        if len(found) == MOST_FRAMES:
            raise _too_many()
        found.append(pts)
    return np.frombuffer(found, np.int64) if found else _NONE


def _too_many() -> BadVideo:
    return BadVideo(f"has more than {MOST_FRAMES} frames")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise BadVideo(f"is too large: {width} x {height} pixels")


def _opened(path: Path, max_pixels: int, threads: int) -> tuple[av.container.InputContainer, av.VideoStream]:
    """The file, and its first stream of moving pictures."""
    bound = {"max_pixels": str(max_pixels + max_pixels // 8 + 2**16)}  # codecs round sizes up
    try:
        container = av.open(str(path.absolute()), options=_OPTIONS | bound, metadata_errors="replace")
    except FileNotFoundError as error:
        raise BadVideo("is missing") from error
    except PermissionError as error:
        raise BadVideo("cannot be read: permission denied") from error
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise BadVideo("is no video that can be read") from error
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not streams:
        container.close()
        raise BadVideo("holds no video")
    if streams[0].frames > min(MOST_FRAMES, path.stat().st_size):  # looking for what is not there takes hours
        container.close()
        raise _too_many() if streams[0].frames > MOST_FRAMES else BadVideo("announces more frames than it has bytes")
    streams[0].codec_context.options = bound
    streams[0].codec_context.thread_count = threads
    streams[0].thread_type = "AUTO"
    return container, streams[0]


def _is_cover(stream: av.VideoStream) -> bool:
    """A picture beside the sound, as music files have it."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _quarters(frame: av.VideoFrame) -> int:
    """Quarter turns counter-clockwise that make the frame upright."""
    return round(frame.rotation / 90) % 4


def _pixels(frame: av.VideoFrame) -> Pixels:
    try:
        pixels = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise BadVideo("cannot be decoded; the video is damaged there") from error
    quarters = _quarters(frame)
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels
