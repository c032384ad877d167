"""Which frames a video has, found by a process of its own that may use so much memory and so much time.

A file of 2 KB can announce a hundred million frames, and FFmpeg makes a table of them when it opens it; one that
damages FFmpeg itself ends that process and not the service. What is read here later was looked through before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from bridge.domain import NewFrame
from bridge.sources.files import VideoLimits, VideoRange
from bridge.sources.video import BadVideo, VideoReader

_OPENING_BYTES = 2**29  # of memory, for the file's tables
_DECODING_BYTES = 2**31  # of memory, for the frames that decoders keep
_THREADS = 2  # each decodes a frame of its own


def video_frames(path: Path, wanted: VideoRange, limits: VideoLimits) -> list[NewFrame]:
    """The frames of a video that are wanted, named ``STEM_000120`` by their number in it. Raises BadVideo. Blocks.

    Time stamps come from the file's packets; only the first frames are decoded, and all of them where those are not
    what the packets announce.
    """
    if path.stat().st_size > limits.max_file_bytes:
        raise BadVideo(f"is larger than {limits.max_file_bytes // 2**20} MB")
    question = json.dumps({"path": str(path.absolute()), "wanted": asdict(wanted), "limits": asdict(limits)})
    try:
        run = subprocess.run(
            [sys.executable, "-P", "-m", "bridge.sources.video_frames"],
            input=question.encode(),
            capture_output=True,
            timeout=limits.max_seconds,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # each of its threads would take memory
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BadVideo(f"cannot be looked through within {limits.max_seconds} s") from error
    if run.returncode:
        raise BadVideo(f"cannot be looked through with {_DECODING_BYTES // 2**30} GB of memory, or is damaged")
    answer = json.loads(run.stdout)
    if "bad" in answer:
        raise BadVideo(answer["bad"])
    width, height, stamps = answer["width"], answer["height"], answer["stamps"]
    return [
        NewFrame(f"{path.stem}_{number:06d}", str(path), width, height, video_pts=pts)
        for number, pts in zip(_numbers(wanted, answer["count"]), stamps, strict=True)
    ]


def _numbers(wanted: VideoRange, count: int) -> range:
    return range(count)[wanted.start : wanted.stop : wanted.step]


def _look_through(path: Path, wanted: VideoRange, limits: VideoLimits) -> dict[str, object]:
    """Size, count, and the time stamps of the frames that are wanted. Raises BadVideo."""
    _limit_memory(_OPENING_BYTES)
    with VideoReader(path, limits.max_pixels, threads=_THREADS) as reader:
        _limit_memory(_DECODING_BYTES)
        width, height = reader.size()
        stamps = reader.stamps()
    if not len(stamps):
        raise BadVideo("holds no frame that can be decoded")
    chosen = _numbers(wanted, len(stamps))
    if not chosen:
        raise BadVideo(f"has {len(stamps)} frames, none of them in the range that is wanted")
    if len(chosen) > limits.max_frames:
        raise BadVideo(f"has {len(chosen)} such frames; at most {limits.max_frames} are taken")
    return {"width": width, "height": height, "count": len(stamps), "stamps": stamps[list(chosen)].tolist()}


def _limit_memory(size: int) -> None:
    """Of this process, in bytes; where the system knows such limits."""
    with suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415  (not on every system)

        resource.setrlimit(resource.RLIMIT_DATA, (size, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _main() -> None:
    question = json.load(sys.stdin)
    try:
        wanted, limits = VideoRange(**question["wanted"]), VideoLimits(**question["limits"])
        answer = _look_through(Path(question["path"]), wanted, limits)
    except BadVideo as error:
        answer = {"bad": str(error)}
    except MemoryError:
        answer = {"bad": f"needs more than {_DECODING_BYTES // 2**30} GB of memory, or announces too many frames"}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    _main()
