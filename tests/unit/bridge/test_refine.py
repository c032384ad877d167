"""Thresholds, least size, mapping and suppression, in this order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from adapters.base import Detections, Geometry, RotatedRectangle, Skeleton, WholeFrame
from bridge.domain import Shape, Source, TaskLabel
from bridge.job_spec import JobSpec, Nms, Region
from bridge.keeping import beside, looked_at, people_made
from bridge.masks import mask_from_crop
from bridge.overlap import ious, suppress
from bridge.refine import Refinement, refine

SIZE = (200, 100)
CAR, TRUCK, TREE = "car", "truck", "tree"
PAIRS = {CAR: TaskLabel("vehicle"), TRUCK: TaskLabel("vehicle"), TREE: TaskLabel("tree")}


def found(*rows: tuple[str, Sequence[float], float], geometry: Sequence[Geometry] = ()) -> Detections:
    labels = (CAR, TRUCK, TREE, "sky")
    boxes, scores = np.array([row[1] for row in rows], np.float32), np.array([row[2] for row in rows], np.float32)
    return Detections(labels, boxes, scores, np.array([labels.index(row[0]) for row in rows]), tuple(geometry))


def shapes(detections: Detections, **values: Any) -> list[tuple[str, float]]:
    """(label, score) of what comes of it."""
    refinement = Refinement(**{"pairs": PAIRS, "threshold": 0.1, **values})
    return [(shape.label, round(shape.score or 0, 2)) for shape in refine(detections, refinement, SIZE)]


SAME = (0, 0, 10, 10)
NEAR = (1, 0, 11, 10)  # intersection over union with SAME: 9/11
FAR = (50, 50, 60, 60)


def test_of_shapes_that_overlap_the_best_stays_within_a_task_label() -> None:
    raw = found((CAR, SAME, 0.5), (TRUCK, NEAR, 0.9), (TREE, SAME, 0.4), (CAR, FAR, 0.3))
    everything = [("vehicle", 0.5), ("vehicle", 0.9), ("tree", 0.4), ("vehicle", 0.3)]
    assert shapes(raw) == everything
    assert shapes(raw, nms=Nms(iou=0.5)) == [("vehicle", 0.9), ("tree", 0.4), ("vehicle", 0.3)]
    assert shapes(raw, nms=Nms(iou=0.5, class_agnostic=True)) == [("vehicle", 0.9), ("vehicle", 0.3)]
    assert shapes(raw, nms=Nms(iou=0.9)) == everything


def test_labels_that_are_not_mapped_take_nothing_away() -> None:
    raw = found(("sky", SAME, 0.99), (CAR, SAME, 0.5))
    assert shapes(raw, nms=Nms(iou=0.1, class_agnostic=True)) == [("vehicle", 0.5)]


def test_what_is_below_its_threshold_or_too_small_takes_nothing_away() -> None:
    raw = found((CAR, SAME, 0.9), (TRUCK, NEAR, 0.5))
    assert shapes(raw, nms=Nms(iou=0.5), label_thresholds={CAR: 0.95}) == [("vehicle", 0.5)]
    raw = found((CAR, (0, 0, 10, 9), 0.9), (TRUCK, SAME, 0.5))
    assert shapes(raw, nms=Nms(iou=0.5), min_size=10) == [("vehicle", 0.5)]


def test_both_sides_of_a_shape_are_at_least_the_least_size_a_turned_one_by_its_own_sides() -> None:
    raw = found((CAR, (0, 0, 10, 5), 0.9), (CAR, SAME, 0.8), (CAR, (0, 0, 5, 10), 0.7), (TREE, SAME, 0.6))
    turned = RotatedRectangle(20, 20, 30, 3, 45)
    assert shapes(raw, min_size=10) == [("vehicle", 0.8), ("tree", 0.6)]
    raw = found((CAR, (0, 0, 50, 50), 0.9), (TREE, (0, 0, 1, 1), 0.5), geometry=(turned, WholeFrame()))
    pairs = {CAR: TaskLabel("vehicle"), TREE: TaskLabel("tree")}
    assert shapes(raw, min_size=10, pairs=pairs) == [("tree", 0.5)]  # a tag has no size


def test_of_the_tags_the_best_so_many_stay_and_those_without_a_label_do_not_count() -> None:
    whole = (0, 0, 200, 100)
    tag = WholeFrame()
    raw = found(
        *((CAR, whole, 0.3), ("sky", whole, 0.9), (TREE, whole, 0.5), (TRUCK, whole, 0.4), (CAR, SAME, 0.2)),
        geometry=(tag, tag, tag, tag, None),
    )
    assert shapes(raw, top_k=1) == [("tree", 0.5), ("vehicle", 0.2)]  # a box is no tag
    assert shapes(raw, top_k=2) == shapes(raw) == [("vehicle", 0.4), ("tree", 0.5), ("vehicle", 0.2)]
    raw = found((CAR, whole, 0.5), (TRUCK, whole, 0.4), (TREE, whole, 0.3), geometry=(tag, tag, tag))
    assert shapes(raw, top_k=2) == [("vehicle", 0.5), ("tree", 0.3)]  # two labels of one task label are one tag
    assert shapes(found(), top_k=1) == []


def test_tags_are_never_suppressed() -> None:
    whole = (0, 0, 200, 100)
    raw = found((CAR, whole, 0.9), (TREE, whole, 0.5), (TRUCK, whole, 0.8), geometry=(WholeFrame(), WholeFrame(), None))
    kept = shapes(raw, nms=Nms(iou=0.1, class_agnostic=True))
    assert kept == [("vehicle", 0.9), ("tree", 0.5), ("vehicle", 0.8)]


def test_suppression_is_greedy_keeps_the_order_and_spares_what_only_a_suppressed_box_overlaps() -> None:
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], np.float32)
    scores = np.array([0.5, 0.4, 0.3])
    groups = np.zeros(3, int)
    assert suppress(boxes, scores, groups, 0.3).tolist() == [True, False, True]
    assert suppress(boxes, scores[::-1], groups, 0.3).tolist() == [True, False, True]
    assert suppress(boxes[:0], scores[:0], groups[:0], 0.3).tolist() == []
    equal = np.array([SAME, SAME], np.float32)
    assert suppress(equal, np.array([0.5, 0.5]), np.zeros(2, int), 0.99).tolist() == [True, False]
    assert suppress(equal, np.array([0.5, 0.5]), np.zeros(2, int), 1.0).tolist() == [True, True]  # more than iou


def test_empty_boxes_overlap_nothing() -> None:
    empty = np.zeros((1, 4))
    assert ious(empty, empty).tolist() == [[0.0]]
    assert ious(np.array([SAME]), np.array([NEAR])) == pytest.approx(9 / 11)


def test_suppression_agrees_with_a_plain_loop() -> None:
    random = np.random.default_rng(3)
    for _ in range(50):
        corner = random.uniform(0, 60, (40, 2))
        boxes = np.concatenate([corner, corner + random.uniform(1, 40, (40, 2))], axis=1)
        scores, groups = random.random(40), random.integers(0, 3, 40)
        kept: list[int] = []
        for row in sorted(range(40), key=lambda row: -scores[row]):
            overlaps = [ious(boxes[[row]], boxes[[other]])[0, 0] for other in kept if groups[other] == groups[row]]
            if not any(overlap > 0.4 for overlap in overlaps):
                kept.append(row)
        assert np.flatnonzero(suppress(boxes, scores, groups, 0.4)).tolist() == sorted(kept)


def rectangle(label: str, box: Sequence[float], source: Source = Source.AUTOMATIC) -> Shape:
    return Shape(label, "rectangle", tuple(map(float, box)), source=source)


def test_new_shapes_that_overlap_a_persons_shape_of_any_label_do_not_come() -> None:
    mask = mask_from_crop(0, 0, np.ones((10, 10), np.uint8), *SIZE)
    new = [rectangle("tree", NEAR), rectangle("tree", FAR), Shape("tree", "mask", rle=mask.counts)]
    known = [rectangle("car", SAME, Source.MANUAL), rectangle("car", FAR)]
    assert people_made([*known, rectangle("x", FAR, Source.IMPORTED)]) == [
        known[0],
        rectangle("x", FAR, Source.IMPORTED),
    ]
    assert beside(new, people_made(known), 0.5, SIZE) == [new[1]]
    assert beside(new, people_made(known), 9 / 11 + 1e-6, SIZE) == new[:2]
    assert beside(new, [], 0.1, SIZE) == new


def test_a_tag_that_a_person_set_already_does_not_come_again_and_points_always_come() -> None:
    new = [Shape("rain", "tag"), Shape("night", "tag"), Shape("car", "points", (5.0, 5.0))]
    known = [Shape("rain", "tag"), rectangle("car", SAME)]
    assert beside(new, known, 0.1, SIZE) == new[1:]


@pytest.mark.parametrize(
    "values",
    [
        {"nms": {"iou": 1.5}},
        {"nms": {"iou": 0.5, "agnostic": True}},
        {"min_size": -1},
        {"keep_manual_iou": 0},
        {"keep_manual_iou": 0.5, "clean": "all"},
        {"tiling": {"width": 640}},
        {"roi": {"x": 1}},
    ],
)
def test_a_job_that_contradicts_itself_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JobSpec(target=1, model_id=1, **values)


def test_a_shape_comes_where_its_own_centre_is_in_the_region_so_that_clean_finds_it_again() -> None:
    size, roi = (100, 100), Region(points=((0, 0), (100, 0), (0, 100)))
    box = (20, 20, 70, 70)  # its centre is in the triangle
    for left, comes in ((20, True), (60, False)):  # and the mask's own need not be
        mask = mask_from_crop(left, left, np.ones((10, 10), np.uint8), *size)
        for polygons in (False, True):
            refinement = Refinement(PAIRS, 0.1, masks_as_polygons=polygons, roi=roi)
            made = refine(found((CAR, box, 0.9), geometry=(mask,)), refinement, size)
            assert bool(made) == comes
            assert looked_at(made, roi, size) == made
    joints = Skeleton(np.array([[65, 65], [70, 70], [20, 20]], np.float32), np.array([0.9, 0.9, 0.0], np.float32))
    assert refine(found((CAR, box, 0.9), geometry=(joints,)), Refinement(PAIRS, 0.1, roi=roi), size) == []
    assert refine(found((CAR, box, 0.9)), Refinement(PAIRS, 0.1, roi=roi), size)
