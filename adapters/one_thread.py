"""The base of models in this process that answer one call at a time, in a thread of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from adapters.base import Closing, ModelCard
from adapters.errors import ModelStuck, PredictorError, PredictTimeout
from adapters.local import translate_engine_error
from adapters.model_thread import ModelThread

T = TypeVar("T")


class OneThreadModel(Closing):
    """An ``OpenModel``. A call that is not done within ``card.limits.timeout_s`` is given up."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self._closed = False
        self._thread = ModelThread("by-hand")

    @property
    def stuck(self) -> bool:
        """Whether the model hung so often that it takes no more calls: close it and load it anew."""
        return self._thread.stuck

    async def call(self, step: Callable[[], T]) -> T:
        """What ``step`` answers, in the model's thread. Whatever it raises becomes a PredictorError."""
        self._check_open()
        limit_s = self.card.limits.timeout_s
        try:
            return await self._thread.run(step, limit_s)
        except PredictorError:
            raise
        except TimeoutError as error:
            raise PredictTimeout(f"The model did not answer within {limit_s:g} s and was given up.") from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not (task and task.cancelling()):  # the thread was closed under the call
                self._check_open()
            raise
        except Exception as error:
            raise translate_engine_error(error, 1) from error

    def release(self) -> None:
        """Let go of the model; called once, after the last call."""

    async def close(self) -> None:
        """Wait for the call that runs, then free the model. May be called twice."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._thread.close)
            self.release()

    def _check_open(self) -> None:
        if self._closed:
            raise PredictorError(f"{self.card.name} has been closed.", hint="Open the model again.")
        if self.stuck:
            raise ModelStuck(f"{self.card.name} did not come back from its calls.", hint="Load it anew.")
