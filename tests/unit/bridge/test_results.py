"""Raw results come back from their bytes as they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from adapters.base import Detections, Geometry, Mask, Polygon, RotatedRectangle, Skeleton, WholeFrame
from bridge import results

LABELS = ("car", "stop sign", "Straßenschild", 'quoted "label"\n', "never found")
TRIANGLE = np.array([[0, 0], [10.5, 0], [5, 8.25]], np.float32)


def same(one: Geometry, other: Geometry) -> bool:
    match one, other:
        case Polygon(a), Polygon(b):
            return np.array_equal(a, b)
        case Skeleton(a, s), Skeleton(b, t):
            return np.array_equal(a, b) and np.array_equal(s, t)
    return one == other


def assert_same(one: Detections, other: Detections) -> None:
    assert [one.labels[i] for i in one.label_ids] == [other.labels[i] for i in other.label_ids]
    np.testing.assert_array_equal(one.boxes, other.boxes)
    np.testing.assert_array_equal(one.scores, other.scores)
    assert (one.track_ids is None) == (other.track_ids is None)
    if one.track_ids is not None:
        np.testing.assert_array_equal(one.track_ids, other.track_ids)
    assert [dict(entry) for entry in one.attributes] == [dict(entry) for entry in other.attributes]
    assert len(one.geometry) == len(other.geometry)
    assert all(same(a, b) for a, b in zip(one.geometry, other.geometry, strict=True))


@given(
    st.integers(0, 20).flatmap(
        lambda n: st.tuples(
            arrays.arrays(np.float32, (n, 4), elements=st.floats(0, 1e4, width=32)),
            arrays.arrays(np.float32, n, elements=st.floats(0, 1, width=32)),
            arrays.arrays(np.int32, n, elements=st.integers(0, len(LABELS) - 1)),
            st.none() | arrays.arrays(np.int32, n),
            st.just(()) | st.lists(st.dictionaries(st.text(), st.text(), max_size=2), min_size=n, max_size=n),
        )
    )
)
def test_boxes_scores_labels_tracks_and_attributes_come_back(parts: tuple[object, ...]) -> None:
    boxes, scores, label_ids, track_ids, attributes = parts
    given_ = Detections(LABELS, boxes, scores, label_ids, (), tuple(attributes), track_ids)  # type: ignore[arg-type]
    assert_same(given_, results.decode(results.encode(given_)))


@pytest.mark.parametrize(
    "geometry",
    [
        Polygon(TRIANGLE),
        Mask(80, 100, b"0\xff\nbinary\x00counts"),
        Skeleton(TRIANGLE, np.array([1, 0.5, 0], np.float32)),
        RotatedRectangle(50.5, 40, 20, 10, 30),
        RotatedRectangle(*np.array([50.5, 40, 20, 10, 30], np.float32)),
        WholeFrame(),
    ],
)
def test_every_geometry_comes_back_beside_a_plain_box(geometry: Geometry) -> None:
    given_ = Detections(
        LABELS, np.array([[0, 0, 9, 9], [1, 1, 5, 5]]), np.array([0.9, 0.5]), np.array([2, 0]), (None, geometry)
    )
    assert_same(given_, results.decode(results.encode(given_)))


def test_a_frame_with_nothing_on_it_is_a_result_too() -> None:
    assert len(results.decode(results.encode(Detections.empty(LABELS)))) == 0


def test_three_hundred_boxes_take_little_room_and_no_unused_label_names() -> None:
    many = tuple(f"label number {i}" for i in range(20_000))
    rng = np.random.default_rng(0)
    found = Detections(many, rng.random((300, 4)) * 100, rng.random(300), np.zeros(300, int))
    packed = results.encode(found)
    assert len(packed) < 300 * 24 + 200
    assert results.decode(packed).labels == ("label number 0",)
