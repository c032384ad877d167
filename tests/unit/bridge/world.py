"""A whole service over a temporary database whose models are small predictors written for tests.

The runner and the registry know only the protocols Adapter and Predictor; these implement them, and a test says by
``behave`` what the model does with a batch. Frames are rows only: such a model looks at a frame's name, not at pixels.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from adapters import providers
from adapters.base import Closing, Context, Detections, Limits, ModelCard, PredictOptions
from adapters.errors import BadFrame
from adapters.frame import Frame
from adapters.references import HuggingFaceModel, LocalFolder, Reference, RoboflowVersion
from bridge.domain import Job, Model, NewFrame, Shape, Task
from bridge.errors import Conflict
from bridge.job_plan import RunnerOptions
from bridge.job_spec import JobSpec
from bridge.jobs import Jobs
from bridge.registry import Registry
from bridge.secrets import SecretBox
from bridge.store import Store
from bridge.store import jobs as job_rows
from bridge.store import shapes as shape_rows
from bridge.store import tasks as task_rows
from bridge.task_labels import parse_labels
from bridge.tasks import Tasks

LABELS = ("car", "person", "tree")
CARD = ModelCard(
    name="fake",
    provider="local",
    reference="/models/fake",
    revision="1",
    task_type="object-detection",
    labels=LABELS,
    shape_types=("rectangle",),
    engine="fake",
    limits=Limits(max_batch=4, max_concurrency=2, timeout_s=30),
)

Behave = Callable[["FakePredictor", Sequence[Frame]], Awaitable[Any]]


def detections(name: str, labels: Sequence[str] = LABELS) -> Detections:
    """What every test model finds on a frame: 0 to 3 boxes that follow from its name; scores 0.9, 0.6 and 0.3."""
    seed = zlib.crc32(name.encode())
    n = seed % 4
    left = np.arange(n, dtype=np.float32) * 10 + seed % 7
    boxes = np.stack([left, left + 1, left + 8, left + 9], axis=1) if n else np.empty((0, 4))
    scores = np.array([0.9, 0.6, 0.3][:n])
    return Detections(tuple(labels), boxes, scores, np.array([(seed + i) % len(labels) for i in range(n)]))


class FakePredictor(Closing):
    """Answers ``detections`` of each frame's name, unless ``behave`` answers something else than None or raises."""

    def __init__(self, card: ModelCard, behave: Behave | None = None) -> None:
        self.card = card
        self.behave = behave
        self.calls: list[list[str]] = []
        self.prompts: list[Mapping[str, tuple[str, ...]]] = []
        self.busy = 0
        self.busiest = 0
        self.closed = 0

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        assert not self.closed, "a closed predictor was asked"
        self.calls.append([frame.id for frame in frames])
        self.prompts.append(options.prompts)
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            found = await self.behave(self, frames) if self.behave is not None else None
        finally:
            self.busy -= 1
        if found is not None:
            return found  # type: ignore[no-any-return]
        labels = self.card.labels if self.card.labels is not None else tuple(options.prompts)
        return [detections(frame.id, labels).best(options.max_detections, options.floor_score) for frame in frames]

    async def close(self) -> None:
        self.closed += 1

    @property
    def asked(self) -> list[str]:
        """Every frame in every call, in order."""
        return [name for call in self.calls for name in call]


class FakeAdapter:
    """Resolves every reference to ``card``; a test changes its class attributes through the fixture's monkeypatch."""

    card: ModelCard = CARD
    behave: Behave | None = None
    opened: list[FakePredictor] = []  # noqa: RUF012  (one list for each test)
    contexts: list[Context] = []  # noqa: RUF012
    resolving: Callable[[Any, Context], Any] | None = None
    opening: Callable[[ModelCard], Awaitable[None]] | None = None

    async def resolve(self, reference: Reference, context: Context) -> ModelCard:
        kind = type(self)
        kind.contexts.append(context)
        if kind.resolving is not None:
            kind.resolving(reference, context)
        return replace(kind.card, reference=reference.canonical, name=reference.canonical.rsplit("/", 1)[-1])

    async def fetch(self, card: ModelCard, context: Context) -> None:
        type(self).contexts.append(context)

    async def open(self, card: ModelCard, context: Context) -> FakePredictor:
        kind = type(self)
        kind.contexts.append(context)
        if kind.opening is not None:
            await kind.opening(card)
        predictor = FakePredictor(card, kind.behave)
        kind.opened.append(predictor)
        return predictor


def use_fakes(monkeypatch: pytest.MonkeyPatch) -> type[FakeAdapter]:
    """A class of its own of ``FakeAdapter``: for this test the adapter of folders, Hugging Face and Roboflow models."""

    class Adapter(FakeAdapter):
        opened: list[FakePredictor] = []  # noqa: RUF012
        contexts: list[Context] = []  # noqa: RUF012

    monkeypatch.setattr("tests.unit.bridge.world.InUse", Adapter)
    for kind in (LocalFolder, HuggingFaceModel, RoboflowVersion):
        monkeypatch.setitem(providers.ADAPTERS, kind, ("local", "tests.unit.bridge.world:InUse"))
    return Adapter


