"""Clicks on frames: embedded once, within a bound of memory, ahead of jobs, and never more than an error."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from adapters.base import Limits
from adapters.errors import BadOutput, Unavailable
from adapters.frame import Frame
from adapters.promptable import SEGMENT, Prompt, ReIdentifier, Segment, Segmenter, Tracker
from bridge.domain import Model
from bridge.errors import BridgeError, InvalidRequest
from bridge.interactive import Interactive
from bridge.turns import Turns
from tests.unit.bridge.world import CARD

MODEL = Model(
    1, "sam", replace(CARD, task_type=SEGMENT, limits=Limits(timeout_s=60)), 0.5, datetime.now(UTC), fetched=True
)
PROMPT = Prompt(np.array([[5, 5]], np.float32), np.empty((0, 2), np.float32))
BOX = (1.0, 1.0, 5.0, 5.0)


@dataclass
class Embedded:
    nbytes: int


@dataclass
class FakeSegmenter:
    """Counts what it is asked; ``behave`` may fail or wait."""

    behave: Any = None
    embedded: list[str] = field(default_factory=list)
    asked: int = 0
    card: Any = MODEL.card

    async def embed(self, frame: Frame) -> Embedded:
        self.embedded.append(frame.id)
        await asyncio.sleep(0.005)
        if self.behave is not None:
            await self.behave()
        return Embedded(100)

    async def segment(self, embedding: Embedded, prompt: Prompt) -> Segment | None:
        self.asked += 1
        return Segment(np.ones((2, 2), bool), 3, 4, 0.5)

    async def close(self) -> None: ...

    async def __aenter__(self) -> Any: ...

    async def __aexit__(self, *_: object) -> None: ...


class FakeTracker(FakeSegmenter):
    async def begin(self, frame: Frame, boxes: Sequence[Any]) -> list[Any]:
        return [{} for _ in boxes]

    async def follow(self, frame: Frame, states: Sequence[Any]) -> list[Any]:
        raise ValueError("this is no state")


class FakeRegistry:
    """Lends one model, with turns that are shared as the registry's are."""

    def __init__(self, model: Any) -> None:
        self.model, self.turns = model, Turns(1)

    @asynccontextmanager
    async def by_hand(self, model: Model, kind: type[Any]) -> Any:
        assert isinstance(self.model, kind)
        yield self.model, self.turns


def interactive(model: Any, most: int = 1000) -> Interactive:
    return Interactive(FakeRegistry(model), most)  # type: ignore[arg-type]


def frame(name: str) -> Frame:
    seed = sum(name.encode())
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    return Frame(name, 8, 8, pixels=pixels)


async def test_further_clicks_on_a_frame_do_not_look_at_it_again() -> None:
    model = FakeSegmenter()
    asked = interactive(model)
    for _ in range(3):
        assert await asked.segment(MODEL, frame("a"), PROMPT) is not None  # each time a new Frame of the same picture
    assert (model.embedded, model.asked) == (["a"], 3)


async def test_clicks_at_the_same_moment_wait_for_one_look() -> None:
    model = FakeSegmenter()
    asked = interactive(model)
    await asyncio.gather(*(asked.segment(MODEL, frame("a"), PROMPT) for _ in range(8)))
    assert (model.embedded, model.asked) == (["a"], 8)
    assert not asked._under_way


async def test_what_is_kept_is_bounded_and_the_oldest_goes_first() -> None:
    model = FakeSegmenter()
    asked = interactive(model, most=250)
    for name in ("a", "b", "a", "c", "a", "b"):
        await asked.segment(MODEL, frame(name), PROMPT)
        assert asked.held_bytes <= 250
    assert model.embedded == ["a", "b", "c", "b"]
    tiny = interactive(FakeSegmenter(), most=1)  # the newest one stays, or no second click would ever be fast
    await tiny.segment(MODEL, frame("a"), PROMPT)
    assert tiny.held_bytes == 100


async def test_another_model_or_revision_looks_for_itself() -> None:
    model = FakeSegmenter()
    asked = interactive(model)
    for one in (MODEL, replace(MODEL, id=2), replace(MODEL, card=replace(MODEL.card, revision="2"))):
        await asked.segment(one, frame("a"), PROMPT)
    assert model.embedded == ["a", "a", "a"]


async def test_a_look_that_failed_is_taken_again() -> None:
    failures = [Unavailable("The host is away."), BadOutput("NaN")]

    async def behave() -> None:
        if failures:
            raise failures.pop()

    model = FakeSegmenter(behave)
    asked = interactive(model)
    for _ in range(2):
        with pytest.raises(BridgeError):
            await asked.segment(MODEL, frame("a"), PROMPT)
    assert await asked.segment(MODEL, frame("a"), PROMPT) is not None
    assert not asked._under_way


async def test_a_model_that_hangs_is_a_timeout() -> None:
    model = replace(MODEL, card=replace(MODEL.card, limits=Limits(timeout_s=0.1)))
    with pytest.raises(BridgeError) as error:
        await interactive(FakeSegmenter(lambda: asyncio.sleep(3600))).segment(model, frame("a"), PROMPT)
    assert error.value.code == "predict_timeout"


async def test_a_damaged_picture_is_said_to_be_one() -> None:
    with pytest.raises(BridgeError) as error:
        await interactive(FakeSegmenter()).segment(MODEL, Frame("x", 4, 4, encoded=b"no picture"), PROMPT)
    assert error.value.code == "bad_frame"


async def test_clicks_go_ahead_of_jobs() -> None:
    model = FakeSegmenter()
    asked = interactive(model)
    turns, order = asked.registry.turns, []  # type: ignore[attr-defined]

    async def job(name: str) -> None:
        async with turns.take():
            order.append(name)
            await asyncio.sleep(0.01)

    async def click() -> None:
        await asked.segment(MODEL, frame("a"), PROMPT)
        order.append("click")

    jobs = [asyncio.create_task(job(name)) for name in ("first", "second", "third")]
    await asyncio.sleep(0)
    await asyncio.gather(click(), *jobs)
    assert order.index("click") < order.index("third")


async def test_a_state_from_outside_that_is_none_is_the_callers_error() -> None:
    asked = interactive(FakeTracker())
    assert await asked.begin_tracks(MODEL, frame("a"), [BOX, BOX]) == [{}, {}]
    with pytest.raises(InvalidRequest, match="no state"):
        await asked.follow_tracks(MODEL, frame("a"), [{}])


def test_the_fakes_are_what_they_stand_for() -> None:
    assert isinstance(FakeSegmenter(), Segmenter)
    assert not isinstance(FakeSegmenter(), Tracker)
    assert isinstance(FakeTracker(), Tracker)
    assert not isinstance(FakeTracker(), ReIdentifier)
