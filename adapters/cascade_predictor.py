"""A cascade at work: the detector's shapes, their crops for the classifiers, the answers as attributes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adapters.base import Closing, Detections, FloatArray, ModelCard, PredictOptions, Predictor
from adapters.errors import BadFrame, BadOutput
from adapters.frame import Frame
from adapters.references.cascade import AttributeBy

_AT_ONCE = 32  # crops that are held at a time
_EVERY_LABEL = 100_000  # of a classifier: a number is the mean over all of them


class PoseModel(Protocol):
    """A model that makes a skeleton of every box that it is given."""

    card: ModelCard

    async def predict_boxes(
        self, frames: Sequence[Frame], boxes: Sequence[FloatArray], options: PredictOptions
    ) -> list[Detections]: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """An attribute, and the classifier in memory that says it."""

    by: AttributeBy
    classifier: Predictor

    @property
    def options(self) -> PredictOptions:
        return PredictOptions(0.0, dict.fromkeys(self.by.values, ()), _EVERY_LABEL)

    def value(self, answer: Detections) -> str | None:
        """What the attribute is, by the tags of a crop; None below the threshold."""
        if self.by.input_type == "number":
            return _number(answer)
        if not len(answer):
            return None
        best = int(answer.scores.argmax())
        return answer.labels[answer.label_ids[best]] if answer.scores[best] >= self.by.threshold else None


@dataclass(frozen=True, slots=True)
class Poses:
    """``labels`` of the detector whose boxes become skeletons; none: all."""

    model: PoseModel
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Crop:
    """Detection ``row`` of the frame at ``place`` of the call."""

    place: int
    row: int
    picture: Frame


@dataclass(slots=True)
class CascadePredictor(Closing):
    """A Predictor; its parts are its own, and close with it."""

    card: ModelCard
    detector: Predictor
    asked: Sequence[Asked]
    poses: Poses | None
    margin: float

    @property
    def stuck(self) -> bool:
        """Whether a part has hung too often to be asked again."""
        parts = [self.detector, *(each.classifier for each in self.asked)]
        return any(getattr(part, "stuck", False) for part in [*parts, *([self.poses.model] if self.poses else [])])

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        """See ``Predictor.predict``. Every shape that is answered was looked at by every classifier that is for it."""
        found = await self.detector.predict(frames, options)
        if len(found) != len(frames):
            raise BadOutput(f"The detector answered {len(found)} results for {len(frames)} frames.")
        if self.poses is not None and self.poses.labels:
            found = [each.take(_of_labels(each, self.poses.labels)) for each in found]
        if self.asked:
            found = await self._with_attributes(frames, found)
        return found if self.poses is None else await self._skeletons(self.poses, frames, found)

    async def _with_attributes(self, frames: Sequence[Frame], found: Sequence[Detections]) -> list[Detections]:
        said: list[list[dict[str, str]]] = [
            [dict(each) for each in one.attributes] or [{} for _ in range(len(one))] for one in found
        ]
        wanted = [(place, row) for place, one in enumerate(found) for row in range(len(one))]
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            crops = await asyncio.to_thread(self._cut, frames, found, part)
            answers = await asyncio.gather(*(self._ask(each, crops, frames, found) for each in self.asked))
            for asked, values in zip(self.asked, answers, strict=True):
                for (place, row), value in values.items():
                    said[place][row][asked.by.attribute] = value
        return [replace(one, attributes=tuple(values)) for one, values in zip(found, said, strict=True)]

    def _cut(
        self, frames: Sequence[Frame], found: Sequence[Detections], wanted: Sequence[tuple[int, int]]
    ) -> list[_Crop]:
        return [_Crop(p, row, cut_out(frames[p], found[p].boxes[row], self.margin, row)) for p, row in wanted]

    async def _ask(
        self, asked: Asked, crops: Sequence[_Crop], frames: Sequence[Frame], found: Sequence[Detections]
    ) -> dict[tuple[int, int], str]:
        """(place of the frame, row) -> value. A crop that cannot be read is its frame's fault."""
        labels = asked.by.labels
        mine = [
            each
            for each in crops
            if not labels or found[each.place].labels[found[each.place].label_ids[each.row]] in labels
        ]
        if not mine:
            return {}
        try:
            answers = await asked.classifier.predict([each.picture for each in mine], asked.options)
        except BadFrame as error:
            blamed = next((each.place for each in mine if each.picture.id == error.frame_id), mine[0].place)
            raise BadFrame(frames[blamed].id, error.message, hint=error.hint) from error
        if len(answers) != len(mine):
            raise BadOutput(f"A classifier answered {len(answers)} results for {len(mine)} crops.")
        values = {(each.place, each.row): asked.value(answer) for each, answer in zip(mine, answers, strict=True)}
        return {where: value for where, value in values.items() if value is not None}

    async def _skeletons(self, poses: Poses, frames: Sequence[Frame], found: Sequence[Detections]) -> list[Detections]:
        """A skeleton for each box, with the detector's score and attributes."""
        most = max((len(one) for one in found), default=0)
        options = PredictOptions(0.0, max_detections=max(1, most))
        answers = await poses.model.predict_boxes(frames, [one.boxes for one in found], options)
        return [_as_skeletons(one, answer) for one, answer in zip(found, answers, strict=True)]

    async def close(self) -> None:
        """Close every part. May be called twice."""
        for part in (self.detector, *(each.classifier for each in self.asked)):
            await part.close()
        if self.poses is not None:
            await self.poses.model.close()


