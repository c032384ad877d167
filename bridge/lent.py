"""A loaded model as the registry lends it: it is asked in turn, within a deadline, and fails in our words only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TypeVar

import structlog

from adapters.base import Closing, Detections, ModelCard, PredictOptions, Predictor
from adapters.errors import BadOutput, PredictorError, PredictTimeout, RateLimited, Unavailable
from adapters.frame import Frame
from adapters.hosted import HostedPredictor
from bridge.observer import Observer, timed
from bridge.turns import Turns

log = structlog.get_logger(__name__)

_T = TypeVar("_T")


class LentPredictor(Closing):
    """A Predictor over one that others use as well. Closing it is the registry's business: ``close`` does nothing.

    ``urgent`` calls go ahead of the others. The deadline, ``limits.timeout_s`` for each frame, begins with the turn;
    it is longer by half, since most predictors keep it themselves and know better how to give a call up.

    Of a model at a host only the sending takes a turn. Its card lets callers have more calls under way than the host
    allows: those beyond it are being prepared, or read, while the host's places are all taken.
    """

    def __init__(
        self, predictor: Predictor, turns: Turns, observer: Observer | None = None, *, urgent: bool = False
    ) -> None:
        self.card: ModelCard = predictor.card
        self._hosted = predictor if isinstance(predictor, HostedPredictor) else None
        if self._hosted is not None:
            most = self.card.limits.max_concurrency
            self.card = replace(self.card, limits=replace(self.card.limits, max_concurrency=2 * most))
        self._observer = observer or Observer()
        self._predictor, self._turns, self._urgent = predictor, turns, urgent

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        """See ``Predictor.predict``; whatever else the model raises becomes BadOutput."""
        hosted = self._hosted
        if hosted is None:
            async with self._turns.take(urgent=self._urgent):
                return await self.ask(frames, options)
        calls = await self._checked(hosted.prepare(frames, options), len(frames))
        async with self._turns.take(urgent=self._urgent):
            with self._timed(len(frames)):
                answers = await self._checked(hosted.send(calls), len(frames))
        found = await self._checked(hosted.finish(calls, answers, options), len(frames))
        return _counted(found, len(frames))

    async def ask(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        """As ``predict``, for a caller who holds the turn."""
        with self._timed(len(frames)):
            return _counted(await self._checked(self._predictor.predict(frames, options), len(frames)), len(frames))

    def _timed(self, frames: int) -> AbstractContextManager[None]:
        return timed(lambda seconds, outcome: self._observer.called(self.card, frames, seconds, outcome))

    async def _checked(self, work: Awaitable[_T], frames: int) -> _T:
        """What the model's work answers, within the deadline and with our errors only."""
        timeout_s = self.card.limits.timeout_s
        try:
            async with asyncio.timeout(1.5 * timeout_s * max(1, frames)):
                return await work
        except TimeoutError as error:
            raise PredictTimeout(f"The model did not answer within {timeout_s:g} s a frame.") from error
        except (RateLimited, Unavailable) as error:
            if error.retry_after:  # said to one, meant for all who ask this model
                self._turns.close_for(error.retry_after)
            raise
        except (PredictorError, asyncio.CancelledError):
            raise
        except Exception as error:
            log.debug("predictor failed", model=self.card.name, exc_info=True)
            raise BadOutput(f"The model failed with {type(error).__name__}.") from error

    async def close(self) -> None:
        """Nothing: others use the model."""


def _counted(found: list[Detections], frames: int) -> list[Detections]:
    """Raises BadOutput where there are not as many results as frames."""
    try:
        answered = len(found)
    except TypeError as error:
        raise BadOutput("The model failed with TypeError.") from error
    if answered != frames:
        raise BadOutput(f"The model answered {answered} results for {frames} frames.")
    return found
