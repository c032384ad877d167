"""What the benchmarks stand on: what else the machine is doing, medians of interleaved runs, tables and JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
MOST_OTHERS = 0.10  # share of the machine that other programs may take


@dataclass(slots=True)
class Watch:
    """What others took of the processor between ``start`` and ``others``; Linux only, elsewhere 0.

    The hypervisor's share (steal) counts as others.
    """

    _busy: float = 0.0
    _own: float = 0.0
    _at: float = 0.0

    def start(self) -> Watch:
        self._busy, self._own, self._at = _busy_s(), _own_s(), time.perf_counter()
        return self

    @property
    def others(self) -> float:
        """Share of all cores, 0 to 1."""
        seconds = (time.perf_counter() - self._at) * (os.cpu_count() or 1)
        return max(0.0, (_busy_s() - self._busy) - (_own_s() - self._own)) / max(seconds, 1e-9)


def _busy_s() -> float:
    try:
        first = Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = (int(each) for each in first[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def describe() -> dict[str, Any]:
    """The machine, for whoever reads the figures later."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor()
    load = os.getloadavg() if hasattr(os, "getloadavg") else ()
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_average": [round(each, 2) for each in load],
        "nice": os.nice(0) if hasattr(os, "nice") else 0,
    }


@dataclass(slots=True)
class Table:
    """Rows of one benchmark. ``limit`` of a row: what keeps it from being faster."""

    title: str
    columns: Sequence[str]
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    others: float = 0.0

    def add(self, **row: Any) -> None:
        self.rows.append(row)

    def show(self) -> None:
        texts = [[_text(row.get(column, "")) for column in self.columns] for row in self.rows]
        widths = [
            max(len(column), *(len(row[i]) for row in texts), 0) if texts else len(column)
            for i, column in enumerate(self.columns)
        ]
        print(f"\n{self.title}   (others took {self.others:.0%} of the machine)")
        for line in [list(self.columns), ["-" * width for width in widths], *texts]:
            print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")


def _text(value: Any) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )


async def interleaved(
    ways: Mapping[str, Callable[[], Awaitable[float]]], rounds: int
) -> dict[str, tuple[float, list[float]]]:
    """Each way once in every round, so that what disturbs one disturbs all; name -> (median, all values)."""
    values: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            values[name].append(await way())
    return {name: (statistics.median(each), each) for name, each in values.items()}


def save(tables: Sequence[Table], machine: Mapping[str, Any], path: Path | None = None) -> Path:
    """As JSON, by default in ``results/``."""
    path = path or RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": machine,
        "tables": [{"title": t.title, "others": round(t.others, 3), "rows": list(t.rows)} for t in tables],
    }
    path.write_text(json.dumps(content, indent=2), "utf-8")
    return path
