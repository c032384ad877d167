"""How fast the server answers with pages when 10,000 frames and 1,000 jobs are there.

    python -m benchmarks.pages [--requests 100] [--json FILE]

Exits with 1 where a page's median takes longer than its goal of 50 ms.
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

import sqlalchemy as sa
from aiohttp import ClientSession

from benchmarks import rest_latency
from bridge.logs import configure_logging
from bridge.settings import load_settings
from bridge.store import Store
from bridge.store.tables import jobs, tasks
from bridge.web.server import serving

FRAMES, JOBS, TASKS = 10_000, 1_000, 50
MOST_MS = 50.0
PAGES = (
    "/tasks",
    "/tasks/new",
    "/tasks/1",
    "/tasks/1?after=5000",
    "/tasks/1?show=unannotated",
    "/tasks/1/annotate",
    "/tasks/1/frames/7777",
    "/models",
    "/models/1",
    "/jobs",
    "/jobs?before=500",
    "/jobs/1",
    "/settings",
)


async def fill(url: str) -> None:
    """As the REST API's benchmark, with fewer frames, and more tasks beside the large one."""
    rest_latency.FRAMES, rest_latency.JOBS = FRAMES, JOBS
    await rest_latency.fill(url)
    store = await Store.open(url)
    async with store.write() as connection:
        rows = [{"name": f"task {n}", "created_at": time.time()} for n in range(TASKS)]
        await connection.execute(sa.insert(tasks), rows)
        counted = await connection.scalar(sa.select(sa.func.count()).select_from(jobs))
        assert counted == JOBS
    await store.close()


async def measure(folder: Path, requests: int) -> list[dict[str, Any]]:
    config = folder / "config.toml"
    config.touch()
    settings = load_settings(config, storage={"data_dir": str(folder)}, server={"port": 0}, logging={"level": "error"})
    await fill(settings.storage.sqlalchemy_url)
    rows = []
    async with serving(settings) as server, ClientSession(headers={"Accept": "text/html"}) as session:
        for page in PAGES:
            taken, size = [], 0
            for _ in range(requests):
                started = time.perf_counter()
                async with session.get(server.url + page) as response:
                    size = len(await response.read())
                    assert response.status == 200, (page, response.status)
                taken.append((time.perf_counter() - started) * 1000)
            taken.sort()
            row = {
                "page": page,
                "median_ms": statistics.median(taken),
                "p95_ms": taken[int(len(taken) * 0.95)],
                "bytes": size,
            }
            rows.append(row)
            print(f"{page:28} median {row['median_ms']:7.2f} ms   95% {row['p95_ms']:7.2f} ms   {size / 1000:6.0f} kB")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--requests", type=int, default=100)
    given = parser.parse_args()
    configure_logging("error", "console")
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(measure(Path(folder), given.requests))
    if given.json:
        given.json.write_text(json.dumps({"frames": FRAMES, "jobs": JOBS, "pages": rows}, indent=2))
    slow = [row["page"] for row in rows if row["median_ms"] >= MOST_MS]
    if slow:
        raise SystemExit(f"slower than {MOST_MS:g} ms: {', '.join(slow)}")


if __name__ == "__main__":
    main()
