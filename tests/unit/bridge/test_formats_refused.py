"""Wrong and hostile annotation files: each is refused, and the message names what is wrong."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import formats
from bridge.errors import BridgeError, InvalidRequest, TooLarge
from bridge.formats import unpacking
from bridge.formats.document import Document
from tests.unit.bridge.annotated import LABELS, MASK, RECTANGLE, frame
from tests.unit.bridge.test_hostile_files import make_zip, tiny_files
from tests.unit.bridge.written import write_file

BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>'


def read(tmp_path: Path, name: str, files: Mapping[str, str | bytes]) -> Document:
    """Files of a folder as the format's reader sees them, zipped as well: both must agree."""
    tmp_path.mkdir(exist_ok=True)
    packed = tmp_path / "in.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file, body in files.items():
            archive.writestr(file, body)
            (tmp_path / "in" / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / file).write_bytes(body if isinstance(body, bytes) else body.encode())
    try:
        document = formats.find(name).read(packed)
    except BridgeError as error:
        with pytest.raises(type(error)):
            formats.find(name).read(tmp_path / "in")
        raise
    assert formats.find(name).read(tmp_path / "in") == document
    return document


def voc(inner: str, size: str = "<size><width>10</width><height>10</height></size>") -> dict[str, str | bytes]:
    return {"Annotations/a.xml": f"<annotation><filename>a.jpg</filename>{size}{inner}</annotation>"}


def box(x1: str = "1", x2: str = "5", name: str = "<name>car</name>", more: str = "") -> str:
    corners = f"<xmin>{x1}</xmin><ymin>1</ymin><xmax>{x2}</xmax><ymax>5</ymax>"
    return f"<object>{name}<bndbox>{corners}</bndbox>{more}</object>"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"Annotations/a.xml": f"{BOMB}<annotation>&b;</annotation>"}, "declares a document type"),
        ({"Annotations/a.xml": "<annotation>"}, "not whole XML"),
        ({"Annotations/a.xml": "<annotations/>"}, "begins with <annotations>"),
        ({"readme.md": "x"}, "holds no XML"),
        (voc(box("nan")), "no finite number"),
        (voc(box("1e999")), "no finite number"),
        (voc(box("7")), "inverted"),
        (voc(box(name="")), "an <object> has no name"),
        (voc("<object><name>car</name></object>"), "has no <bndbox>"),
        (voc(box(), "<size><width>x</width><height>1</height></size>"), "width that is no finite number"),
        (voc(box(more="<attributes><attribute><name>score</name><value>7</value></attribute></attributes>")), "score"),
        ({**voc(""), "labelmap.txt": "car"}, r"labelmap\.txt, line 1"),
    ],
)
def test_voc(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read(tmp_path, "voc", files)


def test_voc_of_any_origin(tmp_path: Path) -> None:
    """Without a label map, without sizes, one image in a folder of its own."""
    files = voc(box(), "") | {"Annotations/d/b.xml": "<annotation><filename>b.jpg</filename></annotation>"}
    document = read(tmp_path, "voc", files)
    assert [label.name for label in document.labels] == ["car"]
    assert [(image.name, image.width, len(image.shapes)) for image in document.images] == [
        ("a.jpg", None, 1),
        ("d/b.jpg", None, 0),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,1,0,0,5", "5 numbers are no frame"),
        ("1,1,0,0,5,x,1,1,1", "not all of it is numbers"),
        ("1,1,0,0,nan,5,1,1,1", "not finite"),
        ("0,1,0,0,5,5,1,1,1", "count from 1"),
        ("1.5,1,0,0,5,5,1,1,1", "count from 1"),
        ("1,1.5,0,0,5,5,1,1,1", "no number of a track"),
        ("1,1,0,0,-5,5,1,1,1", "negative size"),
        ("1,1,0,0,5,5,1,3,1", "no label 3"),
        ("1,1,0,0,5,5,1,0,1", "no label 0"),
        ("1,1,0,0,5,5,1,-1,1", "no label -1"),
    ],
)
def test_mot(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"gt/gt\.txt, line 2: .*{message}"):
        read(tmp_path, "mot", {"gt/gt.txt": f"1,1,0,0,5,5,1,1,1\n{line}", "gt/labels.txt": "car\nbus"})


