from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from adapters.base import Mask
from bridge.masks import (
    crop_mask,
    mask_area,
    mask_box,
    mask_from_crop,
    mask_from_polygon,
    mask_from_runs,
    mask_to_polygons,
    polygon_area,
    run_lengths,
)
from tests.unit.bridge.drawn import decode_mask

BITS = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(
    lambda size: arrays(np.uint8, size, elements=st.integers(0, 1))
)


def encoded(bits: np.ndarray) -> Mask:
    return Mask(*bits.shape, coco.encode(np.asfortranarray(bits))["counts"])


def disc(size: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size / 2
    return (x**2 + y**2 < radius**2).astype(np.uint8)


@given(BITS)
def test_area_box_and_crop_are_those_of_pycocotools(bits: np.ndarray) -> None:
    mask = encoded(bits)
    assert mask_area(mask) == bits.sum()
    assert (decode_mask(mask) == bits).all()
    crop = crop_mask(mask)
    if crop is None:
        assert not bits.any()
        return
    x, y, width, height = coco.toBbox({"size": bits.shape, "counts": mask.counts})
    left, top, cut = crop
    assert (left, top, *cut.shape) == (x, y, height, width)
    assert mask_box(mask) == (x, y, x + width, y + height)
    assert (cut == bits[top : top + cut.shape[0], left : left + cut.shape[1]]).all()
    assert mask_from_crop(left, top, cut, bits.shape[1], bits.shape[0]) == mask


@given(BITS)
def test_run_lengths_make_the_same_mask_again(bits: np.ndarray) -> None:
    runs = run_lengths(encoded(bits))
    assert mask_from_runs(runs.tolist(), bits.shape[1], bits.shape[0]) == encoded(bits)


@given(BITS)
@settings(max_examples=200)
def test_unsimplified_polygons_enclose_exactly_the_mask(bits: np.ndarray) -> None:
    polygons = mask_to_polygons(encoded(bits), tolerance=0)
    assert sum(polygon_area(polygon) for polygon in polygons) == bits.sum()
    assert all(len(polygon) >= 6 for polygon in polygons)
    if polygons:
        assert (decode_mask(mask_from_polygon(polygons, bits.shape[1], bits.shape[0])) == bits).all()


@given(BITS)
def test_a_mask_that_is_not_empty_never_loses_all_its_polygons(bits: np.ndarray) -> None:
    polygons = mask_to_polygons(encoded(bits))
    assert bool(polygons) == bool(bits.any())
    assert all(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in polygons)


@pytest.mark.parametrize("radius", [5, 20, 90])
def test_simplified_polygons_stay_close_to_a_round_mask(radius: int) -> None:
    bits = disc(200, radius)
    (polygon,) = mask_to_polygons(encoded(bits))
    drawn = decode_mask(mask_from_polygon([polygon], 200, 200))
    assert (drawn & bits).sum() / (drawn | bits).sum() > 0.9
    assert len(polygon) < 2 * 60


def test_a_hole_is_kept_by_a_cut_and_a_speck_is_left_out() -> None:
    bits = disc(100, 40) - disc(100, 20)
    bits[0, 0] = 1
    polygons = mask_to_polygons(encoded(bits))
    assert len(polygons) == 1
    assert polygon_area(polygons[0]) == pytest.approx(bits.sum(), rel=0.03)
    assert decode_mask(mask_from_polygon(polygons, 100, 100))[50, 50] == 0


def shapes_of_all_sizes() -> Iterator[tuple[str, np.ndarray]]:
    """Shapes of all sizes and outlines on a frame of 640 x 480."""
    y, x = np.mgrid[:480, :640].astype(np.float64)
    x, y = x - 320, y - 240
    far, angle = np.hypot(x, y), np.arctan2(y, x)
    for radius in (5, 10, 20, 30, 60, 120, 200):
        yield f"disc {radius}", far < radius
    for wide, high in ((100, 30), (200, 15), (30, 6)):
        yield f"ellipse {wide} x {high}", (x / wide) ** 2 + (y / high) ** 2 < 1
    for points in (3, 5, 9):
        yield f"star {points}", far < 100 * (1 + 0.4 * np.cos(points * angle))
        yield f"small star {points}", far < 20 * (1 + 0.4 * np.cos(points * angle))
    turned_x, turned_y = x * np.cos(0.5) + y * np.sin(0.5), -x * np.sin(0.5) + y * np.cos(0.5)
    yield "turned rectangle", (abs(turned_x) < 120) & (abs(turned_y) < 30)
    yield "thin turned rectangle", (abs(turned_x) < 120) & (abs(turned_y) < 4)
    yield "ring", (far < 150) & (far > 100)


@pytest.mark.parametrize(("name", "bits"), [pytest.param(*entry, id=entry[0]) for entry in shapes_of_all_sizes()])
def test_polygons_enclose_the_masks_area_to_a_hundredth(name: str, bits: np.ndarray) -> None:
    polygons = mask_to_polygons(encoded(bits.astype(np.uint8)))
    assert all(len(polygon) >= 6 for polygon in polygons)
    assert sum(polygon_area(polygon) for polygon in polygons) == pytest.approx(bits.sum(), rel=0.01)
    drawn = decode_mask(mask_from_polygon(polygons, 640, 480))
    assert (drawn & bits).sum() / (drawn | bits).sum() > 0.9


def test_parts_come_largest_first() -> None:
    bits = np.zeros((50, 50), np.uint8)
    bits[2:8, 2:8] = 1
    bits[20:40, 20:40] = 1
    first, second = mask_to_polygons(encoded(bits))
    assert (polygon_area(first), polygon_area(second)) == (400, 36)


def test_what_lies_outside_the_frame_is_cut_off() -> None:
    ones = np.ones((6, 6), np.uint8)
    assert mask_box(mask_from_crop(-2, -3, ones, 10, 10)) == (0, 0, 4, 3)
    assert mask_box(mask_from_crop(8, 7, ones, 10, 10)) == (8, 7, 10, 10)
    assert mask_area(mask_from_crop(20, 20, ones, 10, 10)) == 0
    assert mask_box(mask_from_polygon([[-5, -5, 5, -5, 5, 5, -5, 5]], 10, 10)) == (0, 0, 5, 5)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (b"", "no run-length text"),
        (b"\x00\xff", "no run-length text"),
        (b"o", "no run-length text"),
        (b"ooooooooo0", "too long"),
        (b"O1", "negative"),
        (b"11", "cover 2 of 100"),
        (b"\\" * 7 + b"1", "cover|negative"),
    ],
)
def test_run_lengths_that_do_not_fit_are_refused(counts: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        run_lengths(Mask(10, 10, counts))


@given(st.binary(max_size=30))
def test_any_bytes_are_run_lengths_or_refused(counts: bytes) -> None:
    try:
        runs = run_lengths(Mask(10, 10, counts))
    except ValueError:
        return
    assert runs.sum() == 100
    assert runs.min() >= 0


@pytest.mark.parametrize("runs", [[], [50, 60], [-1, 101], [99]])
def test_runs_that_do_not_fill_the_frame_are_refused(runs: list[int]) -> None:
    with pytest.raises(ValueError, match=r"cover|negative"):
        mask_from_runs(runs, 10, 10)
