"""Models made ready for calls that end after two minutes: downloaded beforehand, loaded beside the first call."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from adapters.base import OpenModel
from bridge.domain import Model
from bridge.errors import BridgeError, Overloaded
from bridge.registry import Registry

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 30.0
_TO_SAY_SO_S = 0.2
LEAVE_ALONE_S = 600.0  # a model whose download failed


class Loading:
    """Loads models for whoever calls; a call that ends does not end the loading, so that the next one finds it done.

    Used in one event loop. ``close`` breaks off what is under way.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._not_before: dict[int, float] = {}

    async def wait_for(self, model: Model, deadline: float) -> None:
        """Come back when the model was loaded. Raises BridgeError, among them Overloaded where it takes longer."""
        task = self._tasks.get(model.id)
        if task is None:
            task = self._tasks[model.id] = asyncio.create_task(self._load(model))
            task.add_done_callback(lambda _: self._tasks.pop(model.id, None))
        left = deadline - asyncio.get_running_loop().time() - _TO_SAY_SO_S
        done, _ = await asyncio.wait({task}, timeout=max(0.0, left))
        if not done:
            raise Overloaded(f"{model.name} is still being loaded.", hint="Run it again in a minute.")
        task.result()

    async def _load(self, model: Model) -> None:
        async with self._registry.by_hand(model, OpenModel):
            pass  # it stays in memory

    async def download(self) -> None:
        """Download what registered models lack, and look again from time to time; runs until it is cancelled."""
        while True:
            with suppress(BridgeError):  # the database is busy: the next time
                for model in await self._registry.page():
                    await self._download(model)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _download(self, model: Model) -> None:
        now = asyncio.get_running_loop().time()
        if model.fetched or self._not_before.get(model.id, 0.0) > now:
            return
        try:
            await self._registry.fetch(model)
        except BridgeError as error:
            self._not_before[model.id] = now + LEAVE_ALONE_S
            log.warning("a model could not be downloaded for CVAT", model=model.name, error=error.message)

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
