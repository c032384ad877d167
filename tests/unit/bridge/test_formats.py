"""What holds of every annotation format: whole or absent, what comes back, and what docs/reference/formats.md says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bridge import formats
from bridge.domain import Shape, Source, StoredFrame, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats import FORMATS, fit_joints, place
from tests.unit.bridge.annotated import (
    ELLIPSE,
    LABELS,
    MASK,
    PARTS,
    POINTS,
    POLYGON,
    RECTANGLE,
    ROTATED,
    SKELETON,
    TAG,
    frame,
)  # fmt: skip
from tests.unit.bridge.written import write_file

NAMES = tuple(FORMATS)
ONE_OF_EACH = {
    "rectangle": replace(RECTANGLE, score=None, source=Source.MANUAL, attributes={}),
    "turned rectangle": ROTATED,
    "polygon": replace(POLYGON, source=Source.MANUAL),
    "mask": replace(MASK, score=None, source=Source.MANUAL),
    "ellipse": ELLIPSE,
    "skeleton": SKELETON,
    "points": POINTS,
    "tag": replace(TAG, score=None, source=Source.MANUAL),
    "score": Shape("car", "rectangle", (10, 20, 30, 40), score=0.5, source=Source.AUTOMATIC),
    "attributes": Shape("car", "rectangle", (10, 20, 30, 40), attributes={"make": "vw"}),
    "track": Shape("car", "rectangle", (10, 20, 30, 40), track_id=7),
    "group": Shape("car", "rectangle", (10, 20, 30, 40), group=2),
}


def through(tmp_path: Path, name: str, *frames: Sequence[Shape]) -> tuple[list[list[Shape]], dict[str, int]]:
    """The shapes of frames as they come back out of a file of this format, and what was left out."""
    form = formats.find(name)
    path = tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}{form.suffix}"
    stored = [frame(number) for number in range(len(frames))]
    summary = write_file(name, path, LABELS, zip(stored, frames, strict=True))
    placed = place(fit_joints(form.read(path), LABELS), stored)
    assert (placed.unknown_files, placed.wrong_size, placed.outside) == ((), (), {})
    return [list(placed.shapes.get(one.number, ())) for one in stored], summary.left_out


def fate(tmp_path: Path, name: str, what: str) -> str:
    """What becomes of a shape, in a word: kept, or another type, or - where it is left out."""
    shape = ONE_OF_EACH[what]
    # A track is one of several frames: so it must be here.
    frames = [[shape], [shape]] if what == "track" else [[shape]]
    (back, *_), left_out = through(tmp_path, name, *frames)
    assert bool(back) != bool(left_out)  # nothing is lost without being counted
    if not back:
        return "-"
    if len(back) > 1:
        return "in parts"
    (found,) = back
    match what:
        case "score" | "attributes" | "group":
            return "kept" if getattr(found, what) == getattr(shape, what) else "-"
        case "track":
            return "kept" if found.track_id else "-"
    if found.type != shape.type or len(found.points) != len(shape.points):
        return "box" if found.type == "rectangle" else found.type
    close = found.points == pytest.approx(shape.points, abs=0.011) and found.rle == shape.rle
    turned = (found.rotation - shape.rotation) % 180 == pytest.approx(0, abs=0.02)
    if shape.type == "skeleton":  # an absent point has no place
        close = [v for i, v in enumerate(found.points) if shape.points[i - i % 3 + 2]] == pytest.approx(
            [v for i, v in enumerate(shape.points) if shape.points[i - i % 3 + 2]], abs=0.011
        )
    return "kept" if close and turned else "box"


def documented() -> dict[tuple[str, str], str]:
    """(format, what) -> the word in the table of the reference."""
    text = (Path(__file__).parents[3] / "docs/reference/formats.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.partition("## What each format holds")[2].partition("\n## ")[0].splitlines()
        if line.startswith("|")
    ]
    head, _, *body = rows
    return {(row[0].strip("`"), what): cell for row in body for what, cell in zip(head[1:], row[1:], strict=True)}


def test_the_table_of_the_reference_has_every_format_and_every_kind_of_shape() -> None:
    assert set(documented()) == {(name, what) for name in NAMES for what in ONE_OF_EACH}


@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_the_reference_tells_what_becomes_of_each_kind_of_shape(tmp_path: Path, name: str) -> None:
    table = documented()
    assert {what: fate(tmp_path, name, what) for what in ONE_OF_EACH} == {w: table[name, w] for w in ONE_OF_EACH}


@pytest.mark.parametrize("name", NAMES)
def test_every_format_is_listed_with_its_suffix(name: str) -> None:
    text = (Path(__file__).parents[3] / "docs/reference/formats.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| `{name}` \| `{re.escape(FORMATS[name].suffix)}` \|", text, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("folder", [False, True])
def test_a_failed_export_leaves_nothing(tmp_path: Path, name: str, folder: bool) -> None:
    def broken() -> Iterator[tuple[StoredFrame, Sequence[Shape]]]:
        yield frame(), [RECTANGLE, MASK, SKELETON, replace(RECTANGLE, track_id=2)]
        raise RuntimeError("the source went away")

    path = tmp_path / ("out" if folder else f"out{FORMATS[name].suffix}")
    with pytest.raises(RuntimeError):
        write_file(name, path, LABELS, broken())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_the_file_stays_behind_and_an_empty_task_can_be_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"out{FORMATS[name].suffix}"
    write_file(name, path, LABELS, [])
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert formats.find(name).read(path).images == ()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_file_of_the_format_is_refused(tmp_path: Path, name: str) -> None:
    suffix = FORMATS[name].suffix
    for body in (b"", b"\x00\xff not this", b"{}", b"[1]", b"<a/>"):
        (tmp_path / f"in{suffix}").write_bytes(body)
        with pytest.raises(InvalidRequest):
            formats.find(name).read(tmp_path / f"in{suffix}")
    with pytest.raises(InvalidRequest):
        formats.find(name).read(tmp_path / f"missing{suffix}")


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_no_format_can_hold_are_counted(tmp_path: Path, name: str) -> None:
    shapes = [
        Shape("nobody", "rectangle", (0, 0, 1, 1)),
        Shape("car", "mask", rle=b"what"),
        Shape("car", "mask", rle=b""),
    ]
    summary = write_file(name, tmp_path / f"out{FORMATS[name].suffix}", LABELS, [(frame(), shapes)])
    assert summary.shapes == 0
    assert sum(summary.left_out.values()) == 3
    assert summary.left_out["unknown label"] == 1


@pytest.mark.parametrize("name", ["yolo", "yolo-pose", "yolo-obb", "voc", "coco-panoptic"])
@pytest.mark.parametrize("frame_name", ["../a.jpg", "/a.jpg", "a/../../b.jpg", "..\\a.jpg"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str, frame_name: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be a path"):
        write_file(name, tmp_path / "deep" / "out", LABELS, [(frame(0, frame_name), [])])
    assert list((tmp_path / "deep").iterdir()) == []


@pytest.mark.parametrize("name", ["coco-keypoints", "yolo-pose"])
def test_formats_of_poses_are_refused_where_no_label_is_a_skeleton(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="no label of type skeleton"):
        write_file(name, tmp_path / "out.x", [TaskLabel("car")], [])
    assert list(tmp_path.iterdir()) == []


def test_parts_of_one_object_come_back_together_where_the_format_holds_them(tmp_path: Path) -> None:
    for name in ("coco", "cvat", "datumaro"):
        ((one, other),), _ = through(tmp_path, name, PARTS)
        assert one.group == other.group > 0
