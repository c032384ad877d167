"""One run: a server as a process of its own, warmed up, driven, and looked at before and after."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.e2e.server import ServerProcess
from tests.models import write_onnx_model
from tests.soak.process import Held, Watch, held_by
from tests.soak.traffic import BUSY, Tally, drive

SETTLE_S = 40.0  # the longest that a slow client is waited for, and some
MORE_FILES, MORE_THREADS = 16, 24  # that pools of threads and connections may still grow by after the warm-up
MORE_MB_PER_MINUTE = 3.0
LONG_S = 300.0  # shorter runs say nothing of a slope


@dataclass(frozen=True, slots=True)
class Row:
    kind: str
    answers: int
    busy: int
    failed: int
    median: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Report:
    seconds: float
    rows: list[Row]
    jobs: int
    frames: int
    before: Held
    after: Held
    slope: float
    wrong: list[str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def soak(
    folder: Path,
    seconds: float,
    *,
    predictors: int = 64,
    annotators: int = 4,
    others: int = 3,
    settle_s: float = SETTLE_S,
) -> Report:
    """Drive a server for so many seconds after a short warm-up; what it held is compared when all clients are gone."""
    model = folder / "shared" / "model"
    write_onnx_model(model)
    environment = {
        "HUBBRIDGE_SERVER__SERVER_FOLDERS": str(folder / "shared"),
        "HUBBRIDGE_SERVER__JOBS_AT_ONCE": "2",
        "HUBBRIDGE_MODELS__OFFLINE": "true",
    }
    with ServerProcess(folder, environment=environment) as server:
        pid = server.process.pid
        added = await asyncio.to_thread(server.call, "POST", "/v1/models", {"reference": str(model)})
        size = {"predictors": predictors, "annotators": annotators, "others": others}
        await drive(server.url, min(10.0, seconds / 4), added["id"], **size)
        before = await _settled(pid, settle_s)
        watch = Watch(pid)
        watching = asyncio.create_task(watch.run())
        tally = await drive(server.url, seconds, added["id"], **size)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        after = await _settled(pid, settle_s, before)
        ready = await asyncio.to_thread(server.call, "GET", "/readyz")
        code = await asyncio.to_thread(server.stop)
        log = (folder / "server.log").read_text()
    wrong = [f"{count} x {text}" for text, count in tally.wrong.items()]
    wrong += _verdict(before, after, watch.slope_mb_per_minute() if seconds >= LONG_S else 0.0)
    wrong += [text for text, is_so in (("it was not ready", ready["status"] != "ready"), ("exit", code != 0)) if is_so]
    wrong += ["the log has an unexpected failure"] * ("unexpectedly" in log)
    slope = watch.slope_mb_per_minute()
    return Report(seconds, _rows(tally), tally.jobs_checked, tally.frames_done, before, after, slope, wrong)


async def _settled(pid: int, most_s: float, goal: Held | None = None) -> Held:
    """What the process holds when clients have gone; no later than when it is what it was before."""
    held = held_by(pid)
    for _ in range(int(most_s)):
        if goal is not None and held.files <= goal.files:
            break
        await asyncio.sleep(1)
        held = held_by(pid)
    return held


def _verdict(before: Held, after: Held, slope: float) -> list[str]:
    wrong = []
    if after.files > before.files + MORE_FILES:
        wrong.append(f"open files grew from {before.files} to {after.files}")
    if after.threads > before.threads + MORE_THREADS:
        wrong.append(f"threads grew from {before.threads} to {after.threads}")
    if slope > MORE_MB_PER_MINUTE:
        wrong.append(f"memory grew by {slope:.1f} MB a minute")
    return wrong


def _rows(tally: Tally) -> list[Row]:
    rows = []
    for kind, seconds in sorted(tally.seconds.items()):
        median, p95, p99 = (float(value) for value in np.percentile(seconds, (50, 95, 99)))
        statuses = tally.statuses[kind]
        busy = sum(count for status, count in statuses.items() if status in BUSY)
        failed = sum(count for status, count in statuses.items() if status >= 500 and status not in BUSY)
        rows.append(Row(kind, len(seconds), busy, failed, median, p95, p99))
    return rows
