"""One run: a server as a process of its own, warmed up, driven, and looked at before and after."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import ClientSession, ClientTimeout, TCPConnector

from tests.e2e.server import ServerProcess
from tests.models import write_onnx_model
from tests.soak.disk import Kept, kept_in
from tests.soak.harm import Harm
from tests.soak.process import Held, Watch, held_by
from tests.soak.traffic import BUSY, Client, Tally

WARM_UP_S = 60.0  # caches of words and statements are filled by then, and most of malloc's arenas
SETTLE_S = 40.0  # the longest that a slow client is waited for, and some
MORE_FILES, MORE_THREADS = 16, 24  # that pools of threads and connections may still grow by after the warm-up
MORE_MB_PER_MINUTE = 3.0
MORE_DATABASE_MB = 24.0  # room of removed tasks is used again; the write-ahead log may have 16 MB and a transaction
LONG_S = 300.0  # shorter runs say nothing of a slope


@dataclass(frozen=True, slots=True)
class Size:
    """How many clients of each kind; ``others`` of each of the remaining ones, but one flood and one crowd."""

    predictors: int = 64
    annotators: int = 4
    others: int = 3


@dataclass(frozen=True, slots=True)
class Row:
    """Of one kind of request; seconds. ``busy``: 429 and 503; ``failed``: every other 5xx."""

    kind: str
    answers: int
    busy: int
    failed: int
    median: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class State:
    """Of the server, with no client and no task."""

    held: Held
    kept: Kept


@dataclass(frozen=True, slots=True)
class Report:
    """``minutes``: memory in MB, the median of each minute; ``slope``: MB a minute over the second half."""

    seconds: float
    rows: list[Row]
    done: dict[str, int]
    recovered_s: list[float]
    jobs: int
    frames: int
    before: State
    after: State
    minutes: list[float]
    slope: float
    wrong: list[str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def soak(
    folder: Path, seconds: float, size: Size, *, warm_up_s: float = WARM_UP_S, settle_s: float = SETTLE_S
) -> Report:
    """Drive a server for so many seconds after a warm-up; what it held is compared when all clients are gone."""
    model, temporary = folder / "shared" / "model", folder / "temporary"
    write_onnx_model(model)
    temporary.mkdir()
    environment = {
        "HUBBRIDGE_SERVER__SERVER_FOLDERS": str(folder / "shared"),
        "HUBBRIDGE_SERVER__JOBS_AT_ONCE": "2",
        "HUBBRIDGE_MODELS__OFFLINE": "true",
        "TMPDIR": str(temporary),
    }
    with ServerProcess(folder, environment=environment) as server:
        pid = server.process.pid
        added = await asyncio.to_thread(server.call, "POST", "/v1/models", {"reference": str(model)})
        warm = await drive(server.url, warm_up_s, added["id"], size)
        before = await _at_rest(server, folder, settle_s)
        watch = Watch(pid)
        watching = asyncio.create_task(watch.run())
        tally = await drive(server.url, seconds, added["id"], size)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        after = await _at_rest(server, folder, settle_s, before.held)
        ready = await asyncio.to_thread(server.call, "GET", "/readyz")
        code = await asyncio.to_thread(server.stop)
        log = (folder / "server.log").read_text()
    slope = watch.slope_mb_per_minute()
    wrong = [f"{count} x {text}" for text, count in (warm.wrong + tally.wrong).items()]
    wrong += grown(before, after, slope if seconds >= LONG_S else 0.0, sum(map(len, tally.seconds.values())))
    wrong += [text for text, is_so in (("it was not ready", ready["status"] != "ready"), ("exit", code != 0)) if is_so]
    wrong += [f"the log has {text!r}" for text in ("unexpectedly", "Traceback") if text in log]
    return Report(
        seconds=seconds,
        rows=_rows(tally),
        done=dict(sorted(tally.done.items())),
        recovered_s=tally.recovered_s,
        jobs=tally.jobs_checked,
        frames=tally.frames_done,
        before=before,
        after=after,
        minutes=watch.minutes(),
        slope=slope,
        wrong=wrong,
    )


async def drive(url: str, seconds: float, model: int, size: Size) -> Tally:
    """Let all clients loose for so many seconds."""
    tally, until = Tally(), asyncio.get_running_loop().time() + seconds
    steps = [Client.predict] * size.predictors + [Client.annotate] * size.annotators + [Client.look] * size.others
    harms = [Harm.be_wrong, Harm.be_slow, Harm.die] * size.others + [Harm.flood, Harm.crowd]
    async with ClientSession(timeout=ClientTimeout(total=150), connector=TCPConnector(limit=0)) as session:
        given = (url, session, tally, until)
        clients = [(client := Client(*given, i, model)).repeat(step.__get__(client)) for i, step in enumerate(steps)]
        clients += [
            (harm := Harm(*given, i, model)).repeat(step.__get__(harm)) for i, step in enumerate(harms, len(steps))
        ]
        await asyncio.gather(*clients)
    return tally


async def _at_rest(server: ServerProcess, folder: Path, most_s: float, goal: Held | None = None) -> State:
    """What the server holds and keeps when clients and tasks have gone; no later than when it holds what it did."""
    await asyncio.to_thread(_clear, server)
    pid = server.process.pid
    for _ in range(int(most_s)):
        if goal is not None and held_by(pid).files <= goal.files:
            break
        await asyncio.sleep(1)
    return State(held_by(pid), kept_in(folder / "data", folder / "temporary", folder / "server.log"))


def _clear(server: ServerProcess) -> None:
    """Remove every task; jobs that are queued or at work are cancelled first."""
    for state in ("queued", "running"):
        for job in server.call("GET", f"/v1/jobs?state={state}&limit=100")["jobs"]:
            with suppress(AssertionError):  # it has ended meanwhile
                server.call("POST", f"/v1/jobs/{job['id']}/cancel")
            server.wait_for(job["id"], ("succeeded", "failed", "cancelled"))
    while tasks := server.call("GET", "/v1/tasks?limit=100")["tasks"]:
        for task in tasks:
            server.call("DELETE", f"/v1/tasks/{task['id']}")


def grown(before: State, after: State, slope: float, answers: int) -> list[str]:
    """What is more than it was, in words."""
    held, kept = (before.held, after.held), (before.kept, after.kept)
    looked_at = [
        ("open files", held[0].files, held[1].files, MORE_FILES),
        ("threads", held[0].threads, held[1].threads, MORE_THREADS),
        ("files of tasks", kept[0].files, kept[1].files, 0),
        ("left-over files", kept[0].leftovers, kept[1].leftovers, 0),
        ("MB of the database", round(kept[0].database_mb, 1), round(kept[1].database_mb, 1), MORE_DATABASE_MB),
        # A line for each answer; a model, a job or a dropped connection has a few more.
        ("lines of the log", kept[0].log_lines, kept[1].log_lines, 2 * answers + 100),
        *((f"rows in {name}", kept[0].rows.get(name, 0), count, 0) for name, count in kept[1].rows.items()),
    ]
    wrong = [f"{what} grew from {was} to {now}" for what, was, now, more in looked_at if now > was + more]
    return wrong + [f"memory grew by {slope:.1f} MB a minute"] * (slope > MORE_MB_PER_MINUTE)


def _rows(tally: Tally) -> list[Row]:
    rows = []
    for kind, seconds in sorted(tally.seconds.items()):
        median, p95, p99 = (float(value) for value in np.percentile(seconds, (50, 95, 99)))
        statuses = tally.statuses[kind]
        busy = sum(count for status, count in statuses.items() if status in BUSY)
        failed = sum(count for status, count in statuses.items() if status >= 500 and status not in BUSY)
        rows.append(Row(kind, len(seconds), busy, failed, median, p95, p99))
    return rows
