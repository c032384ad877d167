from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from adapters.errors import BadFrame
from adapters.frame import MAX_PIXELS, Frame
from bridge.domain import FrameState, StoredFrame
from bridge.errors import InvalidRequest, TooLarge
from bridge.sources import local_frames
from bridge.sources.files import ImageLimits, VideoLimits, VideoRange, collect
from bridge.sources.frame_source import picture
from bridge.sources.local_frames import LocalFrames
from bridge.sources.video import BadVideo, VideoReader
from bridge.sources.video_frames import video_frames
from tests.unit.bridge.videos import SIZE, make_video, number_in
from tests.unit.bridge.world import FakePredictor, World, world

EVERYTHING = VideoRange()
VARIABLE = [number * 3000 + number % 4 * 600 for number in range(60)]
OPEN_GOP = {"x265-params": "log-level=none:open-gop=1:keyint=12:bframes=3", "crf": "12"}


def numbers(path: Path, wanted: VideoRange = EVERYTHING, order: Sequence[int] | None = None) -> list[int]:
    """What the frames show, read by one reader in the order of their numbers or another."""
    frames = video_frames(path, wanted, VideoLimits())
    with VideoReader(path, MAX_PIXELS) as reader:
        return [number_in(reader.picture(frames[place].video_pts or 0)) for place in order or range(len(frames))]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", None),
        ("a.mkv", "libx264", None),
        ("a.ts", "libx264", None),
        ("a.flv", "libx264", None),
        ("open-gop.mp4", "libx265", OPEN_GOP),
        ("hidden-frames.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16"}),
        ("a.webm", "libvpx-vp9", {"cpu-used": "8"}),
        ("packed.avi", "mpeg4", {"bf": "2", "q:v": "2"}),
        ("no-index.mpg", "mpeg2video", {"b": "4000000"}),
    ],
)
def test_every_frame_is_there_in_order_and_the_same_after_seeking(
    tmp_path: Path, name: str, codec: str, options: dict[str, str] | None
) -> None:
    path = make_video(tmp_path / name, codec=codec, options=options)
    assert numbers(path) == list(range(60))
    jumps = (50, 3, 40, 13, 12, 11, 25, 59, 0)
    assert numbers(path, order=jumps) == list(jumps)


