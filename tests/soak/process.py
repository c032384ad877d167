"""What a process holds, as Linux says it: memory, open files, threads."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median


@dataclass(frozen=True, slots=True)
class Held:
    memory_mb: float
    files: int
    threads: int


def held_by(pid: int) -> Held:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Held(int(status["VmRSS"].split()[0]) / 1024, files, int(status["Threads"]))


@dataclass
class Watch:
    """Samples of a process, one a second, until its task is cancelled."""

    pid: int
    seconds: list[float] = field(default_factory=list)
    samples: list[Held] = field(default_factory=list)

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        started = clock()
        while True:
            self.samples.append(held_by(self.pid))
            self.seconds.append(clock() - started)
            await asyncio.sleep(1)

    def minutes(self) -> list[float]:
        """The median memory of each minute, the last one maybe not whole."""
        minutes: dict[int, list[float]] = {}
        for second, sample in zip(self.seconds, self.samples, strict=True):
            minutes.setdefault(int(second // 60), []).append(sample.memory_mb)
        return [round(median(values), 1) for values in minutes.values()]

    def slope_mb_per_minute(self) -> float:
        """Least squares over the second half, when everything is loaded and warm."""
        half = len(self.seconds) // 2
        xs, ys = self.seconds[half:], [sample.memory_mb for sample in self.samples[half:]]
        if len(xs) < 2:
            return 0.0
        mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
        spread = sum((x - mean_x) ** 2 for x in xs)
        return 60 * sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