def test_mot_of_any_origin(tmp_path: Path) -> None:
    document = read(tmp_path, "mot", {"s/gt/gt.txt": "2,4,0,0,5,5,1,3,.5\n2,5,0,0,5,5,0,1,1\n1 -1 1 1 5 5"})
    assert [(image.name, [(s.label, s.track_id) for s in image.shapes]) for image in document.images] == [
        ("0", [("Pedestrian", 0)]),
        ("1", [("Car", 4)]),
    ]
    detected = read(tmp_path / "d", "mot", {"det/det.txt": "1,-1,0,0,5,5,0.75\n1,-1,0,0,5,5,75"})
    assert [shape.score for shape in detected.images[0].shapes] == [0.75, None]
    with pytest.raises(InvalidRequest, match="several sequences"):
        read(tmp_path / "two", "mot", {"a/gt/gt.txt": "", "b/gt/gt.txt": ""})


def yolo(line: str, head: str = "kpt_shape: [2, 3]") -> dict[str, str | bytes]:
    return {"data.yaml": f"names: [car]\n{head}", "labels/a.txt": line}


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("yolo-obb", yolo("0 .1 .1 .2 .1 .2 .2"), "no label and four corners"),
        ("yolo-obb", yolo("0 .1 .1 .2 .1 .2 .2 .1 .2 7"), "score is not"),
        ("yolo-obb", yolo("0 100 .1 .2 .1 .2 .2 .1 .2"), "no share of the frame"),
        ("yolo-pose", yolo("0 .5 .5 .1 .1 .1 .1 2"), "1 points are no box with 2 points"),
        ("yolo-pose", yolo("0 .5 .5 .1 .1 .1 .1 2 .1 .1 7"), "visibility is 7"),
        ("yolo-pose", yolo("", "kpt_shape: [0, 3]"), "no kpt_shape"),
        ("yolo-pose", yolo("", "kpt_shape: [99999999999, 3]"), "no kpt_shape"),
        ("yolo-pose", yolo("", "kpt_shape: [true, 3]"), "no kpt_shape"),
        ("yolo-pose", yolo("", "x: y"), "no kpt_shape"),
    ],
)
def test_yolo(tmp_path: Path, name: str, files: dict[str, str | bytes], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read(tmp_path, name, files)


def test_poses_without_visibility_or_names_are_read(tmp_path: Path) -> None:
    document = read(tmp_path, "yolo-pose", yolo("0 .5 .5 .1 .1 .1 .2 0 0", "kpt_shape: [2, 2]"))
    assert document.labels[0].sublabels == ("1", "2")
    assert document.images[0].shapes[0].points == (0.1, 0.2, 2, 0, 0, 0)


def test_four_corners_that_are_no_rectangle_become_the_smallest_around_them(tmp_path: Path) -> None:
    document = read(tmp_path, "yolo-obb", yolo("0 .1 .1 .5 .1 .5 .5 .3 .5"))
    (shape,) = formats.place(document, [frame(0, "a.jpg")]).shapes[0]
    assert sorted(shape.points) == pytest.approx([8, 10, 40, 50], abs=1)


def track(inner: str, head: str = "<original_size><width>10</width><height>10</height></original_size>") -> str:
    return f'<annotations><meta><task>{head}</task></meta><track id="4" label="car">{inner}</track></annotations>'


def key(number: int | str, x: int = 1, outside: int = 0, more: str = "") -> str:
    return f'<box frame="{number}" outside="{outside}" xtl="{x}" ytl="1" xbr="{x + 2}" ybr="5" {more}/>'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (track(key("x")), "track 4: a <box> has a frame that is no finite number"),
        (track(key("-1")), "no whole number from 0"),
        (track(key(99_999_999)), "no whole number from 0 to 10000000"),
        (track(key(0) + key(9_999_999)), "more than 1000000 shapes lie between"),
        (track('<polyline frame="0" points="1,1;2,2"/>'), "<polyline> is a kind of shape"),
        (track('<mask frame="0" rle="1" left="0" top="0" width="1" height="1"/>', ""), "not the size of the frames"),
        (track(key(3), "<start_frame>2</start_frame><frame_filter>step=2</frame_filter>"), "frame 3 is none of its"),
        (track("").replace(' label="car"', "").replace("></track", f">{key(0)}</track"), "a <track> has no label"),
        (f"{BOMB}<annotations>&b;</annotations>", "declares a document type"),
        (
            track(key(0)).replace("</annotations>", '<image name="a" width="1" height="1"/></annotations>'),
            "images and tracks",
        ),
    ],
)
def test_tracks_of_cvat(tmp_path: Path, body: str, message: str) -> None:
    (tmp_path / "in.xml").write_text(body)
    with pytest.raises(InvalidRequest, match=message):
        formats.find("cvat-video").read(tmp_path / "in.xml")


