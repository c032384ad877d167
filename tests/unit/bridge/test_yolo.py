import contextlib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from bridge import formats
from bridge.domain import Shape, StoredFrame, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats import ExportSummary, place
from bridge.formats.yolo import YoloWriter, read_yolo
from bridge.masks import mask_from_polygon
from tests.unit.bridge.annotated import ALL, LABELS, MASK, PARTS, POLYGON, RECTANGLE, TAG, bits, frame
from tests.unit.bridge.drawn import decode_mask
from tests.unit.bridge.written import write_file


def write(path: Path, *shapes: Shape, **options: Any) -> ExportSummary:
    return write_file("yolo", path, LABELS, [(frame(), shapes), (frame(1), [])], **options)


def rows(folder: Path) -> list[list[float]]:
    text = (folder / "labels/train/frames/000.txt").read_text()
    return [[float(part) for part in line.split()] for line in text.splitlines()]


def test_detection_holds_the_box_of_every_shape_that_has_one(tmp_path: Path) -> None:
    summary = write(tmp_path / "out", *ALL)
    assert summary == ExportSummary(2, 8, {"points": 1, "tag": 1})
    boxes = rows(tmp_path / "out")
    assert [row[0] for row in boxes] == [0, 0, 2, 0, 0, 0, 1]
    assert boxes[0][1:] == pytest.approx([0.30375, 0.5, 0.3975, 0.5])
    assert boxes[1][1:] == pytest.approx([0.4, 0.5, 0.2, 0.5])  # turned by 90 degrees
    assert boxes[3][1:] == pytest.approx([0.15, 0.1875, 0.3, 0.375])  # both parts
    assert boxes[5][1:] == pytest.approx([0.41, 0.45, 0.78, 0.85])  # the mask
    assert (tmp_path / "out/labels/train/frames/001.txt").read_text() == ""
    assert (tmp_path / "out/train.txt").read_text().splitlines() == [
        "./images/train/frames/000.jpg",
        "./images/train/frames/001.jpg",
    ]


def test_segmentation_holds_an_outline_a_line(tmp_path: Path) -> None:
    summary = write(tmp_path / "out", *ALL, task="segment")
    assert summary == ExportSummary(2, 7, {"points": 1, "skeleton": 1, "tag": 1})
    outlines = rows(tmp_path / "out")
    assert [len(row) for row in outlines[:3]] == [9, 9, 9]
    mask = [value * side for value, side in zip(outlines[5][1:], (100, 80) * 500, strict=False)]
    drawn = decode_mask(mask_from_polygon([mask], 100, 80))
    assert (drawn & bits()).sum() / (drawn | bits()).sum() > 0.9  # speck, ring and hole in one line


def test_a_zip_holds_the_same_as_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "out", *ALL)
    write(tmp_path / "out.zip", *ALL)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    plain = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in (tmp_path / "out").rglob("*.*")
    }
    assert packed == plain
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.zip"]


@pytest.mark.parametrize("name", ["out", "out.zip"])
@pytest.mark.parametrize("task", ["detect", "segment"])
def test_what_we_wrote_comes_back(tmp_path: Path, name: str, task: str) -> None:
    write(tmp_path / name, RECTANGLE, POLYGON, task=task)
    document = read_yolo(tmp_path / name)
    assert [label.name for label in document.labels] == [label.name for label in LABELS]
    placed = place(document, [frame(), frame(1)])
    first, second = placed.shapes[0]
    assert (first.label, second.label) == (RECTANGLE.label, POLYGON.label)
    if task == "detect":
        assert first.points == pytest.approx(RECTANGLE.points, abs=0.01)
        assert second.points == pytest.approx((10, 10, 30, 30.25), abs=0.01)
    else:
        assert first.points == pytest.approx((10.5, 20, 50.25, 20, 50.25, 60, 10.5, 60), abs=0.01)
        assert second.points == pytest.approx(POLYGON.points, abs=0.01)
    assert placed.shapes[1] == ()


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_supervision_reads_it(tmp_path: Path, task: str) -> None:
    supervision = pytest.importorskip("supervision")
    shapes = [RECTANGLE, POLYGON]
    write_file("yolo", tmp_path / "out", LABELS[::2], [(frame(0, "a.jpg"), shapes)], task=task)
    (tmp_path / "out/images/train").mkdir(parents=True)
    Image.new("RGB", (100, 80)).save(tmp_path / "out/images/train/a.jpg")
    dataset = supervision.DetectionDataset.from_yolo(
        str(tmp_path / "out/images/train"), str(tmp_path / "out/labels/train"), str(tmp_path / "out/data.yaml")
    )
    ((_, _, detections),) = list(dataset)
    assert detections.xyxy[0] == pytest.approx(RECTANGLE.points, abs=1)
    assert detections.class_id.tolist() == [0, 1]
    assert list(dataset.classes) == [LABELS[0].name, LABELS[2].name]


