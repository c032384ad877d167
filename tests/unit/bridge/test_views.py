"""Regions and tiles: whole pixels out, the same pixels back, whatever the frame's size."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.base import Detections, Mask, Polygon, RotatedRectangle, Skeleton, WholeFrame
from adapters.errors import BadOutput
from adapters.frame import Frame
from bridge.job_spec import Region, Tiling
from bridge.masks import mask_from_crop
from bridge.views import View, count_views, crop, moved, region_of, views_of, within
from tests.unit.bridge.drawn import decode_mask

LEFT_HALF = Region(x=0, y=0, width=0.5, height=1, unit="fraction")
TRIANGLE = Region(points=((0, 0), (100, 0), (0, 100)))
SIZES = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


def rectangle(x: float, y: float, width: float, height: float, unit: str = "pixels") -> Region:
    return Region(x=x, y=y, width=width, height=height, unit=unit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("roi", "size", "expected"),
    [
        (None, (64, 48), View(0, 0, 64, 48)),
        (rectangle(10, 20, 30, 40), (640, 480), View(10, 20, 30, 40)),
        (rectangle(10, 20, 30, 40), (25, 480), View(10, 20, 15, 40)),  # cut off at the frame's edge
        (rectangle(10.4, 20.6, 1.2, 1), (640, 480), View(10, 20, 2, 2)),  # every pixel that is touched
        (rectangle(0.1, 0.1, 0.2, 0.2, "fraction"), (30, 10), View(3, 1, 6, 2)),
        (LEFT_HALF, (101, 7), View(0, 0, 51, 7)),
        (TRIANGLE, (60, 200), View(0, 0, 60, 100)),
        (rectangle(100, 0, 5, 5), (100, 100), None),
        (Region(points=((0.5, 0.5), (1, 0.5), (1, 1)), unit="fraction"), (10, 20), View(5, 10, 5, 10)),
    ],
)
def test_a_region_is_the_pixels_that_it_touches(roi: Region | None, size: tuple[int, int], expected: View) -> None:
    assert region_of(*size, roi) == expected
    assert views_of(*size, roi, None) == (() if expected is None else (expected,))
    assert count_views(*size, roi, None) == (0 if expected is None else 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give x, y, width and height, or points"),
        ({"x": 1, "y": 1, "width": 5}, "give x, y, width and height, or points"),
        ({"x": 1, "y": 1, "width": 5, "height": 0}, "no area"),
        ({"x": 1, "y": 1, "width": 5, "height": 5, "points": [(0, 0), (1, 0), (1, 1)]}, "not both"),
        ({"points": [(0, 0), (1, 1)]}, "at least 3"),
        ({"points": [(0, 0), (1, 1), (2, 2)]}, "no area"),
        ({"x": 0.5, "y": 0, "width": 0.6, "height": 1, "unit": "fraction"}, "end at 1"),
        ({"x": -1, "y": 0, "width": 5, "height": 5}, "greater than or equal to 0"),
        ({"x": math.nan, "y": 0, "width": 5, "height": 5}, "finite"),
        ({"x": 0, "y": 0, "width": 5, "height": 5, "unit": "metres"}, "pixels"),
    ],
)
def test_a_region_that_means_nothing_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Region.model_validate(values)


@pytest.mark.parametrize("values", [{"width": 31, "height": 64}, {"width": 64, "height": 64, "overlap": 0.8}, {}])
def test_tiles_too_small_or_too_much_alike_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Tiling.model_validate(values)


@settings(max_examples=150)
@given(
    size=SIZES,
    tile=st.tuples(st.integers(32, 900), st.integers(32, 900)),
    overlap=st.floats(0, 0.75),
    region=st.none() | st.just(LEFT_HALF) | st.just(rectangle(100, 50, 777, 333)),
)
def test_tiles_are_of_one_size_cover_the_region_and_overlap_at_least_so_much(
    size: tuple[int, int], tile: tuple[int, int], overlap: float, region: Region | None
) -> None:
    tiling = Tiling(width=tile[0], height=tile[1], overlap=overlap)
    views = views_of(*size, region, tiling)
    whole = region_of(*size, region)
    assert len(views) == count_views(*size, region, tiling)
    if whole is None:
        assert views == ()
        return
    width, height = min(tile[0], whole.width), min(tile[1], whole.height)
    assert {(view.width, view.height) for view in views} == {(width, height)}
    for low, high, side, begin, end in (
        ({view.left for view in views}, {view.right for view in views}, width, whole.left, whole.right),
        ({view.top for view in views}, {view.bottom for view in views}, height, whole.top, whole.bottom),
    ):
        starts = sorted(low)
        assert (starts[0], max(high)) == (begin, end)
        for one, following in itertools.pairwise(starts):
            assert one + side - following >= side * overlap - 1e-6


def test_a_frame_no_larger_than_a_tile_is_shown_as_it_is() -> None:
    frame = Frame("a", 60, 40, pixels=np.zeros((40, 60, 3), np.uint8))
    (view,) = views_of(60, 40, None, Tiling(width=64, height=64))
    assert crop(frame, view) is frame


def test_tiles_that_a_polygon_does_not_touch_are_left_out() -> None:
    corner = Region(points=((0, 0), (1000, 0), (0, 1000)))
    views = views_of(1000, 1000, corner, Tiling(width=100, height=100, overlap=0))
    assert len(views) < 70
    assert View(900, 900, 100, 100) not in views
    assert View(0, 900, 100, 100) in views


def test_a_crop_is_the_pixels_of_the_frame_under_the_frames_own_name() -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (50, 70, 3)).astype(np.uint8)
    part = crop(Frame("street.png", 70, 50, pixels=pixels), View(10, 20, 30, 25))
    assert (part.id, part.width, part.height) == ("street.png", 30, 25)
    assert (part.pixels == pixels[20:45, 10:40]).all()


def seen(view: View) -> Detections:
    """One of each geometry in pixels of a view."""
    width, height = view.width, view.height
    bits = np.zeros((height, width), np.uint8)
    bits[height // 3 :, width // 2 :] = 1
    whole = (0.0, 0.0, float(width), float(height))
    points = np.array([[0.25, 0.5], [width - 0.75, 0.5], [width / 3, height / 7]], np.float32)
    return Detections(
        ("a",),
        np.array([whole] * 6, np.float32),
        np.full(6, 0.5),
        np.zeros(6),
        (
            None,
            Polygon(points),
            Skeleton(points, np.ones(3)),
            RotatedRectangle(width / 2, height / 2, 5.5, 4.25, 30.0),
            mask_from_crop(0, 0, bits, width, height),
            WholeFrame(),
        ),
    )


@settings(max_examples=100)
@given(size=SIZES, place=st.tuples(*[st.floats(0, 0.9)] * 2), part=st.tuples(*[st.floats(0.05, 1)] * 2))
def test_what_is_found_in_a_region_comes_back_exactly(
    size: tuple[int, int], place: tuple[float, float], part: tuple[float, float]
) -> None:
    width, height = size
    x, y = place
    roi = rectangle(x, y, min(part[0], 1 - x), min(part[1], 1 - y), "fraction")
    view = region_of(width, height, roi)
    assert view is not None
    inner = seen(view)
    outer = moved(inner, view, width, height)
    offset = np.array([view.left, view.top], np.float64)
    assert np.abs(outer.boxes[:5].astype(np.float64) - inner.boxes[:5] - np.tile(offset, 2)).max() < 1e-3
    for before, after in zip(inner.geometry, outer.geometry, strict=True):
        match before, after:
            case (Polygon(), Polygon()) | (Skeleton(), Skeleton()):
                assert np.abs(after.points.astype(np.float64) - before.points - offset).max() < 1e-3
            case RotatedRectangle(), RotatedRectangle():
                assert after.center_x - before.center_x == view.left
                assert after.center_y - before.center_y == view.top
                assert (after.width, after.height, after.rotation) == (before.width, before.height, before.rotation)
            case Mask(), Mask():
                picture = decode_mask(after)
                assert picture.shape == (height, width)
                assert (picture[view.top : view.bottom, view.left : view.right] == decode_mask(before)).all()
                assert picture.sum() == decode_mask(before).sum()
            case WholeFrame(), WholeFrame():
                assert outer.boxes[5].tolist() == [0, 0, width, height]
            case _:
                assert before is None and after is None


def test_an_empty_mask_stays_empty_and_a_broken_one_is_the_models_fault() -> None:
    view = View(5, 5, 10, 10)
    empty = mask_from_crop(0, 0, np.zeros((1, 1), np.uint8), 10, 10)
    found = Detections(("a",), [[0, 0, 5, 5]], [0.5], [0], (empty,))
    (mask,) = moved(found, view, 40, 30).geometry
    assert isinstance(mask, Mask)
    assert decode_mask(mask).shape == (30, 40)
    assert decode_mask(mask).sum() == 0
    broken = Detections(("a",), [[0, 0, 5, 5]], [0.5], [0], (Mask(10, 10, b"0"),))
    with pytest.raises(BadOutput, match="mask"):
        moved(broken, view, 40, 30)


def test_a_polygon_takes_what_has_its_centre_in_it_and_every_tag() -> None:
    boxes = [[10, 10, 30, 30], [70, 70, 90, 90], [0, 0, 100, 100]]
    found = Detections(("a",), boxes, [0.9, 0.8, 0.7], [0, 0, 0], (None, None, WholeFrame()))
    assert within(found, TRIANGLE, 100, 100).scores.tolist() == pytest.approx([0.9, 0.7])
    assert within(found, rectangle(0, 0, 10, 10), 100, 100) is found
