import contextlib
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.domain import Shape, Source, StoredFrame, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats import ExportSummary
from bridge.formats.cvat_xml import read_cvat_xml
from bridge.formats.document import Document
from bridge.masks import mask_from_runs
from tests.unit.bridge.annotated import ALL, LABELS, MASK, RECTANGLE, bits, frame
from tests.unit.bridge.written import write_file


def write(path: Path, *shapes: Shape) -> ExportSummary:
    return write_file("cvat", path, LABELS, [(frame(), shapes), (frame(1, 'a <b> & "c"\'.png'), [])])


def element(tmp_path: Path, shape: Shape) -> ElementTree.Element:
    write(tmp_path / "out.xml", shape)
    (found,) = ElementTree.parse(tmp_path / "out.xml").findall("image")[0]
    return found


def test_the_head_holds_the_labels_as_cvat_writes_them(tmp_path: Path) -> None:
    assert write(tmp_path / "out.xml", *ALL) == ExportSummary(2, 10, {})
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert root.findtext("meta/task/size") == "2"
    labels = root.findall("meta/task/labels/label")
    found = [(one.findtext("name"), one.findtext("type"), one.findtext("parent")) for one in labels]
    assert found == [
        ("car", "any", None),
        ("person", "skeleton", None),
        ("nose", "points", "person"),
        ("left hand", "points", "person"),
        ("tail", "points", "person"),
        (LABELS[2].name, "any", None),
    ]
    attribute = labels[0].find("attributes/attribute")
    assert attribute is not None
    assert {child.tag: child.text for child in attribute} == {
        "name": "make", "mutable": "False", "input_type": "select", "default_value": None, "values": "vw\nbmw",
    }  # fmt: skip
    assert "data-label-name" in (labels[1].findtext("svg") or "")
    images = [image.attrib for image in root.findall("image")]
    assert images == [
        {"id": "0", "name": "frames/000.jpg", "width": "100", "height": "80"},
        {"id": "1", "name": 'a <b> & "c"\'.png', "width": "100", "height": "80"},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["out.xml"]


def test_a_box_has_cvats_names(tmp_path: Path) -> None:
    found = element(tmp_path, RECTANGLE)
    assert found.tag == "box"
    assert found.attrib == {
        "label": "car", "source": "auto", "occluded": "0", "z_order": "0", "score": "0.875",
        "xtl": "10.50", "ytl": "20.00", "xbr": "50.25", "ybr": "60.00",
    }  # fmt: skip
    attribute = found.find("attribute")
    assert attribute is not None
    assert (attribute.attrib, attribute.text) == ({"name": "make"}, "vw")


def test_a_mask_is_the_run_lengths_of_its_crop_row_by_row(tmp_path: Path) -> None:
    found = element(tmp_path, MASK).attrib
    runs = [int(run) for run in found["rle"].split(", ")]
    left, top, width, height = (int(found[key]) for key in ("left", "top", "width", "height"))
    crop = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width)
    whole = np.zeros((80, 100), int)
    whole[top : top + height, left : left + width] = crop
    assert (whole == bits()).all()


def test_a_skeletons_points_say_which_are_outside(tmp_path: Path) -> None:
    found = element(tmp_path, Shape("person", "skeleton", (10, 20, 2, 30.5, 40, 1, 70, 70, 0)))
    points = [(one.get("label"), one.get("points"), one.get("outside"), one.get("occluded")) for one in found]
    assert points == [
        ("nose", "10.00,20.00", "0", "0"),
        ("left hand", "30.50,40.00", "0", "1"),
        ("tail", "70.00,70.00", "1", "0"),
    ]


def test_everything_that_we_wrote_comes_back(tmp_path: Path) -> None:
    write(tmp_path / "out.xml", *ALL)
    document = read_cvat_xml(tmp_path / "out.xml")
    assert document.labels == LABELS
    assert document.images[0].shapes == tuple(ALL)
    assert (document.images[1].name, document.images[1].shapes) == ('a <b> & "c"\'.png', ())


def test_what_xml_cannot_hold_is_left_out_of_texts(tmp_path: Path) -> None:
    shape = Shape("car", "tag", attributes={"make": "a\x00b\x1f\ufffe]]>\U0001f697"})
    write(tmp_path / "out.xml", shape)
    (found,) = read_cvat_xml(tmp_path / "out.xml").images[0].shapes
    assert found.attributes == {"make": "ab]]>\U0001f697"}


def test_what_cannot_be_written_is_counted(tmp_path: Path) -> None:
    shapes = [
        Shape("nobody", "tag"),
        Shape("car", "mask", rle=b"what"),
        Shape("car", "mask", rle=mask_from_runs([8000], 100, 80).counts),
        Shape("person", "skeleton", (1, 1, 2)),
    ]
    assert write(tmp_path / "out.xml", *shapes) == ExportSummary(
        2, 0, {"empty mask": 1, "skeleton of another number of points": 1, "unknown label": 1, "unreadable mask": 1}
    )


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    def frames() -> Iterator[tuple[StoredFrame, Sequence[Shape]]]:
        yield frame(), [RECTANGLE]
        raise RuntimeError("the source went away")

    with pytest.raises(RuntimeError):
        write_file("cvat", tmp_path / "out.xml", LABELS, frames())
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        frames = ((frame(number), [RECTANGLE]) for number in range(count))
        write_file("cvat", tmp_path / "out.xml", LABELS, frames)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(3000) < peak(1000) + 50_000


