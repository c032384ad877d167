"""Models that run here, from image files to stored shapes, beside the raw forward pass and beside other ways.

    python -m benchmarks.local_models [--rounds 3] [--yolos]

The raw forward pass takes batches of 8 decoded tensors and does nothing else, with the engine's own choice of
threads. All ways of a model take turns in every round; ratios are of the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from adapters.base import PredictOptions
from adapters.frame import Frame
from adapters.local_model import LocalModel
from benchmarks.machine import Table, Watch, interleaved
from bridge.app import App, open_app
from bridge.domain import JobSpec, Model, NewFrame
from bridge.settings import load_settings
from bridge.store import tasks as task_rows
from bridge.task_labels import labels_from_json

STREET = Path(__file__).parent.parent / "examples" / "street" / "model"
BATCH = 8
Way = Callable[[], Awaitable[float]]


def images() -> list[Path]:
    """The example images, 640 x 480."""
    return sorted((STREET.parent / "images").glob("*.jpg"))


@asynccontextmanager
async def opened(folder: Path, engine: str) -> AsyncIterator[tuple[App, Model]]:
    """A service in a folder of its own, with the model of ``folder`` registered."""
    with tempfile.TemporaryDirectory() as data:
        async with open_app(load_settings(storage={"data_dir": data})) as app:
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


async def measure(folder: Path, engine: str, frames: int, rounds: int, title: str) -> Table:
    columns = ("way", "frames/s", "of raw forward", "fed as", "goal")
    table = Table(f"{title}, {engine}", columns)
    watch = Watch().start()
    async with opened(folder, engine) as (app, model), app.registry.predictor(model) as lent:
        local = lent._predictor  # type: ignore[attr-defined]
        pace = lent.card.settings.get("pace", {})
        ways: dict[str, Way] = {"raw forward, batch 8": _raw(local, frames)}
        ways["a job of ours"] = lambda: job_speed(app, model, frames)
        ways["base64 in JSON, one by one (as CVAT's Nuclio loop)"] = _one_by_one(local, frames)
        if engine == "transformers":
            for size in (1, BATCH):
                name, way = f"transformers pipeline, batch {size}", _pipeline(folder, frames, size)
                try:
                    await way()  # warms up, and shows whether it can: it cannot take every model's outputs apart
                except IndexError as error:
                    table.add(**{"way": name, "frames/s": f"fails ({type(error).__name__})"})
                else:
                    ways[name] = way
        found = await interleaved(ways, rounds)
    raw = found["raw forward, batch 8"][0]
    for name, (speed, _) in found.items():
        ours = name == "a job of ours"
        fed = "{workers} x {threads} threads, batch {batch}".format(**pace) if ours and pace else ""
        table.add(**{"way": name, "frames/s": speed, "of raw forward": speed / raw, "fed as": fed})
    table.others = watch.others
    return table


def _raw(local: LocalModel, frames: int) -> Way:
    tensors = [local.prepare(Frame.from_file("x", path)) for path in images()[:BATCH]]
    feed = local.feed(tensors)
    threads = local.card.settings.get("pace", {}).get("threads", 0)

    async def run() -> float:
        import os  # noqa: PLC0415

        local.engine.use_threads(os.cpu_count() or 1)  # type: ignore[attr-defined]
        local.engine.run(feed)
        started = time.perf_counter()
        for _ in range(max(1, frames // BATCH)):
            local.engine.run(feed)
        speed = max(1, frames // BATCH) * BATCH / (time.perf_counter() - started)
        local.engine.use_threads(threads)  # type: ignore[attr-defined]
        return speed

    return run


def _one_by_one(local: LocalModel, frames: int) -> Way:
    """The image goes out and the answer comes back as JSON text; nothing overlaps. Without HTTP, so: at best."""
    paths = images()

    async def run() -> float:
        started = time.perf_counter()
        for number in range(frames):
            body = json.dumps({"image": base64.b64encode(paths[number % len(paths)].read_bytes()).decode()})
            data = base64.b64decode(json.loads(body)["image"])
            (found,) = await local.predict([Frame.from_bytes("x", data)], PredictOptions(0.5))
            shapes = [{"points": box.tolist()} for box in found.boxes]
            json.loads(json.dumps(shapes))
        return frames / (time.perf_counter() - started)

    return run


def _pipeline(folder: Path, frames: int, size: int) -> Way:
    import transformers  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    pipe: Any = transformers.pipeline("object-detection", model=str(folder), image_processor=processor)
    contents = [path.read_bytes() for path in images()]

    async def run() -> float:
        started = time.perf_counter()
        pictures = (Image.open(io.BytesIO(contents[i % len(contents)])).convert("RGB") for i in range(frames))
        done = sum(1 for _ in pipe(pictures, batch_size=size))
        assert done == frames
        return frames / (time.perf_counter() - started)

    return run


async def tables(rounds: int, *, yolos: bool) -> list[Table]:
    small = [
        await measure(STREET, engine, 64, rounds, "The example model") for engine in ("onnxruntime", "transformers")
    ]
    if yolos:
        with tempfile.TemporaryDirectory() as folder:
            made = write_yolos(Path(folder))
            small.append(await measure(made, "transformers", 16, rounds, "YOLOS-tiny's size, random"))
    return small


if __name__ == "__main__":
    np.seterr(all="ignore")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--yolos", action="store_true", help="also the larger model")
    given = parser.parse_args()
    for made in asyncio.run(tables(given.rounds, yolos=given.yolos)):
        made.show()
