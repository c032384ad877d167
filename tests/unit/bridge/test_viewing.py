"""A model that is shown parts of frames answers for whole frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import numpy as np
import pytest

from adapters.base import Detections, Limits, ModelCard, PredictOptions, WholeFrame
from adapters.errors import BadFrame, BadOutput, OutOfMemory
from adapters.frame import Frame
from bridge.job_spec import Region, Tiling
from bridge.viewing import ViewingPredictor, viewed
from tests.unit.bridge.world import CARD


@dataclass
class Spotter:
    """Finds the white rectangles of black pictures, of which no two share a row or column; and says "dark" of each."""

    card: ModelCard = field(default_factory=lambda: replace(CARD, labels=("spot", "dark"), limits=Limits(max_batch=4)))
    batches: list[list[tuple[str, int, int]]] = field(default_factory=list)
    room: int = 100  # pictures that fit into memory
    answers: int | None = None

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        if len(frames) > self.room:
            raise OutOfMemory("too many")
        self.batches.append([(frame.id, frame.width, frame.height) for frame in frames])
        return [self.look(frame) for frame in frames][: self.answers]

    def look(self, frame: Frame) -> Detections:
        white = frame.pixels[:, :, 0] > 0
        boxes = [(0.0, 0.0, float(frame.width), float(frame.height))]
        for value in np.unique(frame.pixels[white][:, 0]):
            ys, xs = np.nonzero(frame.pixels[:, :, 0] == value)
            boxes.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
        n = len(boxes)
        scores = np.array([0.3] + [0.9] * (n - 1))
        return Detections(
            ("spot", "dark"), np.array(boxes), scores, np.array([1] + [0] * (n - 1)), (WholeFrame(), *[None] * (n - 1))
        )

    async def close(self) -> None:
        raise AssertionError("it was only lent")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


def frame(name: str, width: int, height: int, *spots: tuple[int, int, int, int]) -> Frame:
    pixels = np.zeros((height, width, 3), np.uint8)
    for number, (x1, y1, x2, y2) in enumerate(spots):
        pixels[y1:y2, x1:x2] = 255 - number
    return Frame(name, width, height, pixels=pixels)


def boxes(found: Detections) -> list[list[float]]:
    return sorted(found.take(found.label_ids == 0).boxes.tolist())


OPTIONS = PredictOptions(0.05)
TILES = Tiling(width=64, height=64, overlap=0.25)


async def test_frames_of_mixed_sizes_are_seen_in_tiles_and_answered_in_their_own_pixels_and_order() -> None:
    inner = Spotter()
    frames = [
        frame("large", 200, 150, (40, 40, 100, 60), (120, 100, 130, 140)),
        frame("small", 50, 30, (1, 2, 9, 12)),
        frame("wide", 300, 40, (0, 0, 300, 40)),
    ]
    eyes = ViewingPredictor(inner, None, TILES, most_views=12)
    async with eyes:
        large, small, wide = await eyes.predict(frames, OPTIONS)
    assert boxes(large) == [[40, 40, 100, 60], [120, 100, 130, 140]]
    assert boxes(small) == [[1, 2, 9, 12]]
    assert boxes(wide) == [[0, 0, 300, 40]]  # wider than any tile
    for found, (width, height) in ((large, (200, 150)), (small, (50, 30)), (wide, (300, 40))):
        (tag,) = found.take(found.label_ids == 1).boxes.tolist()
        assert tag == [0, 0, width, height]
    assert max(len(batch) for batch in inner.batches) == 4
    assert {size[1:] for batch in inner.batches for size in batch} == {(64, 64), (50, 30), (64, 40)}


async def test_a_region_is_all_that_the_model_sees_and_frames_without_it_are_not_asked_about() -> None:
    inner = Spotter()
    roi = Region(x=100, y=10, width=50, height=50)
    frames = [frame("in", 200, 100, (110, 20, 120, 30), (10, 40, 30, 50)), frame("out", 80, 80, (0, 0, 9, 9))]
    found, outside = await ViewingPredictor(inner, roi, None, 1).predict(frames, OPTIONS)
    assert boxes(found) == [[110, 20, 120, 30]]
    assert len(outside) == 0
    assert inner.batches == [[("in", 50, 50)]]


async def test_a_polygon_takes_only_what_has_its_centre_in_it() -> None:
    roi = Region(points=((0, 0), (1, 0), (0, 1)), unit="fraction")
    picture = frame("a", 200, 200, (20, 20, 40, 40), (150, 150, 170, 170))
    for tiling in (None, TILES):
        (found,) = await ViewingPredictor(Spotter(), roi, tiling, 16).predict([picture], OPTIONS)
        assert boxes(found) == [[20, 20, 40, 40]]


async def test_a_frame_that_is_seen_whole_is_handed_on_as_it_is() -> None:
    inner = Spotter()
    assert viewed(inner, None, None, 1) is inner
    eyes = viewed(inner, None, TILES, 1)
    assert isinstance(eyes, ViewingPredictor)
    await eyes.predict([frame("a", 64, 64)], OPTIONS)
    assert inner.batches == [[("a", 64, 64)]]


async def test_out_of_memory_halves_the_batches_of_tiles_and_stays_so() -> None:
    inner = Spotter(room=2)
    eyes = ViewingPredictor(inner, None, TILES, 12)
    picture = frame("a", 200, 150, (40, 40, 100, 60))
    (found,) = await eyes.predict([picture], OPTIONS)
    assert boxes(found) == [[40, 40, 100, 60]]
    assert {len(batch) for batch in inner.batches} == {2}
    inner.room = 0
    with pytest.raises(OutOfMemory):
        await eyes.predict([picture], OPTIONS)


async def test_a_wrong_number_of_answers_and_an_unreadable_frame_are_said_as_such(tmp_path: object) -> None:
    with pytest.raises(BadOutput, match="2 results for 4 pictures"):
        await ViewingPredictor(Spotter(answers=2), None, TILES, 12).predict([frame("a", 200, 150)], OPTIONS)
    broken = Frame("b", 200, 150, encoded=b"no image")
    with pytest.raises(BadFrame) as caught:
        await ViewingPredictor(Spotter(), None, TILES, 12).predict([frame("a", 64, 64), broken], OPTIONS)
    assert caught.value.frame_id == "b"


async def test_the_floor_and_the_most_detections_hold_for_the_whole_frame() -> None:
    picture = frame("a", 200, 150, (10, 10, 20, 20), (100, 100, 120, 120))
    (found,) = await ViewingPredictor(Spotter(), None, TILES, 12).predict([picture], PredictOptions(0.5))
    assert len(found) == 2
    (found,) = await ViewingPredictor(Spotter(), None, TILES, 12).predict(
        [picture], PredictOptions(0.05, max_detections=1)
    )
    assert len(found) == 1


def test_a_call_takes_fewer_frames_where_each_is_shown_in_many_views() -> None:
    inner = Spotter()
    inner.card = replace(inner.card, limits=Limits(max_batch=8, max_concurrency=3, timeout_s=10))
    limits = {views: ViewingPredictor(inner, None, TILES, views).card.limits for views in (1, 3, 20)}
    assert {views: (one.max_batch, one.timeout_s) for views, one in limits.items()} == {
        1: (8, 10),
        3: (2, 10),
        20: (1, 30),
    }
    assert {one.max_concurrency for one in limits.values()} == {3}
