"""Annotations exported together with their images: the same files, where readers look for them, or nothing at all."""

from __future__ import annotations

import asyncio
import io
import tracemalloc
import zipfile
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datumaro
import numpy as np
import pytest
import supervision
from PIL import Image

from adapters.errors import BadFrame, Unavailable
from adapters.frame import Frame, decode
from bridge.domain import NewFrame, Shape, StoredFrame, Task
from bridge.errors import InvalidRequest, Overloaded
from bridge.formats import FORMATS
from bridge.sources.frame_source import Picture
from bridge.sources.local_frames import LocalFrames
from bridge.store import tasks as task_rows
from bridge.task_labels import parse_labels
from tests.unit.bridge.remotes.cvat_world import cvat_world
from tests.unit.bridge.videos import SIZE, make_video, number_in
from tests.unit.bridge.world import World, world

BOX = Shape("car", "rectangle", (1.0, 2.0, 30.0, 20.0))
PATHS = {
    "coco": "images/{0}",
    "coco-polygons": "images/{0}",
    "coco-panoptic": "images/{0}",
    "cvat": "images/{0}",
    "cvat-video": "images/frame_{1:06}{2}",
    "datumaro": "images/default/{0}",
    "label-studio": "images/{0}",
    "mot": "img1/{3:06}{2}",
    "voc": "JPEGImages/{0}",
    "yolo": "images/train/{0}",
    "yolo-seg": "images/train/{0}",
    "yolo-obb": "images/train/{0}",
}
OLD_PYCOCOTOOLS = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
async def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with world(tmp_path / "data", monkeypatch) as service:
        yield service


