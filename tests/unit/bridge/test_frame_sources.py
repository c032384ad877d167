"""Frames of a source that is no folder: fetched by groups, some of them missing, its host away or slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from pytest import MonkeyPatch

from adapters.errors import BadFrame, Unavailable
from adapters.frame import Frame
from bridge.domain import JobState, StoredFrame, Task
from bridge.patience import Patience
from bridge.remotes import Remotes
from bridge.sources.frame_source import FrameSource, Picture
from tests.unit.bridge.world import World, world


class Groups:
    """Gives out frames by groups of ten, as of a chunk: frame 7 is missing, and from ``away`` on the host is."""

    def __init__(self, away: int = 10**9, slow: int = 10**9) -> None:
        self.away, self.slow = away, slow
        self.fetched: list[int] = []
        self.closed = 0

    async def read(self, rows: AsyncIterable[StoredFrame]) -> AsyncGenerator[Picture, None]:
        try:
            async for row in rows:
                group = row.number // 10
                if group not in self.fetched:
                    self.fetched.append(group)
                if row.number >= self.slow:
                    await asyncio.sleep(600)
                if row.number >= self.away:
                    raise Unavailable("The host is away.")
                if row.number == 7:
                    yield row, BadFrame(row.name, f"{row.name} is missing.")
                else:
                    yield row, Frame(row.name, 100, 80, pixels=np.zeros((80, 100, 3), np.uint8))
        finally:
            self.closed += 1


def use(monkeypatch: MonkeyPatch, source: Groups) -> None:
    @asynccontextmanager
    async def given(remotes: Remotes, task: Task, patience: Patience | None = None) -> AsyncIterator[FrameSource]:
        yield source

    monkeypatch.setattr(Remotes, "source", given)


async def test_frames_come_by_groups_and_a_missing_one_fails_alone(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch, frames=35) as made:
        use(monkeypatch, source := Groups())
        job = await made.run(frames={"start": 3, "step": 2})
        assert (job.state, job.frames_done, job.frames_failed) == (JobState.SUCCEEDED, 15, 1)
        assert [row.name for row in await made.jobs.ledger(job.id) if row.error_code == "bad_frame"] == ["00007.png"]
        assert source.fetched == [0, 1, 2, 3]
        assert source.closed == 1
        await made.check(job.id)


async def test_a_source_whose_host_goes_away_ends_the_job_and_keeps_what_came(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch, frames=30) as made:
        use(monkeypatch, Groups(away=20))
        job = await made.run()
        assert job.state is JobState.FAILED
        assert job.error is not None
        assert "The host is away." in job.error
        assert job.frames_done + job.frames_failed >= 16
        await made.check(job.id)
        use(monkeypatch, Groups())
        await made.jobs.resume(job.id)
        job = await made.jobs.run(job.id)
        assert (job.state, job.frames_done, job.frames_failed) == (JobState.SUCCEEDED, 29, 1)


async def _cancelled_when(made: World, source: Groups) -> JobState:
    job = await made.job()
    running = asyncio.create_task(made.jobs.run(job.id))
    await made.until(lambda: 2 in source.fetched, 60)
    await made.jobs.cancel(job.id)
    return (await asyncio.wait_for(running, 60)).state


async def test_a_job_is_cancelled_while_its_source_waits(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch, frames=30) as made:
        use(monkeypatch, source := Groups(slow=20))
        assert await _cancelled_when(made, source) is JobState.CANCELLED
        assert source.closed == 1