InUse = FakeAdapter

OPTIONS = RunnerOptions(lease_s=300, patience_s=60, commit_s=0.005)


@dataclass
class World:
    """The parts of a service, with one task and one model in it."""

    folder: Path
    adapter: type[FakeAdapter]
    store: Store
    registry: Registry
    tasks: Tasks
    jobs: Jobs
    task: Task = field(init=False)
    model: Model = field(init=False)

    async def frames(self, count: int, task: Task | None = None) -> None:
        task = task or self.task
        async with self.store.write() as connection:
            start = (await task_rows.get_task(connection, task.id)).frame_count
            new = [NewFrame(f"{i:05}.png", f"/nowhere/{i:05}.png", 100, 80) for i in range(start, start + count)]
            await task_rows.add_frames(connection, task.id, new)

    async def job(self, **values: Any) -> Job:
        return await self.jobs.create(
            JobSpec(target=self.task.id, model_id=self.model.id, **{"threshold": 0, **values})
        )

    async def run(self, **values: Any) -> Job:
        return await self.jobs.run((await self.job(**values)).id)

    async def add(self, frame: int, *shapes: Shape) -> None:
        async with self.store.write() as connection:
            ids = {label.name: label.id for label in self.task.labels}
            await shape_rows.add_shapes(connection, self.task.id, ids, [(frame, shapes)])

    async def shapes(self) -> dict[int, list[Shape]]:
        """Of every frame."""
        async with self.store.read() as connection:
            count = (await task_rows.get_task(connection, self.task.id)).frame_count
            return await shape_rows.get_shapes(connection, self.task.id, range(count))

    async def sql(self, text: str, **values: Any) -> list[tuple[Any, ...]]:
        async with self.store.read() as connection:
            return [tuple(row) for row in await connection.execute(sa.text(text), values)]

    async def change(self, text: str, **values: Any) -> None:
        async with self.store.write() as connection:
            await connection.execute(sa.text(text), values)

    async def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.002)

    async def check(self, job_id: int) -> Job:
        """What holds of every job at every moment: its counters are its ledger's, and every done frame has one result
        and exactly the shapes that the model found."""
        async with self.store.read() as connection:  # one moment, also while the job runs

            async def sql(text: str) -> list[tuple[Any, ...]]:
                return [tuple(row) for row in await connection.execute(sa.text(text), {"job": job_id})]

            job = await job_rows.get_job(connection, job_id)
            rows = await sql("SELECT frame, state FROM job_frames WHERE job_id = :job")
            results = await sql("SELECT frame FROM results WHERE job_id = :job ORDER BY frame")
            names = dict(
                await sql("SELECT f.number, f.name FROM frames f JOIN jobs j USING (task_id) WHERE j.id = :job")
            )
            written = dict(await sql("SELECT frame, count(*) FROM shapes WHERE job_id = :job GROUP BY frame"))
        states = [state for _, state in rows]
        assert len(rows) == job.frames_total
        assert states.count("done") == job.frames_done
        assert states.count("failed") == job.frames_failed
        assert states.count("pending") == job.frames_total - job.frames_done - job.frames_failed
        done = sorted(frame for frame, state in rows if state == "done")
        assert [frame for (frame,) in results] == done
        if job.undone_at is None:
            expected = {frame: len(detections(names[frame])) for frame in done}
            assert written == {frame: n for frame, n in expected.items() if n}
            assert job.shapes_created == sum(expected.values())
        return job


@asynccontextmanager
async def world(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    frames: int = 0,
    labels: str = "car,person,tree",
    behave: Behave | None = None,
    limits: Limits = CARD.limits,
    options: RunnerOptions = OPTIONS,
    keep_loaded: int = 2,
) -> AsyncIterator[World]:
    adapter = use_fakes(monkeypatch)
    adapter.behave = behave
    adapter.card = replace(CARD, limits=limits)
    folder.mkdir(exist_ok=True)
    store = await Store.open(f"sqlite+aiosqlite:///{folder / 'hubbridge.db'}")
    registry = Registry(
        store, SecretBox(SecretStr(""), folder / "secret.key"), folder / "models", keep_loaded=keep_loaded
    )
    made = World(folder, adapter, store, registry, Tasks(store, folder / "tasks"), Jobs(store, registry, options))
    try:
        try:
            made.task = await made.tasks.create("street", parse_labels(labels))
        except Conflict:  # another process was here before
            made.task = await made.tasks.find("street")
        made.model, _ = await registry.add("/models/fake")
        if frames:
            await made.frames(frames)
        yield made
    finally:
        await registry.close()
        await store.close()


async def fail_frames(frames: Sequence[Frame], bad: set[str]) -> None:
    """Raise BadFrame for the first of the frames whose name is in ``bad``."""
    for frame in frames:
        if frame.id in bad:
            raise BadFrame(frame.id, f"{frame.id} is damaged.")