def test_between_keyframes_a_track_goes_straight_and_ends_outside(tmp_path: Path) -> None:
    head = "<start_frame>10</start_frame><frame_filter>step=5</frame_filter>"
    (tmp_path / "in.xml").write_text(
        track(key(10) + key(20, 5, more='rotation="350"') + key(25, 5, outside=1) + key(40), head)
    )
    images = formats.find("cvat-video").read(tmp_path / "in.xml").images
    shown = [(image.name, image.shapes[0].points[0], image.shapes[0].rotation) for image in images]
    assert shown == [("0", 1, 0), ("1", 3, 355), ("2", 5, 350), ("6", 1, 0)]
    assert {shape.track_id for image in images for shape in image.shapes} == {5}


def panoptic(tmp_path: Path, change: Mapping[str, Any] | None = None, segment: Mapping[str, Any] | None = None) -> Any:
    """What we wrote, changed here and there."""
    write_file("coco-panoptic", tmp_path / "out", LABELS, [(frame(), [MASK, RECTANGLE])])
    file = tmp_path / "out/annotations/panoptic_default.json"
    data = json.loads(file.read_text()) | dict(change or {})
    if segment:
        data["annotations"][0]["segments_info"][0].update(segment)
    file.write_text(json.dumps(data))
    return formats.find("coco-panoptic").read(tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "segment", "message"),
    [
        ({"images": 3}, None, "no lists of images"),
        ({"images": []}, None, "speaks of the image 1"),
        ({"images": [{"id": 1, "file_name": "a", "width": 10**6, "height": 10**6}]}, None, "size that can be"),
        ({"images": [{"id": 1, "file_name": "a", "width": 9, "height": 9}]}, None, "it is 100x80, its image 9x9"),
        ({"categories": []}, None, "belongs to a category"),
        (None, {"id": 77, "bbox": [0, 0, 1, 1]}, "no pixel of its segment 77"),
        (None, {"bbox": [0, 0, float("nan"), 1]}, "no finite number"),
        (None, {"score": 7}, "score"),
        ({"annotations": [{"image_id": 1, "file_name": "b.png", "segments_info": [{}]}]}, None, "not hold the picture"),
    ],
)
def test_panoptic(tmp_path: Path, change: Any, segment: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        panoptic(tmp_path, change, segment)


def test_panoptic_pictures_that_are_none(tmp_path: Path) -> None:
    panoptic(tmp_path)
    (picture,) = (tmp_path / "out").rglob("*.png")
    picture.write_bytes(b"no picture")
    with pytest.raises(InvalidRequest, match=r"000\.png: it is no readable PNG"):
        formats.find("coco-panoptic").read(tmp_path / "out")


def dm(annotation: Any = None, **change: Any) -> dict[str, str | bytes]:
    data = {
        "categories": {"label": {"labels": [{"name": "car"}, {"name": "man"}]},
                       "points": {"items": [{"label_id": 1, "labels": ["a", "b"]}]}},
        "items": [{"id": "a", "annotations": [] if annotation is None else [{"label_id": 0, **annotation}],
                   "image": {"path": "a.jpg", "size": [10, 10]}}],
    }  # fmt: skip
    return {"annotations/train.json": json.dumps(data | change)}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"x.json": "{}"}, "holds no annotations"),
        ({"annotations/a.json": "{"}, "not JSON"),
        (dm(categories=3), "no categories"),
        (dm(categories={"label": {"labels": [{}]}}), "label without a name"),
        (dm(categories={"points": {"items": [{"label_id": 0}]}}), "points without their labels"),
        (dm(items=3), "no list of items"),
        (dm(items=[{"annotations": []}]), "item 1: it has no id"),
        (dm({"type": "bbox", "bbox": [1, 2, 3]}), "item a: has a bbox that is no list of 4"),
        (dm({"type": "bbox", "bbox": [1, 2, -3, 4]}), "negative size"),
        (dm({"type": "bbox", "bbox": [1, 2, float("nan"), 4]}), "no finite number"),
        (dm({"type": "bbox", "bbox": [1, 2, 3, 4], "label_id": 7}), "the label 7, and there are 2"),
        (dm({"type": "bbox", "bbox": [1, 2, 3, 4], "label_id": None}), "label_id that is no finite number"),
        (dm({"type": "bbox", "bbox": [1, 2, 3, 4], "attributes": {"score": 2}}), "score"),
        (dm({"type": "ellipse", "points": [5, 5, 1, 1]}), "inverted"),
        (dm({"type": "polyline", "points": [1, 2, 3, 4]}), "'polyline' is a kind of annotation"),
        (dm({"type": "caption", "caption": "x"}), "'caption' is a kind of annotation"),
        (dm({"type": "mask", "rle": {"size": [20, 20], "counts": [400]}}), "mask of 20x20 on an image of 10x10"),
        (dm({"type": "mask"}), "no run lengths"),
        (dm({"type": "points", "points": [1]}), "no pairs"),
        (dm({"type": "points", "points": [1, 2], "visibility": [5]}), "visibility"),
        (dm({"type": "points", "points": [1, 2], "label_id": 1}), "1 points, and its label 2"),
    ],
)
def test_datumaro(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read(tmp_path, "datumaro", files)


REGION = {
    "id": "r", "type": "rectanglelabels", "original_width": 10, "original_height": 10,
    "value": {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["car"]},
}  # fmt: skip


def ls(region: Any = None, value: Any = None, **task: Any) -> list[Any]:
    regions = [REGION | (region or {}) | {"value": REGION["value"] | (value or {})}]
    return [{"id": 7, "data": {"image": "a.jpg"}, "annotations": [{"id": 1, "result": regions}], **task}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([3], "task 1: it has no data"),
        ([{"data": {"text": "x"}}], "names no image"),
        ([{"data": {"image": "http://[/a.jpg"}}], "no address"),
        (ls(annotations=3), "task 7: its annotations is no list"),
        (ls(annotations=[{"result": 3}]), "its result is no list"),
        (ls({"type": "videorectangle"}), "of type 'videorectangle'"),
        (ls({"type": "textarea"}), "of type 'textarea'"),
        (ls({"original_width": None}), "does not tell its image's size"),
        (ls({"original_width": -3}), "size that is no positive"),
        (ls({"score": 8}), "score"),
        (ls(None, {"rectanglelabels": []}), "does not have one label"),
        (ls(None, {"rectanglelabels": ["car", "bus"]}), "does not have one label"),
        (ls(None, {"x": "1"}), "x that is no finite number"),
        (ls(None, {"width": -5}), "negative size"),
        (ls({"type": "polygonlabels"}, {"points": [[1, 2]], "polygonlabels": ["car"]}), "3 points"),
        (ls({"type": "brushlabels"}, {"format": "rle", "rle": [1, 2], "brushlabels": ["car"]}), "ends too early"),
        (ls({"type": "brushlabels"}, {"format": "rle", "rle": "x", "brushlabels": ["car"]}), "no list of bytes"),
        (ls({"type": "brushlabels"}, {"format": "rle", "rle": [0] * 99, "brushlabels": ["car"]}), "not of a frame of"),
        (ls({"type": "brushlabels"}, {"touches": [], "brushlabels": ["car"]}), "not written as rle"),
        (ls({"type": "ellipselabels"}, {"radiusX": -1, "radiusY": 1, "ellipselabels": ["car"]}), "negative radius"),
    ],
)
def test_label_studio(tmp_path: Path, data: Any, message: str) -> None:
    (tmp_path / "in.json").write_text(json.dumps(data))
    with pytest.raises(InvalidRequest, match=message):
        formats.find("label-studio").read(tmp_path / "in.json")


