"""The tracker without weights on drawn films: what moves, grows, hides or leaves the picture."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from adapters.base import Context
from adapters.frame import Frame
from adapters.promptable import Box, Tracker
from adapters.providers import adapter_for
from adapters.references import BuiltIn

WIDTH, HEIGHT = 320, 240


def noise(seed: int, height: int, width: int, grain: int) -> np.ndarray[Any, Any]:
    small = np.random.default_rng(seed).integers(0, 256, (height // grain + 1, width // grain + 1, 3)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


BACKGROUND = noise(1, HEIGHT, WIDTH, 12)
OBJECTS = tuple(noise(seed, 60, 60, 9) for seed in (7, 8))


def film(*boxes: Box, hidden: bool = False) -> Frame:
    """A frame with an object in each box; ``hidden``: there are none."""
    pixels = BACKGROUND.copy()
    for box, look in zip(boxes, OBJECTS, strict=False):
        if hidden:
            continue
        x1, y1, x2, y2 = (round(side) for side in box)
        drawn = cv2.resize(look, (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA)
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, WIDTH), min(y2, HEIGHT)
        if right > left and bottom > top:
            pixels[top:bottom, left:right] = drawn[top - y1 : bottom - y1, left - x1 : right - x1]
    return Frame("film", WIDTH, HEIGHT, pixels=pixels)


def iou(one: Box, other: Box) -> float:
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


@pytest.fixture
async def tracker(tmp_path: Path) -> AsyncIterator[Tracker]:
    reference, context = BuiltIn("template-tracker"), Context(tmp_path)
    adapter = adapter_for(reference)
    async with await adapter.open(await adapter.resolve(reference, context), context) as opened:
        assert isinstance(opened, Tracker)
        yield opened


MOVES: dict[str, Callable[[int], Box]] = {
    "still": lambda t: (100, 80, 150, 120),
    "straight": lambda t: (40 + 6 * t, 60 + 2 * t, 90 + 6 * t, 100 + 2 * t),
    "fast": lambda t: (20 + 14 * t, 150 - 5 * t, 60 + 14 * t, 190 - 5 * t),
    "growing": lambda t: (150 - 1.5 * t, 110 - 1.5 * t, 190 + 1.5 * t, 140 + 1.5 * t),
    "shrinking": lambda t: (100 + 1.5 * t, 60 + 1.5 * t, 200 - 1.5 * t, 160 - 1.5 * t),
    "small": lambda t: (50 + 3 * t, 50 + 3 * t, 62 + 3 * t, 64 + 3 * t),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
async def test_an_object_is_followed(tracker: Tracker, move: Callable[[int], Box]) -> None:
    states = await tracker.begin(film(move(0)), [move(0)])
    for t in range(1, 16):
        states = json.loads(json.dumps(states))  # as a client sends them back
        ((box, state),) = await tracker.follow(film(move(t)), states)
        assert iou(box, move(t)) > 0.7, (t, box, move(t))
        states = [state]
    assert len(json.dumps(states)) < 6000


async def test_several_objects_keep_their_places(tracker: Tracker) -> None:
    one, other = MOVES["straight"], MOVES["shrinking"]
    states = await tracker.begin(film(one(0), other(0)), [one(0), other(0)])
    for t in range(1, 5):
        found = await tracker.follow(film(one(t), other(t)), states)
        assert iou(found[0][0], one(t)) > 0.7
        assert iou(found[1][0], other(t)) > 0.7
        states = [state for _, state in found]


async def test_what_was_hidden_for_some_frames_is_found_again(tracker: Tracker) -> None:
    move = MOVES["straight"]
    states = await tracker.begin(film(move(0)), [move(0)])
    for t in range(1, 10):
        ((box, state),) = await tracker.follow(film(move(t), hidden=t in (4, 5)), states)
        if t in (4, 5):
            assert iou(box, move(3)) > 0.7  # it stays where it was seen last
        states = [state]
    assert iou(box, move(9)) > 0.7


async def test_what_leaves_the_picture_ends_inside_of_it(tracker: Tracker) -> None:
    move: Callable[[int], Box] = lambda t: (230 + 10 * t, 100, 280 + 10 * t, 140)  # noqa: E731
    states = await tracker.begin(film(move(0)), [move(0)])
    for t in range(1, 20):
        ((box, state),) = await tracker.follow(film(move(t)), states)
        assert 0 <= box[0] < box[2] <= WIDTH and 0 <= box[1] < box[3] <= HEIGHT
        states = [state]


@pytest.mark.parametrize("box", [(-50, -40, 20, 30), (0, 0, 0, 0), (400, 300, 420, 330), (0, 0, WIDTH, HEIGHT)])
async def test_odd_boxes_do_no_harm(tracker: Tracker, box: Box) -> None:
    states = await tracker.begin(film(), [box])
    ((found, _),) = await tracker.follow(film(), states)
    assert np.isfinite(found).all()
    assert 0 <= found[0] < found[2] <= WIDTH and 0 <= found[1] < found[3] <= HEIGHT


async def test_a_frame_of_one_colour_is_no_error(tracker: Tracker) -> None:
    grey = Frame("grey", 64, 64, pixels=np.full((64, 64, 3), 128, np.uint8))
    states = await tracker.begin(grey, [(10, 10, 30, 30)])
    ((box, _),) = await tracker.follow(grey, states)
    assert iou(box, (10, 10, 30, 30)) > 0.7


@pytest.mark.parametrize(
    "change",
    [
        {"box": [1, 2, 3]},
        {"box": [0, 0, float("nan"), 5]},
        {"box": [5, 5, 5, 5]},
        {"box": [0, 0, 1e9, 5]},
        {"box": "wide"},
        {"size": [10**6, 10**6]},
        {"size": [0, 0]},
        {"first": "###"},
        {"now": ""},
        {"lost": None},
    ],
    ids=str,
)
async def test_states_that_a_client_has_changed_are_refused(tracker: Tracker, change: dict[str, Any]) -> None:
    (state,) = await tracker.begin(film(), [(10, 10, 60, 50)])
    with pytest.raises(ValueError, match="state"):
        await tracker.follow(film(), [{**state, **change}])
    with pytest.raises(ValueError, match="state"):
        await tracker.follow(film(), [{}])
