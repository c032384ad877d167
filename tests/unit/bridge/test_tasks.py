"""Tasks: frames from folders, files and zips, annotations in and out, and what is left when a task goes."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from bridge.domain import Shape, Source
from bridge.errors import Conflict, InvalidRequest, NotFound, TooLarge
from bridge.sources import files
from bridge.sources.files import ImageLimits
from bridge.task_labels import parse_labels
from bridge.tasks import Tasks
from tests.unit.bridge.world import World, world

BOX = Shape("car", "rectangle", (1.0, 2.0, 30.0, 20.0))


@pytest.fixture
async def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with world(tmp_path / "data", monkeypatch) as service:
        yield service


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """a.png, b.png, below/c.png, a text file named .jpg and a note."""
    folder = tmp_path / "images"
    (folder / "below").mkdir(parents=True)
    for name in ("a.png", "b.png", "below/c.png"):
        Image.new("RGB", (40, 30), (9, 99, 9)).save(folder / name)
    (folder / "text.jpg").write_text("no image")
    (folder / "note.md").write_text("nothing to see")
    return folder


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def left(made: World) -> list[str]:
    """Files in the folder of what was uploaded or unpacked."""
    return sorted(path.name for path in made.tasks.folder.rglob("*") if path.is_file())


async def names(made: World) -> list[str]:
    return [frame.name for frame in await made.tasks.frames(made.task.id)]


# --- tasks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "two\nlines"])
async def test_a_name_that_no_list_can_show_is_refused(made: World, name: str) -> None:
    with pytest.raises(InvalidRequest, match="name"):
        await made.tasks.create(name, parse_labels("car"))


async def test_a_task_needs_labels_and_a_name_of_its_own(made: World) -> None:
    with pytest.raises(InvalidRequest, match="label"):
        await made.tasks.create("empty", [])
    with pytest.raises(Conflict, match="street"):
        await made.tasks.create("street", parse_labels("car"))
    assert [task.name for task in await made.tasks.page()] == ["street"]


async def test_labels_come_back_as_they_were_given(made: World) -> None:
    given = parse_labels(
        '[{"name": "car", "type": "rectangle", "color": "#ff0000", "attributes": '
        '[{"name": "parked", "input_type": "checkbox", "mutable": true, "values": ["false"]}]},'
        ' {"name": "pose", "type": "skeleton", "sublabels": [{"name": "head"}, {"name": "tail"}]}]'
    )
    task = await made.tasks.create("labelled", given)
    assert [(e.name, e.type, e.color, e.attributes, e.sublabels) for e in task.labels] == [
        (e.name, e.type, e.color, e.attributes, e.sublabels) for e in given
    ]
    assert await made.tasks.find("labelled") == task


async def test_a_task_is_found_by_name_before_id(made: World) -> None:
    shadow = await made.tasks.create(str(made.task.id), parse_labels("car"))
    assert await made.tasks.find(str(made.task.id)) == shadow
    assert await made.tasks.get(made.task.id) == made.task
    assert await made.tasks.find(str(shadow.id)) == shadow
    for nobody in ("nobody", "99", "9" * 40):
        with pytest.raises(NotFound):
            await made.tasks.find(nobody)


# --- frames ---------------------------------------------------------------------------------------------------------


async def test_frames_of_a_folder_are_read_where_they_are(made: World, images: Path) -> None:
    found = await made.tasks.add_frames(made.task.id, [images])
    assert [rejected.name for rejected in found.rejected] == ["text.jpg"]
    assert found.skipped == 1
    frames = await made.tasks.frames(made.task.id)
    assert [(f.number, f.name, f.width, f.height) for f in frames] == [
        (0, "a.png", 40, 30),
        (1, "b.png", 40, 30),
        (2, "below/c.png", 40, 30),
    ]
    assert frames[0].path == str(images / "a.png")
    assert left(made) == []
    assert (await made.tasks.get(made.task.id)).frame_count == 3


async def test_frames_of_a_zip_are_unpacked_and_numbered_on(made: World, images: Path, tmp_path: Path) -> None:
    await made.tasks.add_frames(made.task.id, [images / "b.png"])
    (images / "b.png").unlink()
    found = await made.tasks.add_frames(made.task.id, [zipped(images, tmp_path / "more.zip")])
    assert [rejected.name for rejected in found.rejected] == ["text.jpg"]
    frames = await made.tasks.frames(made.task.id)
    assert [(frame.number, frame.name) for frame in frames] == [(0, "b.png"), (1, "a.png"), (2, "below/c.png")]
    assert all(Path(frame.path).is_relative_to(made.tasks.files_of(made.task.id)) for frame in frames[1:])


async def test_adding_a_frame_twice_is_refused_and_adds_nothing(made: World, images: Path, tmp_path: Path) -> None:
    await made.tasks.add_frames(made.task.id, [images / "b.png"])
    archive = zipped(images, tmp_path / "all.zip")
    with pytest.raises(Conflict, match=r"b\.png"):
        await made.tasks.add_frames(made.task.id, [archive])
    assert await names(made) == ["b.png"]
    assert left(made) == []


async def test_known_frames_may_be_skipped_and_are_not_kept_unpacked(made: World, images: Path, tmp_path: Path) -> None:
    await made.tasks.add_frames(made.task.id, [images / "b.png"])
    archive = zipped(images, tmp_path / "all.zip")
    found = await made.tasks.add_frames(made.task.id, [archive], skip_known=True)
    assert [frame.name for frame in found.frames] == ["a.png", "below/c.png"]
    assert await names(made) == ["b.png", "a.png", "below/c.png"]
    again = await made.tasks.add_frames(made.task.id, [archive], skip_known=True)
    assert again.frames == []
    kept = [Path(frame.path) for frame in await made.tasks.frames(made.task.id)][1:]
    assert [name for name in left(made) if name.endswith(".png")] == sorted(path.name for path in kept)
    assert all(path.exists() for path in kept)
    assert (images / "b.png").exists()


async def test_what_cannot_be_added_leaves_no_files(
    made: World, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped(images, tmp_path / "all.zip")
    with pytest.raises(NotFound):
        await made.tasks.add_frames(99, [archive])
    with pytest.raises(InvalidRequest, match="no file or folder"):
        await made.tasks.add_frames(made.task.id, [archive, tmp_path / "missing"])
    made.tasks.limits = ImageLimits(max_files=1)
    with pytest.raises(TooLarge):
        await made.tasks.add_frames(made.task.id, [archive])
    made.tasks.limits = ImageLimits()

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(files, "_named", full)
    with pytest.raises(OSError, match="No space"):
        await made.tasks.add_frames(made.task.id, [archive])
    assert left(made) == []
    assert await names(made) == []


async def test_two_that_add_the_same_frames_at_once_add_them_once(made: World, images: Path) -> None:
    answers = await asyncio.gather(
        *(made.tasks.add_frames(made.task.id, [images]) for _ in range(3)), return_exceptions=True
    )
    assert sum(isinstance(answer, Conflict) for answer in answers) == 2
    assert len(await names(made)) == 3


async def test_pages_of_frames_with_their_shapes(made: World, images: Path) -> None:
    await made.tasks.add_frames(made.task.id, [images])
    await made.add(1, BOX)
    page = await made.tasks.frames_with_shapes(made.task.id, after=0, most=1)
    assert [(frame.name, [shape.points for shape in shapes]) for frame, shapes in page] == [("b.png", [BOX.points])]
    frame, shapes = await made.tasks.frame(made.task.id, 1)
    assert (frame.name, len(shapes)) == ("b.png", 1)
    with pytest.raises(NotFound):
        await made.tasks.frame(made.task.id, 7)
    with pytest.raises(NotFound):
        await made.tasks.frames(99)


# --- annotations in and out -----------------------------------------------------------------------------------------


async def test_what_is_exported_is_imported_with_the_source_that_is_said(
    made: World, images: Path, tmp_path: Path
) -> None:
    await made.tasks.add_frames(made.task.id, [images])
    await made.add(0, BOX, BOX)
    await made.add(2, BOX)
    summary = await made.tasks.export(made.task, tmp_path / "out.json")
    assert (summary.frames, summary.shapes) == (3, 3)
    other = await made.tasks.create("other", parse_labels("car"))
    await made.tasks.add_frames(other.id, [images])
    for source in (Source.MANUAL, Source.AUTOMATIC):
        imported = await made.tasks.import_annotations(other, tmp_path / "out.json", source=source)
        assert (imported.frames, imported.shapes, imported.unknown_labels) == (2, 3, ())
    shapes = [shape for _, found in [e async for e in made.tasks.annotated(other.id)] for shape in found]
    assert sorted(shape.source for shape in shapes) == ["automatic"] * 3 + ["manual"] * 3
    assert {shape.points for shape in shapes} == {BOX.points}
    assert await made.tasks.shapes_by_label(other.id) == {"car": 6}


async def test_what_has_no_place_in_the_task_is_reported_and_left_out(
    made: World, images: Path, tmp_path: Path
) -> None:
    await made.tasks.add_frames(made.task.id, [images])
    document = {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 2, "file_name": "unknown.png", "width": 40, "height": 30},
            {"id": 3, "file_name": "b.png", "width": 41, "height": 30},
        ],
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "lorry"}],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": bbox, "area": 100, "iscrowd": 0}
            for i, (image, category, bbox) in enumerate(
                [
                    (1, 1, [1, 1, 9, 9]),
                    (1, 2, [1, 1, 9, 9]),
                    (1, 1, [90, 90, 9, 9]),
                    (2, 1, [1, 1, 9, 9]),
                    (3, 1, [0, 0, 9, 9]),
                ],
                1,
            )
        ],
    }
    (tmp_path / "in.json").write_text(json.dumps(document))
    summary = await made.tasks.import_annotations(made.task, tmp_path / "in.json")
    assert (summary.frames, summary.shapes, summary.outside) == (1, 1, 1)
    assert summary.unknown_files == ("unknown.png",)
    assert summary.unknown_labels == ("lorry",)
    assert summary.wrong_size == ("b.png",)
    assert await made.tasks.shapes_by_label(made.task.id) == {"car": 1}


@pytest.mark.parametrize("content", ["", "no json", "[]", "{}", '{"images": 3}'])
async def test_a_file_that_holds_no_annotations_is_refused(made: World, tmp_path: Path, content: str) -> None:
    (tmp_path / "in.json").write_text(content)
    with pytest.raises(InvalidRequest):
        await made.tasks.import_annotations(made.task, tmp_path / "in.json")
    with pytest.raises(InvalidRequest):
        await made.tasks.import_annotations(made.task, tmp_path / "missing.json")


async def test_an_unknown_format_is_refused_and_the_known_ones_named(made: World, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await made.tasks.export(made.task, tmp_path / "out", "nosuch")
    assert "coco" in caught.value.message + caught.value.hint


# --- removing -------------------------------------------------------------------------------------------------------


async def test_removing_a_task_removes_what_was_unpacked_and_nothing_else(
    made: World, images: Path, tmp_path: Path
) -> None:
    archive = zipped(images, tmp_path / "all.zip")
    (images / "b.png").rename(images / "d.png")
    await made.tasks.add_frames(made.task.id, [images / "d.png", archive])
    other = await made.tasks.create("other", parse_labels("car"))
    await made.tasks.add_frames(other.id, [archive])
    await made.tasks.remove(made.task.id)
    assert not made.tasks.files_of(made.task.id).exists()
    assert (images / "d.png").exists()
    assert archive.exists()
    assert all(Path(frame.path).exists() for frame in await made.tasks.frames(other.id))
    with pytest.raises(NotFound):
        await made.tasks.get(made.task.id)
    with pytest.raises(NotFound):
        await made.tasks.remove(made.task.id)


async def test_imported_tracks_are_none_that_the_task_has(made: World, images: Path, tmp_path: Path) -> None:
    await made.tasks.add_frames(made.task.id, [images])
    tracked = [replace(BOX, track_id=5), replace(BOX, track_id=9)]
    await made.add(0, *tracked)
    await made.add(1, *tracked)
    await made.tasks.export(made.task, tmp_path / "out.xml", "cvat")
    await made.tasks.import_annotations(made.task, tmp_path / "out.xml", "cvat")
    found = [[shape.track_id for shape in shapes] async for _, shapes in made.tasks.annotated(made.task.id)]
    assert found[:2] == [[5, 9, 10, 11], [5, 9, 10, 11]]


async def test_the_points_of_a_skeleton_are_found_by_name(made: World, images: Path, tmp_path: Path) -> None:
    labels = parse_labels('[{"name": "man", "type": "skeleton", "sublabels": ["head", "hand", "foot"]}]')
    task = await made.tasks.create("men", labels)
    await made.tasks.add_frames(task.id, [images])

    async def read(names: list[str], *points: float) -> tuple[float, ...]:
        document = {
            "images": [{"id": 1, "file_name": "a.png"}],
            "categories": [{"id": 1, "name": "man", "keypoints": names}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "keypoints": points}],
        }
        (tmp_path / "in.json").write_text(json.dumps(document))
        await made.tasks.import_annotations(task, tmp_path / "in.json")
        return (await made.tasks.frame(task.id, 0))[1][-1].points

    assert await read(["foot", "head"], 1, 2, 2, 3, 4, 1) == (3, 4, 1, 0, 0, 0, 1, 2, 2)
    assert await read(["a", "b", "c"], 1, 2, 2, 3, 4, 2, 5, 6, 2) == (1, 2, 2, 3, 4, 2, 5, 6, 2)  # by their order
    with pytest.raises(InvalidRequest, match="The skeleton man has 2 points in the file, in the task 3"):
        await read(["a", "b"], 1, 2, 2, 3, 4, 2)


async def test_a_task_takes_no_more_frames_than_it_may(made: World, images: Path, tmp_path: Path) -> None:
    tasks = Tasks(made.tasks.store, tmp_path / "tasks", ImageLimits(max_task_frames=3))
    task = await tasks.create("t", parse_labels("car"))
    await tasks.add_frames(task.id, [images / "a.png", images / "b.png"])
    with pytest.raises(TooLarge, match="2 frames, and 3 more"):
        await tasks.add_frames(task.id, [images], skip_known=False)
    assert (await tasks.get(task.id)).frame_count == 2
