"""What is typed on the command line about regions, tiles and suppression."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from bridge.cli.job_options import checked, make_spec, parse_nms, parse_region, parse_tiling
from bridge.errors import InvalidRequest
from bridge.job_spec import JobSpec, Region, Tiling


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("10,20,300,200", Region(x=10, y=20, width=300, height=200)),
        ("10%,20%,50%,80%", Region(x=0.1, y=0.2, width=0.5, height=0.8, unit="fraction")),
        ("0,0 100,0 50,80.5", Region(points=((0, 0), (100, 0), (50, 80.5)))),
        ("0%,0%  100%,0% 50%,100%", Region(points=((0, 0), (1, 0), (0.5, 1)), unit="fraction")),
    ],
)
def test_a_region_is_read_in_pixels_or_percent(text: str, region: Region) -> None:
    assert Region(**(parse_region(text) or {})) == region


@pytest.mark.parametrize(
    "text", ["", "10", "10,20", "1,2,3", "1,2,3,4,5", "a,b,c,d", "10%,20,30,40", "1,2 3,4 5", "1,2 3,4"]
)
def test_a_region_that_cannot_be_read_is_wrong_usage(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="form"):
        parse_region(text)


def test_tiles_are_read_as_one_number_or_two() -> None:
    assert parse_tiling("640", 0.2) == {"width": 640, "height": 640, "overlap": 0.2}
    assert parse_tiling("1024X768", 0.0) == {"width": 1024, "height": 768, "overlap": 0.0}
    assert Tiling(**(parse_tiling("640", None) or {})).overlap == 0.2
    assert parse_tiling(None, None) is None
    with pytest.raises(typer.BadParameter, match="needs --tile"):
        parse_tiling(None, 0.2)
    for text in ("", "x640", "big", "-5", "6x4x2"):
        with pytest.raises(typer.BadParameter):
            parse_tiling(text, 0.2)


def test_class_agnostic_alone_says_nothing() -> None:
    assert parse_nms(0.5, True) == {"iou": 0.5, "class_agnostic": True}
    assert parse_nms(None, False) is None
    with pytest.raises(typer.BadParameter, match="needs --nms"):
        parse_nms(None, True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"roi": {"x": 0, "y": 0, "width": 0, "height": 5}}, "roi: the region has no area."),
        ({"tiling": {"width": 8, "height": 64}}, "tiling.width: Input should be greater than or equal to 32."),
        ({"clean": "all", "keep_manual_iou": 0.5}, "Keep_manual_iou has nothing to keep where clean is all."),
    ],
)
def test_what_is_wrong_in_a_spec_is_said_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make_spec(target=1, model_id=1, **values)
    assert caught.value.message == message
    assert checked(JobSpec, target=1, model_id=1) == JobSpec(target=1, model_id=1)
