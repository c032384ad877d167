"""One annotation job at work: read frames ahead, predict in batches, map, write; progress, cancel, resume.

A frame is done when one transaction has stored its shapes, its raw result and its ledger row together. Whatever
ends the run before that leaves the frame pending, and the next run begins there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from adapters.base import Detections, PredictOptions, Predictor
from adapters.errors import (
    BadFrame,
    OutOfMemory,
    PredictorError,
    PredictTimeout,
)
from adapters.frame import Frame
from bridge import results
from bridge.asking import Asking, Failure
from bridge.domain import JobState, StoredFrame
from bridge.errors import BridgeError, predictor_code
from bridge.host_check import HostCheck
from bridge.job_plan import JobPlan, Progress, RunnerOptions
from bridge.patience import Patience
from bridge.refine import refine
from bridge.run_errors import first_error
from bridge.sinks.sink import FinishedFrame, Sink, Written
from bridge.sources.frame_source import FrameSource, Picture
from bridge.speed import Speed
from bridge.store import Store, leases, ledger
from bridge.store import intents as intent_rows
from bridge.store.leases import Lease, LeaseLost
from bridge.store.ledger import FrameOutcome

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

MOST_PIXELS = 128 * 2**20  # of the frames in one batch: 384 MB when they are decoded; a larger one goes alone
PAGE = 512  # ledger rows read at once
ENOUGH_TO_JUDGE = 20  # frames, before the failure rate can stop a job


# What the writer waits for; None is the end.
_Finished = asyncio.Queue[list[FinishedFrame] | None]


# What became of a frame; None: it stays pending, because the run ended before its answer came.
_Answer = Detections | PredictorError | None


@dataclass(slots=True)
class Runner:
    """Runs one claimed job to its end. ``cancel()`` may be called from the event loop at any moment."""

    store: Store
    predictor: Predictor
    source: FrameSource
    sink: Sink
    plan: JobPlan
    patience: Patience
    options: RunnerOptions = field(default_factory=RunnerOptions)
    on_progress: Callable[[Progress], None] = lambda progress: None
    last_step: Callable[[], Awaitable[object]] | None = (
        None  # done when all frames are, before the sink's; done again where it was cut off
    )
    host: HostCheck | None = None
    _failure: str | None = None  # why the job failed as a whole
    _written: int = 0
    _failed: int = 0
    _shapes: int = 0
    _batch_limit: int = 0
    _asking: Asking = field(init=False)
    _speed: Speed = field(default_factory=Speed)

    def __post_init__(self) -> None:
        asked_for = PredictOptions(self.options.floor_score, self.plan.prompts, self.options.max_detections)
        self._asking = Asking(self.predictor, asked_for, self.patience, self.host)

    @property
    def _ending(self) -> asyncio.Event:
        return self.patience.ending

    def cancel(self) -> None:
        """Ask for an end: batches in flight are finished and stored, no other begins."""
        self._ending.set()

    def _fail(self, why: str) -> None:
        """End as ``cancel`` does, and let the job fail: what is answered already is still stored."""
        self._failure = self._failure or why
        self._ending.set()

    def _stop(self, error: PredictorError) -> None:
        """Frames cannot be read or written any more, or are no longer waited for because the run ends anyway."""
        if not self._ending.is_set():
            kept = "Its frames are kept as they are; resume the job to go on."
            self._fail(" ".join(part for part in (error.message, error.hint, kept) if part))

    async def run(self) -> JobState:
        """Work until every frame is done or failed, or the job is cancelled or cannot go on.

        Returns the state in which the job was left; LeaseLost where it is no longer ours. If the calling asyncio
        task is cancelled, the job is given back as queued.
        """
        lease = self.sink.lease
        self._batch_limit = self.options.batch_size or self.predictor.card.limits.max_batch
        cut_off = False
        try:
            try:
                async with asyncio.TaskGroup() as group:
                    beat = group.create_task(self._heartbeat(lease))
                    await self._work()
                    cut_off = self._failure is None and not self._left() and not await self._last_steps()
                    beat.cancel()
            except BaseExceptionGroup as errors:
                raise first_error(errors) from errors
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(lease))
            raise
        if self._failure is None and self._ending.is_set() and (self._left() or cut_off):
            return await self._end(JobState.CANCELLED)
        if self._failure is None:  # at the end all frames of the job count, those of earlier runs as well
            self._judge(self.plan.failed + self._failed, self.plan.done + self.plan.failed + self._written)
        return await self._end(JobState.FAILED if self._failure else JobState.SUCCEEDED, self._failure)

    async def _last_steps(self) -> bool:
        """What is done when all frames are; whether it came to its end."""
        try:
            if self.last_step is not None:
                await self.last_step()
            await self.sink.finish()
        except PredictorError as error:
            self._stop(error)
            return False
        return True

    async def _end(self, state: JobState, error: str | None = None) -> JobState:
        async with self.store.write() as connection:
            await leases.finish(connection, self.sink.lease, state, error)
        return state

    async def _give_back(self, lease: Lease) -> None:
        try:
            async with self.store.write() as connection:
                await leases.finish(connection, lease, JobState.QUEUED)
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
                if await leases.renew(connection, lease, self.options.lease_s):
                    self.cancel()
            await asyncio.sleep(min(1.0, self.options.lease_s / 3))

    async def _work(self) -> None:
        """Keep ``max_concurrency`` batches at the model and some before and behind it, and one writer after them.

        Where the writer is slower than the model, ``held`` keeps batches from piling up between the two.
        """
        if not await self._reconcile():
            return
        finished: _Finished = asyncio.Queue(maxsize=2)
        concurrency = max(1, self.predictor.card.limits.max_concurrency)
        slots = asyncio.Semaphore(concurrency)
        held = asyncio.Semaphore(concurrency + max(1, self.options.read_ahead // self._batch_limit))
        async with asyncio.TaskGroup() as group, aclosing(self._batches()) as batches:
            writer = group.create_task(self._write(finished))
            in_flight: set[asyncio.Task[None]] = set()
            while batch := await self._next(batches):
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

    async def _reconcile(self) -> bool:
        """Bring to an end what an earlier run left half written elsewhere; whether the run goes on."""
        async with self.store.read() as connection:
            intents = await intent_rows.open_intents(connection, self.sink.lease.job_id)
        if intents:
            try:
                self._count(await self.sink.reconcile(intents))
            except PredictorError as error:
                self._stop(error)
        return not self._ending.is_set()

    async def _next(self, batches: AsyncGenerator[list[Picture], None]) -> list[Picture] | None:
        """The next batch; None where there is none, or the run ends while the source waits for one."""
        try:
            return await self._unless_ending(anext(batches, None))
        except PredictorError as error:
            self._stop(error)
            return None

    async def _unless_ending(self, work: Awaitable[_T]) -> _T | None:
        """What the work answers; it is given up where the run ends before that."""
        working = asyncio.ensure_future(work)
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            ending.cancel()
            if not working.done():
                working.cancel()
                await asyncio.wait((working,))

    async def _batches(self) -> AsyncGenerator[list[Picture], None]:
        """The pending frames in order; how many come at once follows what fits into memory."""
        waiting: list[Picture] = []
        pixels = 0
        async with aclosing(self.source.read(self._pending())) as pictures:
            async for picture in pictures:
                size = picture[0].width * picture[0].height
                if waiting and pixels + size > MOST_PIXELS:  # a few huge pictures fill the memory that many small do
                    yield waiting
                    waiting, pixels = [], 0
                waiting.append(picture)
                pixels += size
                while len(waiting) >= self._batch_limit:
                    batch, waiting = waiting[: self._batch_limit], waiting[self._batch_limit :]
                    pixels = sum(row.width * row.height for row, _ in waiting)
                    yield batch
        if waiting:
            yield waiting

    async def _pending(self) -> AsyncGenerator[StoredFrame, None]:
        after = -1
        while not self._ending.is_set():
            async with self.store.read() as connection:
                page = await ledger.pending_frames(connection, self.sink.lease.job_id, after, PAGE)
            if not page:
                return
            after = page[-1].number
            for row in page:
                yield row

    async def _batch(
        self,
        batch: list[Picture],
        finished: _Finished,
        slots: asyncio.Semaphore,
        held: asyncio.Semaphore,
    ) -> None:
        try:
            rows = [row for row, _ in batch]
            pictures = [picture for _, picture in batch]
            batch.clear()  # with their pictures, the frames are to be gone when the answers are there
            try:
                answers = await self._answers_of(pictures)
            finally:
                slots.release()
                pictures.clear()
            # What an answer becomes is worked out beside the next forward pass.
            if ended := await asyncio.to_thread(self._finish, rows, answers):
                await finished.put(ended)
        finally:
            held.release()

    async def _answers_of(self, pictures: Sequence[Frame | BadFrame]) -> list[_Answer]:
        """As ``_answers``; a frame that its source could not give out is answered by its error."""
        answers = iter(await self._answers([picture for picture in pictures if isinstance(picture, Frame)]))
        return [next(answers) if isinstance(picture, Frame) else picture for picture in pictures]

    async def _answers(self, frames: Sequence[Frame]) -> list[_Answer]:
        """What became of each frame. A batch that fails is split until the bad frame is alone."""
        if not frames:
            return []
        found = await self._asking.ask(frames)
        if not isinstance(found, Failure):
            return [*found]
        failure, ends = found.error, found.ends
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
        ended = broken = False
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
            if broken:
                continue  # these stay pending, and the next run begins with them
            try:
                self._count(await self.sink.write(group))
            except PredictorError as error:
                broken = True
                self._stop(error)
            if self._written >= ENOUGH_TO_JUDGE:
                self._judge(self._failed, self._written)
        if not broken:
            try:
                await self.sink.flush()
            except PredictorError as error:
                self._stop(error)

    def _count(self, written: Written) -> None:
        self._written += written.done + written.failed
        self._failed += written.failed
        self._shapes += written.shapes
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
