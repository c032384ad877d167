"""A job on a CVAT task of 1080p frames, beside the same model on the same files here and beside CVAT's own way.

    python -m benchmarks.cvat_tasks [--frames 200] [--rounds 3]

CVAT is a loopback server in a process of its own, which packs chunks of 36 frames as CVAT does. CVAT's own way is one
frame a call, in base64, one call after another; here without its HTTP and without its database, so in its favour.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from PIL import Image

from adapters.base import PredictOptions
from adapters.frame import Frame
from benchmarks.local_models import opened
from benchmarks.machine import Table, Watch, interleaved
from benchmarks.other_ways import STREET, images
from bridge.app import App
from bridge.domain import Model, NewFrame
from bridge.job_spec import JobSpec
from bridge.remotes import Access, Remotes
from bridge.store import tasks as task_rows
from bridge.task_labels import labels_from_json
from tests.servers.cvat import TOKEN

SIZE = (1920, 1080)
LABEL = "car"
GOAL = 0.85


@asynccontextmanager
async def cvat(folder: Path, frames: int) -> AsyncIterator[str]:
    """The address of the task."""
    command = ("-m", "tests.servers.cvat", str(folder), "--frames", str(frames), "--label", LABEL)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[1], env=os.environ.copy()
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


def write_frames(folder: Path) -> list[Path]:
    """The example images at 1080p."""
    paths = []
    for number, path in enumerate(images()):
        paths.append(folder / f"{number:03}.jpg")
        Image.open(path).convert("RGB").resize(SIZE, Image.Resampling.BICUBIC).save(paths[-1], quality=92)
    return paths


async def measure(frames: int, rounds: int) -> Table:
    table = Table(f"CVAT: {frames} frames of 1080p, the example model", ("way", "frames/s", "of local files", "goal"))
    watch = Watch().start()
    with tempfile.TemporaryDirectory() as name:
        paths = await asyncio.to_thread(write_frames, Path(name))
        async with (
            opened(STREET, "onnxruntime") as (app, model),
            cvat(Path(name), frames) as address,
            app.registry.predictor(model),
            app.registry.batcher(model) as batcher,
        ):
            remotes = _remotes(app)
            app.jobs.remotes = remotes
            (task,) = await remotes.find_or_add(address)
            here = await _local(app, paths, frames)

            async def local() -> float:
                return await _job(app, model, here, frames)

            async def remote() -> float:
                return await _job(app, model, task.id, frames)

            async def one_by_one() -> float:
                sent = [base64.b64encode(path.read_bytes()) for path in paths]
                few = max(1, frames // 4)
                started = time.perf_counter()
                for number in range(few):
                    data = base64.b64decode(sent[number % len(sent)])
                    await batcher.predict(Frame.from_bytes("x", data), PredictOptions())
                return few / (time.perf_counter() - started)

            ways = {"a job on local files": local, "a job on the CVAT task": remote, "CVAT's own way": one_by_one}
            for way in ways.values():
                await way()
            found = await interleaved(ways, rounds)
    base = found["a job on local files"][0]
    for way_name, (speed, _) in found.items():
        goal = f">= {GOAL}" if way_name == "a job on the CVAT task" else ""
        table.add(**{"way": way_name, "frames/s": speed, "of local files": speed / base, "goal": goal})
    table.others = watch.others
    return table


def _remotes(app: App) -> Remotes:
    async def secret(kind: str, host: str) -> str | None:
        return TOKEN if kind == "cvat" else None

    return Remotes(Access(app.store, secret))


async def _local(app: App, paths: list[Path], frames: int) -> int:
    """Id of a task of the same files here."""
    task = await app.tasks.create("local", labels_from_json([{"name": LABEL, "type": "rectangle"}]))
    new = [NewFrame(f"{i:05}.jpg", str(paths[i % len(paths)]), *SIZE) for i in range(frames)]
    async with app.store.write() as connection:
        await task_rows.add_frames(connection, task.id, new)
    return task.id


async def _job(app: App, model: Model, task_id: int, frames: int) -> float:
    job = await app.jobs.create(JobSpec(target=task_id, model_id=model.id, clean="model"))
    started = time.perf_counter()
    done = await app.jobs.run(job.id)
    assert done.frames_done == frames, done.error
    return frames / (time.perf_counter() - started)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    asyncio.run(measure(given.frames, given.rounds)).show()
