"""A run asks its model for some frames: with patience for what passes by itself, and a word on whom a failure is of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.base import Detections, PredictOptions, Predictor
from adapters.errors import GatewayTimeout, PredictorError, PredictTimeout, Unavailable
from adapters.frame import Frame
from bridge.host_check import HostCheck
from bridge.patience import Patience
from bridge.run_errors import why_the_run_ends


@dataclass(frozen=True, slots=True)
class Failure:
    """``ends``: what every further frame would meet as well, in a sentence for the job; None: these frames alone."""

    error: PredictorError
    ends: str | None


@dataclass(slots=True)
class Asking:
    """Of one run. ``host`` finds out whether the host answers, where there is nobody else who is answered."""

    predictor: Predictor
    options: PredictOptions
    patience: Patience
    host: HostCheck | None = None
    _answered_at: float = 0.0  # when the model last answered, by the monotonic clock

    async def ask(self, frames: Sequence[Frame]) -> list[Detections] | Failure:
        """A result for each frame, or why there is none."""
        began = time.monotonic()
        try:
            return await self._noted(frames, patient=True)
        except PredictorError as error:
            failure = error
        theirs = await self._is_theirs(failure, began)
        if theirs and len(frames) == 1:  # the host may have come back only now
            try:
                return await self._noted(frames, patient=False)
            except PredictorError as error:
                failure = error
        return Failure(failure, None if theirs and isinstance(failure, Unavailable) else why_the_run_ends(failure))

    async def _noted(self, frames: Sequence[Frame], *, patient: bool) -> list[Detections]:
        """Raises PredictorError. Several frames for which a host has no time are asked for one by one before it is
        waited for."""

        async def call() -> list[Detections]:
            try:
                return list(await self.predictor.predict(frames, self.options))
            except GatewayTimeout as error:
                if len(frames) == 1:
                    raise
                raise PredictTimeout(error.message, hint=error.hint) from error

        found = await (self.patience.ask(self.predictor.card.name, call) if patient else call())
        self._answered_at = time.monotonic()
        return found

    async def _is_theirs(self, error: PredictorError, began: float) -> bool:
        """Whether a host failed on these frames alone: it went on answering others until patience with them ended, or
        answers now for one that is done."""
        if not isinstance(error, Unavailable) or self.patience.ending.is_set():
            return False
        if self._answered_at > began + self.patience.seconds / 2:
            return True
        return self.host is not None and await self.host.answers(self.options)
