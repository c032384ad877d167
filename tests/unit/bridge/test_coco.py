import contextlib
import io
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from bridge import formats
from bridge.domain import Shape, StoredFrame
from bridge.errors import InvalidRequest
from bridge.formats.coco import read_coco
from bridge.formats.coco_reading import parse_coco
from bridge.formats.writing import ExportSummary
from tests.unit.bridge.annotated import (
    ALL,
    ELLIPSE,
    LABELS,
    MASK,
    PARTS,
    POLYGON,
    RECTANGLE,
    ROTATED,
    SKELETON,
    bits,
    frame,
)  # fmt: skip
from tests.unit.bridge.written import write_file


def load(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def written(tmp_path: Path, *shapes: Shape, **options: Any) -> tuple[COCO, dict[str, Any]]:
    write_file("coco", tmp_path / "out.json", LABELS, [(frame(4), shapes)], **options)
    document = load(tmp_path / "out.json")
    (annotation,) = document.anns.values()
    return document, annotation


def test_every_shape_is_written_or_counted_and_pycocotools_reads_the_file(tmp_path: Path) -> None:
    summary = write_file("coco", tmp_path / "out.json", LABELS, [(frame(0), ALL), (frame(1, "plain.png"), [])])
    assert summary == ExportSummary(2, 8, {"points": 1, "tag": 1})
    document = load(tmp_path / "out.json")
    assert [document.cats[i]["name"] for i in (1, 2, 3)] == [label.name for label in LABELS]
    assert document.imgs == {
        1: {"id": 1, "width": 100, "height": 80, "file_name": "frames/000.jpg"},
        2: {"id": 2, "width": 100, "height": 80, "file_name": "plain.png"},
    }
    assert sorted(document.anns) == list(range(1, 8))
    assert all(annotation["image_id"] == 1 and annotation["iscrowd"] == 0 for annotation in document.anns.values())
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_a_rectangle_has_a_box_an_area_a_score_and_attributes(tmp_path: Path) -> None:
    _, annotation = written(tmp_path, RECTANGLE)
    assert annotation == {
        "id": 1, "image_id": 5, "category_id": 1, "iscrowd": 0, "bbox": [10.5, 20, 39.75, 40], "area": 1590,
        "segmentation": [], "score": 0.875, "attributes": {"make": "vw"},
    }  # fmt: skip


def test_a_turned_rectangle_has_the_box_around_it_and_its_outline(tmp_path: Path) -> None:
    _, annotation = written(tmp_path, ROTATED)
    assert annotation["bbox"] == pytest.approx([30, 20, 20, 40])
    assert annotation["area"] == pytest.approx(800)
    assert np.reshape(annotation["segmentation"], (4, 2)).tolist() == [[50, 20], [50, 60], [30, 60], [30, 20]]
    assert "score" not in annotation


def test_polygons_of_one_group_are_one_annotation(tmp_path: Path) -> None:
    _, annotation = written(tmp_path, *PARTS)
    assert annotation["segmentation"] == [list(part.points) for part in PARTS]
    assert (annotation["bbox"], annotation["area"]) == ([0, 0, 30, 30], 100)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools against numpy 2
@pytest.mark.parametrize("masks", ["rle", "polygons"])
def test_masks_come_back_from_pycocotools(tmp_path: Path, masks: str) -> None:
    document, annotation = written(tmp_path, MASK, masks=masks)
    drawn = document.annToMask(annotation)
    assert isinstance(annotation["segmentation"], dict if masks == "rle" else list)
    assert annotation["area"] == bits().sum()
    assert annotation["bbox"] == [2, 2, 78, 68]
    if masks == "rle":
        assert (drawn == bits()).all()
    assert (drawn & bits()).sum() / (drawn | bits()).sum() > 0.95


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_an_ellipse_is_its_outline(tmp_path: Path) -> None:
    document, annotation = written(tmp_path, ELLIPSE)
    assert annotation["area"] == pytest.approx(np.pi * 20 * 10, rel=0.01)
    assert document.annToMask(annotation).sum() == pytest.approx(np.pi * 20 * 10, rel=0.05)


def test_a_skeleton_is_keypoints_without_its_absent_points(tmp_path: Path) -> None:
    document, annotation = written(tmp_path, SKELETON)
    assert document.cats[2]["keypoints"] == ["nose", "left hand", "tail"]
    assert annotation["keypoints"] == [10, 20, 2, 30.5, 40, 2, 0, 0, 0]
    assert annotation["num_keypoints"] == 2
    assert annotation["bbox"] == [10, 20, 20.5, 20]


def test_what_cannot_be_written_is_counted(tmp_path: Path) -> None:
    shapes = [
        Shape("nobody", "rectangle", (0, 0, 1, 1)),
        Shape("car", "mask", rle=b"what"),
        Shape("car", "mask", rle=b""),
        Shape("person", "skeleton", (1, 1, 0, 2, 2, 0, 3, 3, 0)),
    ]
    summary = write_file("coco", tmp_path / "out.json", LABELS, [(frame(), shapes)])
    assert summary.left_out == {"unknown label": 1, "unreadable mask": 2, "empty skeleton": 1}
    assert summary.shapes == 0


def test_nothing_at_all_is_still_a_coco_file(tmp_path: Path) -> None:
    assert write_file("coco", tmp_path / "out.json", [], []) == ExportSummary(0, 0, {})
    assert load(tmp_path / "out.json").imgs == {}


def test_a_failed_export_leaves_what_stood_there_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("before")

    def frames() -> Iterator[tuple[StoredFrame, Sequence[Shape]]]:
        yield frame(), [RECTANGLE]
        raise RuntimeError("the source went away")

    with pytest.raises(RuntimeError):
        write_file("coco", tmp_path / "out.json", LABELS, frames())
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    assert (tmp_path / "out.json").read_text() == "before"


async def test_an_awaited_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    async def frames() -> AsyncIterator[tuple[StoredFrame, Sequence[Shape]]]:
        for number in range(100):
            yield frame(number), [RECTANGLE]
        raise RuntimeError("the source went away")

    with pytest.raises(RuntimeError):
        await formats.find("coco").write(tmp_path / "a.json", LABELS, frames())
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidRequest, match="is a folder"):
        write_file("coco", tmp_path, LABELS, [])
    with pytest.raises(InvalidRequest, match="cannot be written"):
        write_file("coco", tmp_path / "file" / "out.json", LABELS, [])


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        write_file("coco", tmp_path / "out.json", LABELS, ((frame(number), [RECTANGLE]) for number in range(count)))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(6000) < peak(2000) + 50_000


