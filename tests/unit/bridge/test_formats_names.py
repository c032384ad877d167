"""Names that formats trip over: of videos with dots, of labels with emoji, those that a format uses itself; groups."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import datumaro
import pytest
import yaml
from label_studio_sdk.label_interface import LabelInterface

from bridge import formats
from bridge.domain import LabelAttribute, Shape, Source, StoredFrame, TaskLabel
from tests.unit.bridge.annotated import PARTS, RECTANGLE, SKELETON
from tests.unit.bridge.written import write_file

CAR, PERSON = TaskLabel("car"), TaskLabel("person", "skeleton", sublabels=("nose", "left hand", "tail"))
BOXED = [RECTANGLE, SKELETON]


def video_frames(name: str, count: int = 3) -> list[StoredFrame]:
    return [StoredFrame(1, n, f"{name}_{n:06d}", f"/{name}.mp4", 100, 80, video_pts=3000 * n) for n in range(count)]


def trip(
    path: Path, name: str, frames: Sequence[StoredFrame], shapes: Sequence[Sequence[Shape]], *labels: TaskLabel
) -> list[tuple[Shape, ...]]:
    write_file(name, path, labels, zip(frames, shapes, strict=True))
    document = formats.fit_joints(formats.find(name).read(path), labels)
    placed = formats.place(document, frames)
    assert placed.unknown_files == ()
    return [placed.shapes.get(frame.number, ()) for frame in frames]


@pytest.mark.parametrize("name", formats.FORMATS)
def test_frames_of_a_video_with_dots_in_its_name_stay_apart(tmp_path: Path, name: str) -> None:
    shapes = [[replace(SKELETON, points=(n + 1.0, 20, 2, 30, 40, 2, 0, 0, 0)), RECTANGLE] for n in range(3)]
    found = trip(tmp_path / f"out{formats.find(name).suffix}", name, video_frames("cam.01"), shapes, CAR, PERSON)
    assert len({repr(each) for each in found}) == (1 if name in ("coco-panoptic", "yolo-seg") else 3)
    assert all(found)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", [name for name in formats.FORMATS if not name.startswith(("mot", "cvat-video"))])
def test_an_image_whose_name_begins_with_a_dot_keeps_its_shapes(tmp_path: Path, name: str, zipped: bool) -> None:
    """Tasks of CVAT and Label Studio may have some. What an operating system leaves in folders is passed over."""
    frames = [StoredFrame(1, n, file, f"/{file}", 100, 80) for n, file in enumerate((".a.jpg", "b.jpg"))]
    out = tmp_path / f"out{formats.find(name).suffix}"
    labels, shapes = (CAR, PERSON), [[RECTANGLE, SKELETON]] * 2
    write_file(name, out, labels, zip(frames, shapes, strict=True))
    if out.is_dir() or out.suffix == ".zip":
        folder = tmp_path / "unpacked"
        if out.is_dir():
            out.rename(folder)
        else:
            shutil.unpack_archive(out, folder)
        for file in [each for each in folder.rglob("*") if each.is_file()]:
            file.with_name(f"._{file.name}").write_bytes(b"\0\5\x16\7 of macOS")
            file.with_name(".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        out = Path(shutil.make_archive(str(tmp_path / "again"), "zip", folder)) if zipped else folder
    placed = formats.place(formats.fit_joints(formats.find(name).read(out), labels), frames)
    assert placed.unknown_files == ()
    assert placed.shapes.get(0)
    assert len(placed.shapes[0]) == len(placed.shapes[1])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_datumaro_tells_frames_of_such_a_video_apart(tmp_path: Path) -> None:
    trip(tmp_path / "out", "datumaro", video_frames("cam.01"), [[RECTANGLE]] * 3, CAR)
    items = datumaro.Dataset.import_from(str(tmp_path / "out"), "datumaro")
    assert sorted(item.id for item in items) == ["cam.01_000000", "cam.01_000001", "cam.01_000002"]


def test_yolo_lists_frames_of_videos_as_images(tmp_path: Path) -> None:
    trip(tmp_path / "out", "yolo", video_frames("cam.01", 1), [[RECTANGLE]], CAR)
    assert (tmp_path / "out/train.txt").read_text() == "./images/train/cam.01_000000.jpg\n"
    assert (tmp_path / "out/labels/train/cam.01_000000.txt").exists()


@pytest.mark.parametrize("name", ["yolo", "yolo-pose"])
@pytest.mark.parametrize(
    "label", ["car 🚗", "it's", 'a "b" \\ c', "yes", "null", "12", "a: b", "#x", "пешеход", "x" * 300]
)
def test_any_label_stands_in_data_yaml_as_it_is(tmp_path: Path, name: str, label: str) -> None:
    person = replace(PERSON, name=label, sublabels=(label, "left hand", "tail"))
    found = trip(tmp_path / "out", name, video_frames("v", 1), [[replace(SKELETON, label=label)]], person)
    assert [shape.label for shape in found[0]] == [label]
    data = yaml.safe_load((tmp_path / "out/data.yaml").read_text(encoding="utf-8"))
    assert data["names"] == {0: label}
    assert "kpt_names" not in data or data["kpt_names"] == {0: [label, "left hand", "tail"]}


class TestLabelStudio:
    def exported(self, folder: Path, labels: Sequence[TaskLabel], shapes: Sequence[Shape]) -> tuple[str, list[str]]:
        """The labelling setup, and the names of controls that the regions speak of."""
        write_file("label-studio", folder / "out", labels, [(video_frames("v", 1)[0], shapes)])
        (task,) = json.loads((folder / "out/tasks.json").read_text())
        regions = task["predictions"][0]["result"]
        return (folder / "out/label_config.xml").read_text(), [region["from_name"] for region in regions]

    @pytest.mark.parametrize("attribute", ["image", "rectangles", "tags", "person"])
    @pytest.mark.parametrize("skeleton", ["person", "masks", "image"])
    def test_no_two_controls_have_one_name(self, tmp_path: Path, attribute: str, skeleton: str) -> None:
        labels = [
            TaskLabel("car", attributes=(LabelAttribute(attribute, "text", ()),)),
            replace(PERSON, name=skeleton),
        ]
        shapes = [
            replace(RECTANGLE, attributes={attribute: "x"}),
            replace(SKELETON, label=skeleton, source=Source.AUTOMATIC),
            Shape("car", "tag", source=Source.AUTOMATIC),
        ]
        setup, named = self.exported(tmp_path, labels, shapes)
        interface = LabelInterface(setup)
        interface.validate()
        assert set(named) <= {control.name for control in interface.controls}
        assert attribute in named
        document = formats.find("label-studio").read(tmp_path / "out")
        assert {(s.label, s.type) for image in document.images for s in image.shapes} == {
            ("car", "rectangle"),
            ("car", "tag"),
            (skeleton, "skeleton"),
        }
        assert [s.attributes for s in document.images[0].shapes if s.type == "rectangle"] == [{attribute: "x"}]

    def test_labels_share_the_values_of_an_attribute(self, tmp_path: Path) -> None:
        values = {"car": ("red", "blue"), "dog": ("brown", "red")}
        labels = [TaskLabel(name, attributes=(LabelAttribute("color", "select", v),)) for name, v in values.items()]
        setup, named = self.exported(tmp_path, labels, [replace(RECTANGLE, attributes={"color": "red"})])
        assert sorted(LabelInterface(setup).get_control("color").labels) == ["blue", "brown", "red"]
        assert named == ["rectangles", "color"]


def test_frames_of_a_task_elsewhere_keep_their_numbers_in_a_video(tmp_path: Path) -> None:
    """A job of CVAT may begin with frame 100, and miss some."""
    numbers = (100, 101, 105)
    frames = [replace(row, number=number) for row, number in zip(video_frames("v"), numbers, strict=True)]
    tracked = replace(RECTANGLE, track_id=3)
    found = trip(tmp_path / "out.xml", "cvat-video", frames, [[tracked, RECTANGLE], [tracked], [RECTANGLE]], CAR)
    assert [sorted(shape.track_id > 0 for shape in shapes) for shapes in found] == [[False, True], [True], [False]]
    text = (tmp_path / "out.xml").read_text()
    assert "<stop_frame>105</stop_frame>" in text
    assert 'frame="102" outside="1"' in text  # where the track ends


def test_groups_of_tracks_come_back_whatever_their_numbers_are(tmp_path: Path) -> None:
    """Numbers of groups are of one frame: the object that is group 1 on one may be group 2 on the next."""
    one = [replace(part, track_id=4, group=1) for part in PARTS]
    other = [replace(part, track_id=7, group=1) for part in PARTS]
    single = [replace(part, group=1) for part in PARTS]
    shapes = [
        [*one, *[replace(part, group=2) for part in other]],
        [*other, *[replace(part, group=2) for part in one]],
        [*single, RECTANGLE],
    ]
    found = trip(tmp_path / "out.xml", "cvat-video", video_frames("v"), shapes, CAR)
    for before, after in zip(shapes, found, strict=True):
        groups: dict[int, list[Shape]] = {}
        for shape in after:
            groups.setdefault(shape.group, []).append(shape)
        assert sorted(len(each) for each in groups.values()) == ([2, 2] if len(before) == 4 else [1, 2])
    first, second = [{s.group for s in frame} for frame in found[:2]]
    assert first == second
    assert len(first) == 2
