"""A CVAT task that is another one than it was, under the same number: noticed before anything is written to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest import MonkeyPatch

from bridge.applying import ApplySpec
from bridge.domain import JobState
from bridge.errors import BridgeError
from tests.servers.cvat import CvatTask, images_task
from tests.unit.bridge.remotes.cvat_world import LABELS, cvat_world


def _names(task: CvatTask) -> None:
    task.names = [f"night/{i:04}.jpg" for i in range(task.size)]


def _sizes(task: CvatTask) -> None:
    task.sizes = [(48, 64)] * task.size


def _order(task: CvatTask) -> None:
    task.names = [task.names[1], task.names[0], *task.names[2:]]


def _fewer(task: CvatTask) -> None:
    task.names, task.sizes, task.pictures = task.names[:-1], task.sizes[:-1], task.pictures[:-1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_names, "frame 0 was street/0000.jpg of 64 x 48 pixels, and is night/0000.jpg"),
        (_sizes, "and is street/0000.jpg of 48 x 64"),
        (_order, "frame 0 was street/0000.jpg"),
        (_fewer, "there were 20, and are 19"),
    ],
)
async def test_other_frames_under_the_same_number_are_noticed(
    tmp_path: Path, monkeypatch: MonkeyPatch, change: Callable[[CvatTask], None], says: str
) -> None:
    async with cvat_world(tmp_path, monkeypatch) as made:
        first, queued = await made.run(), await made.job()
        applied = await made.made.jobs.apply(first.id, ApplySpec(threshold=0.5))
        before = list(made.remote.annotations)
        change(made.remote)
        with pytest.raises(BridgeError, match="holds other frames than when it was added here") as caught:
            await made.job()
        assert says in caught.value.message
        assert f"hubbridge task remove {made.task.id}" in caught.value.hint
        for job in (queued, applied):
            with pytest.raises(BridgeError, match="holds other frames"):
                await made.made.jobs.run(job.id)
            assert (await made.made.jobs.get(job.id)).state is JobState.FAILED
        assert made.remote.annotations == before


async def test_a_cvat_job_that_begins_elsewhere_now_is_noticed(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    remote = images_task(42, 30, LABELS, segments=[(0, 14), (10, 29)])
    async with cvat_world(tmp_path, monkeypatch, remote, address="/tasks/42/jobs/4201") as made:
        remote.jobs[1].start = 15
        with pytest.raises(BridgeError, match="it began with frame 10 and begins with frame 15"):
            await made.job()