def test_a_file_that_we_wrote_comes_back(tmp_path: Path) -> None:
    write_file("coco", tmp_path / "out.json", LABELS, [(frame(), [RECTANGLE, POLYGON, *PARTS, MASK, SKELETON])])
    document = read_coco(tmp_path / "out.json")
    assert [(label.name, label.sublabels) for label in document.labels] == [
        (label.name, label.sublabels) for label in LABELS
    ]
    (image,) = document.images
    rectangle, polygon, part, other, mask, skeleton = image.shapes
    assert (rectangle.type, rectangle.points, rectangle.score) == ("rectangle", RECTANGLE.points, 0.875)
    assert rectangle.attributes == {"make": "vw"}
    assert (polygon.label, polygon.type, polygon.points, polygon.group) == (POLYGON.label, "polygon", POLYGON.points, 0)
    assert (part.points, other.points) == (PARTS[0].points, PARTS[1].points)
    assert part.group == other.group > 0
    assert (mask.type, mask.rle) == ("mask", MASK.rle)
    assert skeleton.points == (10, 20, 2, 30.5, 40, 2, 0, 0, 0)


def coco_file(**annotation: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 10, "height": 10}],
        "categories": [{"id": 7, "name": "car"}, {"id": 8, "name": "man", "keypoints": ["a", "b"]}],
        "annotations": [{"id": 3, "image_id": 1, "category_id": 7, **annotation}],
    }


def test_uncompressed_run_lengths_are_read() -> None:
    document = parse_coco(coco_file(segmentation={"size": [10, 10], "counts": [5, 20, 75]}, iscrowd=1))
    (shape,) = document.images[0].shapes
    assert shape.type == "mask"
    again = parse_coco(coco_file(segmentation={"size": [10, 10], "counts": (shape.rle or b"").decode()}))
    assert again.images[0].shapes[0].rle == shape.rle


