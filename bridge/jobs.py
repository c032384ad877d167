"""Annotation jobs: making, trying, starting, cancelling, resuming, retrying, undoing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.base import Report
from bridge.applying import ApplySpec, create_applied
from bridge.domain import FrameState, Job, JobState, LedgerRow, TaskLabel, Undone
from bridge.dry_run import Preview, preview, standing_here
from bridge.errors import Conflict, translated
from bridge.job_plan import Progress, RunnerOptions
from bridge.job_run import JobRun
from bridge.job_spec import FrameSelection, JobSpec
from bridge.mapping import LabelMatch
from bridge.owner import is_dead, owner_here
from bridge.pinning import pin, suggest
from bridge.registry import Registry
from bridge.remotes import Access, Remotes
from bridge.store import Store, leases, ledger, undoing
from bridge.store import jobs as rows
from bridge.store import learned as learned_rows
from bridge.store import models as model_rows
from bridge.store import shapes as shape_rows
from bridge.store import tasks as task_rows
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
    _running: dict[int, JobRun] = field(default_factory=dict)
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
            await self._refresh(spec.target, spec.frames)
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
        source = await self.get(job_id)
        if not source.spec.hold:
            await self._refresh(source.spec.target, FrameSelection())
        return await create_applied(self.store, job_id, wanted)

    async def preview(
        self, spec: JobSpec, *, frames: int = 3, on_download: Callable[[Report], None] = lambda progress: None
    ) -> Preview:
        """What a job would do, tried on some of its frames; nothing is stored. Raises BridgeError as a job would."""
        await self._refresh(spec.target, spec.frames)
        pinned = await pin(self.store, spec, self.options.floor_score)
        async with (
            self.registry.predictor(pinned.model, on_download) as predictor,
            self.remotes.source(pinned.task) as source,
        ):
            remote = self.remotes.remote(pinned.task)
            here = standing_here(self.store, spec.target)
            standing = here if remote is None else partial(remote.standing, pinned.task)
            most = self.options.max_detections
            return await preview(self.store, pinned, predictor, source, standing, frames, most)

    async def _refresh(self, task_id: int, frames: FrameSelection) -> None:
        """What has changed in the tool that a task lives in."""
        async with self.store.read() as connection:
            task = await task_rows.get_task(connection, task_id)
        remote = self.remotes.remote(task)
        if remote is not None:
            with translated():
                await remote.refresh(task, frames)

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

    async def queued(self) -> set[int]:
        """The ids of the jobs that are queued."""
        async with self.store.read() as connection:
            return await rows.queued_jobs(connection)

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
        on_download: Callable[[Report], None] = lambda progress: None,
    ) -> Job:
        """Run a queued job here to its end. Raises Conflict where another process runs it."""
        async with self.store.write() as connection:
            lease = await leases.claim(connection, job_id, owner_here(), self.options.lease_s)
        if lease is None:
            job = await self.get(job_id)
            raise Conflict(f"Annotation job {job_id} is {job.state}.", hint=f"Look at it: hubbridge job show {job_id}")
        run = JobRun(self.store, self.registry, self.remotes, self.options, lease, on_progress, on_download)
        self._running[job_id] = run
        try:
            await run.run()
        finally:
            self._running.pop(job_id, None)
        return await self.get(job_id)

    async def cancel(self, job_id: int) -> Job:
        """Cancel a queued or running job; batches in flight are finished. Raises Conflict where it has ended."""
        async with self.store.write() as connection:
            job = await rows.request_abort(connection, job_id)
            if job.state is JobState.RUNNING and _is_abandoned(job):
                job = await rows.cancel_abandoned(connection, job_id)
        run = self._running.get(job_id)
        if run is not None:
            run.cancel()
        return job

    def floor_for(self, threshold: float) -> float:
        """From which score on results are kept by a job with this threshold."""
        return min(self.options.floor_score, threshold)

    def is_predicting(self, job_id: int) -> bool:
        """Whether a job runs in this process and its model is loaded."""
        run = self._running.get(job_id)
        return run is not None and run.is_predicting

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


def _is_abandoned(job: Job) -> bool:
    return is_dead(job.owner) or leases.has_run_out(job)