def test_two_frames_of_one_label_file_are_refused(tmp_path: Path) -> None:
    frames = [(frame(0, "a.jpg"), []), (frame(1, "a.png"), [])]
    with pytest.raises(InvalidRequest, match=r"a\.png would share its label file"):
        write_file("yolo", tmp_path / "out", LABELS, frames)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "a/../../b.jpg"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be a path"):
        write_file("yolo", tmp_path / "deep" / "out", LABELS, [(frame(0, name), [])])
    assert list((tmp_path / "deep").iterdir()) == []


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_a_failed_export_leaves_nothing(tmp_path: Path, name: str) -> None:
    def frames() -> Iterator[tuple[StoredFrame, Sequence[Shape]]]:
        yield frame(), [RECTANGLE]
        raise RuntimeError("the source went away")

    with pytest.raises(RuntimeError):
        write_file("yolo", tmp_path / name, LABELS, frames())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_refused_and_an_empty_one_used(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(InvalidRequest, match="not empty"):
        write(tmp_path / "full")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", RECTANGLE)
    assert (tmp_path / "empty/data.yaml").exists()


def test_what_cannot_be_written_is_counted(tmp_path: Path) -> None:
    shapes = [
        Shape("nobody", "tag"),
        Shape("car", "mask", rle=b"what"),
        Shape("car", "rectangle", (200, 10, 300, 20)),
        TAG,
    ]
    assert write(tmp_path / "out", *shapes).left_out == {
        "empty rectangle": 1, "tag": 1, "unknown label": 1, "unreadable mask": 1,
    }  # fmt: skip


def folder(tmp_path: Path, text: str | bytes = "", names: str = "names: [car, bus]") -> Path:
    (tmp_path / "labels").mkdir(exist_ok=True)
    (tmp_path / "data.yaml").write_text(names)
    (tmp_path / "labels/a.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return tmp_path


def test_boxes_scores_and_polygons_are_told_apart_by_their_count(tmp_path: Path) -> None:
    text = "1 0.5 0.5 0.2 0.4\n\n0 .5 .5 .2 .4 0.75\n0 0 0 1 0 1 1\n"
    (image,) = read_yolo(folder(tmp_path, text)).images
    box, scored, polygon = image.shapes
    assert (image.name, image.relative) == ("a", True)
    assert (box.label, box.type, box.score) == ("bus", "rectangle", None)
    assert box.points == pytest.approx((0.4, 0.3, 0.6, 0.7))
    assert scored.score == 0.75
    assert (polygon.type, polygon.points) == ("polygon", (0, 0, 1, 0, 1, 1))


@pytest.mark.parametrize("names", ["names: {1: bus, 0: car}", "nc: 2\nnames:\n- car\n- bus\n"])
def test_names_are_a_list_or_numbered(tmp_path: Path, names: str) -> None:
    document = read_yolo(folder(tmp_path, names=names) / "data.yaml")
    assert document.labels == (TaskLabel("car"), TaskLabel("bus"))


@pytest.mark.parametrize(
    ("path", "name"),
    [("labels/a.txt", "a"), ("train/labels/a.txt", "a"), ("labels/val/d/a.txt", "d/a"), ("x/labels/train/a.txt", "a")],
)
def test_an_images_name_is_its_path_below_labels_without_the_split(tmp_path: Path, path: str, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as out:
        out.writestr("x/data.yaml", "names: [car]")
        out.writestr(path, "0 .5 .5 .1 .1")
        out.writestr("readme.txt", "not a label")
    assert [image.name for image in read_yolo(tmp_path / "in.zip").images] == [name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1 2", "line 1: 3 numbers are no box"),
        ("0 .1 .1 .1 .1\n0 .1 .2 .3 .4 .5 .6 .7", "line 2: 8 numbers"),
        ("car .1 .1 .1 .1", "line 1: not all of it is numbers"),
        ("2 .1 .1 .1 .1", "there is no label 2"),
        ("-1 .1 .1 .1 .1", "there is no label -1"),
        ("0.5 .1 .1 .1 .1", "there is no label 0.5"),
        ("0 nan .1 .1 .1", "not finite"),
        ("0 .1 .1 -.1 .1", "negative size"),
        ("0 .1 .1 .1 .1 7", "score is not"),
        ("0 320 240 10 10", "no share of the frame"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
    ],
)
def test_a_wrong_line_is_refused_by_file_and_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"labels/a\.txt.*{message}"):
        read_yolo(folder(tmp_path, text))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("names: {0: a, 2: b}", "without gaps"),
        ("nc: 3", "no list of names"),
        ("[", "not readable YAML"),
        ("names: [[]]", "no list of names"),
        ("!!python/object/apply:os.system ['true']", "not readable YAML"),
    ],
)
def test_wrong_names_are_refused(tmp_path: Path, names: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read_yolo(folder(tmp_path, names=names))


def test_what_is_no_yolo_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("no zip")
    (tmp_path / "empty").mkdir()
    for name, message in (("x.zip", "neither a folder"), ("empty", r"no data\.yaml"), ("none", "cannot be read")):
        with pytest.raises(InvalidRequest, match=message):
            read_yolo(tmp_path / name)


@given(st.text(st.sampled_from("0123456789.- \nenaif")))
@example("0 1e999 0 0 0")
@settings(max_examples=50)
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        for image in read_yolo(folder(tmp_path, text)).images:
            assert all(np.isfinite(shape.points).all() for shape in image.shapes)


def test_the_parts_of_one_object_are_one_line(tmp_path: Path) -> None:
    write(tmp_path / "out", *PARTS, MASK, task="segment")
    assert len(rows(tmp_path / "out")) == 2


def test_the_writer_is_found_by_both_names() -> None:
    assert formats.find("yolo-seg").options == {"task": "segment"}
    assert YoloWriter.__name__ in formats.find("yolo-seg").writer
