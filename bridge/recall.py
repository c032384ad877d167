"""What a model was asked before is not asked again: a source and a predictor that know the results of earlier jobs.

The source passes by the pictures of frames whose result is stored, and the predictor answers those from the store.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.base import Closing, Detections, ModelCard, PredictOptions, Predictor
from adapters.frame import Frame
from bridge import results
from bridge.domain import StoredFrame
from bridge.sources.frame_source import FrameSource, Picture
from bridge.store import Store
from bridge.store import label_studio as rows

CHUNK = 256  # frames looked up at once


def recall_key(revision: str, floor_score: float, prompts: Mapping[str, Sequence[str]]) -> str:
    """What two jobs on whole frames must have in common, so that one can use the other's results."""
    asked = json.dumps([revision, floor_score, {label: list(texts) for label, texts in prompts.items()}])
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


@dataclass(slots=True)
class Recall:
    """The stored results of one model on one task. ``source`` and ``predictor`` belong to the same run.

    own_job    a job whose results count even where the model's fallback gave them: whoever reads it knows of that
    """

    store: Store
    task_id: int
    model_id: int
    key: str
    own_job: int | None = None
    _found: dict[str, Detections] = field(default_factory=dict)  # frame name -> result, until it has been answered

    async def results(self, numbers: Sequence[int]) -> dict[int, Detections]:
        """Frame number -> what the model found; frames without a result are left out."""
        async with self.store.read() as connection:
            bodies = await rows.newest_results(connection, self.task_id, self.model_id, self.key, numbers, self.own_job)
        return await asyncio.to_thread(_decoded, bodies)

    def source(self, inner: FrameSource) -> FrameSource:
        return _Source(self, inner)

    def predictor(self, inner: Predictor) -> Predictor:
        return _Predictor(self, inner)

    async def look_up(self, some: Sequence[StoredFrame]) -> set[int]:
        """Those of the frames whose results are known; they are kept for the predictor."""
        sized = {row.number: row.name for row in some if row.width > 0 and row.height > 0}
        found = await self.results(list(sized))
        self._found |= {sized[number]: result for number, result in found.items()}
        return set(found)

    def known(self, name: str) -> Detections | None:
        return self._found.get(name)

    def forget(self, names: Sequence[str]) -> None:
        for name in names:
            self._found.pop(name, None)


def _decoded(bodies: Mapping[int, bytes]) -> dict[int, Detections]:
    found = {}
    for number, body in bodies.items():
        try:
            found[number] = results.decode(body)
        except (ValueError, KeyError, zlib.error):
            continue  # damaged: the model is asked again
    return found


@dataclass(frozen=True, slots=True)
class _Source:
    recall: Recall
    inner: FrameSource

    async def read(self, rows: AsyncIterable[StoredFrame]) -> AsyncGenerator[Picture, None]:
        async for some in _chunks(rows):
            known = await self.recall.look_up(some)

            async def unknown(
                some: Sequence[StoredFrame] = some, known: set[int] = known
            ) -> AsyncIterator[StoredFrame]:
                for row in some:
                    if row.number not in known:
                        yield row

            async with aclosing(self.inner.read(unknown())) as pictures:
                for row in some:
                    if row.number in known:
                        yield row, Frame(row.name, row.width, row.height, path=Path(row.path or row.name))
                    else:
                        yield await anext(pictures)


async def _chunks(rows: AsyncIterable[StoredFrame]) -> AsyncIterator[list[StoredFrame]]:
    some: list[StoredFrame] = []
    async for row in rows:
        some.append(row)
        if len(some) == CHUNK:
            yield some
            some = []
    if some:
        yield some


class _Predictor(Closing):
    def __init__(self, recall: Recall, inner: Predictor) -> None:
        self.card: ModelCard = inner.card
        self._recall, self._inner = recall, inner

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        """See ``Predictor.predict``."""
        known = {frame.id: found for frame in frames if (found := self._recall.known(frame.id)) is not None}
        asked = [frame for frame in frames if frame.id not in known]
        answers = iter(await self._inner.predict(asked, options) if asked else [])
        merged = [known[frame.id] if frame.id in known else next(answers) for frame in frames]
        self._recall.forget(list(known))
        return merged

    async def close(self) -> None:
        """The inner one is its owner's to close."""


def plain_key(resolved: Mapping[str, Any]) -> str | None:
    """The key of a job's results, as it stands on the job; None where they are no other job's to use."""
    key = resolved.get("recall_key")
    return key if isinstance(key, str) else None
