import numpy as np
import pytest
from pycocotools import mask as coco

from adapters.base import Detections, Geometry, Mask, Polygon, RotatedRectangle, Skeleton, WholeFrame
from bridge.domain import HAND_DRAWN_TYPES, LABEL_TYPES, LabelAttribute, Shape, Source, TaskLabel
from bridge.masks import mask_area, mask_box
from bridge.shapes import above, can_become, rectangle_corners, to_shapes

BOX = (10.0, 20.0, 50.0, 40.0)
BITS = np.zeros((100, 100), np.uint8)
BITS[20:40, 10:50] = 1
MASK = Mask(100, 100, coco.encode(np.asfortranarray(BITS))["counts"])
POLYGON = Polygon(np.array([[10, 20], [50, 20], [30, 40.1234]], np.float32))
SKELETON = Skeleton(np.array([[10, 20], [50, 40]], np.float32), np.array([0.9, 0.1], np.float32))
ROTATED = RotatedRectangle(30, 30, 40, 20, -90)
GEOMETRIES: dict[str, Geometry] = {
    "rectangle": None, "polygon": POLYGON, "mask": MASK, "skeleton": SKELETON, "tag": WholeFrame(), "rotated": ROTATED,
}  # fmt: skip


def found(*geometry: Geometry, scores: list[float] | None = None, attributes: tuple = ()) -> Detections:
    n = len(geometry)
    return Detections(
        ("vehicle",), np.array([BOX] * n), np.array(scores or [0.5] * n), np.zeros(n, int), geometry, attributes
    )


def label(label_type: str, **more: object) -> TaskLabel:
    sublabels = ("a", "b") if label_type == "skeleton" else ()
    return TaskLabel("car", label_type, sublabels=sublabels, **more)


def convert(geometry: Geometry, label_type: str, *, polygons: bool = False) -> list[Shape]:
    return to_shapes(found(geometry), {"vehicle": label(label_type)}, masks_as_polygons=polygons, frame_size=(100, 100))


@pytest.mark.parametrize(
    ("kind", "label_type", "shape_type", "points"),
    [
        ("rectangle", "any", "rectangle", BOX),
        ("rectangle", "rectangle", "rectangle", BOX),
        ("rectangle", "polygon", "polygon", (10, 20, 50, 20, 50, 40, 10, 40)),
        ("rectangle", "ellipse", "ellipse", (30, 30, 20, 10)),
        ("rectangle", "points", "points", (30, 30)),
        ("rectangle", "tag", "tag", ()),
        ("polygon", "any", "polygon", (10, 20, 50, 20, 30, 40.12)),
        ("polygon", "rectangle", "rectangle", BOX),
        ("mask", "any", "mask", ()),
        ("mask", "mask", "mask", ()),
        ("mask", "rectangle", "rectangle", BOX),
        ("mask", "polygon", "polygon", (10, 20, 10, 40, 50, 40, 50, 20)),
        ("skeleton", "skeleton", "skeleton", (10, 20, 2, 50, 40, 0)),
        ("skeleton", "any", "points", (10, 20)),
        ("skeleton", "points", "points", (10, 20)),
        ("skeleton", "rectangle", "rectangle", BOX),
        ("rotated", "any", "rectangle", BOX),
        ("rotated", "rectangle", "rectangle", BOX),
        ("rotated", "ellipse", "ellipse", (30, 30, 20, 10)),
        ("rotated", "polygon", "polygon", (20, 50, 20, 10, 40, 10, 40, 50)),
        ("tag", "any", "tag", ()),
        ("tag", "tag", "tag", ()),
    ],
)
def test_a_geometry_becomes_what_the_labels_type_asks_for(
    kind: str, label_type: str, shape_type: str, points: tuple[float, ...]
) -> None:
    (shape,) = convert(GEOMETRIES[kind], label_type)
    assert shape.type == shape_type
    assert shape.points == pytest.approx(points)
    assert (shape.label, shape.score, shape.source, shape.group) == ("car", 0.5, Source.AUTOMATIC, 0)


