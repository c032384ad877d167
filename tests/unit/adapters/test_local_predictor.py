"""The base of local predictors, with a model that does as it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adapters.base import Detections, Limits, ModelCard, PredictOptions
from adapters.errors import BadFrame, BadOutput, ModelStuck, OutOfMemory, PredictorError, PredictTimeout
from adapters.frame import Frame
from adapters.local import LocalPredictor, translate_engine_error

CARD = ModelCard(
    "toy", "local", "/toy", "1", "object-detection", ("a",), ("rectangle",), "toy", limits=Limits(max_batch=3)
)


class Toy(LocalPredictor[str, str]):
    """Answers a box per frame; ``steps`` replaces a step by another function."""

    def __init__(self, **steps: Callable[..., object]) -> None:
        super().__init__(CARD)
        self.steps = steps
        self.batches: list[list[str]] = []
        self.threads: set[str] = set()
        self.released = 0

    def prepare(self, frame: Frame) -> str:
        if "prepare" in self.steps:
            self.steps["prepare"](frame)
        return frame.id

    def forward(self, batch: Sequence[str]) -> Sequence[str]:
        self.batches.append(list(batch))
        self.threads.add(threading.current_thread().name)
        if "forward" in self.steps:
            return self.steps["forward"](batch)  # type: ignore[return-value]
        return batch

    def finish(self, raw: str, frame: Frame) -> Detections:
        assert raw == frame.id
        if "finish" in self.steps:
            return self.steps["finish"](frame)  # type: ignore[return-value]
        return Detections(("a",), np.array([[-5, 0, 5, 5]]), np.array([0.9]), np.array([0]))

    def release(self) -> None:
        self.released += 1


def frames(count: int) -> list[Frame]:
    return [Frame(f"f{i}", 8, 8, pixels=np.zeros((8, 8, 3), np.uint8)) for i in range(count)]


def fail(error: BaseException) -> Callable[..., object]:
    def step(*_: object) -> object:
        raise error

    return step


async def test_long_calls_are_cut_into_batches_that_the_card_allows() -> None:
    async with Toy() as toy:
        assert len(await toy.predict(frames(7), PredictOptions())) == 7
    assert toy.batches == [["f0", "f1", "f2"], ["f3", "f4", "f5"], ["f6"]]


async def test_one_thread_runs_the_model_whoever_calls() -> None:
    async with Toy() as toy:
        await asyncio.gather(*(toy.predict(frames(4), PredictOptions()) for _ in range(8)))
    assert len(toy.threads) == 1
    assert toy.threads != {threading.current_thread().name}


async def test_boxes_are_clipped_to_the_frame() -> None:
    async with Toy() as toy:
        (result,) = await toy.predict(frames(1), PredictOptions())
    assert result.boxes.tolist() == [[0, 0, 5, 5]]


async def test_the_first_bad_frame_in_order_is_named_whichever_fails_first() -> None:
    late = threading.Event()

    def prepare(frame: Frame) -> None:
        if frame.id == "f1":
            late.wait(5)
            raise BadFrame("f1", "f1 is damaged.")
        if frame.id == "f2":
            late.set()
            raise BadFrame("f2", "f2 is damaged.")

    async with Toy(prepare=prepare) as toy:
        with pytest.raises(BadFrame) as caught:
            await toy.predict(frames(4), PredictOptions())
    assert caught.value.frame_id == "f1"


async def test_any_error_of_preparation_blames_its_frame() -> None:
    async with Toy(prepare=fail(ValueError("too narrow"))) as toy:
        with pytest.raises(BadFrame, match="f0 cannot be prepared for the model: too narrow"):
            await toy.predict(frames(1), PredictOptions())


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ({"prepare": fail(MemoryError())}, OutOfMemory),
        ({"forward": fail(MemoryError())}, OutOfMemory),
        ({"forward": fail(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))}, OutOfMemory),
        ({"forward": fail(RuntimeError("Invalid rank"))}, PredictorError),
        ({"forward": lambda batch: batch[:-1]}, BadOutput),
        ({"finish": fail(BadOutput("no boxes."))}, BadOutput),
        ({"finish": fail(IndexError("row 9"))}, BadOutput),
        ({"finish": lambda f: Detections(("a",), [[0, 0, np.nan, 1]], [0.5], [0])}, BadOutput),  # type: ignore[arg-type]
        ({"finish": lambda f: Detections(("a",), [[5, 0, 1, 1]], [0.5], [0])}, BadOutput),  # type: ignore[arg-type]
        ({"finish": lambda f: Detections(("a",), [[0, 0, 1, 1]], [1.5], [0])}, BadOutput),  # type: ignore[arg-type]
    ],
)
async def test_what_goes_wrong_becomes_our_error(step: dict[str, Callable[..., object]], error: type) -> None:
    async with Toy(**step) as toy:
        with pytest.raises(PredictorError) as caught:
            await toy.predict(frames(2), PredictOptions())
    assert type(caught.value) is error


def test_engine_errors_keep_their_first_line_only() -> None:
    error = translate_engine_error(RuntimeError("Bad shape.\n  at kernel.cc:12"), 4)
    assert error.message == "The model failed on a batch of 4: Bad shape."


async def test_a_cancelled_call_does_not_wait_for_the_model() -> None:
    go = threading.Event()

    def forward(batch: Sequence[str]) -> Sequence[str]:
        go.wait(600)
        return batch

    async with Toy(forward=forward) as toy:
        call = asyncio.create_task(toy.predict(frames(1), PredictOptions()))
        while not toy.batches:
            await asyncio.sleep(0.001)
        waiting = asyncio.create_task(toy.predict(frames(3), PredictOptions()))
        await asyncio.sleep(0.01)
        waiting.cancel()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not go.is_set()
        go.set()
        assert len(await toy.predict(frames(2), PredictOptions())) == 2
    assert toy.batches == [["f0"], ["f0", "f1"]], "a cancelled call that waited must not reach the model"


async def test_closing_frees_the_model_once_and_after_the_forward_pass() -> None:
    go = threading.Event()

    def forward(batch: Sequence[str]) -> Sequence[str]:
        go.wait(600)
        return batch

    toy = Toy(forward=forward)
    call = asyncio.create_task(toy.predict(frames(1), PredictOptions()))
    while not toy.batches:
        await asyncio.sleep(0.001)
    closing = asyncio.create_task(toy.close())
    await asyncio.sleep(0.02)
    assert toy.released == 0
    go.set()
    await closing
    await toy.close()
    assert toy.released == 1
    with pytest.raises(PredictorError, match="closed"):
        await call


async def test_a_call_that_waits_while_the_predictor_closes_is_told_so() -> None:
    go = threading.Event()

    def forward(batch: Sequence[str]) -> Sequence[str]:
        go.wait(600)
        return batch

    toy = Toy(forward=forward)
    calls = [asyncio.create_task(toy.predict(frames(1), PredictOptions())) for _ in range(3)]
    while not toy.batches:
        await asyncio.sleep(0.001)
    closing = asyncio.create_task(toy.close())
    await asyncio.sleep(0.02)
    go.set()
    await closing
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, PredictorError) for outcome in outcomes)


def test_a_predictor_serves_one_event_loop_after_another(tmp_path: Path) -> None:
    toy = Toy()
    for _ in range(2):
        assert len(asyncio.run(toy.predict(frames(2), PredictOptions()))) == 2
    asyncio.run(toy.close())


async def test_a_model_that_hangs_twice_takes_no_more_calls() -> None:
    go = threading.Event()

    def forward(batch: Sequence[str]) -> Sequence[str]:
        if "f0" in batch:
            go.wait(600)
        return batch

    toy = Toy(forward=forward)
    for hung in (1, 2):
        toy.card = replace(CARD, limits=Limits(max_batch=3, timeout_s=0.03))
        with pytest.raises(PredictTimeout, match="given up"):
            await toy.predict(frames(1), PredictOptions())
        toy.card = CARD
        assert toy.stuck == (hung == 2)
        if not toy.stuck:
            assert len(await toy.predict(frames(2)[1:], PredictOptions())) == 1
    with pytest.raises(ModelStuck, match="2 calls"):
        await toy.predict(frames(2)[1:], PredictOptions())
    await toy.close()
    assert toy.released == 1
    go.set()
