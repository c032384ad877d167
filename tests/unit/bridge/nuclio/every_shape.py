"""Models of every shape type, written for tests, and a served face over them that runs beside the test.

A model looks at the picture (so that every form of image has to be read) and finds things that follow from its size:
some whole, some beyond the edges, some that are nothing any more.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from adapters import providers
from adapters.base import (
    Closing,
    Context,
    Detections,
    Limits,
    Mask,
    ModelCard,
    Polygon,
    PredictOptions,
    RotatedRectangle,
    Skeleton,
    WholeFrame,
)
from adapters.frame import Frame
from adapters.references import LocalFolder, Reference
from bridge.settings import load_settings
from bridge.web.server import Serving, serving

LABELS = ("car", "person")
JOINTS = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
COLOR = {"name": "color", "input_type": "select", "values": ["red", "blue"]}
PARKED = {"name": "parked", "input_type": "checkbox", "values": []}
AGE = {"name": "age", "input_type": "number", "values": ["0", "120", "1"]}

SHAPE_TYPES: Mapping[str, tuple[str, ...]] = {
    "rectangle": ("rectangle",),
    "rotated": ("rectangle",),
    "polygon": ("polygon",),
    "mask": ("mask",),
    "tag": ("tag",),
    "points": ("points",),
    "skeleton": ("skeleton",),
    "attributes": ("rectangle",),
    "mixed": ("rectangle", "polygon"),
    "open": ("rectangle",),
}


def card_of(kind: str) -> ModelCard:
    settings: dict[str, Any] = {}
    if kind == "skeleton":
        settings["sublabels"] = list(JOINTS)
    if kind == "attributes":
        settings["label_specs"] = [
            {"name": name, "type": "rectangle", "attributes": [COLOR, PARKED, AGE], "sublabels": []} for name in LABELS
        ]
    return ModelCard(
        name=kind,
        provider="local",
        reference=f"/models/{kind}",
        revision="1",
        task_type="object-detection",
        labels=None if kind == "open" else LABELS,
        shape_types=SHAPE_TYPES[kind],
        engine="fake",
        settings=settings,
        limits=Limits(timeout_s=30),
    )


def found_by(kind: str, frame: Frame, labels: Sequence[str]) -> Detections:
    """Four things of falling score: whole, beyond the edge, at the edge, and next to nothing."""
    height, width = frame.pixels.shape[:2]
    boxes = np.array(
        [
            [width * 0.1, height * 0.2, width * 0.5, height * 0.6],
            [width * 0.6, height * 0.5, width * 1.4, height * 1.3],
            [-9, -9, width * 0.3, height * 0.3],
            [width * 0.5, height * 0.5, width * 0.5 + 0.001, height * 0.9],
        ],
        np.float32,
    )
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    ids = np.arange(4, dtype=np.int32) % len(labels)
    geometry = tuple(_geometry(kind, row, box, width, height) for row, box in enumerate(boxes))
    attributes = ({"color": "red", "parked": "true", "age": "7"},) * 4 if kind == "attributes" else ()
    return Detections(tuple(labels), boxes, scores, ids, geometry, attributes)


def _geometry(kind: str, row: int, box: np.ndarray[Any, Any], width: int, height: int) -> Any:
    x1, y1, x2, y2 = map(float, box)
    match kind:
        case "polygon":
            return Polygon(np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]))
        case "mask":
            bits = np.zeros((height, width), np.uint8)
            bits[max(0, int(y1)) : int(y2), max(0, int(x1)) : int(x2)] = row < 3
            bits[-2:, -2:] |= row == 0  # a second part
            return Mask(height, width, coco.encode(np.asfortranarray(bits))["counts"])
        case "tag":
            return WholeFrame()
        case "points" | "skeleton":
            count = len(JOINTS)
            points = np.stack([np.linspace(x1, x2, count), np.linspace(y1, y2, count)], axis=1)
            scores = np.full(count, 0.1 if row == 3 else 0.9)
            scores[1] = 0.1
            return Skeleton(points, scores)
        case "rotated":
            return RotatedRectangle((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 30.0)
    return None


@dataclass
class Troubles:
    """What befalls the next calls of every model: errors to raise, first one first, and a wait before each answer."""

    errors: list[Exception] = field(default_factory=list)
    slow_s: float = 0.0
    opening_s: float = 0.0
    calls: int = 0


TROUBLES = Troubles()


class ShapePredictor(Closing):
    def __init__(self, card: ModelCard) -> None:
        self.card = card

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        TROUBLES.calls += 1
        await asyncio.sleep(TROUBLES.slow_s)
        if TROUBLES.errors:
            raise TROUBLES.errors.pop(0)
        labels = self.card.labels if self.card.labels is not None else tuple(options.prompts)
        kind = self.card.reference.rsplit("/", 1)[-1]
        return [
            found_by(kind, frame, labels)
            .inside(frame.width, frame.height)
            .best(options.max_detections, options.floor_score)
            for frame in frames
        ]

    async def close(self) -> None:
        pass


class ShapeAdapter:
    async def resolve(self, reference: Reference, context: Context) -> ModelCard:
        return replace(card_of(reference.canonical.rsplit("/", 1)[-1]), reference=reference.canonical)

    async def fetch(self, card: ModelCard, context: Context) -> None:
        pass

    async def open(self, card: ModelCard, context: Context) -> ShapePredictor:
        await asyncio.sleep(TROUBLES.opening_s)
        return ShapePredictor(card)


class Served:
    """A service with its face, in a thread with an event loop of its own. ``run`` does something in that loop."""

    server: Serving
    url: str

    def run(self, make: Callable[[Any], Awaitable[Any]]) -> Any:
        async def work() -> Any:
            return await make(self.server.state.service)

        return asyncio.run_coroutine_threadsafe(work(), self.loop).result(60)

    def __init__(self, folder: Path, cvat: Mapping[str, Any]) -> None:
        (folder / "config.toml").touch()
        self.settings = load_settings(
            folder / "config.toml",
            storage={"data_dir": str(folder / "data")},
            server={"port": 0},
            images={"max_file_mb": 1, "max_pixels": 2_000_000},
            logging={"level": "critical"},
            models={"keep_loaded": 12},
            cvat={"listen": "127.0.0.1:0", **cvat},
        )

    async def serve(self, ready: threading.Event) -> None:
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with serving(self.settings) as self.server:
                self.url = self.server.cvat_url or ""
                ready.set()
                await self._stop.wait()
        finally:
            ready.set()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)


@contextmanager
def served(
    folder: Path,
    *,
    models: Sequence[str] = tuple(SHAPE_TYPES),
    references: Mapping[str, str] | None = None,
    **cvat: Any,
) -> Iterator[Served]:
    """A face with a model of each shape type, named after it; or with real ones, name -> reference."""
    with pytest.MonkeyPatch.context() as patch:
        if references is None:
            patch.setitem(providers.ADAPTERS, LocalFolder, ("local", f"{__name__}:ShapeAdapter"))
        face, ready = Served(folder, cvat), threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(face.serve(ready)), daemon=True)
        thread.start()
        assert ready.wait(60) and face.url
        try:
            for name, reference in (references or {name: f"/models/{name}" for name in models}).items():
                face.run(lambda service, name=name, text=reference: service.registry.add(text, name=name))
            yield face
        finally:
            face.stop()
            thread.join(60)
