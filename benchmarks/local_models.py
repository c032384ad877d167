"""Models that run here, from image files to stored shapes, beside the raw forward pass and beside other ways.

    python -m benchmarks.local_models [--rounds 3] [--yolos]

The raw forward pass takes batches of 8 decoded tensors and does nothing else, with all cores. All ways of a model take
turns in every round; ratios are of the medians. The other ways are in ``other_ways.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from adapters.frame import Frame
from adapters.graph_session import FAST, FULL
from adapters.local_model import LocalModel
from adapters.processor import usable_cores
from benchmarks.machine import Table, Watch, interleaved
from benchmarks.other_ways import STREET, images, others
from bridge.app import App, open_app
from bridge.domain import Model, NewFrame
from bridge.job_spec import JobSpec
from bridge.settings import load_settings
from bridge.store import tasks as task_rows
from bridge.task_labels import labels_from_json


@dataclass(frozen=True, slots=True)
class Ours:
    """One of our ways; ``goal`` is the ratio to PyTorch's raw forward pass that it is to reach."""

    engine: str
    goal: float | None = None
    precision: str = FULL

    @property
    def name(self) -> str:
        return self.engine if self.precision == FULL else f"{self.engine}, precision {self.precision}"


BATCH = 8
Way = Callable[[], Awaitable[float]]


@asynccontextmanager
async def opened(folder: Path, engine: str, precision: str = FULL) -> AsyncIterator[tuple[App, Model]]:
    """A service in a folder of its own, with the model of ``folder`` registered."""
    with tempfile.TemporaryDirectory() as data:
        models = {"openvino": False, "precision": precision}
        async with open_app(load_settings(storage={"data_dir": data}, models=models)) as app:
            model, _ = await app.registry.add(str(folder), engine=engine)
            yield app, model


async def job_speed(app: App, model: Model, frames: int) -> float:
    """Frames/s of a job over the example images, the model being loaded already."""
    labels = labels_from_json([{"name": label} for label in model.card.labels or ()])
    task = await app.tasks.create(f"bench-{time.monotonic_ns()}", labels)
    paths = images()
    new = [NewFrame(f"{i:05}.jpg", str(paths[i % len(paths)]), 640, 480) for i in range(frames)]
    async with app.store.write() as connection:
        await task_rows.add_frames(connection, task.id, new)
    job = await app.jobs.create(JobSpec(target=task.id, model_id=model.id))
    started = time.perf_counter()
    done = await app.jobs.run(job.id)
    assert done.frames_done == frames
    return frames / (time.perf_counter() - started)


def write_yolos(folder: Path) -> Path:
    """A random YOLOS of tiny's size at 672 x 512: 6 M parameters."""
    import torch  # noqa: PLC0415
    from transformers import YolosConfig, YolosForObjectDetection  # noqa: PLC0415

    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768,
        image_size=[512, 672], num_detection_tokens=100, num_labels=91, use_mid_position_embeddings=False,
    )  # fmt: skip
    YolosForObjectDetection(config).save_pretrained(folder)
    processor = {
        "image_processor_type": "YolosImageProcessor", "size": {"height": 512, "width": 672}, "do_rescale": True,
        "do_normalize": True, "do_pad": False, "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


async def measure(folder: Path, ours: Sequence[Ours], frames: int, rounds: int, title: str) -> Table:
    """All ways in turn. ``of raw torch`` is the ratio to PyTorch's forward pass over batches of 8 decoded tensors."""
    table = Table(title, ("way", "frames/s", "of raw torch", "least", "most", "fed as", "goal"))
    watch = Watch().start()
    notes: dict[str, str] = {}
    goals: dict[str, float | None] = {}
    async with AsyncExitStack() as stack:
        ways: dict[str, Way] = {}
        jobs: dict[str, Way] = {}
        for each in ours:
            app, model = await stack.enter_async_context(opened(folder, each.engine, each.precision))
            lent = await stack.enter_async_context(app.registry.predictor(model))
            local = lent._predictor  # type: ignore[attr-defined]
            ways[f"raw forward, {each.name}"] = _raw(local, frames)
            jobs[f"a job of ours, {each.name}"] = partial(job_speed, app, model, frames)
            notes[f"a job of ours, {each.name}"] = _fed(local)
            goals[f"a job of ours, {each.name}"] = each.goal
        for name, way in {**jobs, **others(folder, frames)}.items():
            try:
                await way()  # warms up, and shows whether it can: transformers 5.24's pipeline splits no RT-DETR batch
            except IndexError as error:
                table.add(**{"way": name, "frames/s": f"fails ({type(error).__name__})"})
            else:
                ways[name] = way
        found = await interleaved(ways, rounds)
    raw = found["raw forward, transformers"][0]
    for name, (speed, values) in found.items():
        goal = goals.get(name)
        row = {"way": name, "frames/s": speed, "of raw torch": speed / raw, "fed as": notes.get(name, "")}
        row |= {"least": min(values), "most": max(values), "goal": f">= {goal}" if goal else ""}
        table.add(**row)
    table.others = watch.others
    return table


def _fed(local: LocalModel) -> str:
    pace = local.card.settings.get("pace")
    half = ", bf16" if getattr(local.engine, "half", False) else ""
    return "{workers} x {threads} threads, batch {batch}".format(**pace) + half if pace else ""


def _raw(local: LocalModel, frames: int) -> Way:
    tensors = [local.prepare(Frame.from_file("x", path)) for path in images()[:BATCH]]
    feed = local.feed(tensors)
    threads = local.card.settings.get("pace", {}).get("threads", 0)

    async def run() -> float:
        local.engine.use_threads(usable_cores())  # type: ignore[attr-defined]
        local.engine.run(feed)
        started = time.perf_counter()
        for _ in range(max(1, frames // BATCH)):
            local.engine.run(feed)
        speed = max(1, frames // BATCH) * BATCH / (time.perf_counter() - started)
        local.engine.use_threads(threads)  # type: ignore[attr-defined]
        return speed

    return run


async def tables(rounds: int, *, yolos: bool, quick: bool = False) -> list[Table]:
    small = (
        Ours("transformers", 0.85),
        Ours("onnxruntime"),
        Ours("openvino", 1.0),
        Ours("openvino", precision=FAST),
        Ours("transformers", precision=FAST),
    )
    made = [await measure(STREET, small, 16 if quick else 64, rounds, "The example model, from files to stored shapes")]
    if yolos:
        larger = (Ours("transformers", 1.0), Ours("openvino", 1.2), Ours("openvino", precision=FAST))
        with tempfile.TemporaryDirectory() as folder:
            path = write_yolos(Path(folder))
            made.append(
                await measure(path, larger, 8 if quick else 16, min(rounds, 3), "YOLOS-tiny's size, random weights")
            )
    return made


if __name__ == "__main__":
    np.seterr(all="ignore")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--yolos", action="store_true", help="also the larger model")
    given = parser.parse_args()
    for made in asyncio.run(tables(given.rounds, yolos=given.yolos)):
        made.show()