def test_a_variable_frame_rate_keeps_every_frame(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", stamps=VARIABLE)
    frames = video_frames(path, EVERYTHING, VideoLimits())
    gaps = np.diff([frame.video_pts or 0 for frame in frames])
    assert len(set(gaps.tolist())) > 1
    assert numbers(path) == list(range(60))


def test_frames_are_named_by_their_number_in_the_video(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4")
    frames = video_frames(path, VideoRange(10, 31, 10), VideoLimits())
    assert [frame.name for frame in frames] == ["clip_000010", "clip_000020", "clip_000030"]
    assert {(frame.path, frame.width, frame.height) for frame in frames} == {(str(path), *SIZE)}
    assert numbers(path, VideoRange(10, 31, 10)) == [10, 20, 30]
    assert numbers(path, VideoRange(55)) == [55, 56, 57, 58, 59]


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_frames_are_upright_as_opencv_shows_them(tmp_path: Path, rotation: int) -> None:
    path = make_video(tmp_path / "a.mov", frames=12, rotation=rotation)
    (frame,) = video_frames(path, VideoRange(5, 6), VideoLimits())
    with VideoReader(path, MAX_PIXELS) as reader:
        ours = reader.picture(frame.video_pts or 0)
    other = cv2.VideoCapture(str(path))
    for _ in range(6):
        theirs = other.read()[1][..., ::-1]
    assert ours.shape == theirs.shape == (frame.height, frame.width, 3)
    assert np.abs(ours.astype(int) - theirs).mean() < 8


def damaged(path: Path, share: float = 0.5, length: int = 400) -> Path:
    body = bytearray(path.read_bytes())
    at = int(len(body) * share)
    body[at : at + length] = bytes(index % 251 for index in range(length))
    path.write_bytes(body)
    return path


def test_frames_that_are_damaged_are_named_and_the_others_come(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", options={"crf": "1", "bf": "2"})
    frames = video_frames(path, EVERYTHING, VideoLimits())
    damaged(path)
    good = bad = 0
    with VideoReader(path, MAX_PIXELS) as reader:
        for number, frame in enumerate(frames):
            try:
                good += number_in(reader.picture(frame.video_pts or 0)) == number
            except BadVideo as error:
                bad += 1
                assert str(error) == "cannot be decoded; the video is damaged there"
    assert bad > 0
    assert good >= 60 - bad - 12  # at most the rest of one stretch between keyframes is smeared


def test_a_video_that_is_cut_short_has_the_frames_that_came(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.ts", options={"crf": "1", "bf": "2"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = numbers(path)
    assert 10 < len(found) < 59
    assert found[:10] == list(range(10))


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "is no video that can be read"),
        (b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 100, "is no video that can be read|holds no"),
        (PLAYLIST.encode(), "is no video that can be read"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "is no video that can be read"),
    ],
)
def test_what_is_no_plain_video_is_refused(tmp_path: Path, body: bytes, message: str) -> None:
    (tmp_path / "a.mp4").write_bytes(body)
    with pytest.raises(BadVideo, match=message):
        video_frames(tmp_path / "a.mp4", EVERYTHING, VideoLimits())


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        for packet in [*stream.encode(frame), *stream.encode()]:
            out.mux(packet)
    with pytest.raises(BadVideo, match="holds no video"):
        video_frames(tmp_path / "a.mp4", EVERYTHING, VideoLimits())


@pytest.mark.parametrize(
    ("limits", "wanted", "message"),
    [
        (VideoLimits(max_frames=59), EVERYTHING, "has 60 such frames; at most 59"),
        (VideoLimits(max_file_bytes=100), EVERYTHING, "is larger than"),
        (VideoLimits(max_pixels=1000), EVERYTHING, "too large: 160 x 96 pixels"),
        (VideoLimits(), VideoRange(60), "has 60 frames, none of them in the range"),
    ],
)
def test_limits(tmp_path: Path, limits: VideoLimits, wanted: VideoRange, message: str) -> None:
    with pytest.raises(BadVideo, match=message):
        video_frames(make_video(tmp_path / "a.mp4"), wanted, limits)


def test_a_video_is_collected_beside_images_and_passed_over_in_folders(tmp_path: Path) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    make_video(folder / "clip.mp4", frames=3)
    cv2.imwrite(str(folder / "a.png"), np.zeros((4, 4, 3), np.uint8))
    found = collect([folder / "clip.mp4", folder], extract_to=tmp_path / "x")
    assert [frame.name for frame in found.frames] == ["clip_000000", "clip_000001", "clip_000002", "a.png"]
    assert found.skipped == 1
    (folder / "clip.mp4").write_bytes(b"no")
    found = collect([folder / "clip.mp4"], extract_to=tmp_path / "x", limits=ImageLimits())
    assert [entry.reason for entry in found.rejected] == ["clip.mp4 is no video that can be read."]


async def rows_of(path: Path, wanted: VideoRange = EVERYTHING) -> list[StoredFrame]:
    return [
        StoredFrame(1, number, frame.name, frame.path, frame.width, frame.height, video_pts=frame.video_pts)
        for number, frame in enumerate(video_frames(path, wanted, VideoLimits()))
    ]


async def each(rows: Sequence[StoredFrame], asked: list[int] | None = None) -> AsyncIterator[StoredFrame]:
    for row in rows:
        if asked is not None:
            asked.append(row.number)
        yield row


async def test_a_source_gives_frames_of_several_videos_and_images_in_order(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "i.png"), np.zeros((4, 5, 3), np.uint8))
    one = await rows_of(make_video(tmp_path / "a.mp4", frames=40))
    other = await rows_of(make_video(tmp_path / "b.mp4", frames=20))
    image = StoredFrame(1, 0, "i.png", str(tmp_path / "i.png"), 5, 4)
    rows = [*one, image, *other[5:]]
    seen = []
    async with aclosing(LocalFrames().read(each(rows))) as found:
        async for row, frame in found:
            assert isinstance(frame, Frame)
            seen.append((row.name, number_in(frame.pixels) if row.video_pts is not None else -1))
    assert seen == [(row.name, int(row.name[-6:]) if row.video_pts is not None else -1) for row in rows]


