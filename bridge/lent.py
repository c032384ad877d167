"""A loaded model as the registry lends it: it is asked in turn, within a deadline, and fails in our words only."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from adapters.base import Closing, Detections, ModelCard, PredictOptions, Predictor
from adapters.errors import BadOutput, PredictorError, PredictTimeout, RateLimited, Unavailable
from adapters.frame import Frame
from bridge.observer import Observer, timed
from bridge.turns import Turns

log = structlog.get_logger(__name__)


class LentPredictor(Closing):
    """A Predictor over one that others use as well. Closing it is the registry's business: ``close`` does nothing.

    ``urgent`` calls go ahead of the others. The deadline, ``limits.timeout_s`` for each frame, begins with the turn;
    it is longer by half, since most predictors keep it themselves and know better how to give a call up.
    """

    def __init__(
        self, predictor: Predictor, turns: Turns, observer: Observer | None = None, *, urgent: bool = False
    ) -> None:
        self.card: ModelCard = predictor.card
        self._observer = observer or Observer()
        self._predictor, self._turns, self._urgent = predictor, turns, urgent

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        """See ``Predictor.predict``; whatever else the model raises becomes BadOutput."""
        async with self._turns.take(urgent=self._urgent):
            return await self.ask(frames, options)

    async def ask(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        """As ``predict``, for a caller who holds the turn."""
        with timed(lambda seconds, outcome: self._observer.called(self.card, len(frames), seconds, outcome)):
            return await self._ask(frames, options)

    async def _ask(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        timeout_s = self.card.limits.timeout_s
        try:
            async with asyncio.timeout(1.5 * timeout_s * max(1, len(frames))):
                found = await self._predictor.predict(frames, options)
            answered = len(found)
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
        if answered != len(frames):
            raise BadOutput(f"The model answered {answered} results for {len(frames)} frames.")
        return found

    async def close(self) -> None:
        """Nothing: others use the model."""
