"""Label Studio's 100-second wall: all tasks of a project in one request, with a model too slow to answer in time.

A stand-in of Label Studio makes its calls and stores as it stores. What counts is that at the end every task has one
prediction, and none has two; how long that took, and how soon the request was refused, is printed beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapters.base import Detections, PredictOptions
from adapters.frame import Frame
from adapters.local import LocalPredictor
from benchmarks.machine import Table, Watch
from bridge.logs import configure_logging
from bridge.settings import load_settings
from bridge.web.server import serving
from tests.models import write_onnx_model
from tests.servers.label_studio import PERSONAL, LabelStudioServer, Limits

PATIENCE_S = 300.0
CONFIG = """<View><Image name="image" value="$image"/>
<RectangleLabels name="label" toName="image"><Label value="Car"/><Label value="Person"/></RectangleLabels></View>"""


@contextmanager
def slowed_down(seconds: float) -> Iterator[None]:
    """Every frame takes so long, on top of what the small model needs."""
    predict = LocalPredictor.predict

    async def waits(self: Any, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        await asyncio.sleep(seconds * len(frames))
        return await predict(self, frames, options)

    LocalPredictor.predict = waits  # type: ignore[method-assign]
    try:
        yield
    finally:
        LocalPredictor.predict = predict  # type: ignore[method-assign]


async def table(quick: bool) -> Table:
    """As a row of ``python -m benchmarks``; the real case takes some minutes."""
    made = Table("Label Studio: all tasks in one request", ("tasks", "s an image", "refused after s", "predictions",
                 "doubled", "missing", "done after s"))  # fmt: skip
    watch = Watch().start()
    found = await measure(60, 0.1, 2.0, 1) if quick else await measure(1200, 0.5, 90.0, 2)
    _check(found)
    made.add(
        **{
            "tasks": found["tasks"],
            "s an image": found["seconds_per_image"],
            "refused after s": found["refused_after_s"],
            "predictions": found["predictions"],
            "doubled": found["doubled"],
            "missing": found["missing"],
            "done after s": found["done_after_s"],
        }
    )
    made.others = watch.others
    return made


def _check(found: dict[str, Any]) -> None:
    """A figure of a run that lost or doubled something says nothing."""
    if found["predictions"] != found["tasks"] or found["doubled"] or found["missing"]:
        raise SystemExit(f"not every task has exactly one prediction: {found}")


async def measure(tasks: int, seconds: float, within_s: float, retries: int) -> dict[str, Any]:
    """One project of so many tasks; its user connects the backend, asks for predictions, and ``retries`` times more
    while the job is at work. Waits for twice what the model needs and some minutes at most."""
    with slowed_down(seconds), LabelStudioServer() as studio, tempfile.TemporaryDirectory() as place:
        os.environ["LABEL_STUDIO_URL"], os.environ["LABEL_STUDIO_API_KEY"] = studio.url, PERSONAL
        folder = Path(place)
        (folder / "config.toml").touch()
        settings = load_settings(
            folder / "config.toml",
            storage={"data_dir": str(folder / "data")},
            server={"port": 0},
            label_studio={"answer_within_seconds": within_s},
        )
        project = studio.project(CONFIG, tasks)
        async with serving(settings) as server:
            registry = server.state.service.registry
            model, _ = await registry.add(str(await asyncio.to_thread(write_onnx_model, folder / "model")))
            await registry.set(model.id, threshold=0.0)
            url = f"{server.url}/label-studio/{model.name}"
            refusal = await asyncio.to_thread(studio.connect, url, project)
            if refusal:
                raise SystemExit(refusal)
            studio.limits = Limits(predict=100.0)
            started = time.perf_counter()
            told = await asyncio.to_thread(studio.retrieve, url, project)
            refused_s = time.perf_counter() - started
            for _ in range(retries):
                await asyncio.to_thread(studio.retrieve, url, project)
            end = started + 2 * tasks * seconds + PATIENCE_S
            while len({each["task"] for each in project.predictions.values()}) < tasks:
                if time.perf_counter() > end:
                    break
                await asyncio.sleep(0.2)
            done_s = time.perf_counter() - started
            await asyncio.to_thread(studio.retrieve, url, project)
    counts = Counter(each["task"] for each in project.predictions.values())
    return {
        "tasks": tasks,
        "seconds_per_image": seconds,
        "label_studio_told": told,
        "refused_after_s": round(refused_s, 1),
        "done_after_s": round(done_s, 1),
        "predictions": len(project.predictions),
        "doubled": sum(count > 1 for count in counts.values()),
        "missing": tasks - len(counts),
        "requests_of_imports": len(studio.import_sizes),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1200)
    parser.add_argument("--seconds", type=float, default=0.5, help="of the model for each image")
    parser.add_argument("--within", type=float, default=90.0, help="[label_studio] answer_within_seconds")
    parser.add_argument("--retries", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    configure_logging("error", "console")
    found = asyncio.run(measure(given.tasks, given.seconds, given.within, given.retries))
    for name, value in found.items():
        print(f"{name:22} {value}")
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    _check(found)


if __name__ == "__main__":
    main()