def cut_out(frame: Frame, box: FloatArray, margin: float, row: int) -> Frame:
    """The part of a frame within a box (x1 y1 x2 y2), ``margin`` of its sides wider all around, in whole pixels.

    What lies beyond the frame is left out. Raises BadFrame.
    """
    x1, y1, x2, y2 = (float(side) for side in box)
    dx, dy = (x2 - x1) * margin, (y2 - y1) * margin
    left, top = max(0, math.floor(x1 - dx)), max(0, math.floor(y1 - dy))
    left, top = min(left, frame.width - 1), min(top, frame.height - 1)
    right = max(left + 1, min(frame.width, math.ceil(x2 + dx)))
    bottom = max(top + 1, min(frame.height, math.ceil(y2 + dy)))
    pixels = np.ascontiguousarray(frame.pixels[top:bottom, left:right])
    return Frame(f"{frame.id}, object {row + 1}", right - left, bottom - top, pixels=pixels)


def _of_labels(found: Detections, labels: Sequence[str]) -> NDArray[np.bool_]:
    wanted = set(labels)
    return np.array([found.labels[each] in wanted for each in found.label_ids], bool)


def _number(answer: Detections) -> str | None:
    """The number that a tag carries; else the mean of the labels, which are numbers, weighed by their scores."""
    if not len(answer):
        return None
    if answer.attributes and "value" in answer.attributes[0]:
        return answer.attributes[0]["value"]
    weights = answer.scores.astype(np.float64)
    if weights.sum() <= 0:
        return None
    numbers = np.array([float(answer.labels[each]) for each in answer.label_ids])
    return str(max(0, round(float((weights * numbers).sum() / weights.sum()))))


def _as_skeletons(found: Detections, poses: Detections) -> Detections:
    """The skeletons come best first, so each is found by its box; one box twice has one skeleton twice."""
    by_box = {box.tobytes(): shape for box, shape in zip(poses.boxes, poses.geometry, strict=True)}
    kept = [row for row, box in enumerate(found.boxes) if box.tobytes() in by_box]
    rows = found.take(np.array(kept, np.intp))
    return Detections(
        poses.labels,
        rows.boxes,
        rows.scores,
        np.zeros(len(rows), np.int32),
        tuple(by_box[box.tobytes()] for box in rows.boxes),
        rows.attributes,
    )
