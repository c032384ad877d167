"""The base of every predictor whose model runs at a host: a request is built, sent, and its answer is read.

Building and reading are pure and run in threads; only the sending takes one of the host's places. Who asks in turns
(``bridge/lent.py``) takes the three steps one by one, so that a place is never held by a picture that is not ready.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from adapters.base import Closing, Context, Detections, ModelCard, PredictOptions
from adapters.errors import BadOutput, Unavailable
from adapters.frame import Frame
from adapters.http_caller import HttpCaller, Request, read_json
from adapters.local import first_line
from adapters.sent_image import SentImage, scale_back, sent_image


@dataclass(frozen=True, slots=True)
class HostedCall:
    """One request as it will be sent, and the frames that it asks for."""

    frames: Sequence[Frame]
    images: Sequence[SentImage]
    request: Request


class HostedPredictor(Closing):
    """A model at a host, asked with one frame a request, or with ``frames_per_request`` of them."""

    frames_per_request = 1

    def __init__(self, card: ModelCard, caller: HttpCaller, host: str) -> None:
        self.card = card
        self._caller = caller
        self._host = host
        self._places = asyncio.Semaphore(card.limits.max_concurrency)

    @abstractmethod
    def build(self, images: Sequence[SentImage], options: PredictOptions) -> Request:
        """The request for these pictures. Raises PredictorError where the options lack what the model needs."""

    @abstractmethod
    def read(self, answer: Any, images: Sequence[SentImage], options: PredictOptions) -> list[Detections]:
        """One result per picture, in its pixels. Raises BadOutput; anything else it raises becomes that."""

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        """See ``Predictor.predict``. At most ``limits.max_concurrency`` requests are under way at once."""
        calls = await self.prepare(frames, options)
        return await self.finish(calls, await self.send(calls), options)

    async def prepare(self, frames: Sequence[Frame], options: PredictOptions) -> list[HostedCall]:
        """The requests for these frames, which nobody is asked yet."""
        self._caller.check_open()
        size = self.frames_per_request
        groups = [frames[start : start + size] for start in range(0, len(frames), size)]
        return await asyncio.to_thread(lambda: [self._prepared(group, options) for group in groups])

    async def send(self, calls: Sequence[HostedCall]) -> list[bytes]:
        """The host's answers in order. Raises the first error in that order, whichever came first."""
        if len(calls) == 1:
            return [await self._ask(calls[0])]
        outcomes = await asyncio.gather(*(self._ask(call) for call in calls), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, bytes)]

    async def finish(
        self, calls: Sequence[HostedCall], answers: Sequence[bytes], options: PredictOptions
    ) -> list[Detections]:
        """One result per frame, read from the answers. Raises BadOutput."""

        def read() -> list[Detections]:
            pairs = zip(calls, answers, strict=True)
            return [found for call, answer in pairs for found in self._finished(call, answer, options)]

        return await asyncio.to_thread(read)

    async def close(self) -> None:
        """Break off what is under way. May be called twice."""
        await self._caller.close()

    async def _ask(self, call: HostedCall) -> bytes:
        # Of several pictures in one request nobody can tell which one the host refused.
        frame_id = call.frames[0].id if len(call.frames) == 1 else None
        async with self._places:
            return await self._caller.send(call.request, frame_id=frame_id)

    def _prepared(self, frames: Sequence[Frame], options: PredictOptions) -> HostedCall:
        images = [sent_image(frame, self.card.limits.max_bytes) for frame in frames]
        return HostedCall(frames, images, self.build(images, options))

    def _finished(self, call: HostedCall, body: bytes, options: PredictOptions) -> list[Detections]:
        frames, images = call.frames, call.images
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
