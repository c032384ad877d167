"""Runs queued annotation jobs inside a server, several at once, and takes up those that a crash left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from bridge.domain import JobState
from bridge.errors import BridgeError, Conflict
from bridge.job_plan import Progress
from bridge.jobs import Jobs

log = structlog.get_logger(__name__)

POLL_S = 0.5  # how soon a job is seen that another process has queued
RELEASE_EVERY_S = 5.0


@dataclass(slots=True)
class Worker:
    """``run()`` until its task is cancelled: then running jobs finish nothing more and are given back as queued."""

    jobs: Jobs
    at_once: int = 1
    on_frames: Callable[[int], None] = lambda frames: None
    _running: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _alive: bool = False
    _problem: str = ""  # why the last look for jobs failed

    @property
    def alive(self) -> bool:
        """Whether jobs are being claimed."""
        return self._alive and not self._problem

    def wake(self) -> None:
        """A job was queued in this process: do not wait for the next look."""
        self._wake.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        next_release = loop.time()
        self._alive = True
        try:
            while True:
                try:
                    if loop.time() >= next_release:
                        next_release = loop.time() + RELEASE_EVERY_S
                        for job_id in await self.jobs.release_crashed():
                            log.warning("a crashed job was queued again", job=job_id)
                    await self._claim()
                    self._problem = ""
                except BridgeError as error:  # the database is busy or away: later, then
                    if error.message != self._problem:
                        log.warning("jobs cannot be claimed", error=error.message)
                    self._problem = error.message
                except Exception as error:  # a defect, too, must not end the claiming of jobs for good
                    if str(error) != self._problem:
                        log.exception("jobs cannot be claimed")
                    self._problem = str(error) or type(error).__name__
                try:
                    async with asyncio.timeout(POLL_S):
                        await self._wake.wait()
                except TimeoutError:
                    continue
                self._wake.clear()
        finally:
            self._alive = False
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _claim(self) -> None:
        """Start the oldest queued jobs, as many as may still run."""
        free = self.at_once - len(self._running)
        if free <= 0:
            return
        for job in await self.jobs.page(state=JobState.QUEUED, most=free + len(self._running)):
            if job.id not in self._running and len(self._running) < self.at_once:
                self._running[job.id] = asyncio.create_task(self._run(job.id))

    async def _run(self, job_id: int) -> None:
        structlog.contextvars.bind_contextvars(job=job_id)  # of this task alone; on every line that it logs
        counted: int | None = None

        def count(progress: Progress) -> None:
            nonlocal counted
            finished = progress.done + progress.failed
            self.on_frames(finished - counted if counted is not None else 0)
            counted = finished

        try:
            before = await self.jobs.get(job_id)
            counted = before.frames_done + before.frames_failed
            job = await self.jobs.run(job_id, on_progress=count)
            log.info("job ended", state=str(job.state))
        except Conflict:
            log.debug("another process took the job")
        except BridgeError as error:
            log.warning("job failed", code=error.code, error=error.message)
        except Exception:
            log.exception("job failed unexpectedly")
        finally:
            self._running.pop(job_id, None)
            self.wake()