@pytest.fixture
async def images(made: World, tmp_path: Path) -> dict[str, bytes]:
    """Name -> file of the task's frames: a PNG, a JPEG that stands on its side, a TIFF in a folder; a box on each."""
    folder = tmp_path / "images"
    (folder / "below").mkdir(parents=True)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8))
    noise.save(folder / "a.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    noise.transpose(Image.Transpose.ROTATE_90).save(folder / "b c.jpg", exif=turned)
    noise.save(folder / "below" / "ö.tif")
    await made.tasks.add_frames(made.task.id, [folder])
    files = {}
    for frame in await made.tasks.frames(made.task.id):
        await made.add(frame.number, BOX)
        files[frame.name] = (folder / frame.name).read_bytes()
    made.task = await made.tasks.get(made.task.id)
    return files


async def copy_of(made: World) -> Task:
    """A task of the same frames without shapes."""
    task = await made.tasks.create("copy", parse_labels("car,person,tree"))
    async with made.store.write() as connection:
        frames = await task_rows.list_frames(connection, made.task.id)
        new = [NewFrame(f.name, f.path, f.width, f.height, video_pts=f.video_pts) for f in frames]
        await task_rows.add_frames(connection, task.id, new)
    return task


async def points_of(made: World, task: Task) -> list[list[tuple[float, ...]]]:
    return [[shape.points for shape in shapes] async for _, shapes in made.tasks.annotated(task.id)]


@pytest.mark.parametrize("name", [name for name in FORMATS if name in PATHS])
async def test_the_very_files_stand_where_the_format_has_them_and_all_comes_back(
    made: World, images: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    summary = await made.tasks.export(made.task, tmp_path / "out.zip", name, LocalFrames())
    assert (summary.frames, summary.shapes, summary.images, summary.missing) == (3, 3, 3, 0)
    await made.tasks.export(made.task, tmp_path / "out", name, LocalFrames())
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        for number, (file, data) in enumerate(images.items()):
            place = PATHS[name].format(file, number, Path(file).suffix, number + 1)
            assert archive.read(place) == data
            method = zipfile.ZIP_DEFLATED if file.endswith(".tif") else zipfile.ZIP_STORED
            assert archive.getinfo(place).compress_type == method
            assert (tmp_path / "out" / place).read_bytes() == data
        beside = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
        assert beside == set(archive.namelist())
    copy = await copy_of(made)
    for path in (tmp_path / "out.zip", tmp_path / "out"):
        imported = await made.tasks.import_annotations(copy, path, name)
        assert (imported.shapes, imported.unknown_files) == (3, ())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "images", "out", "out.zip"]


def test_every_format_that_holds_boxes_is_tried() -> None:
    assert set(FORMATS) - set(PATHS) == {"coco-keypoints", "yolo-pose"}


@OLD_PYCOCOTOOLS
@pytest.mark.parametrize("name", ["coco", "voc", "datumaro"])
async def test_datumaro_finds_the_images(made: World, images: dict[str, bytes], tmp_path: Path, name: str) -> None:
    await made.tasks.export(made.task, tmp_path / "out", name, LocalFrames())
    items = list(datumaro.Dataset.import_from(str(tmp_path / "out"), name))
    assert len(items) == 3
    for item in items:
        (data,) = [data for file, data in images.items() if Path(file).stem == Path(item.id).name]
        assert Path(item.media.path).read_bytes() == data
        assert any(annotation.type.name == "bbox" for annotation in item.annotations)


async def test_supervision_finds_the_images(made: World, images: dict[str, bytes], tmp_path: Path) -> None:
    await made.tasks.export(made.task, tmp_path / "out", "yolo", LocalFrames())
    below = [str(tmp_path / "out" / name) for name in ("images/train", "labels/train", "data.yaml")]
    dataset = supervision.DetectionDataset.from_yolo(*below)
    found = {Path(path).name: len(boxes) for path, _, boxes in dataset}
    assert found == {"a.png": 1, "b c.jpg": 1}  # it does not look into folders


async def test_frames_of_a_video_become_files_that_the_annotations_name(made: World, tmp_path: Path) -> None:
    await made.tasks.add_frames(made.task.id, [make_video(tmp_path / "cam.01.mp4", 20)])
    for number in range(20):
        await made.add(number, BOX)
    made.task = await made.tasks.get(made.task.id)
    copy = await copy_of(made)
    for turn, name in enumerate(("coco", "voc", "yolo", "mot"), 1):
        summary = await made.tasks.export(made.task, tmp_path / f"{name}.zip", name, LocalFrames())
        assert (summary.images, summary.missing) == (20, 0)
        with zipfile.ZipFile(tmp_path / f"{name}.zip") as archive:
            pictures = sorted(file for file in archive.namelist() if file.endswith(".jpg"))
            shown = [decode(file, archive.read(file)) for file in pictures]
        assert [number_in(each) for each in shown] == list(range(20))
        assert shown[0].shape == (SIZE[1], SIZE[0], 3)
        imported = await made.tasks.import_annotations(copy, tmp_path / f"{name}.zip", name)
        assert imported.unknown_files == ()
        assert [len(points) for points in await points_of(made, copy)] == [turn] * 20
        if name == "coco":  # a task made of the pictures is what the file speaks of as well
            other = await made.tasks.create("other", parse_labels("car"))
            await made.tasks.add_frames(other.id, [tmp_path / "coco.zip"])
            imported = await made.tasks.import_annotations(other, tmp_path / "coco.zip")
            assert (imported.shapes, imported.unknown_files) == (20, ())


async def test_an_image_that_cannot_be_had_is_named_and_the_rest_is_written(
    made: World, images: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "images" / "a.png").unlink()
    Image.new("RGB", (7, 7)).save(tmp_path / "images" / "b c.jpg")
    summary = await made.tasks.export(made.task, tmp_path / "out.zip", "coco", LocalFrames())
    assert (summary.shapes, summary.images, summary.missing) == (3, 1, 2)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert [name for name in archive.namelist() if name.startswith("images/")] == ["images/below/ö.tif"]
        told = archive.read("missing-images.txt").decode().splitlines()
    assert [line.split(":")[0] for line in told] == ["a.png", "b c.jpg"]
    assert "7 x 7, not 40 x 30" in told[1]


@pytest.mark.parametrize("name", ["coco", "cvat", "label-studio"])
async def test_a_single_file_holds_no_images(made: World, images: dict[str, bytes], tmp_path: Path, name: str) -> None:
    path = tmp_path / f"out{FORMATS[name].suffix}"
    with pytest.raises(InvalidRequest) as caught:
        await made.tasks.export(made.task, path, name, LocalFrames())
    assert "out.zip" in caught.value.hint
    assert not path.exists()


async def named(made: World, tmp_path: Path, *names: str) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "one.png")
    async with made.store.write() as connection:
        new = [NewFrame(name, str(tmp_path / "one.png"), 40, 30) for name in names]
        await task_rows.add_frames(connection, made.task.id, new)
    made.task = await made.tasks.get(made.task.id)


@pytest.mark.parametrize("name", ["coco", "cvat", "yolo"])
@pytest.mark.parametrize("frame", ["../up.png", "/etc/up.png", "a/../../up.png", "..\\up.png"])
async def test_a_name_that_leads_out_of_the_folder_is_refused(
    made: World, tmp_path: Path, name: str, frame: str
) -> None:
    await named(made, tmp_path, frame)
    before = sorted(tmp_path.rglob("*"))
    for path in (tmp_path / "out.zip", tmp_path / "out"):
        with pytest.raises(InvalidRequest):
            await made.tasks.export(made.task, path, name, LocalFrames())
    assert sorted(tmp_path.rglob("*")) == before


