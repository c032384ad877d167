"""How fast a job is when the model costs nothing: 20 detections a frame through mapping, shapes, results and ledger.

python -m benchmarks.ledger [--frames 100000]
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import time
from dataclasses import dataclass, field

from benchmarks.free_model import Service, database_mb, service
from benchmarks.machine import Table, Watch
from bridge.domain import Job
from bridge.job_plan import Progress
from bridge.job_spec import JobSpec

WARM = 2000  # frames, after which memory may not grow


def memory_mb() -> float:
    """The most that this process has used."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


@dataclass(slots=True)
class _Marks:
    """Frames done -> (wall, processor seconds, MB), at every step of ``every`` frames."""

    every: int
    marks: list[tuple[int, float, float, float]] = field(default_factory=list)

    def __call__(self, progress: Progress) -> None:
        if progress.done // self.every > len(self.marks) - 1:
            self.marks.append((progress.done, time.perf_counter(), time.process_time(), memory_mb()))

    def between(self, first: int, last: int) -> tuple[float, float]:
        """(frames/s, processor milliseconds a frame) between two marks."""
        (n1, t1, c1, _), (n2, t2, c2, _) = self.marks[first], self.marks[last]
        return (n2 - n1) / (t2 - t1), (c2 - c1) / (n2 - n1) * 1000


async def measure(frames: int) -> Table:
    table = Table("Ledger: a free model, 20 detections a frame, SQLite", ("what", "measured", "goal"))
    watch = Watch().start()
    async with service(frames) as made:
        job, marks, seconds = await _run(made, frames)
        first, last = marks.between(0, 1), marks.between(-2, -1)
        warm = next(memory for done, _, _, memory in marks.marks if done >= min(WARM, frames // 2))
        table.add(what=f"frames/s over {job.frames_done:,} frames", measured=job.frames_done / seconds, goal=">= 1,000")
        table.add(what="processor ms a frame, first tenth", measured=first[1])
        table.add(what="processor ms a frame, last tenth", measured=last[1], goal="as the first")
        table.add(what=f"MB grown after {WARM:,} frames", measured=memory_mb() - warm, goal="<= 20")
        table.add(what="seconds until a resumed job stores its first frames", measured=await _resume(made), goal="< 2")
        table.add(what="MB of database", measured=database_mb(made.app))
    table.others = watch.others
    return table


async def _run(made: Service, frames: int) -> tuple[Job, _Marks, float]:
    marks = _Marks(max(1, min(frames // 10, 10_000)))
    job = await made.app.jobs.create(JobSpec(target=made.task.id, model_id=made.model.id))
    started = time.perf_counter()
    job = await made.app.jobs.run(job.id, on_progress=marks)
    return job, marks, time.perf_counter() - started


async def _resume(made: Service) -> float:
    """Another job over the same task is cancelled at nine tenths, and taken up again in the now full database."""
    jobs = made.app.jobs
    job = await jobs.create(JobSpec(target=made.task.id, model_id=made.model.id, clean="model"))
    asked: list[asyncio.Task[Job]] = []

    def stop(progress: Progress) -> None:
        if progress.done >= 0.9 * progress.total and not asked:
            asked.append(asyncio.create_task(jobs.cancel(job.id)))

    await jobs.run(job.id, on_progress=stop)
    await asyncio.gather(*asked)
    started, first = time.perf_counter(), list[float]()
    await jobs.resume(job.id)
    await jobs.run(job.id, on_progress=lambda _: first.append(time.perf_counter() - started))
    return first[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=100_000)
    asyncio.run(measure(parser.parse_args().frames)).show()
