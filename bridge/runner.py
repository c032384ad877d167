"""One annotation job at work: read frames ahead, predict in batches, map, write; progress, cancel, resume.

A frame is done when one transaction has stored its shapes, its raw result and its ledger row together. Whatever
ends the run before that leaves the frame pending, and the next run begins there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import structlog
import tenacity

from adapters.base import Detections, PredictOptions, Predictor
from adapters.errors import (
    AccessDenied,
    BadFrame,
    ModelNotFound,
    ModelStuck,
    OutOfMemory,
    PredictorError,
    PredictTimeout,
    Transient,
    Unsupported,
)
from adapters.frame import Frame
from bridge import results
from bridge.domain import JobState, StoredFrame
from bridge.errors import BridgeError, predictor_code
from bridge.refine import Refinement, refine
from bridge.sinks.local import FinishedFrame, LocalSink
from bridge.speed import Speed
from bridge.store import Store
from bridge.store import jobs as ledger
from bridge.store.jobs import FrameOutcome, Lease, LeaseLost

log = structlog.get_logger(__name__)

# Errors that every further frame would meet as well: the job stops, and its frames stay pending.
FATAL = (AccessDenied, ModelNotFound, Unsupported)
PAGE = 512  # ledger rows read at once
ENOUGH_TO_JUDGE = 20  # frames, before the failure rate can stop a job


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """How a job is run; the settings of [jobs]. Times are in seconds."""

    floor_score: float = 0.05
    max_detections: int = 300
    batch_size: int = 0  # 0: what the model's limits say
    read_ahead: int = 32
    commit_frames: int = 256
    commit_s: float = 0.05
    lease_s: float = 30.0
    patience_s: float = 120.0


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What one run needs to know of its job."""

    total: int
    done: int
    failed: int
    refinement: Refinement
    max_failure_rate: float
    shapes: int = 0  # made by earlier runs
    keep_results: bool = True
    prompts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of an open vocabulary


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is, earlier runs of it included.

    ``frames_per_second`` is of the last seconds; ``seconds_left`` is None where unknown.
    """

    total: int
    done: int
    failed: int
    shapes: int
    frames_per_second: float
    seconds_left: float | None


# What the writer waits for; None is the end.
_Finished = asyncio.Queue[list[FinishedFrame] | None]


# What became of a frame; None: it stays pending, because the run ended before its answer came.
_Answer = Detections | PredictorError | None


@dataclass(slots=True)
class Runner:
    """Runs one claimed job to its end. ``cancel()`` may be called from the event loop at any moment."""

    store: Store
    predictor: Predictor
    sink: LocalSink
    plan: JobPlan
    options: RunnerOptions = field(default_factory=RunnerOptions)
    on_progress: Callable[[Progress], None] = lambda progress: None
    _ending: asyncio.Event = field(default_factory=asyncio.Event)
    _failure: str | None = None  # why the job failed as a whole
    _written: int = 0
    _failed: int = 0
    _shapes: int = 0
    _batch_limit: int = 0
    _speed: Speed = field(default_factory=Speed)
    _waits_for: str = ""  # what was last said of why the model does not answer yet

    def cancel(self) -> None:
        """Ask for an end: batches in flight are finished and stored, no other begins."""
        self._ending.set()

    def _fail(self, why: str) -> None:
        """End as ``cancel`` does, and let the job fail: what is answered already is still stored."""
        self._failure = self._failure or why
        self._ending.set()

    async def run(self) -> JobState:
        """Work until every frame is done or failed, or the job is cancelled or cannot go on.

        Returns the state in which the job was left; LeaseLost where it is no longer ours. If the calling asyncio
        task is cancelled, the job is given back as queued.
        """
        lease = self.sink.lease
        self._batch_limit = self.options.batch_size or self.predictor.card.limits.max_batch
        try:
            try:
                async with asyncio.TaskGroup() as group:
                    beat = group.create_task(self._heartbeat(lease))
                    await self._work()
                    beat.cancel()
            except BaseExceptionGroup as errors:
                raise _first(errors) from errors
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(lease))
            raise
        if self._failure is None and self._ending.is_set() and self._left():
            return await self._end(JobState.CANCELLED)
        if self._failure is None:  # at the end all frames of the job count, those of earlier runs as well
            self._judge(self.plan.failed + self._failed, self.plan.done + self.plan.failed + self._written)
        return await self._end(JobState.FAILED if self._failure else JobState.SUCCEEDED, self._failure)

    async def _end(self, state: JobState, error: str | None = None) -> JobState:
        async with self.store.write() as connection:
            await ledger.finish(connection, self.sink.lease, state, error)
        return state

    async def _give_back(self, lease: Lease) -> None:
        try:
            async with self.store.write() as connection:
                await ledger.finish(connection, lease, JobState.QUEUED)
        except LeaseLost:
            log.info("the job was taken over", job=lease.job_id)
        except BridgeError as error:  # the database is away: the lease runs out by itself
            log.warning("the job could not be given back", job=lease.job_id, error=error.message)

    def _left(self) -> int:
        return self.plan.total - self.plan.done - self.plan.failed - self._written

    async def _heartbeat(self, lease: Lease) -> None:
        """Keep the lease, and hear of a cancellation that was asked for in another process."""
        while True:
            async with self.store.write() as connection:
                if await ledger.renew(connection, lease, self.options.lease_s):
                    self.cancel()
            await asyncio.sleep(min(1.0, self.options.lease_s / 3))

    async def _work(self) -> None:
        """Keep ``max_concurrency`` batches at the model and some before and behind it, and one writer after them.

        Where the writer is slower than the model, ``held`` keeps batches from piling up between the two.
        """
        finished: _Finished = asyncio.Queue(maxsize=2)
        concurrency = max(1, self.predictor.card.limits.max_concurrency)
        slots = asyncio.Semaphore(concurrency)
        held = asyncio.Semaphore(concurrency + max(1, self.options.read_ahead // self._batch_limit))
        async with asyncio.TaskGroup() as group, aclosing(self._batches()) as batches:
            writer = group.create_task(self._write(finished))
            in_flight: set[asyncio.Task[None]] = set()
            async for batch in batches:
                await held.acquire()
                await slots.acquire()
                if self._ending.is_set():
                    break
                task = group.create_task(self._batch(batch, finished, slots, held))
                in_flight.add(task)
                task.add_done_callback(in_flight.discard)
            if in_flight:
                await asyncio.wait(in_flight)
            await finished.put(None)
            await writer

    async def _batches(self) -> AsyncGenerator[list[StoredFrame], None]:
        """The pending frames in order; how many come at once follows what fits into memory."""
        after = -1
        waiting: list[StoredFrame] = []
        while not self._ending.is_set():
            async with self.store.read() as connection:
                page = await ledger.pending_frames(connection, self.sink.lease.job_id, after, PAGE)
            if not page:
                break
            after = page[-1].number
            waiting += page
            while len(waiting) >= self._batch_limit:
                batch, waiting = waiting[: self._batch_limit], waiting[self._batch_limit :]
                yield batch
        if waiting:
            yield waiting

    async def _batch(
        self,
        batch: Sequence[StoredFrame],
        finished: _Finished,
        slots: asyncio.Semaphore,
        held: asyncio.Semaphore,
    ) -> None:
        try:
            try:
                # No name is given to the frames: with their pictures they are gone when the answers are there.
                answers = await self._answers(
                    [Frame(row.name, row.width, row.height, path=Path(row.path)) for row in batch]
                )
            finally:
                slots.release()
            # What an answer becomes is worked out beside the next forward pass.
            if ended := await asyncio.to_thread(self._finish, batch, answers):
                await finished.put(ended)
        finally:
            held.release()

    async def _answers(self, frames: Sequence[Frame]) -> list[_Answer]:
        """What became of each frame. A batch that fails is split until the bad frame is alone."""
        if not frames:
            return []
        try:
            return list(await self._ask(frames))
        except PredictorError as error:
            failure = error
        ends = _why_the_run_ends(failure)
        if ends is None and len(frames) == 1:
            return [failure]
        if ends is not None and not self._ending.is_set():
            self._fail(ends)
        if self._ending.is_set():
            return [None] * len(frames)
        if isinstance(failure, OutOfMemory):
            self._batch_limit = max(1, min(self._batch_limit, len(frames) // 2))
        blamed = [i for i, frame in enumerate(frames) if isinstance(failure, BadFrame) and frame.id == failure.frame_id]
        if len(blamed) == 1:
            rest = await self._answers([frame for i, frame in enumerate(frames) if i != blamed[0]])
            return [*rest[: blamed[0]], failure, *rest[blamed[0] :]]
        # Alone at once where the model hangs: each further call that does costs a thread, and few are allowed.
        size = 1 if isinstance(failure, PredictTimeout) else len(frames) // 2
        parts = [frames[:size], frames[size:]] if size > 1 else [[frame] for frame in frames]
        return [answer for part in parts for answer in await self._answers(part)]

    async def _ask(self, frames: Sequence[Frame]) -> list[Detections]:
        """Predict, with patience for what passes by itself. Raises PredictorError."""
        options = PredictOptions(self.options.floor_score, self.plan.prompts, self.options.max_detections)
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Transient) & tenacity.retry_if_not_exception_type(PredictTimeout),
            stop=self._enough,
            wait=_wait,
            sleep=self._sleep,
            before_sleep=self._tell,
            reraise=True,
        ):
            with attempt:
                found = await self.predictor.predict(frames, options)
        return found

    def _enough(self, state: tenacity.RetryCallState) -> bool:
        """Whether to stop asking: patience is at its end, or the run is."""
        return self._ending.is_set() or (state.seconds_since_start or 0.0) >= self.options.patience_s

    def _tell(self, state: tenacity.RetryCallState) -> None:
        """Say once why the job waits, such as a model that is loading at its host."""
        error = state.outcome.exception() if state.outcome else None
        reason = error.message if isinstance(error, PredictorError) else ""
        if reason != self._waits_for:
            self._waits_for = reason
            log.warning("waiting for the model", model=self.predictor.card.name, reason=reason)

    async def _sleep(self, seconds: float) -> None:
        """Wait before another try, but no longer than the run goes on."""
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            return

    def _finish(self, batch: Sequence[StoredFrame], answers: Sequence[_Answer]) -> list[FinishedFrame]:
        """Raw results packed and made shapes of: runs in a thread."""
        plan = self.plan
        finished = []
        for row, answer in zip(batch, answers, strict=True):
            if answer is None:
                continue
            if isinstance(answer, PredictorError):
                failed = FrameOutcome(row.number, error_code=predictor_code(answer), error=answer.message)
                finished.append(FinishedFrame(failed))
                continue
            shapes = refine(answer, plan.refinement, (row.width, row.height))
            result = results.encode(answer) if plan.keep_results else None
            finished.append(FinishedFrame(FrameOutcome(row.number, result), shapes, (row.width, row.height)))
        return finished

    async def _write(self, finished: _Finished) -> None:
        """Group commit: what comes within ``commit_s`` is written in one transaction."""
        ended = False
        while not ended:
            first = await finished.get()
            if first is None:
                break
            group = first
            deadline = asyncio.get_running_loop().time() + self.options.commit_s
            while len(group) < self.options.commit_frames and not ended:
                try:
                    async with asyncio.timeout_at(deadline):
                        more = await finished.get()
                except TimeoutError:
                    break
                ended = more is None
                group += more or []
            await self.sink.write(group)
            self._count(group)
            if self._written >= ENOUGH_TO_JUDGE:
                self._judge(self._failed, self._written)

    def _count(self, group: Sequence[FinishedFrame]) -> None:
        self._written += len(group)
        self._failed += sum(frame.outcome.error_code is not None for frame in group)
        self._shapes += sum(len(frame.shapes) for frame in group)
        speed = self._speed.mark(self._written)
        self.on_progress(
            Progress(
                total=self.plan.total,
                done=self.plan.done + self._written - self._failed,
                failed=self.plan.failed + self._failed,
                shapes=self.plan.shapes + self._shapes,
                frames_per_second=speed,
                seconds_left=self._left() / speed if speed > 0 else None,
            )
        )

    def _judge(self, failed: int, finished: int) -> None:
        """Fail the job where more than the allowed share of its finished frames failed."""
        if finished and failed / finished > self.plan.max_failure_rate:
            self._fail(
                f"{failed} of {finished} frames failed, more than the {self.plan.max_failure_rate:.0%} allowed; "
                f"`hubbridge job show {self.sink.lease.job_id} --failed` lists them."
            )


def _why_the_run_ends(error: PredictorError) -> str | None:
    """What every further frame would meet as well, in a sentence for the job; None where only these frames fail."""
    if isinstance(error, FATAL):
        return f"{error.message} {error.hint}".strip()
    if isinstance(error, ModelStuck):
        return f"{error.message} Its frames stay pending; resume the job, and the model is loaded anew."
    if isinstance(error, Transient) and not isinstance(error, PredictTimeout):
        return f"{error.message} Its frames stay pending; resume the job when the host answers."
    return None


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended a task group; the ones that followed from it are of no interest."""
    ranked = (LeaseLost, BaseException)
    flat = list(_flatten(errors))
    return next(error for kind in ranked for error in flat if isinstance(error, kind))


def _flatten(errors: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    flat: list[BaseException] = []
    for error in errors.exceptions:
        flat += _flatten(error) if isinstance(error, BaseExceptionGroup) else [error]
    return flat


def _wait(state: tenacity.RetryCallState) -> float:
    """What the host asked for, else 0.5 s doubled for every try up to 20 s, with jitter."""
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after", None)
    backoff = tenacity.wait_random_exponential(multiplier=0.5, max=20)(state)
    return max(float(asked), 0.0) + backoff / 10 if asked is not None else backoff
