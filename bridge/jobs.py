"""Annotation jobs: pinning what a job will do, running it, cancelling, resuming, retrying, undoing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from adapters.base import DownloadProgress, ModelCard
from bridge.domain import FrameState, Job, JobSpec, JobState, LedgerRow, Model, Task, TaskLabel
from bridge.errors import BridgeError, Conflict, InvalidRequest
from bridge.mapping import LabelMatch, accepted_pairs, check_choices, match_labels
from bridge.owner import is_dead, owner_here
from bridge.registry import Registry
from bridge.runner import JobPlan, Progress, Runner, RunnerOptions
from bridge.shapes import can_become
from bridge.sinks.local import LocalSink
from bridge.store import Store
from bridge.store import jobs as rows
from bridge.store import learned as learned_rows
from bridge.store import models as model_rows
from bridge.store import shapes as shape_rows
from bridge.store import tasks as task_rows
from bridge.store.jobs import Lease, LeaseLost


@dataclass(frozen=True, slots=True)
class Undone:
    """What undoing a job did."""

    removed: int
    restored: int


@dataclass(slots=True)
class Jobs:
    """The annotation jobs of this installation."""

    store: Store
    registry: Registry
    options: RunnerOptions = field(default_factory=RunnerOptions)
    _running: dict[int, Runner] = field(default_factory=dict)

    async def match(
        self, model_labels: Sequence[str], task_labels: Sequence[TaskLabel], *, shape_types: Sequence[str] = ()
    ) -> list[LabelMatch]:
        """Suggestions for model labels among task labels, with what was learned from earlier choices."""
        async with self.store.read() as connection:
            known = await learned_rows.about(connection, [label.name for label in task_labels])
        learned = [(row.model_label, row.task_label, row.accepted) for row in known]
        return await asyncio.to_thread(
            match_labels, model_labels, task_labels, shape_types=shape_types, learned=learned
        )

    async def create(self, spec: JobSpec) -> Job:
        """A queued job whose mapping, threshold and model revision are pinned from here on.

        Raises InvalidRequest where nothing could come of it: no frame is selected, or no label is mapped.
        """
        async with self.store.read() as connection:
            task = await task_rows.get_task(connection, spec.target)
            model = await model_rows.get_model(connection, spec.model_id)
        pairs, learned = await self._pairs(spec, model, task)
        given = spec.mapping_id
        async with self.store.write() as connection:
            await task_rows.get_task(connection, task.id)  # either may have been removed meanwhile
            await model_rows.get_model(connection, model.id)
            mapping = await model_rows.get_mapping(connection, given) if given is not None else None
            if mapping is None or mapping.pairs != pairs:
                mapping = await model_rows.add_mapping(connection, model.id, task.id, pairs)
            await learned_rows.learn(connection, learned, mapping_id=mapping.id)
            resolved = {
                "model": model.name,
                "reference": model.card.reference,
                "revision": model.card.revision,
                "engine": model.card.engine,
                "mapping_id": mapping.id,
                "pairs": pairs,
                "unmapped": [label for label in dict.fromkeys(labels_of(model.card)) if label not in pairs],
                "threshold": model.threshold if spec.threshold is None else spec.threshold,
                "floor_score": self._floor(spec, model),
            }
            job = await rows.add_job(connection, spec, resolved)
            if job.frames_total == 0:
                raise InvalidRequest(
                    f"None of the {task.frame_count} frames of task {task.name} is selected.",
                    hint="Add frames to the task, or select others.",
                    code="no_frames",
                )
        return job

    def _floor(self, spec: JobSpec, model: Model) -> float:
        """Results are kept from here on: never above a threshold that the job itself uses."""
        threshold = model.threshold if spec.threshold is None else spec.threshold
        return min(self.options.floor_score, threshold, *spec.label_thresholds.values())

    async def _pairs(
        self, spec: JobSpec, model: Model, task: Task
    ) -> tuple[dict[str, str], list[tuple[str, str, bool]]]:
        """(accepted pairs, what a person's choices teach: pairs chosen, and suggestions left out on purpose)."""
        labels = labels_of(model.card)
        learned = [(m, t, True) for m, t in spec.mapping.items() if t]
        check_choices(spec.mapping, labels, task.labels)
        check_choices(dict.fromkeys(spec.label_thresholds, ""), labels, task.labels)
        if spec.mapping_id is not None:
            async with self.store.read() as connection:
                mapping = await model_rows.get_mapping(connection, spec.mapping_id)
            if mapping.model_id != model.id:
                raise InvalidRequest(f"Mapping {mapping.id} belongs to another model.")
            check_choices(mapping.pairs, labels, task.labels)
            pairs = {m: t for m, t in {**mapping.pairs, **spec.mapping}.items() if t}
        else:
            matches = await self.match(labels, task.labels, shape_types=model.card.shape_types)
            pairs = accepted_pairs(matches, spec.mapping, accept_suggestions=spec.accept_suggestions)
            refused = {m for m, t in spec.mapping.items() if not t}
            learned += [
                (m.model_label, m.best.task_label, False) for m in matches if m.best and m.model_label in refused
            ]
            if not pairs:
                raise InvalidRequest(
                    f"No label of {model.name} is matched to a label of task {task.name}.",
                    hint=_matching_hint(matches),
                    code="nothing_matched",
                )
        if not pairs:
            raise InvalidRequest("The mapping is empty: nothing would be annotated.", code="nothing_matched")
        _check_shapes(model.card, pairs, task.labels)
        return pairs, learned

    async def get(self, job_id: int) -> Job:
        async with self.store.read() as connection:
            return await rows.get_job(connection, job_id)

    async def page(
        self, *, task_id: int | None = None, state: JobState | None = None, after: int = 0, most: int | None = None
    ) -> list[Job]:
        async with self.store.read() as connection:
            return await rows.list_jobs(connection, task_id=task_id, state=state, after=after, most=most)

    async def counts(self) -> dict[JobState, int]:
        """How many jobs are in each state."""
        async with self.store.read() as connection:
            return await rows.count_jobs(connection)

    async def ledger(
        self, job_id: int, *, state: FrameState | None = None, after: int = -1, most: int = 100
    ) -> list[LedgerRow]:
        async with self.store.read() as connection:
            await rows.get_job(connection, job_id)
            return await rows.ledger(connection, job_id, state=state, after=after, most=most)

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
            lease = await rows.claim(connection, job_id, owner_here(), self.options.lease_s)
        if lease is None:
            job = await self.get(job_id)
            raise Conflict(f"Annotation job {job_id} is {job.state}.", hint=f"Look at it: hubbridge job show {job_id}")
        try:
            await self._run_claimed(lease, on_progress, on_download)
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
                await rows.finish(connection, lease, state, error)

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
        async with (
            _keeping(self.store, lease, options.lease_s),
            self.registry.predictor(model, on_download) as predictor,
        ):
            sink = LocalSink(
                self.store,
                lease,
                task.id,
                model.id,
                {label.name: label.id for label in task.labels},
                job.spec.clean,
                options.lease_s,
            )
            plan = JobPlan(
                total=job.frames_total,
                done=job.frames_done,
                failed=job.frames_failed,
                pairs={m: labels[t] for m, t in job.resolved["pairs"].items()},
                threshold=job.resolved["threshold"],
                label_thresholds=job.spec.label_thresholds,
                masks_as_polygons=job.spec.masks_as_polygons,
                max_failure_rate=job.spec.max_failure_rate,
                shapes=job.shapes_created,
            )
            runner = self._running[job.id] = Runner(self.store, predictor, sink, plan, options, on_progress)
            await runner.run()

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
        async with self.store.write() as connection:
            await rows.mark_undone(connection, job_id)
            later = await shape_rows.later_job_on_shapes_of(connection, job_id)
            if later is not None:
                raise Conflict(
                    f"Annotation job {later} has replaced shapes of job {job_id}.",
                    hint=f"Undo the later one first: hubbridge job undo {later}",
                    code="later_job",
                )
            removed, restored = await shape_rows.undo_shapes(connection, job_id)
        return Undone(removed, restored)


def labels_of(card: ModelCard) -> Sequence[str]:
    """A model's own labels. Raises InvalidRequest where it has none because its vocabulary is open."""
    if card.labels is None:
        raise InvalidRequest(
            f"{card.name} has an open vocabulary and needs prompts.",
            hint="This version runs models with fixed labels.",
        )
    return card.labels


def _check_shapes(card: ModelCard, pairs: Mapping[str, str], task_labels: Sequence[TaskLabel]) -> None:
    """Raise InvalidRequest where a label is of a type that no shape of the model can become."""
    types = {label.name: label.type for label in task_labels}
    for model_label, task_label in pairs.items():
        if not any(can_become(shape_type, types[task_label]) for shape_type in card.shape_types):
            made = " and ".join(card.shape_types)
            raise InvalidRequest(
                f"{model_label!r} cannot become {task_label!r}: {card.name} makes {made}, the label is of type "
                f"{types[task_label]}.",
                hint="Map it to another label, or make one of type any.",
                code="wrong_shape",
            )


def _matching_hint(matches: Sequence[LabelMatch]) -> str:
    likely = [match for match in matches if match.best is not None]
    if not likely:
        return "Choose pairs by hand, for example: --map car=vehicle"
    best = max(likely, key=lambda match: match.best.score if match.best else 0.0)
    assert best.best is not None
    return (
        f"Choose pairs by hand (--map {best.model_label}={best.best.task_label}), "
        "or accept suggestions (--accept-suggestions 0.8)."
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
                await rows.renew(connection, self._lease, self._lease_s)


def _is_abandoned(job: Job) -> bool:
    return is_dead(job.owner) or rows.has_run_out(job)
