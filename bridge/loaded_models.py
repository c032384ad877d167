"""The models in memory: lent out to whoever asks, never more than so many, and let go when nobody uses them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import structlog

from adapters.base import ModelCard, OpenModel, Predictor
from bridge.batcher import Batcher
from bridge.domain import Model
from bridge.errors import Overloaded
from bridge.lent import LentPredictor
from bridge.observer import Observer, timed
from bridge.turns import Turns

log = structlog.get_logger(__name__)

_Key = tuple[int, str, bool]  # id, revision, and whether its engine is the user's choice


@dataclass(slots=True, eq=False)
class LoadedModel:
    """A model in memory with its turns, and how many callers use it right now. Only predictors have a batcher."""

    model: OpenModel
    turns: Turns
    batcher: Batcher | None
    users: int = 0
    timer: asyncio.TimerHandle | None = None  # while nobody uses it
    closed: bool = False

    @classmethod
    def of(cls, model: OpenModel, observer: Observer) -> Self:
        limits = model.card.limits
        turns = Turns(limits.max_concurrency, limits.requests_per_second)
        batcher = Batcher(LentPredictor(model, turns, observer), turns) if isinstance(model, Predictor) else None
        return cls(model, turns, batcher)

    @property
    def stuck(self) -> bool:
        """Whether the model has hung too often to be asked again; only one in this process can."""
        return bool(getattr(self.model, "stuck", False))

    async def close(self) -> None:
        if self.batcher is not None:
            await self.batcher.close()
        await self.model.close()


class LoadedModels:
    """Lends models out, opening them where they are not in memory. Used in one event loop.

    most             models in memory at once; the one unused for longest makes room
    unload_after_s   a model that nobody has used for so long is let go; 0: never
    """

    def __init__(self, most: int, unload_after_s: float = 0.0, observer: Observer | None = None) -> None:
        self._observer = observer or Observer()
        self._most, self._unload_after_s = most, unload_after_s
        self._loaded: dict[_Key, LoadedModel] = {}  # least recently used first
        self._locks: dict[int, asyncio.Lock] = {}
        self._held = 0  # places taken: by models that are opened, used, or being closed
        self._changed = asyncio.Event()
        self._unloading: set[asyncio.Task[None]] = set()
        self._hung: dict[int, str] = {}

    def __len__(self) -> int:
        """How many models are in memory."""
        return self._held

    @property
    def waiting(self) -> int:
        """Callers with a frame of their own who are not served yet."""
        return sum(entry.batcher.waiting for entry in self._loaded.values() if entry.batcher is not None)

    @property
    def weights_bytes(self) -> int:
        """Size of the weights in memory, as the models' cards have it."""
        return sum(entry.model.card.weights_bytes or 0 for entry in self._loaded.values())

    @property
    def hung(self) -> list[str]:
        """Names of the models that were given up because they hung, and were not loaded anew since."""
        return list(self._hung.values())

    def card_of(self, model: Model) -> ModelCard | None:
        """The card of the model as it was opened, while it is in memory."""
        loaded = self._loaded.get(_key(model))
        return loaded.model.card if loaded is not None else None

    @asynccontextmanager
    async def lend(
        self, model: Model, open_it: Callable[[], Awaitable[OpenModel]], *, room_within_s: float | None = None
    ) -> AsyncIterator[LoadedModel]:
        """The model, for as long as the block lasts; ``open_it`` loads it where it is not in memory.

        Where all places are in use it waits for one, or raises Overloaded after ``room_within_s``.
        """
        key = _key(model)
        async with self._locks.setdefault(model.id, asyncio.Lock()):
            for other in [other for other in self._loaded if other[0] == model.id and other != key]:
                await self._give_up(other, self._loaded[other])  # another engine was chosen since
            loaded = self._loaded.get(key)
            if loaded is not None and loaded.stuck:
                await self._give_up(key, loaded)
                loaded = None
            if loaded is None:
                loaded = await self._open(model, open_it, room_within_s)
            loaded.users += 1  # from here on nobody closes it
            self._loaded.pop(key, None)
            self._loaded[key] = loaded  # now the most recently used
            if loaded.timer is not None:
                loaded.timer.cancel()
        try:
            yield loaded
        finally:
            loaded.users -= 1
            if loaded.stuck:
                self._hung[model.id] = model.name
                await self._give_up(key, loaded)
            elif loaded.users == 0:
                await self._rest(key, loaded)
            self._changed.set()

    async def forget(self, model_id: int) -> None:
        """Let a model go that is no longer registered; one in use is closed by its last user."""
        self._hung.pop(model_id, None)
        for key in [key for key in self._loaded if key[0] == model_id]:
            await self._give_up(key, self._loaded[key])

    async def close(self) -> None:
        """Close every model, also those in use."""
        loaded, self._loaded = list(self._loaded.values()), {}
        for entry in loaded:
            await self._close(entry)
        await asyncio.gather(*self._unloading)

    async def _open(
        self, model: Model, open_it: Callable[[], Awaitable[OpenModel]], room_within_s: float | None
    ) -> LoadedModel:
        try:
            async with asyncio.timeout(room_within_s):
                await self._make_room()
        except TimeoutError as error:
            raise Overloaded(
                f"{model.name} has to wait: all {self._most} models that may be in memory are at work.",
                hint="Try again when a job has ended, or raise [models] keep_loaded.",
            ) from error
        self._held += 1
        try:
            with timed(lambda seconds, outcome: self._observer.loaded(model.card, seconds, outcome)):
                loaded = LoadedModel.of(await open_it(), self._observer)
        except BaseException:
            self._held -= 1
            self._changed.set()
            raise
        self._hung.pop(model.id, None)
        # The many objects of the model and its libraries stay: looking through them again and again for garbage
        # would hold up everybody for a tenth of a second each time.
        gc.freeze()
        return loaded

    async def _make_room(self) -> None:
        while self._held >= self._most:
            # Looked up anew each time: while one is closed, another may be taken.
            idle = next((key for key, entry in self._loaded.items() if entry.users == 0), None)
            if idle is not None:
                await self._close(self._loaded.pop(idle))
                continue
            self._changed.clear()
            await self._changed.wait()

    async def _rest(self, key: _Key, loaded: LoadedModel) -> None:
        """Its last user has left."""
        if self._loaded.get(key) is not loaded:
            await self._close(loaded)
        elif self._unload_after_s:
            loop = asyncio.get_running_loop()
            loaded.timer = loop.call_later(self._unload_after_s, self._unload_idle, key, loaded)

    def _unload_idle(self, key: _Key, loaded: LoadedModel) -> None:
        if loaded.users == 0 and self._loaded.get(key) is loaded:
            log.info("a model nobody uses was unloaded", model=loaded.model.card.name)
            del self._loaded[key]
            task = asyncio.create_task(self._close(loaded))
            self._unloading.add(task)
            task.add_done_callback(self._unloading.discard)

    async def _give_up(self, key: _Key, loaded: LoadedModel) -> None:
        """Nobody new gets it; closed at once, or by its last user."""
        if self._loaded.get(key) is loaded:
            del self._loaded[key]
        if loaded.users == 0:
            await self._close(loaded)

    async def _close(self, loaded: LoadedModel) -> None:
        if loaded.closed:
            return
        loaded.closed = True
        if loaded.timer is not None:
            loaded.timer.cancel()
        try:
            await loaded.close()
        finally:
            gc.unfreeze()  # what this model leaves behind is garbage now
            self._held -= 1
            self._changed.set()


def _key(model: Model) -> _Key:
    return model.id, model.card.revision, model.card.engine_chosen