@pytest.mark.parametrize("kind", ["rectangle", "polygon", "rotated", "skeleton"])
def test_a_label_of_type_mask_gets_a_filled_mask(kind: str) -> None:
    (shape,) = convert(GEOMETRIES[kind], "mask")
    assert shape.rle is not None
    mask = Mask(100, 100, shape.rle)
    area, box = (800, (10, 20, 50, 40)) if kind in ("rectangle", "skeleton") else (800, (20, 10, 40, 50))
    if kind == "polygon":
        area, box = 400, (10, 20, 50, 40)
    assert mask_area(mask) == pytest.approx(area, rel=0.06)
    assert mask_box(mask) == pytest.approx(box, abs=1)


def test_a_mask_stays_byte_for_byte() -> None:
    (shape,) = convert(MASK, "mask")
    assert shape.rle == MASK.counts


@pytest.mark.parametrize("kind", GEOMETRIES)
@pytest.mark.parametrize("label_type", [t for t in LABEL_TYPES if t not in HAND_DRAWN_TYPES])
def test_can_become_says_which_pairs_make_no_shape(kind: str, label_type: str) -> None:
    shape_type = "rectangle" if kind == "rotated" else kind
    assert bool(convert(GEOMETRIES[kind], label_type)) == can_become(shape_type, label_type)


def test_masks_as_polygons_holds_for_labels_of_any_type_only() -> None:
    assert convert(MASK, "any", polygons=True)[0].type == "polygon"
    assert convert(MASK, "mask", polygons=True)[0].type == "mask"


def test_the_polygons_of_one_mask_share_a_group_of_their_own() -> None:
    bits = BITS.copy()
    bits[60:90, 10:50] = 1
    split = Mask(100, 100, coco.encode(np.asfortranarray(bits))["counts"])
    shapes = to_shapes(found(split, MASK, split), {"vehicle": label("polygon")}, masks_as_polygons=False)
    assert [shape.group for shape in shapes] == [1, 1, 0, 2, 2]


def test_a_skeleton_of_another_number_of_points_makes_no_shape() -> None:
    three = TaskLabel("car", "skeleton", sublabels=("a", "b", "c"))
    assert to_shapes(found(SKELETON), {"vehicle": three}, masks_as_polygons=False) == []


def test_rotation_is_kept_clockwise_from_0_to_360() -> None:
    assert convert(ROTATED, "rectangle")[0].rotation == 270
    assert convert(RotatedRectangle(5, 5, 2, 2, 359.999), "rectangle")[0].rotation == 0
    # A quarter turn clockwise takes the top left corner to the top right.
    assert rectangle_corners((0, 0, 2, 2), 90) == pytest.approx([2, 0, 2, 2, 0, 2, 0, 0])


def test_an_unmapped_label_makes_no_shape_and_a_tag_comes_once_with_its_best_score() -> None:
    detections = found(None, None, None, scores=[0.4, 0.9, 0.6])
    assert to_shapes(detections, {}, masks_as_polygons=False) == []
    (tag,) = to_shapes(detections, {"vehicle": label("tag")}, masks_as_polygons=False)
    assert tag.score == pytest.approx(0.9)


def test_only_attributes_that_the_label_allows_are_kept() -> None:
    attributes = (
        LabelAttribute("make", "select", ("vw", "bmw")),
        LabelAttribute("parked", "checkbox", ("false",)),
        LabelAttribute("doors", "number", ("0", "9", "1")),
        LabelAttribute("plate", "text", ()),
    )
    good = {"make": "vw", "parked": "true", "doors": "4", "plate": "any"}
    bad = {"make": "ford", "parked": "yes", "doors": "1.5", "owner": "me"}
    shapes = to_shapes(
        found(None, None, attributes=(good, bad)),
        {"vehicle": label("rectangle", attributes=attributes)},
        masks_as_polygons=False,
    )
    assert [dict(shape.attributes) for shape in shapes] == [good, {}]


def test_a_mask_of_a_box_without_the_frames_size_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="frame_size"):
        to_shapes(found(None), {"vehicle": label("mask")}, masks_as_polygons=False)


def test_thresholds_are_the_labels_own_where_it_has_one() -> None:
    detections = Detections(
        ("car", "person"), np.array([BOX] * 4), np.array([0.7, 0.69, 0.7, 0.2]), np.array([0, 0, 1, 1])
    )
    kept = above(detections, 0.7, {"person": 0.2})
    assert kept.scores.tolist() == pytest.approx([0.7, 0.7, 0.2])
    assert len(above(Detections.empty(("car",)), 0.5, {})) == 0
    assert len(above(Detections.empty(()), 0.5, {})) == 0
