"""One claimed job, run in this process to its end: what it needs is opened, and a lost database is waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import structlog

from adapters.base import Predictor, Report
from adapters.cards import RunsOn
from bridge.applying import StoredResults
from bridge.domain import Job, JobState, Model, Task
from bridge.errors import BridgeError, Overloaded
from bridge.fallback import fallback_of, lent_with_fallback
from bridge.host_check import HostCheck
from bridge.job_plan import JobPlan, Progress, RunnerOptions
from bridge.linking import link_shapes
from bridge.patience import Patience
from bridge.prompting import prompted, prompts_from_json
from bridge.recall import Recall, plain_key
from bridge.refine import Refinement
from bridge.registry import Registry
from bridge.remotes import Remotes, Writing
from bridge.runner import Runner
from bridge.sources.frame_source import FileFrames, FrameSource
from bridge.store import Store, leases
from bridge.store import jobs as rows
from bridge.store import models as model_rows
from bridge.store import tasks as task_rows
from bridge.store.leases import Lease, LeaseLost
from bridge.viewing import viewed

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class JobRun:
    """A run of the job that a lease was given for; to be used once."""

    store: Store
    registry: Registry
    remotes: Remotes
    options: RunnerOptions
    lease: Lease
    on_progress: Callable[[Progress], None]
    on_download: Callable[[Report], None]
    _runner: Runner | None = field(default=None, init=False)  # from when the model is loaded

    @property
    def is_predicting(self) -> bool:
        """Whether the model is loaded."""
        return self._runner is not None

    def cancel(self) -> None:
        """Batches in flight are finished. Before the model is loaded, the lease's renewal tells of the request."""
        if self._runner is not None:
            self._runner.cancel()

    async def run(self) -> None:
        """Run until the job has ended or belongs to another process. Raises BridgeError where it could not be run."""
        try:
            await self._run_patiently()
        except LeaseLost:
            pass  # whoever has it now goes on; what stands in the store is the answer
        except asyncio.CancelledError:
            # The runner itself gives a job back; this is for a cancellation while the model was being loaded.
            await asyncio.shield(self._leave(JobState.QUEUED, None))
            raise
        except BridgeError as error:
            await self._leave(JobState.FAILED, f"{error.message} {error.hint}".strip())
            raise
        except Exception as error:
            # Left as running, it would be taken up again as crashed, for ever.
            await self._leave(JobState.FAILED, f"Something unexpected went wrong: {type(error).__name__}.")
            raise

    async def _leave(self, state: JobState, error: str | None) -> None:
        with suppress(LeaseLost, BridgeError):
            async with self.store.write() as connection:
                await leases.finish(connection, self.lease, state, error)

    async def _run_patiently(self) -> None:
        """Where the database goes away meanwhile, wait for it, and go on from what it then holds."""
        away_since: float | None = None

        def seen(progress: Progress) -> None:
            nonlocal away_since
            away_since = None
            self.on_progress(progress)

        while True:
            try:
                return await self._run_once(seen)
            except Overloaded as error:
                if error.code != "database_unavailable":
                    raise
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since >= self.options.patience_s:
                    raise
                log.warning("a job waits for the database", job=self.lease.job_id, error=error.message)
            await asyncio.sleep(min(1.0, self.options.patience_s / 4))

    async def _run_once(self, on_progress: Callable[[Progress], None]) -> None:
        async with self.store.read() as connection:
            job = await rows.get_job(connection, self.lease.job_id)
            task = await task_rows.get_task(connection, job.spec.target)
            model = await model_rows.get_model(connection, job.spec.model_id)
        labels = {label.name: label for label in task.labels}
        options = replace(self.options, floor_score=job.resolved["floor_score"])
        pairs = {m: labels[t] for m, t in job.resolved["pairs"].items()}
        prompts = prompts_from_json(job.resolved.get("prompts"))
        card = prompted(model.card, prompts)
        patience = Patience(options.patience_s)
        writing = Writing(self.lease, task, job.spec, options.lease_s)
        key = plain_key(job.resolved) if job.spec.recall and job.source_job_id is None else None
        recall = None if key is None else Recall(self.store, task.id, model.id, key)
        async with (
            _keeping(self.store, self.lease, options.lease_s),
            self._predictor(job, model) as asked,
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
            host = HostCheck(self.store, self.lease.job_id, asked, pictures)
            self._runner = runner = Runner(
                self.store, predictor, source, sink, plan, patience, options, on_progress, host=host
            )
            if job.spec.track is not None:
                runner.last_step = partial(
                    link_shapes, self.store, self.lease, task.id, job.spec.track, options.lease_s
                )
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
    async def _predictor(self, job: Job, model: Model) -> AsyncIterator[Predictor]:
        """Who answers for a job's frames: an earlier job's results, the model, or the model shown parts of frames.

        Where a hosted model may be replaced by one that runs here, that happens outside of the views: all parts of a
        frame are answered by the same one.
        """
        if job.source_job_id is not None:
            yield StoredResults.of(self.store, job.source_job_id, model)
            return

        @asynccontextmanager
        async def lend(wanted: Model) -> AsyncIterator[Predictor]:
            async with self.registry.predictor(wanted, self.on_download) as predictor:
                async with self.store.write() as connection:
                    await rows.note(connection, self.lease, **asdict(RunsOn.of(predictor.card)))
                yield viewed(predictor, job.spec.roi, job.spec.tiling, job.resolved["most_views"])

        async def tell(why: str) -> None:
            async with self.store.write() as connection:
                await rows.note(connection, self.lease, fell_back=why)

        spare = await fallback_of(self.registry, model.card)
        async with lent_with_fallback(lend, model, spare, self.options.patience_s / 2, tell) as predictor:
            yield predictor


@asynccontextmanager
async def _keeping(store: Store, lease: Lease, lease_s: float) -> AsyncIterator[None]:
    """Renews a lease while the model is being downloaded and loaded, which can take longer than a lease lasts."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(lease_s / 3)
            async with store.write() as connection:
                await leases.renew(connection, lease, lease_s)

    task = asyncio.create_task(renew())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, LeaseLost, BridgeError):
            await task
