"""What several views show of one object comes out once, and of two objects twice."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from adapters.base import Detections, Geometry, Mask, Polygon, RotatedRectangle, Skeleton, WholeFrame
from bridge.job_spec import Tiling
from bridge.masks import mask_area, mask_from_crop
from bridge.seams import put_together
from bridge.views import View, moved, region_of, views_of
from tests.unit.bridge.drawn import decode_mask

Bits = NDArray[np.uint8]


def found(*rows: tuple[Sequence[float], float, int, Geometry], labels: Sequence[str] = ("a", "b")) -> Detections:
    return Detections(
        tuple(labels),
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2] for row in rows], np.int32),
        tuple(row[3] for row in rows),
    )


def ellipse(width: int, height: int) -> Bits:
    y, x = np.mgrid[:height, :width]
    return ((((x + 0.5) / width * 2 - 1) ** 2 + ((y + 0.5) / height * 2 - 1) ** 2) <= 1).astype(np.uint8)


def look(picture: NDArray[np.int32], view: View, labels: Sequence[int]) -> Detections:
    """What a perfect model finds in a view of a picture whose pixels hold 1 + the number of their object."""
    part = picture[view.top : view.bottom, view.left : view.right]
    rows: list[tuple[Sequence[float], float, int, Geometry]] = []
    for number in np.unique(part[part > 0]):
        ys, xs = np.nonzero(part == number)
        left, top = int(xs.min()), int(ys.min())
        bits = (part[top : ys.max() + 1, left : xs.max() + 1] == number).astype(np.uint8)
        mask = mask_from_crop(left, top, bits, view.width, view.height)
        box = (left, top, xs.max() + 1, ys.max() + 1)
        rows.append((box, 0.5 + len(xs) / 1e7, labels[number - 1], mask))
    return found(*rows)


def merge(picture: NDArray[np.int32], tiling: Tiling, labels: Sequence[int]) -> tuple[Detections, int]:
    """(everything put together, in how many views)."""
    height, width = picture.shape
    views = views_of(width, height, None, tiling)
    parts = [moved(look(picture, view, labels), view, width, height) for view in views]
    region = region_of(width, height, None)
    assert region is not None
    return put_together(parts, views, region, (width, height)), len(views)


@settings(max_examples=60)
@given(data=st.data())
def test_every_object_comes_once_and_whole_wherever_the_seams_are(data: st.DataObject) -> None:
    """Objects of 8 pixels up to more than a tile, at least 12 apart, in tiles with and without overlap."""
    cell = data.draw(st.sampled_from([40, 90, 200]), "cell")
    columns, lines = data.draw(st.integers(1, 5), "columns"), data.draw(st.integers(1, 4), "lines")
    picture = np.zeros((lines * cell, columns * cell), np.int32)
    side = st.integers(8, cell - 12)
    boxes, labels = [], []
    for number in range(columns * lines):
        width, height = data.draw(side), data.draw(side)
        left = number % columns * cell + data.draw(st.integers(0, cell - 12 - width))
        top = number // columns * cell + data.draw(st.integers(0, cell - 12 - height))
        picture[top : top + height, left : left + width][ellipse(width, height) > 0] = number + 1
        ys, xs = np.nonzero(picture == number + 1)
        boxes.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
        labels.append(data.draw(st.integers(0, 1)))
    tiling = Tiling(
        width=data.draw(st.integers(48, 300), "tile width"),
        height=data.draw(st.integers(48, 300), "tile height"),
        overlap=data.draw(st.sampled_from([0, 0.1, 0.25, 0.5])),
    )
    merged, _ = merge(picture, tiling, labels)
    assert len(merged) == len(boxes)
    for box, label, shape in zip(merged.boxes, merged.label_ids, merged.geometry, strict=True):
        number = int(np.abs(np.array(boxes) - box).max(axis=1).argmin())
        assert np.abs(np.array(boxes[number]) - box).max() < 1e-3
        assert label == labels[number]
        assert isinstance(shape, Mask)
        assert (decode_mask(shape) == (picture == number + 1)).all()


def test_an_object_on_a_seam_comes_once() -> None:
    picture = np.zeros((100, 300), np.int32)
    picture[40:60, 130:170] = 1
    merged, views = merge(picture, Tiling(width=160, height=100, overlap=0.1), [0])
    assert (len(merged), views) == (1, 2)
    assert merged.boxes.tolist() == [[130, 40, 170, 60]]


def test_objects_of_a_perfect_model_that_stand_side_by_side_on_a_seam_stay_two() -> None:
    picture = np.zeros((100, 300), np.int32)
    picture[10:40, 120:170] = 1
    picture[45:80, 130:180] = 2
    merged, _ = merge(picture, Tiling(width=160, height=100, overlap=0.1), [0, 0])
    assert sorted(merged.boxes.tolist()) == [[120, 10, 170, 40], [130, 45, 180, 80]]


LEFT, RIGHT = View(0, 0, 160, 100), View(140, 0, 160, 100)
WHOLE = View(0, 0, 300, 100)
SIZE = (300, 100)


def two(left: Detections, right: Detections) -> Detections:
    """Of two views that share the columns 140 to 160."""
    return put_together([left, right], [LEFT, RIGHT], WHOLE, SIZE)


def test_of_an_object_that_one_view_shows_whole_its_box_and_score_are_taken() -> None:
    whole = found(((135, 10, 155, 40), 0.4, 0, None))
    cut = found(((140, 11, 155, 40), 0.9, 0, None))
    merged = two(whole, cut)
    assert merged.boxes.tolist() == whole.boxes.tolist()
    assert merged.scores.tolist() == pytest.approx([0.4])


def test_boxes_that_both_views_cut_become_the_box_around_them_with_the_best_score() -> None:
    merged = two(found(((100, 10, 160, 40), 0.6, 1, None)), found(((140, 12, 200, 41), 0.8, 1, None)))
    assert merged.boxes.tolist() == [[100, 10, 200, 41]]
    assert merged.scores.tolist() == pytest.approx([0.8])
    assert merged.label_ids.tolist() == [1]


def test_different_labels_and_boxes_that_disagree_where_both_views_look_stay_two() -> None:
    left = found(((100, 10, 160, 40), 0.6, 0, None))
    assert len(two(left, found(((140, 12, 200, 41), 0.8, 1, None)))) == 2
    assert len(two(left, found(((140, 45, 200, 80), 0.8, 0, None)))) == 2


def test_two_boxes_of_one_view_are_never_joined_by_a_box_of_another() -> None:
    left = found(((100, 10, 160, 40), 0.6, 0, None), ((110, 12, 160, 42), 0.5, 0, None))
    merged = two(left, found(((140, 10, 200, 41), 0.8, 0, None)))
    assert len(merged) == 2


def test_a_sliver_at_the_edge_of_a_view_belongs_to_the_box_that_holds_it() -> None:
    whole = found(((100, 10, 158, 80), 0.9, 0, None))
    sliver = found(((140, 60, 157, 78), 0.5, 0, None))  # too small a part of the strip to agree on
    assert two(whole, sliver).boxes.tolist() == [[100, 10, 158, 80]]


def test_polygons_rotated_rectangles_and_skeletons_that_both_views_cut_are_united() -> None:
    def box(left: float, right: float) -> NDArray[np.float32]:
        return np.array([[left, 10], [right, 10], [right, 40], [left, 40]], np.float32)

    merged = two(
        found(((100, 10, 160, 40), 0.6, 0, Polygon(box(100, 160)))),
        found(((140, 10, 200, 40), 0.8, 0, Polygon(box(140, 200)))),
    )
    (polygon,) = merged.geometry
    assert isinstance(polygon, Polygon)
    assert (polygon.points.min(axis=0).tolist(), polygon.points.max(axis=0).tolist()) == ([100, 10], [200, 40])

    merged = two(
        found(((100, 10, 160, 40), 0.6, 0, RotatedRectangle(130, 25, 60, 30, 0))),
        found(((140, 10, 200, 40), 0.8, 0, RotatedRectangle(170, 25, 60, 30, 0))),
    )
    assert merged.geometry == (RotatedRectangle(150, 25, 100, 30, 0),)

    sure, unsure = np.array([0.9, 0.1], np.float32), np.array([0.2, 0.8], np.float32)
    merged = two(
        found(((100, 10, 160, 40), 0.6, 0, Skeleton(np.array([[101, 11], [159, 12]]), sure))),
        found(((140, 10, 200, 40), 0.8, 0, Skeleton(np.array([[141, 13], [199, 14]]), unsure))),
    )
    (skeleton,) = merged.geometry
    assert isinstance(skeleton, Skeleton)
    assert skeleton.points.tolist() == [[101, 11], [199, 14]]
    assert skeleton.scores.tolist() == pytest.approx([0.9, 0.8])


def test_parts_of_a_turned_rectangle_are_united_along_its_own_sides() -> None:
    angle = np.radians(30)
    along = np.array([np.cos(angle), np.sin(angle)])
    one, other = np.array([130.0, 40.0]), np.array([130.0, 40.0]) + 40 * along
    left = found(((95, 10, 160, 70), 0.6, 0, RotatedRectangle(*one, 60, 20, 30)))
    right = found(((140, 30, 200, 90), 0.8, 0, RotatedRectangle(*other, 60, 20, 30)))
    (rectangle,) = two(left, right).geometry
    assert isinstance(rectangle, RotatedRectangle)
    middle = one + 20 * along
    assert (rectangle.center_x, rectangle.center_y) == pytest.approx(tuple(middle), abs=1e-6)
    assert (rectangle.width, rectangle.height, rectangle.rotation) == pytest.approx((100, 20, 30), abs=1e-6)


def test_a_tag_comes_once_with_its_best_score_and_labels_are_told_apart_by_name() -> None:
    box = (0, 0, 300, 100)
    left = found((box, 0.4, 0, WholeFrame()), (box, 0.7, 1, WholeFrame()), labels=("rain", "night"))
    right = found((box, 0.9, 0, WholeFrame()), (box, 0.2, 1, WholeFrame()), labels=("night", "rain"))
    merged = two(left, right)
    named = {merged.labels[i]: score for i, score in zip(merged.label_ids, merged.scores.tolist(), strict=True)}
    assert named == pytest.approx({"night": 0.9, "rain": 0.4})
    assert len(merged) == 2


def test_attributes_stay_with_the_detection_that_wins() -> None:
    left = Detections(("a",), np.array([[0, 0, 9, 9]]), np.array([0.5]), np.array([0]), (None,), ({"color": "red"},))
    merged = two(left, found(((200, 0, 220, 9), 0.9, 0, None)))
    assert list(merged.attributes) == [{}, {"color": "red"}]


def test_views_without_detections_make_an_empty_answer() -> None:
    assert len(two(found(), found())) == 0


def test_masks_of_a_large_picture_are_put_together_without_dense_pictures() -> None:
    size = (8000, 6000)
    views = views_of(*size, None, Tiling(width=1024, height=1024))
    region = region_of(*size, None)
    assert region is not None
    bits = ellipse(60, 60)
    tracemalloc.start()
    parts = [
        moved(found(((480, 480, 540, 540), 0.9, 0, mask_from_crop(480, 480, bits, 1024, 1024))), view, *size)
        for view in views
    ]
    merged = put_together(parts, views, region, size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8000 * 6000 / 4  # a single dense mask has 8000 * 6000 bytes
    assert len(merged) == len(views) == 80
    assert {mask_area(shape) for shape in merged.geometry if isinstance(shape, Mask)} == {int(bits.sum())}
