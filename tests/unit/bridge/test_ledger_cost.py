"""What a job costs in the database: by the frame, and the same for each, however many there are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from adapters.base import Limits
from bridge.job_plan import RunnerOptions
from tests.unit.bridge.world import World, world

# A second is longer than the model takes: groups are full, whatever else the machine does.
OPTIONS = RunnerOptions(commit_frames=50, commit_s=1.0, lease_s=600)


class Statements:
    """Counts what is sent to the database while it is listening: statements, and rows of bulk statements."""

    def __init__(self, made: World) -> None:
        self.sent: Counter[str] = Counter()
        self.rows = 0
        for engine in (made.store._readers, made.store._writer):
            sa.event.listen(engine.sync_engine, "before_cursor_execute", self._count)

    def _count(self, _: Any, __: Any, statement: str, parameters: Any, ___: Any, many: bool) -> None:
        if "lease_until=" not in statement or "frames_done" in statement:  # a heartbeat counts time and not frames
            self.sent[statement.split("(", maxsplit=1)[0][:60]] += 1
            self.rows += len(parameters) if many else 0


@pytest.fixture
def limits() -> Limits:
    return Limits(max_batch=5, max_concurrency=2)


async def cost(made: World, frames: int) -> tuple[int, int]:
    """(statements, rows in bulk statements) of a job over so many frames."""
    job = await made.job(frames={"start": 0, "stop": frames})
    counted = Statements(made)
    await made.jobs.run(job.id)
    await made.check(job.id)
    return sum(counted.sent.values()), counted.rows


async def test_ten_times_the_frames_need_at_most_ten_times_the_statements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    async with world(tmp_path, monkeypatch, frames=2000, limits=limits, options=OPTIONS) as made:
        few, _ = await cost(made, 200)
        many, rows = await cost(made, 2000)
        assert many - few <= 1.1 * (few - 10) * 9 + 20
        assert many < 2000 / 50 * 8 + 50  # some statements for each group of frames, none for each frame
        assert rows < 2000 * 6
