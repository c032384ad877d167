"""A model opened for cvat-sdk, which calls without an event loop."""

from __future__ import annotations

import atexit
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from adapters.errors import PredictorError
from bridge.app import App, open_app
from bridge.cli.references import named_or_added
from bridge.errors import BridgeError
from bridge.loop_thread import LoopThread
from bridge.profiles import Named
from bridge.settings import Settings

T = TypeVar("T")


class FunctionFailed(RuntimeError):
    """What cvat-cli shows, or an agent reports to CVAT: what is wrong, and what to do."""


class Session:
    """The service, and what a reference names in it, until ``close`` or the interpreter's end.

    Everything here raises FunctionFailed in place of BridgeError and PredictorError.
    """

    service: App
    named: Named

    def __init__(self, reference: str, settings: Settings) -> None:
        self._thread, self._stack = LoopThread(), AsyncExitStack()
        try:
            self.run(self._open(reference, settings))
        except BaseException:
            self._thread.run(self._stack.aclose())
            self._thread.close()
            raise
        atexit.register(self.close)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` gives."""
        try:
            return self._thread.run(work)
        except (BridgeError, PredictorError) as error:
            raise failed(error) from error

    def close(self) -> None:
        """Let the model and the database go."""
        if self._thread.closed:
            return
        atexit.unregister(self.close)
        self._thread.run(self._stack.aclose())
        self._thread.close()

    async def _open(self, reference: str, settings: Settings) -> None:
        self.service = await self._stack.enter_async_context(open_app(settings))
        self.named = await named_or_added(self.service, reference)


def failed(error: BridgeError | PredictorError) -> FunctionFailed:
    return FunctionFailed(f"{error.message} {error.hint}".strip())
