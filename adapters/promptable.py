"""Models that answer a person, not a frame: a click becomes a mask, a box is followed, two boxes are one object.

They are no ``Predictor``: they are asked again and again about one frame, or carry something on to the next one. Each
kind is a protocol of its own, and opened by ``Adapter.open`` as any other model. Coordinates are pixels of the upright
frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from adapters.base import FloatArray, ModelCard, OpenModel
from adapters.errors import BadOutput
from adapters.frame import Frame

# Task types of models that are no predictors. The first is the hub's word, and so is the last; the hub has none for
# the two between.
SEGMENT = "mask-generation"
TRACK = "object-tracking"
REIDENTIFY = "object-re-identification"
EMBED = "image-feature-extraction"
ASKED_BY_HAND = (SEGMENT, TRACK, REIDENTIFY, EMBED)

_ABILITIES = {SEGMENT: ("segment",), TRACK: ("track",), REIDENTIFY: ("reidentify",), EMBED: ("reidentify",)}


def abilities(card: ModelCard) -> tuple[str, ...]:
    """What a model can be asked by hand: segment, track, reidentify; nothing of a model that annotates frames."""
    able = _ABILITIES.get(card.task_type, ())
    return (*able, "track") if card.settings.get("model_type") == "sam2_video" else able


Box = tuple[float, float, float, float]  # x1 y1 x2 y2
State = Mapping[str, Any]  # plain JSON


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """Where the object is: points on it, points beside it, a box around it; at least one of them.

    positive, negative   f32[n, 2], f32[m, 2]; what cannot be read as that raises ValueError
    """

    positive: FloatArray
    negative: FloatArray
    box: Box | None = None

    def __post_init__(self) -> None:
        for name in ("positive", "negative"):
            points = np.asarray(getattr(self, name), np.float32)
            points = points.reshape(0, 2) if points.size == 0 else points
            if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
                raise ValueError(f"{name} points must be pairs of finite numbers")
            object.__setattr__(self, name, points)
        if self.box is not None:
            box = np.asarray(self.box, np.float64)
            if box.shape != (4,) or not np.isfinite(box).all():
                raise ValueError("a box must be four finite numbers")
            x1, y1, x2, y2 = box.tolist()
            object.__setattr__(self, "box", (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)))
        if not len(self.positive) and self.box is None:
            raise ValueError("a prompt needs a positive point or a box")

    def inside(self, width: int, height: int) -> Prompt:
        """Every point and corner moved into the frame."""
        limit = np.array([width, height], np.float32)
        box = self.box
        if box is not None:
            box = (min(box[0], width), min(box[1], height), min(box[2], width), min(box[3], height))
            box = (max(box[0], 0), max(box[1], 0), max(box[2], 0), max(box[3], 0))
        return Prompt(np.clip(self.positive, 0, limit), np.clip(self.negative, 0, limit), box)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One object. ``bits`` bool[h, w] is the part of the frame from ``left``, ``top`` on that holds all of it.

    Never empty: where a model finds nothing, there is no Segment. ``score`` is the model's own estimate, 0 to 1.
    """

    bits: NDArray[np.bool_]
    left: int
    top: int
    score: float

    @classmethod
    def of(cls, mask: NDArray[np.bool_], score: float) -> Segment | None:
        """The part of a mask of the whole frame that is set, or None where nothing is. Raises BadOutput."""
        if mask.ndim != 2 or not np.isfinite(score):
            raise BadOutput(f"The model answered a mask of shape {mask.shape} and a score of {score}.")
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            return None
        top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        return cls(mask[top:bottom, left:right].astype(bool), left, top, float(np.clip(score, 0, 1)))


class Embedding(Protocol):
    """What a segmenter has understood of one frame; only the segmenter knows what is in it."""

    @property
    def nbytes(self) -> int:
        """How much memory it holds."""
        ...


@runtime_checkable
class Segmenter(OpenModel, Protocol):
    """Looks at a frame once, which is slow, and answers prompts about it, which is fast."""

    async def embed(self, frame: Frame) -> Embedding:
        """Raises PredictorError."""
        ...

    async def segment(self, embedding: Embedding, prompt: Prompt) -> Segment | None:
        """The object that the prompt means, or None where there is none. Raises PredictorError."""
        ...


@runtime_checkable
class Tracker(OpenModel, Protocol):
    """Follows boxes from frame to frame. Whatever it has to remember is in the states, which are plain JSON.

    States come back from clients that may have changed them: one that cannot be read raises ValueError.
    """

    async def begin(self, frame: Frame, boxes: Sequence[Box]) -> list[State]:
        """A state for each box. Raises PredictorError."""
        ...

    async def follow(self, frame: Frame, states: Sequence[State]) -> list[tuple[Box, State]]:
        """Where each object is now, and its next state. An object that is lost stays where it was seen last."""
        ...


@runtime_checkable
class ReIdentifier(OpenModel, Protocol):
    """Tells which boxes of two frames are the same object."""

    async def match(
        self,
        before: tuple[Frame, Sequence[Box]],
        after: tuple[Frame, Sequence[Box]],
        *,
        threshold: float,
        max_distance: float,
    ) -> list[int]:
        """For each box of the first frame the index of its box in the second, each at most once, or -1.

        threshold      least likeness of a pair, 0 to 1
        max_distance   of the boxes' centres, in pixels
        """
        ...
