"""Detectors: every registered model with labels of its own, and every profile."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from adapters.base import PredictOptions
from adapters.promptable import ASKED_BY_HAND
from bridge.nuclio.bodies import Body, read_frame, read_threshold
from bridge.nuclio.entries import Entry
from bridge.nuclio.items import encode_items
from bridge.nuclio.loading import Loading
from bridge.profiles import Named, Profiles
from bridge.registry import Registry
from bridge.sources.files import ImageLimits
from bridge.words import Words, words_of

GROUPS_OF_A_FRAME = 1000
_FRAMES = 1_000_000  # as many sets of group numbers as there are: CVAT keeps 31 bits


@dataclass(frozen=True, slots=True)
class Detectors:
    """``score_attribute``: see ``words_of``. ``max_detections``: of one frame."""

    profiles: Profiles
    registry: Registry
    loading: Loading
    limits: ImageLimits
    max_detections: int = 300
    score_attribute: str = ""

    async def functions(self) -> Sequence[Detector]:
        return [Detector(named, self) for named in await self.profiles.everything() if _has_words(named)]

    async def find(self, function_id: str) -> Detector | None:
        named = await self.profiles.named(function_id)
        return Detector(named, self) if named is not None and _has_words(named) else None


def _has_words(named: Named) -> bool:
    """An open vocabulary has labels only in a profile; models that answer clicks have none."""
    if named.model.card.task_type in ASKED_BY_HAND:
        return False
    return named.profile is not None or named.model.card.labels is not None


@dataclass(frozen=True, slots=True)
class Detector:
    """A function over a registered model."""

    named: Named
    kind: Detectors

    @property
    def id(self) -> str:
        return self.named.name

    @property
    def words(self) -> Words:
        return words_of(self.named, self.kind.score_attribute)

    @property
    def entry(self) -> Entry:
        model, card, profile = self.named.model, self.named.model.card, self.named.profile
        # Annotators need not know where this machine keeps its files.
        place = PurePath(card.reference).name if card.provider == "local" else card.reference
        source = f"{card.task_type}, {place}, revision {card.revision[:12]}"
        return Entry(
            id=self.id,
            type="detector",
            name=model.name if profile is None else profile.title,
            description=source if profile is None else f"{model.name} under your own labels: {source}",
            framework=card.engine,
            labels=self.words.labels,
        )

    async def answer(self, body: Body, deadline: float) -> bytes:
        """CVAT's list of shapes; an empty one where nothing was found."""
        kind, named = self.kind, self.named
        frame = await asyncio.to_thread(read_frame, body, kind.limits)
        given = read_threshold(body)
        threshold = named.threshold if given is None else given
        options = PredictOptions(threshold, named.prompts, kind.max_detections)
        await kind.loading.wait_for(named.model, deadline)
        async with kind.registry.batcher(named.model) as batcher:
            found = await batcher.predict(frame, options)

        def finish() -> bytes:
            words, size = self.words, (frame.width, frame.height)
            shapes = words.shapes(found, threshold, size)
            base = zlib.crc32(str(body["image"]).encode()) % _FRAMES * GROUPS_OF_A_FRAME
            return encode_items(shapes, words.labels, size, score_attribute=kind.score_attribute, group_base=base)

        return await asyncio.to_thread(finish)
