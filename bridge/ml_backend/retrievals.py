"""Many tasks asked for in one request: a job that keeps its results here, and what happens when time runs out.

Label Studio sends all tasks of a project at once, gives up after 100 seconds, and tells its user that all went well. So
a request that will not be answered in time is refused (it stores nothing then), and a job with Label Studio as its sink
takes over: what was found so far is not asked for again. Where Label Studio's API may not be used, the job that keeps
its results goes on, and the next request is answered from them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

import structlog

from bridge.domain import FrameState, Job, JobState, NewFrame, StoredFrame, Task
from bridge.errors import BridgeError, Conflict, Overloaded
from bridge.job_plan import Progress
from bridge.job_spec import Clean, FrameSelection, JobSpec
from bridge.jobs import Jobs
from bridge.ml_backend.answers import Found
from bridge.ml_backend.plan import Plan
from bridge.recall import Recall, plain_key
from bridge.store import Store
from bridge.store import jobs as job_rows
from bridge.store import label_studio as rows
from bridge.store import models as model_rows

log = structlog.get_logger(__name__)

JUDGE_AFTER_S = 10.0  # how long the speed of a job is watched before it counts
LOOK_EVERY_S = 0.5
_PAGE = 500
AT_WORK = (JobState.QUEUED, JobState.RUNNING)


@dataclass(slots=True)
class _Running:
    """A job that keeps its results, at work in this process."""

    job_id: int
    version: str
    numbers: frozenset[int]
    ended: asyncio.Task[Job]
    seconds_left: float | None = None


@dataclass(slots=True)
class Retrievals:
    """Used in one event loop; ``close`` gives back what is under way."""

    store: Store
    jobs: Jobs
    _running: dict[int, _Running] = field(default_factory=dict)  # job id -> what it does
    _taking_over: dict[asyncio.Task[None], tuple[int, int]] = field(default_factory=dict)  # -> task row, model

    async def found(self, task: Task, plan: Plan, frames: Sequence[StoredFrame], deadline: float) -> dict[int, Found]:
        """What the model finds on each frame. Raises Overloaded where that would take longer than until ``deadline``
        (of the event loop's clock), and what ended the job where it could not go on."""
        numbers = frozenset(frame.number for frame in frames)
        running = self._joined(plan.version, numbers) or await self._start(task, plan, frames)
        loop = asyncio.get_running_loop()
        judge_at = loop.time() + JUDGE_AFTER_S
        while not running.ended.done():
            now = loop.time()
            hopeless = now >= judge_at and running.seconds_left is not None and running.seconds_left > deadline - now
            if now >= deadline or hopeless:
                await self.give_to_job(task, plan, frames, running)
            await asyncio.wait((running.ended,), timeout=min(1.0, max(0.01, deadline - now)))
        job = running.ended.result()
        if job.state is not JobState.SUCCEEDED and job.frames_done < len(numbers):
            raise Overloaded(
                f"Annotation job {job.id} has {job.state}: {job.error or 'it was cancelled'}",
                hint=f"What it found is kept. hubbridge job show {job.id}",
                code="job_ended",
            )
        return await self._results(task, job, frames)

    async def writes(self, task: Task, plan: Plan, numbers: Sequence[int]) -> bool:
        """Whether a job is at work, or being made, that writes predictions of this model for some of these frames."""
        if (task.id, plan.model.id) in self._taking_over.values():
            return True
        wanted = set(numbers)
        async with self.store.read() as connection:
            for state in AT_WORK:
                for job in await job_rows.list_jobs(connection, task_id=task.id, state=state):
                    ours = job.spec.model_id == plan.model.id and not job.spec.hold
                    if ours and (job.spec.frames.numbers is None or wanted.intersection(job.spec.frames.numbers)):
                        return True
        return False

    async def refuse_overlap(self, task: Task, plan: Plan) -> NoReturn:
        """Refuse a request for tasks that are being answered, or written, already: Label Studio would store both."""
        text = "Predictions for some of these tasks are under way already."
        log.info("a request of Label Studio overlaps another one", project=task.name, model=plan.name)
        raise Overloaded(text, hint="They appear in Label Studio when they are done.", code="in_progress")

    async def give_to_job(
        self, task: Task, plan: Plan, frames: Sequence[StoredFrame], running: _Running | None = None
    ) -> NoReturn:
        """Refuse the request, and let a job write the predictions. Raises Overloaded."""
        taking_over = asyncio.create_task(self._take_over(task, plan, list(frames), running))
        self._taking_over[taking_over] = (task.id, plan.model.id)
        taking_over.add_done_callback(lambda ended: self._taking_over.pop(ended, None))
        text = f"{len(frames)} images take longer than Label Studio waits: a job writes their predictions."
        raise Overloaded(
            text, hint=f"Follow it with: hubbridge label-studio list (task {task.id})", code="becomes_a_job"
        )

    async def note(self, task: Task, plan: Plan, outcome: str, job_id: int | None = None) -> None:
        """What came of the last request, for people to see."""
        async with self.store.write() as connection:
            known = await rows.list_backends(connection, task_id=task.id)
            config = next((each.label_config for each in known if each.name == plan.name), "")
            await rows.put_backend(
                connection,
                task.id,
                plan.name,
                label_config=config,
                model_version=plan.version,
                outcome=outcome,
                job_id=job_id,
            )

    async def close(self) -> None:
        """Jobs that are at work are given back as queued."""
        under_way = [*(each.ended for each in self._running.values()), *self._taking_over]
        for each in under_way:
            each.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def _joined(self, version: str, numbers: frozenset[int]) -> _Running | None:
        """A job at work that answers all of it: a second request waits for it."""
        able = (each for each in self._running.values() if each.version == version and numbers <= each.numbers)
        return next(able, None)

    async def _start(self, task: Task, plan: Plan, frames: Sequence[StoredFrame]) -> _Running:
        job = await self._create(task, plan, frames, hold=True)

        def progress(seen: Progress) -> None:
            running.seconds_left = seen.seconds_left

        running = _Running(
            job.id,
            plan.version,
            frozenset(frame.number for frame in frames),
            asyncio.create_task(self._run(job.id, progress)),
        )
        self._running[job.id] = running
        running.ended.add_done_callback(lambda ended: self._has_ended(job.id, ended))
        return running

    async def _run(self, job_id: int, progress: Callable[[Progress], None]) -> Job:
        """Here, without waiting behind queued jobs; where the server's own worker was quicker, wait for that."""
        try:
            job = await self.jobs.run(job_id, on_progress=progress)
        except Conflict:
            job = await self.jobs.get(job_id)
        while job.state in AT_WORK:
            await asyncio.sleep(LOOK_EVERY_S)
            job = await self.jobs.get(job_id)
        return job

    def _has_ended(self, job_id: int, ended: asyncio.Task[Job]) -> None:
        self._running.pop(job_id, None)
        if not ended.cancelled() and (error := ended.exception()) is not None:
            log.warning("a job for Label Studio ended", job=job_id, error=str(error))

    async def _create(self, task: Task, plan: Plan, frames: Sequence[StoredFrame], *, hold: bool) -> Job:
        """A job with exactly the plan's mapping and threshold on these frames, which are stored first."""
        new = [NewFrame(f.name, f.path, f.width, f.height, f.number, f.remote_state) for f in frames]
        mapping_id = None
        async with self.store.write() as connection:
            await rows.put_frames(connection, task.id, new, states=False)
            if not plan.prompts:
                mapping_id = (await model_rows.add_mapping(connection, plan.model.id, task.id, plan.pairs)).id
        spec = JobSpec(
            target=task.id,
            model_id=plan.model.id,
            mapping_id=mapping_id,
            mapping={label.name: "" for label in task.labels if label.name not in plan.prompts} if plan.prompts else {},
            prompts={label: list(texts) for label, texts in plan.prompts.items() if texts},
            threshold=plan.threshold,
            clean=Clean.MODEL if hold else Clean.NONE,
            frames=FrameSelection(numbers=tuple(sorted(frame.number for frame in frames))),
            max_failure_rate=1.0,  # an image that cannot be had is answered as such
            hold=hold,
            recall=True,
        )
        return await self.jobs.create(spec)

    async def _take_over(self, task: Task, plan: Plan, frames: Sequence[StoredFrame], running: _Running | None) -> None:
        try:
            job = await self._create(task, plan, frames, hold=False)
        except BridgeError as error:
            kept = running.job_id if running is not None else (await self._start(task, plan, frames)).job_id
            text = (
                f"{len(frames)} images take longer than Label Studio waits, and the predictions cannot be written "
                f"there: {error.message} Job {kept} goes on; ask for the predictions again when it has ended."
            )
            await self.note(task, plan, f"{text} {error.hint}".strip(), kept)
            log.warning("predictions cannot be written to Label Studio", job=kept, error=error.message, hint=error.hint)
            return
        text = f"{len(frames)} images take longer than Label Studio waits: job {job.id} writes their predictions."
        await self.note(task, plan, text, job.id)
        log.warning("a request of Label Studio became a job", job=job.id, images=len(frames), project=task.name)
        if running is not None:
            with suppress(Conflict):  # it has ended meanwhile
                await self.jobs.cancel(running.job_id)
            await asyncio.wait((running.ended,))  # a while, where it is loading the model

    async def _results(self, task: Task, job: Job, frames: Sequence[StoredFrame]) -> dict[int, Found]:
        key = plain_key(job.resolved)
        assert key is not None
        recall = Recall(self.store, task.id, job.spec.model_id, key, own_job=job.id)
        numbers = [frame.number for frame in frames]
        known = await recall.results(numbers)
        async with self.store.read() as connection:
            stored = await rows.get_frames(connection, task.id, list(known))
        found = {n: Found((stored[n].width, stored[n].height), result) for n, result in known.items()}
        after = -1
        while len(found) < len(numbers):
            failures = await self.jobs.ledger(job.id, state=FrameState.FAILED, after=after, most=_PAGE)
            if not failures:
                break
            after = failures[-1].frame
            found |= {row.frame: Found(error=row.error or "It failed.") for row in failures if row.frame not in found}
        return found
