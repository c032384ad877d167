"""What online callers of one model may count on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adapters.base import Detections, Limits, PredictOptions
from adapters.errors import AccessDenied, BadFrame, BadOutput, PredictorError, RateLimited
from adapters.frame import Frame
from bridge import batcher as module
from bridge.batcher import Batcher
from bridge.caller import caller
from bridge.errors import Overloaded, TooManyRequests
from bridge.lent import LentPredictor
from bridge.turns import Turns
from tests.unit.bridge.world import CARD, Behave, FakePredictor, detections

OPTIONS = PredictOptions(0.0)


def frame(name: str) -> Frame:
    return Frame(name, 100, 80, pixels=np.zeros((80, 100, 3), np.uint8))


def frames(count: int) -> list[Frame]:
    return [frame(f"{number:05}.png") for number in range(count)]


class Made:
    """A batcher over a predictor that takes ``busy_s`` for each call, and ends none before ``go`` is set."""

    def __init__(self, *, behave: Behave | None = None, batch: int = 4, at_once: int = 1, busy_s: float = 0.005):
        self.predictor = FakePredictor(replace(CARD, limits=Limits(batch, at_once, timeout_s=60)), behave or self.work)
        self.go = asyncio.Event()
        self.go.set()
        self.busy_s = busy_s
        self.turns = Turns(at_once)
        self.lent = LentPredictor(self.predictor, self.turns)
        self.batcher = Batcher(self.lent, self.turns)

    async def work(self, predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        await asyncio.sleep(self.busy_s)
        await self.go.wait()

    async def until_served(self, calls: int) -> None:
        """So many calls have begun."""
        async with asyncio.timeout(60):
            while len(self.predictor.calls) < calls:
                await asyncio.sleep(0.001)

    async def ask(self, *several: Frame) -> list[Any]:
        calls = (self.batcher.predict(each, OPTIONS) for each in several)
        return await asyncio.gather(*calls, return_exceptions=True)

    @property
    def sizes(self) -> list[int]:
        return [len(call) for call in self.predictor.calls]


def same(found: Detections, name: str) -> bool:
    expected = detections(name)
    return np.array_equal(found.boxes, expected.boxes) and np.array_equal(found.label_ids, expected.label_ids)


async def test_everybody_gets_the_answer_to_their_own_frame() -> None:
    made = Made(at_once=2)
    asked = frames(50)
    answers = await made.ask(*asked)
    assert all(same(answer, each.id) for answer, each in zip(answers, asked, strict=True))
    assert sorted(made.predictor.asked) == [each.id for each in asked]
    assert max(made.sizes) == 4


async def test_who_is_alone_does_not_wait_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER_S", 3600.0)
    made = Made(busy_s=0)
    async with asyncio.timeout(60):
        for each in frames(3):
            await made.batcher.predict(each, OPTIONS)
    assert made.sizes == [1, 1, 1]


async def test_a_batch_waits_for_those_who_are_about_and_no_longer_than_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LINGER_S", 0.05)
    made = Made(at_once=2)
    made.go.clear()
    first = asyncio.create_task(made.batcher.predict(frame("a"), OPTIONS))
    await made.until_served(1)
    loop = asyncio.get_running_loop()
    started = loop.time()
    second = asyncio.create_task(made.batcher.predict(frame("b"), OPTIONS))
    await made.until_served(2)  # "a" is still being served: "b" waits for others, then goes alone
    assert loop.time() - started >= 0.045
    made.go.set()
    await asyncio.gather(first, second)
    assert made.sizes == [1, 1]


async def test_those_who_wait_for_the_models_turn_become_one_batch() -> None:
    made = Made(batch=8)
    made.go.clear()
    first = asyncio.create_task(made.batcher.predict(frame("first"), OPTIONS))
    await made.until_served(1)
    others = asyncio.create_task(made.ask(*frames(6)))
    while made.batcher.waiting < 6:
        await asyncio.sleep(0)
    made.go.set()
    await asyncio.gather(first, others)
    assert made.sizes == [1, 6]


async def test_who_leaves_harms_no_neighbour_whether_waiting_or_being_served() -> None:
    made = Made(batch=3)
    made.go.clear()
    asked = frames(6)
    calls = [asyncio.create_task(made.batcher.predict(each, OPTIONS)) for each in asked]
    await made.until_served(1)  # the first three
    assert made.sizes == [3]
    calls[1].cancel()
    calls[4].cancel()
    made.go.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [i in (1, 4) for i in range(6)]
    assert all(same(answers[i], asked[i].id) for i in (0, 2, 3, 5))
    assert "00004.png" not in made.predictor.asked


async def test_a_call_whose_callers_have_all_left_is_broken_off_and_its_turn_is_free() -> None:
    made = Made()
    made.go.clear()
    calls = [asyncio.create_task(made.batcher.predict(each, OPTIONS)) for each in frames(3)]
    await made.until_served(1)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    made.go.set()
    async with asyncio.timeout(60):
        assert same(await made.batcher.predict(frame("next"), OPTIONS), "next")


@pytest.mark.parametrize("error", [BadFrame("x", "x is damaged."), BadOutput("NaN."), RuntimeError("boom")])
async def test_one_bad_frame_fails_alone_though_all_are_called_the_same(error: Exception) -> None:
    bad = frame("x")

    async def behave(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        await asyncio.sleep(0.001)
        if bad in frames:
            raise error

    made = Made(behave=behave, batch=8)
    answers = await made.ask(*(frame("x") for _ in range(3)), bad, *(frame("x") for _ in range(3)))
    failed = [isinstance(answer, PredictorError) for answer in answers]
    assert failed == [False] * 3 + [True] + [False] * 3


@pytest.mark.parametrize("error", [AccessDenied("No."), RateLimited("Slow down.")])
async def test_what_all_would_meet_is_asked_once_and_said_to_all(error: PredictorError) -> None:
    async def behave(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        raise error

    made = Made(behave=behave, batch=8)
    assert await made.ask(*frames(5)) == [error] * 5
    assert len(made.predictor.calls) == 1


async def test_each_threshold_and_limit_is_the_callers_own() -> None:
    made = Made(batch=8)
    name = next(f"n{i}" for i in range(99) if len(detections(f"n{i}")) == 3)
    asked = [PredictOptions(0.5), PredictOptions(0.0), PredictOptions(0.0, max_detections=1)]
    answers = await asyncio.gather(*(made.batcher.predict(frame(name), each) for each in asked))
    assert [len(answer) for answer in answers] == [2, 3, 1]
    assert made.sizes == [3]


async def test_callers_with_different_prompts_do_not_share_a_batch() -> None:
    made = Made(batch=8)
    prompts = [PredictOptions(prompts={"car": (word,)}) for word in ("car", "car", "van", "car")]
    await asyncio.gather(*(made.batcher.predict(each, p) for each, p in zip(frames(4), prompts, strict=True)))
    assert sorted(made.sizes) == [1, 3]


async def test_online_calls_go_ahead_of_a_jobs_batches() -> None:
    made = Made(busy_s=0.01)
    job = [asyncio.create_task(made.lent.predict([frame(f"job {i}")], OPTIONS)) for i in range(3)]
    await asyncio.sleep(0)
    await made.batcher.predict(frame("online"), OPTIONS)
    await asyncio.gather(*job)
    assert made.predictor.asked == ["job 0", "online", "job 1", "job 2"]


async def test_too_many_waiting_callers_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 5)
    made = Made(batch=1)
    answers = await made.ask(*frames(9))
    assert sum(isinstance(answer, Overloaded) for answer in answers) == 4
    assert len(made.predictor.asked) == 5


async def test_a_host_that_is_closed_for_long_is_not_waited_for() -> None:
    made = Made()
    made.turns.close_for(100)
    with pytest.raises(RateLimited) as refused:
        await made.batcher.predict(frame("a"), OPTIONS)
    assert 90 < (refused.value.retry_after or 0) <= 100
    assert made.predictor.calls == []


async def test_closing_leaves_nobody_waiting() -> None:
    made = Made(batch=2)
    made.go.clear()
    calls = asyncio.gather(*(made.batcher.predict(each, OPTIONS) for each in frames(5)), return_exceptions=True)
    await made.until_served(1)
    await made.batcher.close()
    async with asyncio.timeout(60):
        answers = await calls
    assert [type(answer) for answer in answers] == [PredictorError] * 5


async def test_who_gets_no_turn_in_time_is_turned_away_and_leaves_nothing_behind() -> None:
    made = Made(at_once=1)
    patient = made.lent.card
    made.lent.card = replace(patient, limits=replace(patient.limits, timeout_s=0.05))
    async with made.turns.take():
        with pytest.raises(Overloaded):
            await made.batcher.predict(frame("late.png"), OPTIONS)
    made.lent.card = patient
    assert (await made.ask(frame("next.png")))[0].labels
    assert made.predictor.asked == ["next.png"]


async def test_clients_take_turns_and_one_alone_fills_no_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLIENT_WAITING", 10)
    made = Made(batch=1)
    made.go.clear()

    async def ask(client: str, name: str) -> Detections:
        caller.set(client)
        return await made.batcher.predict(frame(name), OPTIONS)

    greedy = [asyncio.create_task(ask("greedy", f"greedy {i}")) for i in range(10)]
    await made.until_served(1)
    greedy += [asyncio.create_task(ask("greedy", f"more {i}")) for i in range(3)]
    modest = [asyncio.create_task(ask("modest", f"modest {i}")) for i in range(2)]
    await asyncio.sleep(0.05)
    made.go.set()
    answers = await asyncio.gather(*greedy, *modest, return_exceptions=True)
    assert [type(answer) for answer in answers if isinstance(answer, Exception)] == [TooManyRequests] * 2
    order = made.predictor.asked
    assert order[:5] == ["greedy 0", "modest 0", "greedy 1", "modest 1", "greedy 2"]
    assert len(order) == 13
