"""A service whose one model costs nothing, and a task for it: what is left is the price of the service itself."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adapters import providers
from adapters.base import Closing, Context, Detections, Limits, ModelCard, PredictOptions, Predictor
from adapters.frame import Frame
from adapters.references import LocalFolder
from bridge.app import App, open_app
from bridge.domain import Model, NewFrame, Task
from bridge.settings import load_settings
from bridge.task_labels import labels_from_json

LABELS = ("car", "person")
CARD = ModelCard(
    "free", "local", "/free", "0", "object-detection", LABELS, ("rectangle",), "none",
    limits=Limits(max_batch=8, max_concurrency=2),
)  # fmt: skip


def detections(count: int = 20) -> Detections:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 400, (count, 2))
    boxes = np.concatenate([corners, corners + 50], axis=1)
    return Detections(LABELS, boxes, rng.uniform(0.5, 1, count), rng.integers(0, 2, count))


class FreeModel(Closing):
    """Answers the same 20 detections for every frame and looks at none."""

    def __init__(self, card: ModelCard) -> None:
        self.card, self._found = card, detections()

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        return [self._found] * len(frames)

    async def close(self) -> None:
        pass


class _Free:
    """The adapter of every local folder, while a benchmark runs; ``opens`` may be set to another model."""

    card = CARD
    model: Predictor | None = None

    async def resolve(self, reference: LocalFolder, context: Context) -> ModelCard:
        return replace(self.card, reference=reference.canonical)

    async def fetch(self, card: ModelCard, context: Context) -> None:
        pass

    async def open(self, card: ModelCard, context: Context) -> Predictor:
        return self.model or FreeModel(card)  # type: ignore[return-value]


@dataclass(slots=True)
class Service:
    app: App
    model: Model
    task: Task


@asynccontextmanager
async def service(
    frames: int, *, card: ModelCard = CARD, model: Predictor | None = None, pictures: Sequence[Path] = ()
) -> AsyncIterator[Service]:
    """An opened service in a folder of its own, with a task of so many frames: of 640 x 480 ``pictures`` over and
    over, or of files that do not exist."""
    _Free.card, _Free.model = card, model
    usual = providers.ADAPTERS[LocalFolder]
    providers.ADAPTERS[LocalFolder] = (usual[0], "benchmarks.free_model:_Free")
    try:
        with tempfile.TemporaryDirectory() as folder:
            async with open_app(load_settings(storage={"data_dir": folder})) as app:
                registered, _ = await app.registry.add("/free", name="free")
                labels = labels_from_json([{"name": label} for label in LABELS])
                task = await app.tasks.create("bench", labels)
                await _fill(app, task, frames, pictures)
                yield Service(app, registered, task)
    finally:
        providers.ADAPTERS[LocalFolder] = usual


async def _fill(app: App, task: Task, frames: int, pictures: Sequence[Path]) -> None:
    from bridge.store import tasks as task_rows  # noqa: PLC0415

    paths = [str(path) for path in pictures] or ["/nowhere.jpg"]
    async with app.store.write() as connection:
        for start in range(0, frames, 5000):
            numbers = range(start, min(frames, start + 5000))
            new = [NewFrame(f"{i:06}.jpg", paths[i % len(paths)], 640, 480) for i in numbers]
            await task_rows.add_frames(connection, task.id, new)


def database_mb(app: App) -> float:
    return sum(path.stat().st_size for path in Path(app.settings.storage.folder).glob("hubbridge.db*")) / 2**20
