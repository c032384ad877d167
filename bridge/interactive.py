"""Clicks, boxes and tracks: one person's calls of promptable models, ahead of every job on the same model.

A frame is embedded once. What was made of it is kept for the next click, up to so many bytes, the least recently used
going first; two clicks on a new frame at the same moment wait for one embedding.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from adapters.errors import PredictorError, PredictTimeout
from adapters.frame import Frame
from adapters.promptable import Box, Embedding, Prompt, ReIdentifier, Segment, Segmenter, State, Tracker
from bridge.domain import Model
from bridge.errors import InvalidRequest, from_predictor
from bridge.registry import Registry
from bridge.turns import Turns

T = TypeVar("T")

_Key = tuple[int, str, bytes]  # model, revision, hash of the frame's file


@dataclass(slots=True)
class Interactive:
    """Used in one event loop. Every method raises BridgeError, and nothing else, where it cannot answer.

    embeddings_bytes   what embeddings may take; the newest one is kept whatever its size
    """

    registry: Registry
    embeddings_bytes: int = 512 * 2**20
    _kept: OrderedDict[_Key, Embedding] = field(default_factory=OrderedDict)
    _under_way: dict[_Key, asyncio.Lock] = field(default_factory=dict)

    @property
    def held_bytes(self) -> int:
        """What the kept embeddings take now."""
        return sum(each.nbytes for each in self._kept.values())

    async def segment(self, model: Model, frame: Frame, prompt: Prompt) -> Segment | None:
        """The object that the prompt means, or None where the model finds none."""
        key = await _key(model, frame)
        async with self.registry.by_hand(model, Segmenter) as (segmenter, turns):
            embedding = await self._embedding(key, segmenter, turns, frame)
            return await _asked(turns, model, lambda: segmenter.segment(embedding, prompt))

    async def begin_tracks(self, model: Model, frame: Frame, boxes: Sequence[Box]) -> list[State]:
        """A state for each box."""
        async with self.registry.by_hand(model, Tracker) as (tracker, turns):
            return await _asked(turns, model, lambda: tracker.begin(frame, boxes))

    async def follow_tracks(self, model: Model, frame: Frame, states: Sequence[State]) -> list[tuple[Box, State]]:
        """Where each object is now, and its next state. States come from outside: wrong ones are InvalidRequest."""
        async with self.registry.by_hand(model, Tracker) as (tracker, turns):
            try:
                return await _asked(turns, model, lambda: tracker.follow(frame, states))
            except ValueError as error:
                raise InvalidRequest(f"A track cannot go on: {error}.", hint="Begin it again with a box.") from error

    async def match(
        self,
        model: Model,
        before: tuple[Frame, Sequence[Box]],
        after: tuple[Frame, Sequence[Box]],
        *,
        threshold: float,
        max_distance: float,
    ) -> list[int]:
        """For each box of the first frame the index of its box in the second, or -1."""
        async with self.registry.by_hand(model, ReIdentifier) as (identifier, turns):
            return await _asked(
                turns,
                model,
                lambda: identifier.match(before, after, threshold=threshold, max_distance=max_distance),
            )

    async def _embedding(self, key: _Key, segmenter: Segmenter, turns: Turns, frame: Frame) -> Embedding:
        lock = self._under_way.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                if key not in self._kept:
                    self._kept[key] = await _asked(turns, segmenter, lambda: segmenter.embed(frame))
                    self._make_room()
                self._kept.move_to_end(key)
                return self._kept[key]
        finally:
            if not lock.locked():
                self._under_way.pop(key, None)

    def _make_room(self) -> None:
        held = self.held_bytes
        while held > self.embeddings_bytes and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            held -= oldest.nbytes


async def _key(model: Model, frame: Frame) -> _Key:
    try:
        digest = await asyncio.to_thread(lambda: hashlib.blake2b(frame.encoded, digest_size=16).digest())
    except PredictorError as error:
        raise from_predictor(error) from error
    return model.id, model.card.revision, digest


async def _asked(turns: Turns, model: Model | Segmenter, call: Callable[[], Awaitable[T]]) -> T:
    """The answer to one urgent call, in its turn and within the model's deadline."""
    limit_s = model.card.limits.timeout_s
    try:
        async with turns.take(urgent=True), asyncio.timeout(1.5 * limit_s):
            return await call()
    except TimeoutError as error:
        raise from_predictor(PredictTimeout(f"The model did not answer within {limit_s:g} s.")) from error
    except PredictorError as error:
        raise from_predictor(error) from error
