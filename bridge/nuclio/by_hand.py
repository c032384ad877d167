"""Interactors, trackers and ReID: what CVAT calls for one person, over promptable models."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from adapters.frame import Frame
from adapters.promptable import Box, Prompt, Segment, abilities
from bridge.domain import Model
from bridge.errors import InvalidRequest
from bridge.interactive import Interactive
from bridge.nuclio.bodies import Body, read_frame, read_threshold
from bridge.nuclio.entries import Entry, FunctionType
from bridge.nuclio.loading import Loading
from bridge.profiles import Profiles
from bridge.sources.files import ImageLimits

MOST_OBJECTS = 1000  # in one call
_HELP = "Click on the object; further clicks inside or beside it correct the mask. A box around it helps."


@dataclass(frozen=True, slots=True)
class ByHand:
    """The functions of every registered model that has one ability; a class for each of them stands below."""

    profiles: Profiles
    interactive: Interactive
    loading: Loading
    limits: ImageLimits
    function: type[ByHandFunction]

    async def functions(self) -> Sequence[ByHandFunction]:
        models = [named.model for named in await self.profiles.everything() if named.profile is None]
        return [self.function(model, self) for model in models if self.function.ability in abilities(model.card)]

    async def find(self, function_id: str) -> ByHandFunction | None:
        for name in (function_id, function_id.removesuffix(self.function.suffix)):
            named = await self.profiles.named(name)
            if named is None or named.profile is not None or self.function.ability not in abilities(named.model.card):
                continue
            found = self.function(named.model, self)
            if found.id == function_id:
                return found
        return None


@dataclass(frozen=True, slots=True)
class ByHandFunction:
    """``suffix`` tells a model's second function from its first one."""

    model: Model
    kind: ByHand

    ability: ClassVar[str]
    suffix: ClassVar[str]
    type: ClassVar[FunctionType]
    version: ClassVar[int] = 1
    annotations: ClassVar[dict[str, str]] = {}

    @property
    def id(self) -> str:
        first = abilities(self.model.card)[0] == self.ability
        return self.model.name if first else self.model.name + self.suffix

    @property
    def entry(self) -> Entry:
        card = self.model.card
        return Entry(
            id=self.id,
            type=self.type,
            name=self.id,
            description=f"{card.task_type}, revision {card.revision[:12]}",
            framework=card.engine,
            version=self.version,
            annotations=self.annotations,
        )

    async def answer(self, body: Body, deadline: float) -> bytes:
        await self.kind.loading.wait_for(self.model, deadline)
        answer = await self.respond(body)
        return await asyncio.to_thread(lambda: json.dumps(answer, allow_nan=False).encode())

    async def respond(self, body: Body) -> Any:
        raise AssertionError("each ability has a class of its own")

    async def frame(self, body: Body, key: str = "image") -> Frame:
        return await asyncio.to_thread(read_frame, body, self.kind.limits, key)


@dataclass(frozen=True, slots=True)
class Interactor(ByHandFunction):
    """A click becomes a mask."""

    ability: ClassVar[str] = "segment"
    suffix: ClassVar[str] = ".interactor"
    type: ClassVar[FunctionType] = "interactor"
    version: ClassVar[int] = 2  # the page takes a mask, and makes the polygon itself
    annotations: ClassVar[dict[str, str]] = {
        "min_pos_points": "0",  # else a box by itself is not sent before a click has followed it
        "min_neg_points": "0",
        "startswith_box_optional": "true",
        "help_message": _HELP,
    }

    async def respond(self, body: Body) -> Any:
        try:
            prompt = Prompt(_points(body, "pos_points"), _points(body, "neg_points"), _box(body.get("obj_bbox")))
        except ValueError as error:
            raise InvalidRequest(f"CVAT sent no usable points: {error}.", hint="Click on the object.") from error
        found = await self.kind.interactive.segment(self.model, await self.frame(body), prompt)
        if found is None:  # the page cannot take a mask of zeros
            raise InvalidRequest(f"{self.model.name} finds no object there.", hint="Click on another place.")
        return await asyncio.to_thread(_mask, found)


