"""Annotation jobs: making, trying, running, cancelling, resuming, retrying, undoing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import InitVar, dataclass, field, replace
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import DownloadProgress, Predictor
from bridge.applying import ApplySpec, StoredResults, create_applied
from bridge.domain import FrameState, Job, JobState, LedgerRow, Model, Task, TaskLabel, Undone
from bridge.dry_run import Preview, preview
from bridge.errors import BridgeError, Conflict, Overloaded, translated
from bridge.fallback import fallback_of, lent_with_fallback
from bridge.job_plan import JobPlan, Progress, RunnerOptions
from bridge.job_spec import JobSpec
from bridge.linking import link_shapes
from bridge.mapping import LabelMatch
from bridge.owner import is_dead, owner_here
from bridge.patience import Patience
from bridge.pinning import pin, suggest
from bridge.prompting import prompted, prompts_from_json
from bridge.recall import Recall, plain_key
from bridge.refine import Refinement
from bridge.registry import Registry
from bridge.remotes import Access, Remotes, Writing
from bridge.runner import Runner
from bridge.sources.frame_source import FileFrames, FrameSource
from bridge.store import Store, leases, ledger, undoing
from bridge.store import jobs as rows
from bridge.store import learned as learned_rows
from bridge.store import models as model_rows
from bridge.store import shapes as shape_rows
from bridge.store import tasks as task_rows
from bridge.store.leases import Lease, LeaseLost
from bridge.viewing import viewed
from labelmatch import DISPLAY_SCORE, Label

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Jobs:
    """The annotation jobs of this installation."""

    store: Store
    registry: Registry
    options: RunnerOptions = field(default_factory=RunnerOptions)
    access: InitVar[Access | None] = None  # to the tools that tasks can live in
    remotes: Remotes = field(init=False)
    _running: dict[int, Runner] = field(default_factory=dict)
    _undoing: set[int] = field(default_factory=set)

    def __post_init__(self, access: Access | None) -> None:
        self.remotes = Remotes(access or Access(self.store))

    async def match(
        self,
        model_labels: Sequence[str | Label],
        task_labels: Sequence[TaskLabel],
        *,
        shape_types: Sequence[str] = (),
        min_score: float = DISPLAY_SCORE,
    ) -> list[LabelMatch]:
        """Suggestions for model labels among task labels, with what was learned from earlier choices."""
        return await suggest(self.store, model_labels, task_labels, shape_types=shape_types, min_score=min_score)

    async def create(self, spec: JobSpec) -> Job:
        """A queued job whose mapping, threshold and model revision are pinned from here on.

        Raises InvalidRequest where nothing could come of it: no frame is selected, or no label is mapped.
        """
        if not spec.hold:
            await self._refresh(spec)
        pinned = await pin(self.store, spec, self.options.floor_score)
        given, task, model = spec.mapping_id, pinned.task, pinned.model
        async with self.store.write() as connection:
            await task_rows.get_task(connection, task.id)  # either may have been removed meanwhile
            await model_rows.get_model(connection, model.id)
            mapping = await model_rows.get_mapping(connection, given) if given is not None else None
            if mapping is None or mapping.pairs != pinned.pairs:
                mapping = await model_rows.add_mapping(connection, model.id, task.id, pinned.pairs)
            await learned_rows.learn(connection, pinned.learned, mapping_id=mapping.id)
            return await rows.add_job(connection, spec, pinned.resolved(mapping.id))

    async def apply(self, job_id: int, wanted: ApplySpec) -> Job:
        """A queued job that makes shapes of the raw results of ``job_id`` and asks no model.

        Raises Conflict while that one is at work, InvalidRequest where its results do not suffice.
        """
        return await create_applied(self.store, job_id, wanted)

    async def preview(
        self, spec: JobSpec, *, frames: int = 3, on_download: Callable[[DownloadProgress], None] = lambda progress: None
    ) -> Preview:
        """What a job would do, tried on some of its frames; nothing is stored. Raises BridgeError as a job would."""
        await self._refresh(spec)
        pinned = await pin(self.store, spec, self.options.floor_score)
        async with (
            self.registry.predictor(pinned.model, on_download) as predictor,
            self.remotes.source(pinned.task) as source,
        ):
            return await preview(self.store, pinned, predictor, source, frames, self.options.max_detections)

    async def _refresh(self, spec: JobSpec) -> None:
        """What has changed in the tool that a task lives in."""
        async with self.store.read() as connection:
            task = await task_rows.get_task(connection, spec.target)
        remote = self.remotes.remote(task)
        if remote is not None:
            with translated():
                await remote.refresh(task, spec.frames)

    async def get(self, job_id: int) -> Job:
        async with self.store.read() as connection:
            return await rows.get_job(connection, job_id)

    async def page(
        self,
        *,
        task_id: int | None = None,
        state: JobState | None = None,
        after: int = 0,
        before: int | None = None,
        most: int | None = None,
    ) -> list[Job]:
        """Those behind ``after``; with ``before`` the newest first, those older than that."""
        async with self.store.read() as connection:
            return await rows.list_jobs(connection, task_id=task_id, state=state, after=after, before=before, most=most)

    async def counts(self) -> dict[JobState, int]:
        """How many jobs are in each state."""
        async with self.store.read() as connection:
            return await rows.count_jobs(connection)

    async def ledger(
        self, job_id: int, *, state: FrameState | None = None, after: int = -1, most: int = 100
    ) -> list[LedgerRow]:
        async with self.store.read() as connection:
            await rows.get_job(connection, job_id)
            return await ledger.list_rows(connection, job_id, state=state, after=after, most=most)

    async def tracks(self, job: Job) -> int:
        """How many tracks its shapes make."""
        async with self.store.read() as connection:
            return await shape_rows.count_tracks(connection, job.id)

    async def shapes_by_label(self, job: Job) -> dict[str, int]:
        async with self.store.read() as connection:
            return await shape_rows.count_shapes(connection, job.spec.target, job_id=job.id)

    async def run(
        self,
        job_id: int,
        *,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_download: Callable[[DownloadProgress], None] = lambda progress: None,
    ) -> Job:
        """Run a queued job here to its end. Raises Conflict where another process runs it."""
        async with self.store.write() as connection:
            lease = await leases.claim(connection, job_id, owner_here(), self.options.lease_s)
        if lease is None:
            job = await self.get(job_id)
            raise Conflict(f"Annotation job {job_id} is {job.state}.", hint=f"Look at it: hubbridge job show {job_id}")
        try:
            await self._run_patiently(lease, on_progress, on_download)
        except LeaseLost:
            pass  # whoever has it now goes on; what stands in the store is the answer
        except asyncio.CancelledError:
            # The runner itself gives a job back; this is for a cancellation while the model was being loaded.
            await asyncio.shield(self._leave(lease, JobState.QUEUED, None))
            raise
        except BridgeError as error:
            await self._leave(lease, JobState.FAILED, f"{error.message} {error.hint}".strip())
            raise
        except Exception as error:
            # Left as running, it would be taken up again as crashed, for ever.
            await self._leave(lease, JobState.FAILED, f"Something unexpected went wrong: {type(error).__name__}.")
            raise
        finally:
            self._running.pop(job_id, None)
        return await self.get(job_id)

    async def _leave(self, lease: Lease, state: JobState, error: str | None) -> None:
        with suppress(LeaseLost, BridgeError):
            async with self.store.write() as connection:
                await leases.finish(connection, lease, state, error)

    async def _run_patiently(
        self,
        lease: Lease,
        on_progress: Callable[[Progress], None],
        on_download: Callable[[DownloadProgress], None],
    ) -> None:
        """Where the database goes away meanwhile, wait for it, and go on from what it then holds."""
        away_since: float | None = None

        def seen(progress: Progress) -> None:
            nonlocal away_since
            away_since = None
            on_progress(progress)

        while True:
            try:
                return await self._run_claimed(lease, seen, on_download)
            except Overloaded as error:
                if error.code != "database_unavailable":
                    raise
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since >= self.options.patience_s:
                    raise
                log.warning("a job waits for the database", job=lease.job_id, error=error.message)
            await asyncio.sleep(min(1.0, self.options.patience_s / 4))

    async def _run_claimed(
        self,
        lease: Lease,
        on_progress: Callable[[Progress], None],
        on_download: Callable[[DownloadProgress], None],
    ) -> None:
        async with self.store.read() as connection:
            job = await rows.get_job(connection, lease.job_id)
            task = await task_rows.get_task(connection, job.spec.target)
            model = await model_rows.get_model(connection, job.spec.model_id)
        labels = {label.name: label for label in task.labels}
        options = replace(self.options, floor_score=job.resolved["floor_score"])
        pairs = {m: labels[t] for m, t in job.resolved["pairs"].items()}
        prompts = prompts_from_json(job.resolved.get("prompts"))
        card = prompted(model.card, prompts)
        patience = Patience(options.patience_s)
        writing = Writing(lease, task, job.spec, options.lease_s)
        key = plain_key(job.resolved) if job.spec.recall and job.source_job_id is None else None
        recall = None if key is None else Recall(self.store, task.id, model.id, key)
        async with (
            _keeping(self.store, lease, options.lease_s),
            self._predictor(job, model, lease, on_download) as asked,
            self._source(job, task, patience) as pictures,
            self.remotes.sink(writing, patience) as sink,
        ):
            predictor = asked if recall is None else recall.predictor(asked)
            source = pictures if recall is None else recall.source(pictures)
            plan = JobPlan(
                total=job.frames_total,
                done=job.frames_done,
                failed=job.frames_failed,
                refinement=Refinement.of(job.spec, pairs, job.resolved["threshold"], card),
                max_failure_rate=job.spec.max_failure_rate,
                shapes=job.shapes_created,
                keep_results=job.source_job_id is None,
                prompts=prompts,
            )
            runner = Runner(self.store, predictor, source, sink, plan, patience, options, on_progress)
            if job.spec.track is not None:
                runner.last_step = partial(link_shapes, self.store, lease, task.id, job.spec.track, options.lease_s)
            self._running[job.id] = runner
            await runner.run()

    @asynccontextmanager
    async def _source(self, job: Job, task: Task, patience: Patience) -> AsyncIterator[FrameSource]:
        """The frames' pictures; of a job that reads stored results nothing but their names."""
        if job.source_job_id is not None:
            yield FileFrames()
            return
        async with self.remotes.source(task, patience) as source:
            yield source

    @asynccontextmanager
    async def _predictor(
        self, job: Job, model: Model, lease: Lease, on_download: Callable[[DownloadProgress], None]
    ) -> AsyncIterator[Predictor]:
        """Who answers for a job's frames: an earlier job's results, the model, or the model shown parts of frames.

        Where a hosted model may be replaced by one that runs here, that happens outside of the views: all parts of a
        frame are answered by the same one.
        """
        if job.source_job_id is not None:
            yield StoredResults.of(self.store, job.source_job_id, model)
            return

        @asynccontextmanager
        async def lend(wanted: Model) -> AsyncIterator[Predictor]:
            async with self.registry.predictor(wanted, on_download) as predictor:
                yield viewed(predictor, job.spec.roi, job.spec.tiling, job.resolved["most_views"])

        async def tell(why: str) -> None:
            async with self.store.write() as connection:
                await rows.note_fallback(connection, lease, why)

        spare = await fallback_of(self.registry, model.card)
        async with lent_with_fallback(lend, model, spare, self.options.patience_s / 2, tell) as predictor:
            yield predictor

    async def cancel(self, job_id: int) -> Job:
        """Cancel a queued or running job; batches in flight are finished. Raises Conflict where it has ended."""
        async with self.store.write() as connection:
            job = await rows.request_abort(connection, job_id)
            if job.state is JobState.RUNNING and _is_abandoned(job):
                job = await rows.cancel_abandoned(connection, job_id)
        runner = self._running.get(job_id)
        if runner is not None:
            runner.cancel()
        return job

    def floor_for(self, threshold: float) -> float:
        """From which score on results are kept by a job with this threshold."""
        return min(self.options.floor_score, threshold)

    def is_predicting(self, job_id: int) -> bool:
        """Whether a job runs in this process and its model is loaded."""
        return job_id in self._running

    async def resume(self, job_id: int) -> Job:
        """Queue a cancelled, failed or crashed job again for the frames that are still pending."""
        return await self._requeue(job_id, retry_failed=False)

    async def retry(self, job_id: int) -> Job:
        """Queue a job again for its failed frames, and for pending ones where there are any."""
        return await self._requeue(job_id, retry_failed=True)

    async def _requeue(self, job_id: int, *, retry_failed: bool) -> Job:
        async with self.store.write() as connection:
            job = await rows.get_job(connection, job_id)
            return await rows.requeue(connection, job_id, retry_failed=retry_failed, owner_is_dead=is_dead(job.owner))

    async def release_crashed(self) -> list[int]:
        """Queue again the running jobs whose process has died or has let its lease run out; their ids.

        One that was asked to end before its process died is cancelled instead.
        """
        released = []
        async with self.store.write() as connection:
            for job in await rows.list_jobs(connection, state=JobState.RUNNING):
                if not _is_abandoned(job):
                    continue
                if job.abort_requested:
                    await rows.cancel_abandoned(connection, job.id)
                else:
                    await rows.requeue(connection, job.id, retry_failed=False, owner_is_dead=True)
                    released.append(job.id)
        return released

    async def undo(self, job_id: int) -> Undone:
        """Take away what a job wrote and bring back what it replaced.

        Raises Conflict, naming the later job, where that one has replaced shapes of this one.
        """
        if job_id in self._undoing:
            raise Conflict(f"Annotation job {job_id} is being undone.")
        self._undoing.add(job_id)
        try:
            async with self.store.write() as connection:
                job = await rows.refuse_undo(connection, job_id)
                await self._refuse_replaced(connection, job_id)
                task = await task_rows.get_task(connection, job.spec.target)
            remote = None if job.spec.hold else self.remotes.remote(task)
            with translated():
                elsewhere = await remote.undo(task, job) if remote is not None else None
            async with self.store.write() as connection:
                await self._refuse_replaced(connection, job_id)
                await rows.mark_undone(connection, job_id)
                removed, restored = await undoing.undo_shapes(connection, job_id)
            return elsewhere or Undone(removed, restored)
        finally:
            self._undoing.discard(job_id)

    @staticmethod
    async def _refuse_replaced(connection: AsyncConnection, job_id: int) -> None:
        later = await undoing.later_job_on_shapes_of(connection, job_id)
        if later is not None:
            raise Conflict(
                f"Annotation job {later} has replaced shapes of job {job_id}.",
                hint=f"Undo the later one first: hubbridge job undo {later}",
                code="later_job",
            )


class _keeping:  # noqa: N801  (reads as a context manager)
    """Renews a lease while the model is being downloaded and loaded, which can take longer than a lease lasts."""

    def __init__(self, store: Store, lease: Lease, lease_s: float) -> None:
        self._store, self._lease, self._lease_s = store, lease, lease_s

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._renew())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError, LeaseLost, BridgeError):
            await self._task

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            async with self._store.write() as connection:
                await leases.renew(connection, self._lease, self._lease_s)


def _is_abandoned(job: Job) -> bool:
    return is_dead(job.owner) or leases.has_run_out(job)