async def test_names_without_a_suffix_get_that_of_their_file_and_none_is_overwritten(
    made: World, tmp_path: Path
) -> None:
    await named(made, tmp_path, "plain", "cam.jpg.7")
    await made.tasks.export(made.task, tmp_path / "out.zip", "coco", LocalFrames())
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert sorted(archive.namelist())[1:] == ["images/cam.jpg.7.png", "images/plain.png"]
    await named(made, tmp_path, "plain.png")
    with pytest.raises(InvalidRequest) as caught:
        await made.tasks.export(made.task, tmp_path / "other.zip", "coco", LocalFrames())
    assert "plain.png" in caught.value.message
    assert not (tmp_path / "other.zip").exists()


class Source:
    """Pictures of a source elsewhere, made by ``picture``; each costs ``size`` bytes."""

    def __init__(self, size: int = 0, fails_at: int | None = None) -> None:
        self._size, self._fails_at = size, fails_at
        self.waiting = asyncio.Event()
        self.closed = False

    async def read(self, rows: AsyncIterable[StoredFrame]) -> AsyncGenerator[Picture, None]:
        png = io.BytesIO()
        Image.new("RGB", (100, 80)).save(png, "PNG")
        try:
            async for row in rows:
                if row.number == self._fails_at:
                    if self._size:
                        raise Unavailable("gone")
                    self.waiting.set()
                    await asyncio.Event().wait()
                if row.number % 2:
                    yield row, BadFrame(row.name, "not given out")
                else:
                    yield row, Frame(row.name, 100, 80, encoded=png.getvalue() + bytes(self._size))
        finally:
            self.closed = True


async def test_what_is_in_memory_does_not_grow_with_the_images(made: World, tmp_path: Path) -> None:
    await made.frames(600)
    size = 1 << 20
    tracemalloc.start()
    try:
        summary = await made.tasks.export(made.task, tmp_path / "out.zip", "coco", Source(size))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (summary.images, summary.missing) == (300, 300)
    assert (tmp_path / "out.zip").stat().st_size > 300 * size
    assert peak < 20 * size


async def test_a_source_that_fails_and_a_caller_that_goes_leave_nothing(made: World, tmp_path: Path) -> None:
    await made.frames(100)
    for path in (tmp_path / "out.zip", tmp_path / "out"):
        source = Source(10, fails_at=50)
        with pytest.raises(Unavailable):
            await made.tasks.export(made.task, path, "coco", source)
        assert source.closed
        source = Source(fails_at=50)
        going = asyncio.ensure_future(made.tasks.export(made.task, path, "yolo", source))
        await source.waiting.wait()
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        assert source.closed
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


async def test_the_last_room_of_a_disk_is_not_taken(
    made: World, images: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(_: Any) -> Any:
        return SimpleNamespace(free=100 * 2**20)

    monkeypatch.setattr("bridge.formats.packing.shutil.disk_usage", usage)
    with pytest.raises(Overloaded) as caught:
        await made.tasks.export(made.task, tmp_path / "out.zip", "coco", LocalFrames())
    assert caught.value.code == "disk_full"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "images"]


async def test_a_task_of_cvat_gives_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with cvat_world(tmp_path, monkeypatch) as there:
        await there.run()
        async with there.made.jobs.remotes.source(there.task) as source:
            summary = await there.made.tasks.export(there.task, tmp_path / "out.zip", "yolo", source)
        assert (summary.images, summary.missing) == (20, 0)
        with zipfile.ZipFile(tmp_path / "out.zip") as archive:
            for name, picture in zip(there.remote.names, there.remote.pictures, strict=True):
                assert archive.read(f"images/train/{name}") == picture


@pytest.mark.parametrize("names", [(), ("train.json", "val.json")])
async def test_a_zip_without_the_one_file_that_is_meant_is_refused(
    made: World, tmp_path: Path, names: tuple[str, ...]
) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr("images/a.png", b"")
        for name in names:
            archive.writestr(f"annotations/{name}", b"{}")
    with pytest.raises(InvalidRequest) as caught:
        await made.tasks.import_annotations(made.task, tmp_path / "in.zip")
    assert all(name in caught.value.message for name in names)
    assert ".json file" in caught.value.message