async def test_reading_ahead_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_frames, "AHEAD_BYTES", 4 * 3 * SIZE[0] * SIZE[1])
    rows = await rows_of(make_video(tmp_path / "a.mp4"))
    asked: list[int] = []
    async with aclosing(LocalFrames().read(each(rows, asked))) as found:
        async for row, _ in found:
            assert len(asked) <= row.number + 3 * 4
            await asyncio.sleep(0)


async def test_a_video_that_is_gone_or_another_is_a_bad_frame_each(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=5)
    rows = await rows_of(path)
    path.unlink()
    async with aclosing(LocalFrames().read(each(rows))) as found:
        answers = [frame async for _, frame in found]
    assert [str(frame) for frame in answers] == [f"{row.name} is missing." for row in rows]
    make_video(path, frames=2)
    assert number_in((await picture(LocalFrames(), rows[1])).pixels) == 1
    with pytest.raises(BadFrame, match="a_000004 cannot be decoded"):
        await picture(LocalFrames(), rows[4])


@pytest.fixture
async def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with world(tmp_path / "data", monkeypatch) as service:
        yield service


async def test_a_job_annotates_a_video_and_goes_on_where_it_was_cancelled(made: World, tmp_path: Path) -> None:
    await made.tasks.add_frames(made.task.id, [make_video(tmp_path / "clip.mp4", frames=50)], video=VideoRange(step=2))
    assert (await made.tasks.get(made.task.id)).frame_count == 25
    seen: list[tuple[str, int]] = []
    job = await made.job()

    async def look(_: FakePredictor, frames: Sequence[Frame]) -> None:
        seen.extend((frame.id, number_in(frame.pixels)) for frame in frames)
        if len(seen) >= 8:
            async with turn:  # the other batches wait until it is cancelled
                if not cancelled:
                    cancelled.append(job.id)
                    await made.jobs.cancel(job.id)

    cancelled: list[int] = []
    turn = asyncio.Lock()
    made.adapter.behave = look
    await made.jobs.run(job.id)
    assert (await made.check(job.id)).state == "cancelled"
    await made.jobs.resume(job.id)
    await made.jobs.run(job.id)
    assert (await made.check(job.id)).state == "succeeded"
    assert sorted(seen) == [(f"clip_{number:06d}", number) for number in range(0, 50, 2)]
    assert not [file for file in made.folder.rglob("*") if file.suffix in (".jpg", ".png", ".mp4")]


async def test_damaged_frames_of_a_video_fail_alone(made: World, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", options={"crf": "1", "bf": "2"})
    await made.tasks.add_frames(made.task.id, [path])
    damaged(path)
    job = await made.job(max_failure_rate=1)
    await made.jobs.run(job.id)
    done = await made.check(job.id)
    assert done.state == "succeeded"
    assert done.frames_failed > 0
    failed = await made.jobs.ledger(job.id, state=FrameState.FAILED)
    assert {row.error for row in failed} == {
        f"{row.name} cannot be decoded; the video is damaged there." for row in failed
    }


async def test_a_video_of_more_frames_than_a_task_may_have_is_refused(made: World, tmp_path: Path) -> None:
    made.tasks.limits = ImageLimits(max_task_frames=10)
    with pytest.raises(TooLarge, match="11 more would be above the 10"):
        await made.tasks.add_frames(made.task.id, [make_video(tmp_path / "a.mp4", frames=11)])
    with pytest.raises(InvalidRequest):
        await made.tasks.add_frames(made.task.id, [tmp_path / "missing.mp4"])


def test_ffmpeg_is_loaded_only_where_a_video_is_looked_at() -> None:
    code = (
        "import bridge.sources.files, bridge.sources.local_frames, bridge.cli.main, sys; assert 'av' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
