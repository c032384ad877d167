"""Videos: which frames there are, and their pictures, decoded in order and after a seek from the keyframe before.

A frame is known by its time stamp in the file (``pts``, in the stream's own unit), which holds for any frame rate. Its
picture is upright: the rotation that phones write is applied. Demuxers and protocols are limited to those of plain
video files, for FFmpeg's playlists could name other files and hosts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from adapters.frame import Pixels
from bridge.domain import NewFrame
from bridge.sources.files import VideoLimits, VideoRange

_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg",
}
_CHECKED = 64  # decoded frames that must be those that the packets announce
_FAR_S = 5.0  # what lies further ahead is sought, not decoded up to
_BACK_S = (0.0, 1.0, 5.0, 30.0, math.inf)  # how far before a frame to begin, until it can be decoded from there

_UNRELIABLE = ("mpeg",)  # program streams: without an index, time stamps differ after a seek


class BadVideo(Exception):
    """Why a file is no video that can be read: the rest of a sentence that begins with its name."""


def video_frames(path: Path, wanted: VideoRange, limits: VideoLimits) -> list[NewFrame]:
    """The frames of a video that are wanted, named ``STEM_000120`` by their number in it. Raises BadVideo. Blocks.

    Time stamps come from the file's packets; only the first frames are decoded, and all of them where those are not
    what the packets announce.
    """
    if path.stat().st_size > limits.max_file_bytes:
        raise BadVideo(f"is larger than {limits.max_file_bytes // 2**20} MB")
    with VideoReader(path) as reader:
        width, height = reader.size()
        if width * height > limits.max_pixels:
            raise BadVideo(f"is too large: {width} x {height} pixels")
        stamps = reader.stamps()
    if not stamps:
        raise BadVideo("holds no frame that can be decoded")
    chosen = range(len(stamps))[wanted.start : wanted.stop : wanted.step]
    if not chosen:
        raise BadVideo(f"has {len(stamps)} frames, none of them in the range that is wanted")
    if len(chosen) > limits.max_frames:
        raise BadVideo(f"has {len(chosen)} such frames; at most {limits.max_frames} are taken")
    return [
        NewFrame(f"{path.stem}_{number:06d}", str(path), width, height, video_pts=stamps[number]) for number in chosen
    ]


class VideoReader:
    """One video file, open for reading; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container, self._stream = _opened(path)
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
        self._seek(None)
        first = next(self._frames, None)
        if first is None:
            raise BadVideo("holds no frame that can be decoded")
        turned = _quarters(first) % 2
        return (first.height, first.width) if turned else (first.width, first.height)

    def stamps(self) -> list[int]:
        """The time stamps of all frames, in order."""
        announced = self._announced()
        self._seek(None)
        real = [frame.pts for _, frame in zip(range(_CHECKED), self._frames, strict=False)]
        if announced and real == announced[: len(real)] and len(real) == min(len(announced), _CHECKED):
            return announced
        self._seek(None)
        decoded = [frame.pts for frame in self._frames]
        if None in decoded:
            raise BadVideo("has no time stamps; put it into a container: ffmpeg -i IN -c copy OUT.mp4")
        return sorted({pts for pts in decoded if pts is not None})

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
            self._container, self._stream = _opened(self._path)
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

    def _announced(self) -> list[int]:
        """The time stamps that packets have; none where one has none."""
        self._seek(None)
        found = []
        for packet in self._packets():
            if packet.size and not packet.is_discard:
                if packet.pts is None:
                    return []
                found.append(packet.pts)
        return sorted(found) if len(set(found)) == len(found) else []


def _opened(path: Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    """The file, and its first stream of moving pictures."""
    try:
        container = av.open(str(path.absolute()), options=_OPTIONS, metadata_errors="replace")
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
