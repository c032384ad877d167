"""Progress on standard error: a bar on a terminal, plain lines elsewhere. And how Ctrl-C ends a job."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from adapters.base import LoadStep, Report
from bridge.app import App
from bridge.domain import Job, JobState
from bridge.errors import BridgeError, Conflict
from bridge.job_plan import Progress as JobProgress
from bridge.live_server import live_server
from bridge.owner import is_dead, owner_here
from bridge.store.jobs import FINISHED

LINE_EVERY_S = 2.0


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Bars:
    """Bars that are on the screen inside of a ``with``."""

    _bars: Progress

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


class DownloadBar(_Bars):
    """Shows downloads, and what takes long while a model is loaded; called from any thread.

    ``above``: of another bar that is on the screen, over which lines are to be printed.
    """

    def __init__(self, above: Console | None = None) -> None:
        console = Console(stderr=True)
        self._lines = above or console
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, progress: Report) -> None:
        if isinstance(progress, LoadStep):
            line = f"Loading the model: {progress.doing}."
            self._lines.print(line, highlight=False, markup=False, soft_wrap=True)
            return
        name = progress.file
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(f"downloading {name}", total=progress.total_bytes or None)
        self._bars.update(self._tasks[name], completed=progress.done_bytes, total=progress.total_bytes or None)


class JobBar(_Bars):
    """Shows how far a job is."""

    def __init__(self, job: Job) -> None:
        self._waiting: str | None = None
        self.console = Console(stderr=True)
        columns = (
            TextColumn("annotating"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} frames"),
            TextColumn("{task.fields[failed]}"),
            TextColumn("{task.fields[speed]:,.1f} frames/s"),
            TextColumn("{task.fields[left]} left"),
        )
        self._bars = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        done = job.frames_done + job.frames_failed
        self._bar = self._bars.add_task("", total=job.frames_total, completed=done, failed="", speed=0.0, left="-:--")
        self._line_at = time.monotonic() + LINE_EVERY_S

    def tell_waiting(self, job: Job) -> None:
        """Once for each thing that the job waits for."""
        if job.waiting is not None and job.waiting != self._waiting:
            self.console.print(job.waiting, highlight=False, markup=False, soft_wrap=True)
        self._waiting = job.waiting

    def __call__(self, progress: JobProgress) -> None:
        finished = progress.done + progress.failed
        failed = f"{progress.failed:,} failed" if progress.failed else ""
        left, speed = _clock(progress.seconds_left), progress.frames_per_second
        self._bars.update(self._bar, completed=finished, failed=failed, speed=speed, left=left)
        if not self.console.is_terminal and time.monotonic() >= self._line_at and finished < progress.total:
            self._line_at = time.monotonic() + LINE_EVERY_S
            parts = [f"{finished:,}/{progress.total:,} frames", failed, f"{speed:.1f} frames/s", f"{left} left"]
            print(", ".join(part for part in parts if part), file=sys.stderr, flush=True)


async def run_job(service: App, job: Job) -> Job:
    """Have a queued job run: by the server that lives on the same data, else in this process.

    Here, Ctrl-C cancels it cleanly, and a second one stops at once; where a server has it, it only stops watching.
    A job that failed is an answer, not an error.
    """
    if (url := live_server(service.settings)) is not None:
        print(f"The server at {url} runs the job. Ctrl-C stops watching, not the job.", file=sys.stderr)
        job = await watch_job(service, job.id)
        if job.state in FINISHED:
            return job
        job = await service.jobs.resume(job.id)  # the server has ended before the job
    loop = asyncio.get_running_loop()
    with JobBar(job) as bar, DownloadBar(bar.console) as downloads:
        task = asyncio.ensure_future(service.jobs.run(job.id, on_progress=bar, on_download=downloads))
        asked: list[asyncio.Future[Job]] = []

        def interrupted() -> None:
            if asked:
                task.cancel()
            asked.append(asyncio.ensure_future(_cancel(service, job.id, task)))

        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, interrupted)
        try:
            await task
        except asyncio.CancelledError:
            if not asked:
                raise
        except BridgeError:
            now = await service.jobs.get(job.id)
            if now.state is JobState.QUEUED or now.owner == owner_here():  # it could not even be marked as failed
                raise
        finally:
            await asyncio.gather(*asked, return_exceptions=True)
            for number in (signal.SIGINT, signal.SIGTERM):
                with suppress(NotImplementedError):
                    loop.remove_signal_handler(number)
    ended = await service.jobs.get(job.id)
    return await watch_job(service, job.id) if ended.state is JobState.RUNNING else ended


def _abandoned(service: App, job: Job) -> bool:
    """Whether a job waits for a server that is not there, or is held by a process that is no more."""
    if job.state is JobState.QUEUED:
        return live_server(service.settings) is None
    return is_dead(job.owner)


async def _cancel(service: App, job_id: int, work: asyncio.Future[Job]) -> Job:
    print("Cancelling: batches in flight are finished first. Ctrl-C again stops at once.", file=sys.stderr)
    with suppress(Conflict):
        await service.jobs.cancel(job_id)
    if not service.jobs.is_predicting(job_id):  # the model is being downloaded or loaded: nothing is in flight
        work.cancel()
    return await service.jobs.get(job_id)


async def watch_job(service: App, job_id: int, *, every_s: float = 0.3) -> Job:
    """Follow a job that another process runs, until it ends or nobody is left who could run it."""
    job = await service.jobs.get(job_id)
    started, before = time.monotonic(), job.frames_done + job.frames_failed
    with JobBar(job) as bar:
        while job.state not in FINISHED and not _abandoned(service, job):
            await asyncio.sleep(every_s)
            job = await service.jobs.get(job_id)
            bar.tell_waiting(job)
            finished = job.frames_done + job.frames_failed
            speed = (finished - before) / (time.monotonic() - started)
            left = (job.frames_total - finished) / speed if speed > 0 else None
            bar(JobProgress(job.frames_total, job.frames_done, job.frames_failed, job.shapes_created, speed, left))
    return job
