"""A service whose task lives in a loopback CVAT, and what has to hold of the two together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge.domain import Job, Task
from bridge.job_plan import RunnerOptions
from bridge.remotes import Access, Remotes
from tests.servers.cvat import TOKEN, CvatServer, CvatTask, Json, State, images_task, label
from tests.unit.bridge.world import OPTIONS, Behave, World, detections, world

CAR, PERSON, TREE = 11, 12, 13
LABELS = [label(CAR, "car"), label(PERSON, "person"), label(TREE, "tree")]


@dataclass
class CvatWorld:
    made: World
    cvat: CvatServer
    task: Task
    remote: CvatTask

    async def job(self, **values: Any) -> Job:
        self.made.task = self.task
        return await self.made.job(**values)

    async def run(self, **values: Any) -> Job:
        return await self.made.jobs.run((await self.job(**values)).id)

    async def resumed(self, job: Job) -> Job:
        await self.made.jobs.resume(job.id)
        return await self.made.jobs.run(job.id)

    def automatic(self) -> Counter[int]:
        """Frame -> annotations of a model."""
        return Counter(each["frame"] for each in self.remote.annotations if each["source"] == "auto")

    async def check_exactly_once(self, job: Job) -> None:
        """What stands in CVAT is what the ledger says: of every done frame what the model found, of others nothing."""
        rows = await self.made.jobs.ledger(job.id, most=10_000)
        done = {row.frame: row.name for row in rows if row.state == "done"}
        expected = {frame: len(detections(name)) for frame, name in done.items()}
        assert self.automatic() == Counter({frame: n for frame, n in expected.items() if n})
        kept = await self.made.sql("SELECT remote FROM shapes WHERE job_id = :job", job=job.id)
        assert len(kept) == sum(expected.values()) == job.shapes_created
        ids = await self.made.sql("SELECT json_extract(remote, '$.id') FROM shapes WHERE job_id = :job", job=job.id)
        assert sorted(number for (number,) in ids) == [each["id"] for each in self.remote.annotations if is_auto(each)]
        assert await self.made.sql("SELECT id FROM intents") == []


def is_auto(annotation: Json) -> bool:
    return bool(annotation["source"] == "auto")


def manual(frame: int, *, label_id: int = CAR, **more: Any) -> Json:
    """A shape that a person drew."""
    common = {"frame": frame, "label_id": label_id, "group": 0, "source": "manual", "attributes": []}
    form = {"type": "rectangle", "points": [1.0, 2.0, 30.0, 40.0], "rotation": 0.0, "elements": []}
    return {**common, **form, "occluded": True, "outside": False, "z_order": 3, **more}


def without_ids(annotations: list[Json]) -> list[str]:
    """To compare what stands there at two moments."""
    return sorted(json.dumps({**each, "id": 0}, sort_keys=True) for each in annotations)


def use_cvat(made: World, cvat: CvatServer, *, secret: str = TOKEN, settle_s: float = 0.5) -> None:
    async def secret_of(kind: str, host: str) -> str | None:
        return secret if (kind, host) == ("cvat", f"127.0.0.1:{cvat.port}") else None

    made.jobs.remotes = Remotes(Access(made.store, secret_of, settle_s=settle_s))


@asynccontextmanager
async def cvat_world(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    remote: CvatTask | None = None,
    *,
    behave: Behave | None = None,
    options: RunnerOptions = OPTIONS,
    secret: str = TOKEN,
    address: str = "/tasks/42",
    settle_s: float = 0.5,
) -> AsyncIterator[CvatWorld]:
    remote = remote or images_task(42, 20, LABELS)
    async with world(folder, monkeypatch, behave=behave, options=options) as made:
        with CvatServer(State(remote)) as cvat:
            use_cvat(made, cvat, secret=secret, settle_s=settle_s)
            (task,) = await made.jobs.remotes.find_or_add(f"{cvat.url}{address}")
            yield CvatWorld(made, cvat, task, remote)
