"""What "clean" may take away: shapes where a job looks, whatever another tool has stored."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from adapters.base import Mask
from bridge.domain import Shape, Source
from bridge.job_spec import Region
from bridge.keeping import looked_at
from bridge.masks import mask_from_crop

SIZE = (100, 80)
HALF = Region(x=0, y=0, width=0.5, height=1, unit="fraction")
TRIANGLE = Region(points=((0, 0), (100, 0), (0, 80)))


def mask(left: int, top: int) -> Mask:
    return mask_from_crop(left, top, np.ones((20, 20), np.uint8), *SIZE)


@pytest.mark.parametrize("roi", [HALF, TRIANGLE])
@pytest.mark.parametrize("x", [5, 65])
def test_a_shape_counts_where_its_centre_is(roi: Region, x: int) -> None:
    shapes = [
        Shape("car", "rectangle", (x, 50, x + 20, 70)),
        Shape("car", "rectangle", (x, 50, x + 20, 70), rotation=30.0),
        Shape("car", "polygon", (x, 50, x + 20, 50, x + 10, 70)),
        Shape("car", "ellipse", (x + 10, 60, 10, 5)),
        Shape("car", "mask", (), mask(x, 50).counts),
        Shape("car", "points", (x, 50, x + 20, 70)),
        Shape("car", "polyline", (x, 50, x + 20, 70)),
        Shape("car", "skeleton", (x, 50, 2, x + 20, 70, 1, 200, 200, 0)),
    ]
    assert looked_at(shapes, roi, SIZE) == (shapes if x == 5 else [])
    assert looked_at(shapes, None, SIZE) == shapes


def test_tags_are_of_the_whole_frame_and_nothing_is_where_the_region_is_not() -> None:
    tag, box = Shape("car", "tag", ()), Shape("car", "rectangle", (60, 10, 80, 20))
    assert looked_at([tag, box], HALF, SIZE) == [tag]
    assert looked_at([tag, box], Region(x=200, y=0, width=10, height=10), SIZE) == []


def test_what_another_tool_has_stored_unchecked_stays() -> None:
    kinds = ("rectangle", "polygon", "ellipse", "points", "polyline", "cuboid", "mask", "skeleton")
    points = ((), (1.0,), (float("nan"), 1.0, 2.0, 3.0))
    broken = [Shape("car", kind, numbers, b"?") for kind, numbers in itertools.product(kinds, points)]
    assert looked_at(broken, HALF, SIZE) == []


@pytest.mark.parametrize("roi", [HALF, TRIANGLE])
def test_the_parts_of_one_mask_are_one_object_and_what_people_grouped_is_not(roi: Region) -> None:
    def part(x: int, source: Source, group: int = 1, job_id: int | None = 7) -> Shape:
        return Shape("car", "polygon", (x, 40, x + 4, 40, x, 44), source=source, group=group, job_id=job_id)

    near, far = part(2, Source.AUTOMATIC), part(88, Source.AUTOMATIC)
    assert looked_at([near, far], roi, SIZE) == [near, far]
    assert looked_at([part(30, Source.AUTOMATIC), far], roi, SIZE) == []
    assert looked_at([near, part(88, Source.AUTOMATIC, group=2)], roi, SIZE) == [near]
    assert looked_at([near, part(88, Source.AUTOMATIC, job_id=8)], roi, SIZE) == [near]
    for source in (Source.MANUAL, Source.IMPORTED):
        mine = part(2, source, job_id=None)
        assert looked_at([mine, part(88, source, job_id=None)], roi, SIZE) == [mine]
