"""The programs that people use read what we write: Datumaro, supervision, pycocotools, Label Studio's converter."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datumaro
import numpy as np
import pytest
import supervision
import yaml
from label_studio_sdk.converter import Converter
from label_studio_sdk.converter.brush import decode_rle, mask2rle
from label_studio_sdk.label_interface import LabelInterface
from PIL import Image
from pycocotools.coco import COCO

from bridge import formats
from bridge.domain import Shape, Source, StoredFrame, TaskLabel
from bridge.formats.label_studio import config_xml
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
    TAG,
    bits,
    frame,
)  # fmt: skip
from tests.unit.bridge.written import write_file

OLD_PYCOCOTOOLS = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # against numpy 2
TRACKED = [
    [Shape("car", "rectangle", (10.0 + n, 20, 30.0 + n, 40), track_id=3), Shape("car", "rectangle", (50, 50, 60, 60))]
    for n in range(3)
]


def write(
    path: Path, name: str, *frames: Sequence[Shape], labels: Sequence[TaskLabel] = LABELS, **options: Any
) -> Path:
    Image.new("RGB", (100, 80)).save(path.parent / "image.jpg")
    stored = [StoredFrame(1, n, f"f{n}.jpg", str(path.parent / "image.jpg"), 100, 80) for n in range(len(frames))]
    write_file(name, path, labels, zip(stored, frames, strict=True), **options)
    return path


def items(folder: Path, name: str) -> Iterator[Any]:
    return iter(datumaro.Dataset.import_from(str(folder), name))


def images(folder: Path, below: str, *names: str) -> None:
    """Readers that want pictures find them."""
    (folder / below).mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (100, 80)).save(folder / below / name)


@OLD_PYCOCOTOOLS
def test_datumaro_reads_its_own_format(tmp_path: Path) -> None:
    write(tmp_path / "out", "datumaro", ALL, [])
    first, second = items(tmp_path / "out", "datumaro")
    assert (first.id, first.media.size, len(second.annotations)) == ("f0", (80, 100), 0)
    kinds = [annotation.type.name for annotation in first.annotations]
    assert kinds == ["bbox", "bbox", *["polygon"] * 3, "ellipse", "mask", "points", "points", "label"]
    box, turned, *_, ellipse, mask, skeleton, _, _ = first.annotations
    assert box.points == pytest.approx(RECTANGLE.points)
    assert box.attributes == {"make": "vw", "score": 0.875}
    assert turned.attributes["rotation"] == 90
    assert ellipse.points == pytest.approx([30, 30, 70, 50])
    assert (np.asarray(mask.image) == bits()).all()
    assert [kind.name for kind in skeleton.visibility] == ["visible", "visible", "absent"]


def test_datumaro_reads_voc(tmp_path: Path) -> None:
    labels = [LABELS[0], LABELS[1], TaskLabel("odd", color="#010203")]
    write(tmp_path / "out", "voc", [RECTANGLE, MASK], [], labels=labels)
    images(tmp_path / "out", "JPEGImages", "f0.jpg", "f1.jpg")
    first, second = items(tmp_path / "out", "voc")
    assert [annotation.points for annotation in first.annotations] == [
        pytest.approx(list(RECTANGLE.points), abs=0.01),
        pytest.approx([2, 2, 80, 70]),
    ]
    assert first.annotations[0].attributes["make"] == "vw"
    assert (second.id, second.annotations) == ("f1", [])


def test_supervision_reads_voc(tmp_path: Path) -> None:
    write(tmp_path / "out", "voc", [RECTANGLE, MASK])
    images(tmp_path / "out", "JPEGImages", "f0.jpg")
    dataset = supervision.DetectionDataset.from_pascal_voc(
        str(tmp_path / "out/JPEGImages"), str(tmp_path / "out/Annotations")
    )
    ((_, _, detections),) = list(dataset)
    assert detections.xyxy[0] == pytest.approx(np.array(RECTANGLE.points), abs=1.01)  # it takes VOC's own origin, 1
    assert dataset.classes == ["car"]


def test_datumaro_reads_mot(tmp_path: Path) -> None:
    write(tmp_path / "out", "mot", *TRACKED)
    found = list(items(tmp_path / "out", "mot_seq"))
    assert [item.id for item in found] == ["1", "2", "3"]
    tracked, alone = found[2].annotations
    assert tracked.points == pytest.approx([12, 20, 32, 40])
    assert (tracked.attributes["track_id"], "track_id" in alone.attributes) == (3, False)


def test_datumaro_reads_tracks_of_cvat(tmp_path: Path) -> None:
    gone = [TRACKED[0], [], TRACKED[2]]
    write(tmp_path / "out.xml", "cvat-video", *gone)
    found = {item.attributes["frame"]: item for item in items(tmp_path / "out.xml", "cvat")}
    shown = {
        number: [
            (a.attributes["track_id"], a.attributes["outside"], a.points)
            for a in item.annotations
            if a.type.name == "bbox"
        ]
        for number, item in found.items()
    }
    assert (2, False, [10, 20, 30, 40]) in shown[0]
    assert (2, True, [10, 20, 30, 40]) in shown[1]
    assert (2, False, [12, 20, 32, 40]) in shown[2]
    alone = {track for number in shown for track, outside, points in shown[number] if points[0] == 50}
    assert len(alone) == 2 and 2 not in alone  # two shapes of no track are two tracks
    assert [outside for track, outside, points in shown[1] if points[0] == 50] == [True]


def test_tracks_of_cvat_that_begin_and_end_anywhere_come_back(tmp_path: Path) -> None:
    """Several tracks with gaps, of which some end early, and the parts of one object."""
    frames: list[list[Shape]] = [[] for _ in range(12)]
    for track, seen in {1: range(3), 2: (0, 4, 5, 11), 5: range(6, 9), 9: (2, 3)}.items():
        for number in seen:
            place = (10.0 * track, 10, 10.0 * track + 5 + number, 20)
            frames[number].append(Shape("car", "rectangle", place, track_id=track, attributes={"make": "vw"}))
    frames[7] += [replace(part, track_id=20) for part in PARTS]
    frames[8] += [replace(part, track_id=20) for part in PARTS]
    path = write(tmp_path / "out.xml", "cvat-video", *frames)
    images = {int(image.name): image.shapes for image in formats.find("cvat").read(path).images}
    for number, shapes in enumerate(frames):
        told = sorted((shape.track_id, shape.points, tuple(shape.attributes)) for shape in images.get(number, ()))
        wanted = sorted((shape.track_id, shape.points, tuple(shape.attributes)) for shape in shapes)
        if number in (7, 8):  # the second part is a track of its own
            told = [(20 if track > 20 else track, *rest) for track, *rest in told]  # type: ignore[misc]
        assert sorted(told) == wanted


@pytest.mark.parametrize("only", ["coco-keypoints", "coco"])
def test_pycocotools_reads_keypoints(tmp_path: Path, only: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "out.json", only, [SKELETON, RECTANGLE])
    document = COCO(str(tmp_path / "out.json"))
    (person,) = document.loadCats(document.getCatIds(catNms=["person"]))
    assert person["keypoints"] == ["nose", "left hand", "tail"]
    (annotation,) = document.loadAnns(document.getAnnIds(catIds=[person["id"]]))
    assert annotation["keypoints"] == [10, 20, 2, 30.5, 40, 2, 0, 0, 0]
    assert len(document.getCatIds()) == (1 if only == "coco-keypoints" else 3)


def test_datumaro_reads_keypoints(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    images(tmp_path, "images/default", "f0.jpg")
    write(tmp_path / "annotations" / "person_keypoints_default.json", "coco-keypoints", [SKELETON])
    (item,) = items(tmp_path, "coco_person_keypoints")
    points = next(a for a in item.annotations if a.type.name == "points")
    assert points.points[:4] == pytest.approx([10, 20, 30.5, 40])
    assert [kind.name for kind in points.visibility] == ["visible", "visible", "absent"]


def test_datumaro_reads_panoptic_segments(tmp_path: Path) -> None:
    write(tmp_path / "out", "coco-panoptic", [RECTANGLE, MASK, ELLIPSE])
    images(tmp_path / "out", "images/default", "f0.jpg")
    (item,) = items(tmp_path / "out", "coco_panoptic")
    assert len(item.annotations) == 3
    areas = [int(annotation.image.sum()) for annotation in item.annotations]
    told = json.loads((tmp_path / "out/annotations/panoptic_default.json").read_text())["annotations"][0][
        "segments_info"
    ]
    assert areas == [segment["area"] for segment in told]
    ellipse = item.annotations[2].image  # the last lies above
    assert ellipse.sum() == pytest.approx(np.pi * 20 * 10, rel=0.05)


def test_supervision_reads_oriented_boxes(tmp_path: Path) -> None:
    write(tmp_path / "out", "yolo-obb", [ROTATED, RECTANGLE])
    images(tmp_path / "out", "images/train", "f0.jpg")
    dataset = supervision.DetectionDataset.from_yolo(
        str(tmp_path / "out/images/train"),
        str(tmp_path / "out/labels/train"),
        str(tmp_path / "out/data.yaml"),
        is_obb=True,
    )
    ((_, _, detections),) = list(dataset)
    corners = detections.data["xyxyxyxy"]
    assert corners[0] == pytest.approx(np.array([[50, 20], [50, 60], [30, 60], [30, 20]]), abs=0.01)
    assert detections.xyxy[1] == pytest.approx(np.array(RECTANGLE.points), abs=0.01)


def test_poses_are_as_ultralytics_describes_them(tmp_path: Path) -> None:
    """https://docs.ultralytics.com/datasets/pose/: class, box, then x y visibility of each point, in shares."""
    write(tmp_path / "out", "yolo-pose", [SKELETON, RECTANGLE])
    head = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert (head["names"], head["kpt_shape"]) == ({0: "person"}, [3, 3])
    (line,) = (tmp_path / "out/labels/train/f0.txt").read_text().splitlines()
    values = [float(value) for value in line.split()]
    assert values == pytest.approx([0, 0.2025, 0.375, 0.205, 0.25, 0.1, 0.25, 2, 0.305, 0.5, 2, 0, 0, 0])


