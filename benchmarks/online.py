"""What the batcher adds to a single call, and what 16 callers at once get out of a model.

python -m benchmarks.online
"""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

from adapters.base import PredictOptions
from adapters.frame import Frame
from benchmarks.local_models import STREET, images, job_speed, opened
from benchmarks.machine import Table, Watch, interleaved

CALLERS, CALLS, ROUNDS = 16, 8, 3
OPTIONS = PredictOptions()


async def measure() -> Table:
    columns = ("what", "bare", "with the batcher", "measured", "goal")
    table = Table("Online calls: the example model with ONNX Runtime", columns)
    watch = Watch().start()
    async with opened(STREET, "onnxruntime") as (app, model):
        async with app.registry.batcher(model) as batcher, app.registry.predictor(model) as lent:
            bare = lent._predictor  # type: ignore[attr-defined]
            paths = images()

            async def alone(path: Path) -> None:
                await bare.predict([Frame.from_file("x", path)], OPTIONS)

            async def batched(path: Path) -> None:
                await batcher.predict(Frame.from_file("x", path), OPTIONS)

            without, by_batcher = [], []
            for path in paths * 4:
                for call, times in ((alone, without), (batched, by_batcher)):
                    started = time.perf_counter()
                    await call(path)
                    times.append((time.perf_counter() - started) * 1000)
            one, other = statistics.median(without), statistics.median(by_batcher)
            row = {"bare": one, "with the batcher": other, "measured": f"{other - one:+.2f} ms", "goal": "< 3 ms"}
            table.add(what="ms of a call, one caller, median", **row)

            async def callers() -> float:
                async def caller(number: int) -> None:
                    for call in range(CALLS):
                        await batched(paths[(number + call) % len(paths)])

                started = time.perf_counter()
                await asyncio.gather(*(caller(number) for number in range(CALLERS)))
                return CALLERS * CALLS / (time.perf_counter() - started)

            async def job() -> float:
                return await job_speed(app, model, CALLERS * CALLS)

            found = await interleaved({"callers": callers, "job": job}, ROUNDS)
        online, jobs = found["callers"][0], found["job"][0]
        row = {"bare": jobs, "with the batcher": online, "measured": f"{online / jobs:.2f} of a job"}
        table.add(what=f"frames/s, a job beside {CALLERS} callers", **row, goal="as in jobs")
    table.others = watch.others
    return table


if __name__ == "__main__":
    asyncio.run(measure()).show()
