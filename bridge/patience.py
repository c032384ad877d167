"""How long a run waits for what passes by itself, and no longer than the run goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
import tenacity

from adapters.errors import PredictorError, PredictTimeout, Transient

log = structlog.get_logger(__name__)

_T = TypeVar("_T")


@dataclass(slots=True)
class Patience:
    """Of one run of a job; the model, the source of its frames and its sink share it.

    seconds   from the first failure of a call to its last try
    ending    set where the run is to end: then nothing is waited for
    """

    seconds: float = 120.0
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    _told: set[tuple[str, str]] = field(default_factory=set)  # who is waited for, and why

    async def ask(self, who: str, call: Callable[[], Awaitable[_T]]) -> _T:
        """What ``call`` answers, tried again while its error is Transient and no time-out of the model's.

        Raises the last PredictorError. A ``retry_after`` is obeyed; else 0.5 s doubled for every try up to 20 s, with
        jitter.
        """
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Transient) & tenacity.retry_if_not_exception_type(PredictTimeout),
            stop=self._enough,
            wait=_wait,
            sleep=self.sleep,
            before_sleep=lambda state: self.tell(who, _reason(state)),
            reraise=True,
        ):
            with attempt:
                answer = await call()
        return answer

    async def sleep(self, seconds: float) -> None:
        """Wait, but no longer than the run goes on."""
        try:
            async with asyncio.timeout(seconds):
                await self.ending.wait()
        except TimeoutError:
            return

    def _enough(self, state: tenacity.RetryCallState) -> bool:
        return self.ending.is_set() or (state.seconds_since_start or 0.0) >= self.seconds

    def tell(self, who: str, reason: str) -> None:
        """Say each reason once, such as a model that is loading at its host: some come back for hours."""
        if (who, reason) not in self._told:
            self._told.add((who, reason))
            log.warning("waiting", who=who, reason=reason)


def _reason(state: tenacity.RetryCallState) -> str:
    error = state.outcome.exception() if state.outcome else None
    return error.message if isinstance(error, PredictorError) else ""


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after", None)
    backoff = tenacity.wait_random_exponential(multiplier=0.5, max=20)(state)
    return max(float(asked), 0.0) + backoff / 10 if asked is not None else backoff