def test_label_studio_of_any_origin(tmp_path: Path) -> None:
    """A label that stands in a control of its own, relations, annotations that were skipped, an uploaded file."""
    apart = [
        REGION | {"type": "rectangle", "value": {"x": 0, "y": 0, "width": 50, "height": 50}},
        REGION | {"type": "labels", "value": {"labels": ["bus"]}},
        {"type": "relation", "from_id": "r", "to_id": "s"},
    ]
    skipped = {"id": 2, "was_cancelled": True, "result": [REGION]}
    data = {
        "data": {"photo": "/data/upload/1/0123abcd-a%20b.jpg"},
        "annotations": [{"id": 1, "result": apart}, skipped],
        "predictions": [{"result": [REGION]}],
    }
    (tmp_path / "in.json").write_text(json.dumps(data))
    (image,) = formats.find("label-studio").read(tmp_path / "in.json").images
    assert image.name == "a b.jpg"
    assert [(shape.label, shape.points) for shape in image.shapes] == [("bus", (0, 0, 5, 5))]


def test_files_out_of_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_TEXT_BYTES", 10)
    with pytest.raises(TooLarge, match="is too large"):
        read(tmp_path, "voc", voc(""))


@pytest.mark.parametrize("name", ["voc", "yolo", "mot", "datumaro"])
def test_a_zip_of_too_many_files_is_refused_without_an_object_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(unpacking, "MAX_FILES", 1000)
    packed = tiny_files(tmp_path / "many.zip", 100_000)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match="holds more than"):
            formats.find(name).read(packed)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_a_zip_whose_files_share_their_bytes_is_refused_by_what_it_unpacks_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MAX_TOTAL_BYTES", 1000)
    packed = make_zip(tmp_path / "bomb.zip", {f"labels/{i}.txt": b" " * 300 for i in range(4)})
    with pytest.raises(TooLarge, match="unpacks to more"):
        formats.find("yolo").read(packed)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_annotations_packed_by_uncommon_methods_are_refused(tmp_path: Path, method: int) -> None:
    packed = make_zip(tmp_path / "in.zip", {"Annotations/a.xml": b"<annotation/>"}, method)
    with pytest.raises(InvalidRequest, match="readable zip"):
        formats.find("voc").read(packed)


