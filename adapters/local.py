"""The base of every predictor that runs in this process.

A model gives three steps: ``prepare`` a frame, ``forward`` a batch, ``finish`` what came out for a frame. Frames are
prepared and finished by a few threads; one thread of its own runs the model, so that the preparation of one call
overlaps the forward pass of another. Nothing here blocks the event loop, and nothing belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Generic, Protocol, TypeVar

from adapters.base import Closing, Detections, ModelCard, PredictOptions
from adapters.errors import BadFrame, BadOutput, ModelStuck, OutOfMemory, PredictorError, PredictTimeout
from adapters.frame import Frame
from adapters.model_thread import MOST_HUNG, ModelThread
from adapters.pace import Measured

P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")

_PREPARERS = max(2, min(4, os.cpu_count() or 2))

# How the engines say that memory ran out; none of them has a class for it on a CPU.
_OUT_OF_MEMORY = ("out of memory", "failed to allocate", "can't allocate memory", "bad_alloc", "bad allocation")


class Steps(Protocol[P, R]):
    """The three steps of one call; see ``LocalPredictor``."""

    def prepare(self, frame: Frame) -> P: ...

    def forward(self, batch: Sequence[P]) -> Sequence[R]: ...

    def finish(self, raw: R, frame: Frame) -> Detections: ...


class LocalPredictor(Closing, Generic[P, R]):
    """A model in this process; ``P`` is a prepared frame, ``R`` what the model says of one frame.

    The three steps run in threads and may be called concurrently; ``forward`` by one thread, or by as many as
    ``keep_pace`` was told.
    """

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self._closed = False
        self._preparers = ThreadPoolExecutor(_PREPARERS, thread_name_prefix="prepare")
        self._workers = [ModelThread("forward")]
        self._given = [0]  # steps that each worker has or waits for

    @abstractmethod
    def prepare(self, frame: Frame) -> P:
        """The model's input for one frame. Raises BadFrame; whatever else it raises becomes BadFrame."""

    @abstractmethod
    def forward(self, batch: Sequence[P]) -> Sequence[R]:
        """What the model says of each input, in order; at most ``card.limits.max_batch`` at once."""

    @abstractmethod
    def finish(self, raw: R, frame: Frame) -> Detections:
        """The detections of one frame in its pixels, unfiltered. Whatever it raises becomes BadOutput."""

    def steps_for(self, options: PredictOptions) -> Steps[P, R]:
        """Who takes the steps of a call: the model itself, or one that is bound to the call's prompts."""
        return self

    def release(self) -> None:
        """Let go of the model; called once, after the last forward pass."""

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        """See ``Predictor.predict``. A cancelled call ends at once; what its threads still do is thrown away."""
        self._check_open()
        return await self.predict_with(
            await self._run(self._preparers, partial(self.steps_for, options)), frames, options
        )

    async def predict_with(
        self, steps: Steps[P, R], frames: Sequence[Frame], options: PredictOptions
    ) -> list[Detections]:
        """As ``predict``, by the steps given."""
        prepared = await self._prepare_all(steps, frames)
        results: list[Detections] = []
        for start in range(0, len(prepared), self.card.limits.max_batch):
            batch = prepared[start : start + self.card.limits.max_batch]
            raws = await self._in_model_thread(partial(self._forward, steps, batch), len(batch))
            part = frames[start : start + len(batch)]
            results += await self._run(self._preparers, partial(self._finish_all, steps, raws, part, options))
        return results

    async def close(self) -> None:
        """Wait for the forward pass that runs, then free the model. May be called twice."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._shut_down)

    def _shut_down(self) -> None:
        self._preparers.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()
        self.release()

    def keep_pace(self, measured: Measured) -> None:
        """Use so many workers and batches from here on; before the first call. The engine's threads are its own."""
        pace = measured.pace
        self._workers += [ModelThread("forward") for _ in range(pace.workers - len(self._workers))]
        self._given = [0] * len(self._workers)
        # For every worker one batch, one more that is being prepared, and one that is being finished.
        limits = replace(self.card.limits, max_batch=pace.batch, max_concurrency=pace.workers + 2)
        noted = {"workers": pace.workers, "threads": pace.threads, "batch": pace.batch}
        speed = round(measured.frames_per_second, 2)
        settings = {**self.card.settings, "pace": {**noted, "frames_per_second": speed}}
        self.card = replace(self.card, limits=limits, settings=settings)

    @property
    def stuck(self) -> bool:
        """Whether the model hung so often that it takes no more calls: close it and load it anew."""
        return sum(worker.hung for worker in self._workers) >= MOST_HUNG

    def _check_open(self) -> None:
        if self._closed:
            raise PredictorError(f"{self.card.name} has been closed.", hint="Open the model again.")
        if self.stuck:
            hung = sum(worker.hung for worker in self._workers)
            raise ModelStuck(f"{self.card.name} did not come back from {hung} calls.", hint="Load it anew.")

    async def _run(self, pool: ThreadPoolExecutor, step: Callable[[], T]) -> T:
        """Run a step in a pool. Closing meanwhile is the caller's error, and never looks like its cancellation."""
        self._check_open()
        return await self._not_closed(asyncio.wrap_future(pool.submit(step)))

    async def _in_model_thread(self, step: Callable[[], T], frames: int) -> T:
        """As ``_run``, in the model's thread and no longer than the card allows for so many frames."""
        self._check_open()
        deadline_s = self.card.limits.timeout_s * frames
        least = self._given.index(min(self._given))
        self._given[least] += 1
        try:
            return await self._not_closed(self._workers[least].run(step, deadline_s))
        except TimeoutError as error:
            raise PredictTimeout(f"The model did not answer within {deadline_s:g} s and was given up.") from error
        finally:
            self._given[least] -= 1

    async def _not_closed(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if (self._closed or self.stuck) and not (task and task.cancelling()):
                self._check_open()
            raise

    async def _prepare_all(self, steps: Steps[P, R], frames: Sequence[Frame]) -> list[P]:
        calls = [self._run(self._preparers, partial(self._prepare, steps, frame)) for frame in frames]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        for outcome in outcomes:  # the first bad frame in the caller's order, whichever was found first
            if isinstance(outcome, BaseException):
                raise outcome
        return outcomes  # type: ignore[return-value]  # the exceptions are gone

    def _prepare(self, steps: Steps[P, R], frame: Frame) -> P:
        try:
            return steps.prepare(frame)
        except PredictorError:
            raise
        except MemoryError as error:
            raise OutOfMemory(f"{frame.id} does not fit into memory.") from error
        except Exception as error:
            raise BadFrame(frame.id, f"{frame.id} cannot be prepared for the model: {first_line(error)}.") from error

    def _forward(self, steps: Steps[P, R], batch: Sequence[P]) -> Sequence[R]:
        try:
            raws = steps.forward(batch)
        except PredictorError:
            raise
        except Exception as error:
            raise translate_engine_error(error, len(batch)) from error
        if len(raws) != len(batch):
            raise BadOutput(f"The model answered {len(raws)} results for {len(batch)} frames.")
        return raws

    def _finish_all(
        self, steps: Steps[P, R], raws: Sequence[R], frames: Sequence[Frame], options: PredictOptions
    ) -> list[Detections]:
        return [self._finish(steps, raw, frame, options) for raw, frame in zip(raws, frames, strict=True)]

    def _finish(self, steps: Steps[P, R], raw: R, frame: Frame, options: PredictOptions) -> Detections:
        try:
            detections = steps.finish(raw, frame)
        except PredictorError:
            raise
        except Exception as error:
            raise BadOutput(f"What the model answered for {frame.id} cannot be read: {first_line(error)}.") from error
        return detections.inside(frame.width, frame.height).best(options.max_detections, options.floor_score)


def translate_engine_error(error: Exception, batch: int) -> PredictorError:
    """Our form of what an inference engine raised on a batch: OutOfMemory where it says so, else PredictorError."""
    if is_out_of_memory(error):
        return OutOfMemory(f"A batch of {batch} does not fit into memory.", hint="Use smaller batches.")
    return PredictorError(f"The model failed on a batch of {batch}: {first_line(error)}.")


def is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def first_line(error: BaseException) -> str:
    """The first line of an error's text without its full stop, or its type where it has no text."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ")[:300] if lines else type(error).__name__