class TestLabelStudio:
    """Read by label-studio-sdk, whose converter Label Studio's own export runs."""

    def tasks(
        self, tmp_path: Path, *shapes: Shape, labels: Sequence[TaskLabel] = LABELS
    ) -> tuple[list[dict[str, Any]], str]:
        write(tmp_path / "out.zip", "label-studio", shapes, labels=labels)
        with zipfile.ZipFile(tmp_path / "out.zip") as archive:
            return json.loads(archive.read("tasks.json")), archive.read("label_config.xml").decode()

    def test_the_setup_and_the_tasks_fit_each_other(self, tmp_path: Path) -> None:
        (task,), setup = self.tasks(tmp_path, *ALL)
        interface = LabelInterface(setup)
        interface.validate()
        for kind in ("annotations", "predictions"):
            (entry,) = task[kind]
            assert interface.validate_prediction({"model_version": "x", **entry}, return_errors=True) == []
        for entry in [*task["annotations"], *task["predictions"]]:
            for region in entry["result"]:
                assert interface.get_control(region["from_name"]).to_name == [region["to_name"]]
        assert setup == config_xml(LABELS)

    def test_the_converter_gives_coco_of_what_we_wrote(self, tmp_path: Path) -> None:
        manual = [replace(shape, source=Source.MANUAL, attributes={}) for shape in (RECTANGLE, POLYGON)]
        labels = [TaskLabel("car", "rectangle"), TaskLabel(POLYGON.label, "polygon")]
        (task,), setup = self.tasks(tmp_path, *manual, labels=labels)
        # As Label Studio stores it: with ids.
        task |= {"id": 1, "annotations": [{"id": 1, "completed_by": 1, **task["annotations"][0]}]}
        (tmp_path / "stored.json").write_text(json.dumps([task]))
        (tmp_path / "converted").mkdir()
        converter = Converter(setup, str(tmp_path), download_resources=False)
        converter.convert_to_coco(str(tmp_path / "stored.json"), str(tmp_path / "converted"), is_dir=False)
        result = json.loads((tmp_path / "converted/result.json").read_text())
        names = {category["id"]: category["name"] for category in result["categories"]}
        rectangle, polygon = result["annotations"]
        assert names[rectangle["category_id"]] == "car"
        assert rectangle["bbox"] == pytest.approx([10.5, 20, 39.75, 40], abs=0.01)
        assert polygon["segmentation"][0] == pytest.approx(list(POLYGON.points), abs=0.01)

    def test_a_mask_is_a_brush_stroke_that_the_sdk_decodes(self, tmp_path: Path) -> None:
        (task,), _ = self.tasks(tmp_path, MASK)
        (region,) = task["predictions"][0]["result"]
        assert (np.reshape(decode_rle(region["value"]["rle"]), (80, 100, 4))[..., 3] == bits() * 255).all()

    def test_the_sdks_own_brush_strokes_come_back(self, tmp_path: Path) -> None:
        region = {
            "id": "x", "type": "brushlabels", "from_name": "b", "to_name": "image", "original_width": 100,
            "original_height": 80, "value": {"format": "rle", "rle": mask2rle(bits() * 255), "brushlabels": ["car"]},
        }  # fmt: skip
        task = {"data": {"image": "/data/upload/3/1234abcd-f0.jpg"}, "annotations": [{"id": 1, "result": [region]}]}
        (tmp_path / "in.json").write_text(json.dumps([task]))
        (image,) = formats.find("label-studio").read(tmp_path / "in.json").images
        assert (image.name, image.shapes[0].rle) == ("f0.jpg", MASK.rle)

    def test_a_turned_rectangle_is_turned_around_its_corner(self, tmp_path: Path) -> None:
        (task,), _ = self.tasks(tmp_path, Shape("car", "rectangle", (20, 30, 60, 50), rotation=30))
        value = task["annotations"][0]["result"][0]["value"]
        turned = np.radians(value["rotation"])
        # The corners as Label Studio draws them: from its own, along its turned sides.
        along = np.array([np.cos(turned), np.sin(turned)]) * value["width"]
        across = np.array([-np.sin(turned), np.cos(turned)]) * value["height"] * 0.8
        middle = np.array([value["x"], value["y"] * 0.8]) + (along + across) / 2
        assert middle == pytest.approx(np.array([40, 40]), abs=0.01)

    def test_predictions_are_of_models_and_annotations_of_people(self, tmp_path: Path) -> None:
        (task,), _ = self.tasks(tmp_path, RECTANGLE, TAG, ROTATED)
        assert [region["type"] for region in task["predictions"][0]["result"]] == [
            "rectanglelabels",
            "choices",
            "choices",
        ]
        assert task["predictions"][0]["score"] == pytest.approx((0.875 + 0.75) / 2)
        assert [region["type"] for region in task["annotations"][0]["result"]] == ["rectanglelabels"]
        assert "score" not in task["annotations"][0]["result"][0]
        ids = [region["id"] for entry in ("predictions", "annotations") for region in task[entry][0]["result"]]
        assert len(set(ids)) == 3  # the attribute stands under the id of its region

    def test_what_people_corrected_goes_before_what_was_predicted(self, tmp_path: Path) -> None:
        (task,), _ = self.tasks(tmp_path, RECTANGLE, ROTATED)
        task["annotations"][0]["id"] = 7  # Label Studio gave it
        (tmp_path / "in.json").write_text(json.dumps([task]))
        (image,) = formats.find("label-studio").read(tmp_path / "in.json").images
        (shape,) = image.shapes
        assert (shape.points, shape.rotation) == (ROTATED.points, 90)

    def test_several_skeletons_of_a_frame_stay_apart(self, tmp_path: Path) -> None:
        other = replace(SKELETON, points=(50, 60, 2, 0, 0, 0, 55, 65, 2))
        write(tmp_path / "out.json", "label-studio", [SKELETON, other])
        document = formats.fit_joints(formats.find("label-studio").read(tmp_path / "out.json"), LABELS)
        assert [shape.points for shape in formats.place(document, [frame(0, "f0.jpg")]).shapes[0]] == [
            (10, 20, 2, 30.5, 40, 2, 0, 0, 0),
            other.points,
        ]


def test_parts_of_one_object_are_one_box_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "out", "voc", PARTS)
    assert (tmp_path / "out/Annotations/f0.xml").read_text().count("<object>") == 1
