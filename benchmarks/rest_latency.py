"""How long GET answers take with a full database: 100,000 frames, 2,000,000 shapes and 1,000 jobs in one task.

    python benchmarks/rest_latency.py [--json FILE] [--requests 200]

Prints a table of milliseconds per route, and ends with 1 where a median is 20 ms or more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from aiohttp import ClientSession

from bridge.job_spec import JobSpec
from bridge.settings import load_settings
from bridge.store import Store
from bridge.store import tasks as task_rows
from bridge.store.tables import frames, job_frames, jobs, models, shapes, tasks
from bridge.task_labels import labels_from_json
from bridge.web.server import serving

FRAMES, SHAPES_A_FRAME, JOBS, MODELS = 100_000, 20, 1_000, 5
MOST_MS = 20.0
CARD = {
    "name": "m", "provider": "local", "reference": "r", "revision": "1", "task_type": "object-detection",
    "labels": ["car"], "shape_types": ["rectangle"], "engine": "onnxruntime", "default_threshold": 0.5,
    "licence": None, "gated": False, "weights_bytes": None, "limits": {}, "settings": {}, "notes": [],
}  # fmt: skip
RESOLVED = {
    "model": "m0", "reference": "r", "revision": "1", "engine": "onnxruntime", "mapping_id": 1,
    "pairs": {"car": "car"}, "unmapped": [], "threshold": 0.5, "floor_score": 0.05,
}  # fmt: skip
ROUTES = (
    "/v1/tasks",
    "/v1/tasks/1",
    "/v1/tasks/1/frames",
    "/v1/tasks/1/frames/77777",
    "/v1/tasks/1/annotations?limit=20",
    "/v1/jobs",
    "/v1/jobs/777",
    "/v1/jobs/1/frames",
    "/v1/jobs/1/frames?state=failed",
    "/v1/jobs?state=queued",
    "/v1/models",
    "/v1/mappings",
    "/readyz",
    "/metrics",
)


async def fill(url: str) -> None:
    store = await Store.open(url)
    point = np.array([10.0, 10.0, 60.0, 50.0], "<f8").tobytes()
    async with store.write() as connection:
        task = await task_rows.add_task(connection, "street", labels_from_json([{"name": "car"}]))
        for number in range(MODELS):
            row = {"name": f"m{number}", "reference": f"r{number}", "revision": "1", "engine": "e", "threshold": 0.5}
            await connection.execute(
                sa.insert(models).values(card=json.dumps(CARD), fetched=True, created_at=time.time(), **row)
            )
        spec = JobSpec(target=task.id, model_id=1).model_dump_json()
        done = {"state": "succeeded", "frames_total": FRAMES, "frames_done": FRAMES, "spec": spec, "resolved": RESOLVED}
        for _ in range(JOBS):
            await connection.execute(
                sa.insert(jobs).values(task_id=task.id, model_id=1, created_at=time.time(), **done)
            )
        for start in range(0, FRAMES, 5_000):
            numbers = range(start, start + 5_000)
            await connection.execute(
                sa.insert(frames),
                [
                    {
                        "task_id": task.id,
                        "number": n,
                        "name": f"{n}.jpg",
                        "path": f"/x/{n}.jpg",
                        "width": 640,
                        "height": 480,
                    }
                    for n in numbers
                ],
            )
            await connection.execute(
                sa.insert(job_frames),
                [{"job_id": 1, "frame": n, "state": "done", "attempts": 1} for n in numbers],
            )
            await connection.execute(
                sa.insert(shapes),
                [
                    {
                        "task_id": task.id, "frame": n, "label_id": task.labels[0].id, "type": "rectangle",
                        "points": point, "source": "automatic", "score": 0.9, "job_id": 1 + n % JOBS,
                    }
                    for n in numbers
                    for _ in range(SHAPES_A_FRAME)
                ],
            )  # fmt: skip
        counts = {"frame_count": FRAMES, "shape_count": FRAMES * SHAPES_A_FRAME}
        await connection.execute(sa.update(tasks).values(**counts))
    await store.close()


async def measure(folder: Path, requests: int) -> list[dict[str, Any]]:
    config = folder / "config.toml"
    config.touch()
    settings = load_settings(config, storage={"data_dir": str(folder)}, server={"port": 0})
    started = time.perf_counter()
    await fill(settings.storage.sqlalchemy_url)
    print(f"filled in {time.perf_counter() - started:.0f} s")
    rows = []
    async with serving(settings) as server, ClientSession() as session:
        for route in ROUTES:
            taken = []
            for _ in range(requests):
                started = time.perf_counter()
                async with session.get(server.url + route) as response:
                    await response.read()
                    assert response.status == 200, (route, await response.text())
                taken.append((time.perf_counter() - started) * 1000)
            taken.sort()
            row = {"route": route, "median_ms": statistics.median(taken), "p95_ms": taken[int(len(taken) * 0.95)]}
            rows.append(row)
            print(f"{route:40} median {row['median_ms']:7.2f} ms   95% {row['p95_ms']:7.2f} ms")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--requests", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(measure(Path(folder), given.requests))
    if given.json:
        given.json.write_text(json.dumps({"frames": FRAMES, "jobs": JOBS, "routes": rows}, indent=2))
    slow = [row["route"] for row in rows if row["median_ms"] >= MOST_MS]
    if slow:
        raise SystemExit(f"slower than {MOST_MS:g} ms: {', '.join(slow)}")


if __name__ == "__main__":
    main()
