"""A predictor that sees views of frames and answers for whole frames: region and tiles, unseen by model and runner."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from adapters.base import Closing, Detections, Limits, ModelCard, PredictOptions, Predictor
from adapters.errors import BadOutput, OutOfMemory
from adapters.frame import Frame
from bridge.job_spec import Region, Tiling
from bridge.seams import put_together
from bridge.views import View, crop, moved, region_of, views_of, within

_Shown = tuple[int, View, Frame]  # place of the frame in the call, what is seen of it, its picture


@dataclass(slots=True)
class ViewingPredictor(Closing):
    """Asks ``inner`` about the views of each frame; borrows it, so that closing is its lender's.

    ``most_views`` is how many views one frame has at most: a call takes as many frames fewer and may take as much
    longer. Frames with nothing in the region are answered without asking. As every predictor, it may be called
    concurrently up to ``card.limits.max_concurrency``.
    """

    inner: Predictor
    roi: Region | None
    tiling: Tiling | None
    most_views: int
    card: ModelCard = field(init=False)
    _at_once: int = field(init=False)

    def __post_init__(self) -> None:
        limits = self.inner.card.limits
        self.card = replace(self.inner.card, limits=_limits(limits, max(1, self.most_views)))
        self._at_once = max(1, limits.max_batch)

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        """See ``Predictor.predict``. Only the pictures of one batch of views are held at a time."""
        parts: list[list[tuple[View, Detections]]] = [[] for _ in frames]
        waiting: list[_Shown] = []
        for place, frame in enumerate(frames):
            for view in views_of(frame.width, frame.height, self.roi, self.tiling):
                waiting.append((place, view, await asyncio.to_thread(crop, frame, view)))
                if len(waiting) >= self._at_once:
                    await self._look(waiting, frames, options, parts)
                    waiting = []
        await self._look(waiting, frames, options, parts)
        return await asyncio.to_thread(self._answers, frames, parts, options)

    async def _look(
        self,
        shown: Sequence[_Shown],
        frames: Sequence[Frame],
        options: PredictOptions,
        parts: Sequence[list[tuple[View, Detections]]],
    ) -> None:
        """Ask about some views; a batch that does not fit into memory is halved, and so are those after it."""
        if not shown:
            return
        try:
            found = await self.inner.predict([picture for _, _, picture in shown], options)
        except OutOfMemory:
            if len(shown) == 1:
                raise
            self._at_once = max(1, min(self._at_once, len(shown) // 2))
            half = len(shown) // 2
            await self._look(shown[:half], frames, options, parts)
            await self._look(shown[half:], frames, options, parts)
            return
        if len(found) != len(shown):
            raise BadOutput(f"The model answered {len(found)} results for {len(shown)} pictures.")
        for (place, view, _), answer in zip(shown, found, strict=True):
            frame = frames[place]
            parts[place].append((view, await asyncio.to_thread(moved, answer, view, frame.width, frame.height)))

    def _answers(
        self, frames: Sequence[Frame], parts: Sequence[Sequence[tuple[View, Detections]]], options: PredictOptions
    ) -> list[Detections]:
        return [self._answer(frame, seen, options) for frame, seen in zip(frames, parts, strict=True)]

    def _answer(self, frame: Frame, seen: Sequence[tuple[View, Detections]], options: PredictOptions) -> Detections:
        size = (frame.width, frame.height)
        region = region_of(*size, self.roi)
        if region is None or not seen:
            return Detections.empty(self.card.labels or tuple(options.prompts))
        found = seen[0][1]
        if len(seen) > 1:
            found = put_together([part for _, part in seen], [view for view, _ in seen], region, size)
        return within(found, self.roi, *size).best(options.max_detections, options.floor_score)

    async def close(self) -> None:
        """Nothing is held here; the predictor that was lent stays open."""


def _limits(limits: Limits, views: int) -> Limits:
    """Of whole frames, where each is shown in so many views."""
    asked = math.ceil(views / max(1, limits.max_batch))  # one after the other
    return replace(limits, max_batch=max(1, limits.max_batch // views), timeout_s=limits.timeout_s * asked)


def viewed(predictor: Predictor, roi: Region | None, tiling: Tiling | None, most_views: int) -> Predictor:
    """The predictor itself where whole frames are wanted, else one that shows it their views."""
    return predictor if roi is None and tiling is None else ViewingPredictor(predictor, roi, tiling, most_views)
