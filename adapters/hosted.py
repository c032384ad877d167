"""The base of every predictor whose model runs at a host: a request is built, sent, and its answer is read.

Building and reading are pure and run in threads; only the sending waits for the network.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from adapters.base import Context, Detections, ModelCard, PredictOptions
from adapters.errors import BadOutput, Unavailable
from adapters.frame import Frame
from adapters.http_caller import HttpCaller, Request, read_json
from adapters.local import first_line
from adapters.sent_image import SentImage, scale_back, sent_image


class HostedPredictor(ABC):
    """A model at a host, asked with one frame a request, or with ``frames_per_request`` of them."""

    frames_per_request = 1

    def __init__(self, card: ModelCard, caller: HttpCaller, host: str) -> None:
        self.card = card
        self._caller = caller
        self._host = host

    @abstractmethod
    def build(self, images: Sequence[SentImage], options: PredictOptions) -> Request:
        """The request for these pictures. Raises PredictorError where the options lack what the model needs."""

    @abstractmethod
    def read(self, answer: Any, images: Sequence[SentImage], options: PredictOptions) -> list[Detections]:
        """One result per picture, in its pixels. Raises BadOutput; anything else it raises becomes that."""

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        """See ``Predictor.predict``. At most ``limits.max_concurrency`` requests are under way at once."""
        self._caller.check_open()
        size = self.frames_per_request
        groups = [frames[start : start + size] for start in range(0, len(frames), size)]
        slots = asyncio.Semaphore(self.card.limits.max_concurrency)
        outcomes = await asyncio.gather(*(self._ask(group, options, slots) for group in groups), return_exceptions=True)
        results: list[Detections] = []
        for outcome in outcomes:  # the first error in the caller's order, whichever came first
            if isinstance(outcome, BaseException):
                raise outcome
            results += outcome
        return results

    async def close(self) -> None:
        """Break off what is under way. May be called twice."""
        await self._caller.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(
        self, frames: Sequence[Frame], options: PredictOptions, slots: asyncio.Semaphore
    ) -> list[Detections]:
        async with slots:
            images, request = await asyncio.to_thread(self._prepared, frames, options)
            # Of several pictures in one request nobody can tell which one the host refused.
            body = await self._caller.send(request, frame_id=frames[0].id if len(frames) == 1 else None)
            return await asyncio.to_thread(self._finished, body, images, frames, options)

    def _prepared(self, frames: Sequence[Frame], options: PredictOptions) -> tuple[list[SentImage], Request]:
        images = [sent_image(frame, self.card.limits.max_bytes) for frame in frames]
        return images, self.build(images, options)

    def _finished(
        self, body: bytes, images: Sequence[SentImage], frames: Sequence[Frame], options: PredictOptions
    ) -> list[Detections]:
        answer = read_json(body, self._host)
        try:
            found = self.read(answer, images, options)
        except (TypeError, ValueError, KeyError, IndexError, ArithmeticError, RecursionError) as error:
            raise BadOutput(f"What {self._host} answered cannot be read: {first_line(error)}.") from error
        check_count(len(found), len(frames), self._host)
        return [
            scale_back(detections, image, frame)
            .inside(frame.width, frame.height)
            .best(options.max_detections, options.floor_score)
            for detections, image, frame in zip(found, images, frames, strict=True)
        ]


def check_count(found: int, asked: int, host: str) -> None:
    """Raises BadOutput where a host answered too few results or too many: nobody knows whose they are."""
    if found != asked:
        raise BadOutput(f"{host} answered {found} results for {asked} frames.")


def check_online(context: Context, name: str) -> None:
    """Raises Unavailable in offline mode."""
    if context.offline:
        raise Unavailable(f"{name} is not asked in offline mode.", hint="Switch [models] offline off.")


def key_for(context: Context, kind: str, url: str, usual_host: str) -> str | None:
    """The key for a host: its own, or that of ``usual_host`` where the operator trusts the host. A key is never sent
    to an address that somebody pasted."""
    own = context.secret(kind, urlsplit(url).netloc)
    if own is None and context.http.trusts(url):
        return context.secret(kind, usual_host)
    return own