VALUES = st.recursive(
    st.none() | st.booleans() | st.sampled_from([0, 1, 7, -1, 10**400]) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=6),
    max_leaves=20,
)
DM_KEYS = ("type", "bbox", "points", "rle", "visibility", "attributes", "group", "label_id")
DM_TYPES = st.sampled_from(["bbox", "mask", "polygon", "points", "ellipse", "label"])
LS_KEYS = ("id", "type", "value", "score", "original_width", "original_height", "parentID", "from_name")
LS_TYPES = st.sampled_from(["rectanglelabels", "brushlabels", "polygonlabels", "keypointlabels", "choices", "labels"])


@given(st.dictionaries(st.sampled_from(DM_KEYS), VALUES), DM_TYPES, VALUES)
@settings(max_examples=100)
def test_any_datumaro_annotation_is_read_or_refused(tmp_path: Path, entry: Any, kind: str, items: Any) -> None:
    for files in (dm({"type": kind, **entry}), dm(items=items), dm(categories=items)):
        (tmp_path / "in.json").write_bytes(bytes(str(files["annotations/train.json"]), "utf-8"))
        with contextlib.suppress(InvalidRequest):
            for image in formats.find("datumaro").read(tmp_path / "in.json").images:
                assert all(np.isfinite(shape.points).all() for shape in image.shapes)


@given(st.dictionaries(st.sampled_from(LS_KEYS), VALUES), LS_TYPES, st.dictionaries(st.text(max_size=8), VALUES))
@settings(max_examples=100)
def test_any_label_studio_region_is_read_or_refused(tmp_path: Path, region: Any, kind: str, value: Any) -> None:
    for data in (ls(region), ls({"type": kind}, value), region):
        (tmp_path / "in.json").write_text(json.dumps(data))
        with contextlib.suppress(InvalidRequest):
            for image in formats.find("label-studio").read(tmp_path / "in.json").images:
                assert all(np.isfinite(shape.points).all() for shape in image.shapes)


@given(st.text(st.sampled_from("0123456789.,- \nenaif"), max_size=60))
@settings(max_examples=50)
def test_any_mot_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "gt.txt").write_text(text)
    with contextlib.suppress(InvalidRequest):
        for image in formats.find("mot").read(tmp_path).images:
            assert all(np.isfinite(shape.points).all() for shape in image.shapes)
