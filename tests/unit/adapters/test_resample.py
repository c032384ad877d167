"""Resizing in C equals Pillow's, to the last bit, and stays inside the pictures that it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adapters import resample
from adapters.resample import _axis, resized

native: Any = resample.native
built = pytest.mark.skipif(native is None, reason="there was no C compiler when this was installed")
side = st.integers(1, 150)


def by_pillow(pixels: Any, height: int, width: int, filter_: int) -> Any:
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling(filter_)))


@built
@settings(max_examples=200)
@given(old=st.tuples(side, side), new=st.tuples(side, side), filter_=st.sampled_from([2, 3]), seed=st.integers(0, 99))
def test_every_size_is_pillows_to_the_bit(old: tuple[int, int], new: tuple[int, int], filter_: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*old, 3), np.uint8)
    if seed % 3 == 0:  # hard edges overshoot under the cubic filter
        pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(resized(pixels, *new, filter_), by_pillow(pixels, *new, filter_))


@built
@pytest.mark.parametrize("new", [(224, 224), (640, 640), (800, 1066), (480, 320), (240, 640)])
@pytest.mark.parametrize("filter_", [2, 3])
def test_the_usual_sizes_are_pillows_to_the_bit(new: tuple[int, int], filter_: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
    np.testing.assert_array_equal(resized(pixels, *new, filter_), by_pillow(pixels, *new, filter_))


@built
def test_a_part_of_a_picture_and_one_that_may_not_be_written_are_taken() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (60, 80, 3), np.uint8)
    pixels.flags.writeable = False
    part = pixels[5:40, 7:60, ::-1]
    np.testing.assert_array_equal(resized(part, 20, 30, 2), by_pillow(np.ascontiguousarray(part), 20, 30, 2))


@pytest.mark.parametrize("filter_", [0, 1, 4, 5])
def test_other_filters_are_left_to_pillow(filter_: int) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (30, 40, 3), np.uint8)
    np.testing.assert_array_equal(resized(pixels, 17, 23, filter_), by_pillow(pixels, 17, 23, filter_))


def test_without_the_c_part_pillow_resizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "native", None)
    pixels = np.random.default_rng(4).integers(0, 256, (30, 40, 3), np.uint8)
    np.testing.assert_array_equal(resized(pixels, 17, 23, 3), by_pillow(pixels, 17, 23, 3))


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    pixels = np.zeros((3, 4, 3), np.uint8)
    assert resized(pixels, 3, 4, 2) is pixels


def changed(axis: Any, part: int, value: int) -> Any:
    arrays = [each.copy() for each in axis[:3]]
    arrays[part].flat[-1] = value
    return (*arrays, axis[3])


@built
@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("size", (40, 31)),
        ("size", (0, 30)),
        ("size", (-40, -30)),
        ("size", (2**40, 2**40)),
        ("columns", lambda axis: changed(axis, 0, 30)),
        ("columns", lambda axis: changed(axis, 0, -1)),
        ("columns", lambda axis: changed(axis, 1, 99)),
        ("columns", lambda axis: changed(axis, 1, 0)),
        ("columns", lambda axis: (axis[0][:-1], *axis[1:])),
        ("columns", lambda axis: (*axis[:3], axis[3] + 1)),
        ("rows", lambda axis: changed(axis, 0, 2**31 - 1)),
        ("rows", lambda axis: (axis[0], axis[1], axis[2][:-1], axis[3])),
    ],
)
def test_what_would_lead_outside_is_refused(place: str, value: Any) -> None:
    size, columns, rows = (40, 30), _axis(30, 12, 2), _axis(40, 16, 2)
    size = value if place == "size" else size
    columns = value(columns) if place == "columns" else columns
    rows = value(rows) if place == "rows" else rows
    with pytest.raises(ValueError, match=r"bounds|size|outside"):
        native.resize(np.zeros((40, 30, 3), np.uint8), np.empty((16, 12, 3), np.uint8), size, (16, 12), columns, rows)


@built
def test_an_answer_that_may_not_be_written_is_refused() -> None:
    out = np.empty((16, 12, 3), np.uint8)
    out.flags.writeable = False
    with pytest.raises((BufferError, ValueError)):
        native.resize(np.zeros((40, 30, 3), np.uint8), out, (40, 30), (16, 12), _axis(30, 12, 2), _axis(40, 16, 2))
