"""Videos that are made to cost much: what they say of themselves is looked at before anything is decoded."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from bridge.sources import video, video_frames
from bridge.sources.files import VideoLimits, VideoRange, collect
from bridge.sources.video import BadVideo, VideoReader
from tests.unit.bridge.videos import SIZE, make_video

LARGE = (640, 480)


def plain_video(path: Path, size: tuple[int, int], frames: int = 12) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _ in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 60, np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def announcing(path: Path, frames: int) -> Path:
    """A file of 2 KB whose tables say that it has so many frames, of one byte each."""
    body = bytearray(make_video(path, 12, options={"bf": "0"}).read_bytes())
    struct.pack_into(">II", body, body.rfind(b"stsz") + 8, 1, frames)
    struct.pack_into(">II", body, body.rfind(b"stts") + 12, frames, 3000)
    struct.pack_into(">I", body, body.rfind(b"stsc") + 16, frames)
    path.write_bytes(body)
    return path


TAKE = "collect([path], extract_to=path.parent / 'x').rejected[0].reason"
LOOK = "video_frames._look_through(path, VideoRange(), VideoLimits())"


def memory_of(work: str, path: Path) -> tuple[str, float]:
    """What a process of its own says of a file, and the MB of memory that it had at most."""
    code = f"""
import re, sys
from pathlib import Path
from bridge.sources import video_frames
from bridge.sources.files import VideoLimits, VideoRange, collect
path = Path(sys.argv[1])
try:
    print({work})
except (video_frames.BadVideo, MemoryError) as error:
    print(error)
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    said, most = run.stdout.splitlines()
    return said, int(most) / 1024


@pytest.mark.parametrize("work", [TAKE, LOOK])
@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (1_000_000, "announces more frames than it has bytes"),
        (12_000_000, "has more than 10000000 frames"),
        (60_000_000, "has more than 10000000 frames"),  # a table of 4 GB
    ],
)
def test_a_file_of_2_kb_that_announces_millions_of_frames(tmp_path: Path, work: str, frames: int, reason: str) -> None:
    path = announcing(tmp_path / "a.mp4", frames)
    assert path.stat().st_size < 4096
    said, most = memory_of(work, path)
    assert reason in said
    assert most < (200 if work == TAKE else 700)


def test_a_declared_size_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    path = plain_video(tmp_path / "a.mp4", LARGE)
    with VideoReader(path, 1000) as reader:
        with pytest.raises(BadVideo, match="is too large: 640 x 480 pixels"):
            reader.size()
        assert not list(reader._frames)


def test_a_size_that_the_container_belittles_is_not_decoded(tmp_path: Path) -> None:
    path = plain_video(tmp_path / "a.mp4", LARGE)
    body = bytearray(path.read_bytes())
    struct.pack_into(">HH", body, body.rfind(b"avc1") + 28, 16, 16)  # width and height of the sample entry
    path.write_bytes(body)
    found = collect([path], extract_to=tmp_path / "x")
    assert {(frame.width, frame.height) for frame in found.frames} == {LARGE}
    with VideoReader(path, 1000) as reader:
        with pytest.raises(BadVideo, match=r"too large|at most 1000 pixels"):
            reader.size()
        assert not list(reader._frames)


def test_frames_that_become_larger_in_the_middle_are_not_decoded(tmp_path: Path) -> None:
    small, large = plain_video(tmp_path / "small.ts", SIZE), plain_video(tmp_path / "large.ts", LARGE)
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with VideoReader(both, LARGE[0] * LARGE[1]) as reader:
        sizes = {(frame.width, frame.height) for frame in reader._frames}
    assert sizes == {SIZE, LARGE}
    with VideoReader(both, SIZE[0] * SIZE[1]) as reader:
        assert reader.size() == SIZE
        reader._seek(None)
        assert {(frame.width, frame.height) for frame in reader._frames} == {SIZE}


def test_frames_are_counted_while_they_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "a.mkv")  # a container that does not say how many frames it has
    monkeypatch.setattr(video, "MOST_FRAMES", 20)
    with VideoReader(path, 10**6) as reader, pytest.raises(BadVideo, match="more than 20 frames"):
        reader.stamps()


def test_looking_takes_no_longer_than_allowed_and_may_end_badly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "a.mp4", frames=3)
    with pytest.raises(BadVideo, match="within 0 s"):
        video_frames.video_frames(path, VideoRange(), VideoLimits(max_seconds=0))
    monkeypatch.setattr(sys, "executable", "/bin/false")  # as where FFmpeg crashes
    found = collect([path], extract_to=tmp_path / "x")
    assert [each.reason.split(" with")[0] for each in found.rejected] == ["a.mp4 cannot be looked through"]


def test_a_declared_duration_of_years_costs_nothing(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=5)
    body = bytearray(path.read_bytes())
    for box in (b"mvhd", b"mdhd"):
        struct.pack_into(">I", body, body.rfind(box) + 20, 2**32 - 2)
    path.write_bytes(body)
    assert len(collect([path], extract_to=tmp_path / "x").frames) == 5