def test_rotation_as_cvat_exports_it_is_read() -> None:
    attributes = {"occluded": False, "rotation": 30.0, "parked": True}
    document = parse_coco(coco_file(bbox=[1, 2, 3, 4], segmentation=[], attributes=attributes))
    (shape,) = document.images[0].shapes
    assert (shape.points, shape.rotation, shape.attributes) == ((1, 2, 4, 6), 30, {"parked": "true"})


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({}, "Annotation 3 has neither bbox nor segmentation"),
        ({"image_id": 9}, "Annotation 3 belongs to the image 9"),
        ({"image_id": []}, "Annotation 3 belongs to the image"),
        ({"category_id": 9}, "Annotation 3 belongs to the category 9"),
        ({"bbox": [1, 2, 3]}, "Annotation 3 has a bbox that is no list of 4"),
        ({"bbox": [1, 2, -3, 4]}, "Annotation 3 has a bbox of negative size"),
        ({"bbox": [1, 2, float("nan"), 4]}, "no finite number"),
        ({"bbox": [1, 2, float("inf"), 4]}, "no finite number"),
        ({"bbox": [1, 2, 10**400, 4]}, "no finite number"),
        ({"bbox": [1, 2, "3", 4]}, "no finite number"),
        ({"bbox": [1, 2, True, 4]}, "no finite number"),
        ({"segmentation": [[1, 2, 3, 4]]}, "a polygon of 4 numbers"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "a polygon of 7 numbers"),
        ({"segmentation": [3]}, "polygon that is no list"),
        ({"segmentation": "x"}, "neither polygons nor run lengths"),
        ({"segmentation": {"counts": "x"}}, "without their size"),
        ({"segmentation": {"size": [20, 10], "counts": [200]}}, "mask of 10x20 on an image of 10x10"),
        ({"segmentation": {"size": [10, 10], "counts": [5, 5]}}, "cover 10 of 100"),
        ({"segmentation": {"size": [10, 10], "counts": [-5, 105]}}, "negative"),
        ({"segmentation": {"size": [10, 10], "counts": "é"}}, "no ASCII"),
        ({"segmentation": {"size": [10, 10], "counts": "zz"}}, "no run-length text"),
        ({"segmentation": {"size": [10, 10]}}, "list of run lengths that is no list"),
        ({"segmentation": {"size": [0, 10], "counts": [1]}}, "no positive whole number"),
        ({"bbox": [1, 2, 3, 4], "score": 2}, "score that is not between"),
        ({"bbox": [1, 2, 3, 4], "attributes": []}, "attributes that are no object"),
        ({"bbox": [1, 2, 3, 4], "attributes": {"rotation": "x"}}, "rotation with something"),
        ({"category_id": 8, "keypoints": [1, 2, 2]}, "no list of 6 numbers"),
        ({"category_id": 8, "keypoints": [1, 2, 5, 1, 2, 2]}, "visibility"),
    ],
)
def test_a_wrong_annotation_is_refused_by_its_id(annotation: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_coco(coco_file(**annotation))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 3}, "no list of objects under 'images'"),
        ({"images": [{"id": 1}]}, "Image 1 has no file_name"),
        ({"images": [{"file_name": "x"}]}, "Image number 1 has no id"),
        ({"images": [{"id": 1, "file_name": "\ud800"}]}, "Image 1 has no file_name"),
        ({"images": [{"id": 1, "file_name": "x", "width": -1}]}, "Image 1 has a size"),
        ({"categories": [{"id": 7, "name": ""}]}, "Category 7 has no name"),
        ({"categories": [{"id": 7, "name": "a"}, {"id": 7, "name": "b"}]}, "Category 7 is there twice"),
        ({"categories": [{"id": 7, "name": "a", "keypoints": [1]}]}, "keypoints that are no list"),
        ({"annotations": [3]}, "no list of objects under 'annotations'"),
    ],
)
def test_wrong_lists_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_coco(coco_file(bbox=[0, 0, 1, 1]) | change)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"not json", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "list of results"),
        (b"3", "no COCO"),
    ],
)
def test_a_file_that_is_no_coco_is_refused(tmp_path: Path, body: bytes, message: str) -> None:
    (tmp_path / "in.json").write_bytes(body)
    with pytest.raises(InvalidRequest, match=message):
        read_coco(tmp_path / "in.json")
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read_coco(tmp_path / "missing.json")


KEYS = [
    "images", "annotations", "categories", "id", "image_id", "category_id", "bbox", "segmentation", "size", "counts",
    "file_name", "width", "height", "name", "keypoints", "score", "attributes", "rotation",
]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.sampled_from([0, 1, 7, -1, 10**400]) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=30,
)


@given(VALUES | st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS[:3], VALUES)))
def test_any_json_is_read_or_refused(data: Any) -> None:
    with contextlib.suppress(InvalidRequest):
        parse_coco(data)


@given(st.dictionaries(st.sampled_from(KEYS[3:]), VALUES))
def test_any_annotation_is_read_or_refused(annotation: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        document = parse_coco(json.loads(json.dumps(coco_file(**annotation))))
        for shape in document.images[0].shapes:
            assert np.isfinite(shape.points).all()


def test_formats_are_found_by_name_and_others_refused() -> None:
    assert formats.find("coco").suffix == ".json"
    with pytest.raises(InvalidRequest, match="no annotation format 'docx'"):
        formats.find("docx")