@dataclass(frozen=True, slots=True)
class Following(ByHandFunction):
    """Boxes are followed from frame to frame. What a tracker remembers travels through CVAT as its state."""

    ability: ClassVar[str] = "track"
    suffix: ClassVar[str] = ".tracker"
    type: ClassVar[FunctionType] = "tracker"
    annotations: ClassVar[dict[str, str]] = {"supported_shape_types": "rectangle"}

    async def respond(self, body: Body) -> Any:
        shapes, states = _list(body, "shapes"), _list(body, "states")
        if not shapes and not states:
            raise InvalidRequest("CVAT sent nothing to follow.", hint="Draw a rectangle around the object.")
        frame, interactive = await self.frame(body), self.kind.interactive
        known = [place for place, state in enumerate(states) if state is not None]
        new = [place for place in range(len(shapes)) if place >= len(states) or states[place] is None]
        boxes = [_flat_box(shapes[place]) for place in new]
        answer: dict[int, tuple[Sequence[float], Any]] = {}
        if known:
            followed = await interactive.follow_tracks(self.model, frame, [states[place] for place in known])
            answer |= dict(zip(known, followed, strict=True))
        if new:
            begun = await interactive.begin_tracks(self.model, frame, boxes)
            answer |= {place: (box, state) for place, box, state in zip(new, boxes, begun, strict=True)}
        ordered = [answer[place] for place in sorted(answer)]
        return {"shapes": [list(box) for box, _ in ordered], "states": [state for _, state in ordered]}


@dataclass(frozen=True, slots=True)
class SameObjects(ByHandFunction):
    """Which boxes of two frames are one object."""

    ability: ClassVar[str] = "reidentify"
    suffix: ClassVar[str] = ".reid"
    type: ClassVar[FunctionType] = "reid"

    async def respond(self, body: Body) -> Any:
        before, after = _shapes(body, "boxes0"), _shapes(body, "boxes1")
        threshold = read_threshold(body)
        first, second = await self.frame(body, "image0"), await self.frame(body, "image1")
        return await self.kind.interactive.match(
            self.model,
            (first, before),
            (second, after),
            threshold=self.model.threshold if threshold is None else threshold,
            max_distance=_number(body.get("max_distance"), "max_distance", math.inf),
        )


def _mask(found: Segment) -> dict[str, Any]:
    """The crop in 0 and 255, and where it lies; corners are inclusive."""
    height, width = found.bits.shape
    bounds = [found.left, found.top, found.left + width - 1, found.top + height - 1]
    return {"mask": (found.bits.astype(np.uint8) * 255).tolist(), "bounds": bounds}


def _points(body: Body, key: str) -> Any:
    """f32[n, 2] of ``[[x, y], ...]``. Raises ValueError."""
    given = _list(body, key)
    if not all(isinstance(point, list) and len(point) == 2 for point in given):
        raise ValueError(f"{key} are no pairs")
    return np.array([[_number(v, key) for v in point] for point in given], np.float32).reshape(-1, 2)


def _box(value: Any) -> Box | None:
    """Two corners, or four numbers; None where there are none. Raises ValueError."""
    if value is None or value == []:
        return None
    if isinstance(value, list) and all(isinstance(corner, list) for corner in value):
        value = [number for corner in value for number in corner]
    return _flat_box(value)


def _flat_box(value: Any) -> Box:
    if not isinstance(value, list) or len(value) != 4:
        raise InvalidRequest("A box is not x1, y1, x2, y2.", hint="Only rectangles can be used here.")
    x1, y1, x2, y2 = (_number(v, "a box") for v in value)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _shapes(body: Body, key: str) -> list[Box]:
    """The boxes around CVAT's whole shape objects."""
    boxes: list[Box] = []
    for shape in _list(body, key):
        points = shape.get("points") if isinstance(shape, dict) else None
        if not isinstance(points, list) or len(points) < 4 or len(points) % 2:
            raise InvalidRequest(f"A shape in {key} has no points.", hint="Rectangles and polygons can be matched.")
        numbers = [_number(v, key) for v in points]
        boxes.append((min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])))
    return boxes


def _list(body: Body, key: str) -> list[Any]:
    found = body.get(key)
    if found is None:
        return []
    if not isinstance(found, list) or len(found) > MOST_OBJECTS:
        raise InvalidRequest(f"{key} is no list of at most {MOST_OBJECTS}.")
    return found


def _number(value: Any, what: str, default: float | None = None) -> float:
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e6:
        raise InvalidRequest(f"{what} holds something that is no number of pixels.")
    return float(value)


FUNCTIONS: tuple[type[ByHandFunction], ...] = (Interactor, Following, SameObjects)