def parse(tmp_path: Path, body: str | bytes) -> Document:
    (tmp_path / "in.xml").write_bytes(body.encode() if isinstance(body, str) else body)
    return read_cvat_xml(tmp_path / "in.xml")


HUGE = ", ".join([str(2**62)] * 4)  # they sum to 0 in 64 bits


def image(inner: str, size: str = 'width="10" height="10"') -> str:
    return f'<annotations><image id="0" name="a.jpg" {size}>{inner}</image></annotations>'


def test_a_file_without_a_head_has_the_labels_of_its_shapes(tmp_path: Path) -> None:
    document = parse(tmp_path, image('<tag label="day" source="semi-auto"></tag>'))
    assert document.labels == (TaskLabel("day"),)
    assert document.images[0].shapes[0].source is Source.AUTOMATIC


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "not whole XML"),
        ("<annotations>", "not whole XML"),
        ("<html></html>", "begins with <html>"),
        (image("", ""), "has no width"),
        (image("", 'width="0" height="10"'), "no whole number from 1"),
        (image("", 'width="1e3" height="nan"'), "no finite number"),
        (image('<cuboid label="a"/>'), "<cuboid> is a kind of shape"),
        (image('<polyline label="a" points="1,2;3,4"/>'), "<polyline> is a kind of shape"),
        (image('<box label="a" xtl="1"/>'), "a <box> has no ytl"),
        (image('<box label="a" xtl="5" ytl="1" xbr="2" ybr="3"/>'), "inverted"),
        (image('<box label="a" xtl="inf" ytl="1" xbr="2" ybr="3"/>'), "no finite number"),
        (image('<box xtl="1" ytl="1" xbr="2" ybr="3"/>'), "has no label"),
        (image('<box label="a" xtl="1" ytl="1" xbr="2" ybr="3" score="7"/>'), "score"),
        (image('<box label="a" xtl="1" ytl="1" xbr="2" ybr="3" group_id="-7"/>'), "group_id"),
        (image('<polygon label="a" points="1,2;3,4"/>'), "fewer than 3 points"),
        (image('<polygon label="a" points="1,2,3;4,5;6,7"/>'), "not written as x,y"),
        (image('<ellipse label="a" cx="1" cy="1" rx="-2" ry="3"/>'), "negative radius"),
        (image('<mask label="a" rle="4" left="8" top="0" width="4" height="1"/>'), "larger than its image"),
        (image('<mask label="a" rle="3" left="0" top="0" width="4" height="1"/>'), "do not fill"),
        (image('<mask label="a" rle="-1, 5" left="0" top="0" width="4" height="1"/>'), "do not fill"),
        (image(f'<mask label="a" rle="{HUGE}, 4" left="0" top="0" width="4" height="1"/>'), "do not fill"),
        (image('<mask label="a" rle="x" left="0" top="0" width="4" height="1"/>'), "no whole numbers"),
        (image('<skeleton label="a"><points label="b" outside="0"/></skeleton>'), "a <points> has no points"),
        (image("<tag label='a'>" + "<x>" * 30 + "</x>" * 30 + "</tag>"), "nested too deeply"),
        (b'<?xml version="1.0" encoding="ebcdic-x"?><annotations/>', "encoding|whole XML"),
    ],
)  # fmt: skip
def test_wrong_files_are_refused_by_name(tmp_path: Path, body: str | bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"in\.xml.*({message})"):
        parse(tmp_path, body)


def test_the_image_with_the_wrong_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"in\.xml, image a\.jpg: "):
        parse(tmp_path, image("<what/>"))
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read_cvat_xml(tmp_path / "missing.xml")


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]><annotations>&b;</annotations>'


@pytest.mark.parametrize(
    "body", [BOMB, '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>', "<!DOCTYPE annotations><annotations/>"]
)
def test_a_document_type_is_refused_so_that_no_entity_is_ever_expanded(tmp_path: Path, body: str) -> None:
    with pytest.raises(InvalidRequest, match="declares a document type"):
        parse(tmp_path, body)


KEYS = [
    "label", "xtl", "ytl", "xbr", "ybr", "points", "rle", "left", "top", "width", "height", "cx", "cy", "rx", "ry",
    "rotation", "score", "group_id",
]  # fmt: skip


@given(
    st.sampled_from(["box", "polygon", "points", "ellipse", "mask", "skeleton", "tag"]),
    st.dictionaries(
        st.sampled_from(KEYS),
        st.text(st.sampled_from("0123456789.,;- einaf"), max_size=8),
    ),
)  # fmt: skip
@settings(max_examples=100)
def test_any_shape_is_read_or_refused(tmp_path: Path, tag: str, attributes: dict[str, str]) -> None:
    body = f"<{tag} " + " ".join(f'{key}="{value}"' for key, value in attributes.items()) + "/>"
    with contextlib.suppress(InvalidRequest):
        (shape,) = parse(tmp_path, image(body)).images[0].shapes
        assert np.isfinite(shape.points).all()
