"""What happens where a model's host fails and the user allowed it: the same commit answers here, whole frames only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

import structlog

from adapters.base import Closing, Detections, ModelCard, PredictOptions, Predictor
from adapters.errors import AccessDenied, ModelNotFound, PredictorError, Transient, Unsupported
from adapters.frame import Frame
from bridge.domain import Model
from bridge.errors import BridgeError, InvalidRequest, NotFound
from bridge.registry import Registry
from bridge.store import models as rows

log = structlog.get_logger(__name__)

_SPARE = "fallback_model_id"  # of a hosted card's settings: the model that runs here
_FOR_GOOD = (AccessDenied, ModelNotFound, Unsupported)  # asking again would change nothing

Lend = Callable[[Model], AbstractAsyncContextManager[Predictor]]


async def allow_fallback(registry: Registry, model: Model, *, engine: str | None = None) -> Model:
    """Let the same commit run here where the host of ``model`` fails; it is registered as a model of its own.

    A model that runs here needs none, and is returned as it is. Raises InvalidRequest where the host's model is no
    repository of the hub, or says something else of itself here.
    """
    card = model.card
    if card.engine != "hosted":
        return model
    repo_id = card.settings.get("repo_id")
    if not repo_id or card.provider != "huggingface-hosted":
        raise InvalidRequest(
            f"{model.name} runs at its host only, so nothing can answer here in its place.",
            hint="A fallback is for models of the Hugging Face hub.",
        )
    spare, _ = await registry.add(
        f"hf://{repo_id}@{card.revision}", name=await _name(registry, model), engine=engine, run="local"
    )
    ours, theirs = (spare.card.task_type, spare.card.labels), (card.task_type, card.labels)
    if ours != theirs or spare.card.revision != card.revision:
        raise InvalidRequest(
            f"{spare.name} is not the same model as {model.name}: its task type, labels or commit differ.",
            hint="Use one of them by itself.",
        )
    note = f"Where its host fails, {spare.name} answers in its place, here, at the same commit."
    kept = [each for each in card.notes if "answers in its place" not in each]
    allowed = replace(card, settings={**card.settings, _SPARE: spare.id}, notes=(*kept, note))
    async with registry.store.write() as connection:
        return await rows.set_card(connection, model.id, allowed)


async def _name(registry: Registry, model: Model) -> str | None:
    """A name that tells whose place it takes; None where another model has it."""
    name = f"{model.name[:94]}-local"
    try:
        await registry.find(name)
    except NotFound:
        return name
    return None


async def fallback_of(registry: Registry, card: ModelCard) -> Model | None:
    """The model that may answer in place of a hosted one; None where none may, or where it was removed."""
    spare_id = card.settings.get(_SPARE)
    if not isinstance(spare_id, int):
        return None
    try:
        spare = await registry.get(spare_id)
    except NotFound:
        return None
    return spare if spare.card.revision == card.revision and spare.card.engine != "hosted" else None


@asynccontextmanager
async def lent_with_fallback(
    lend: Lend, model: Model, spare: Model | None, patience_s: float, tell: Callable[[str], Awaitable[None]]
) -> AsyncIterator[Predictor]:
    """The model's predictor; with ``spare`` one that goes over to it. ``tell`` hears once why.

    ``patience_s``: how long a host may fail without a single answer before it is given up.
    """
    if spare is None:
        async with lend(model) as predictor:
            yield predictor
        return
    made = FallbackPredictor(lend, spare, patience_s, tell)
    async with made:
        await made.begin(model)
        yield made


@dataclass(slots=True)
class FallbackPredictor(Closing):
    """Asks the host until it fails, and from then on what runs here. A call is answered by one of them alone.

    Only one of the two is held at a time, so that it takes no more room than one model.
    """

    lend: Lend
    spare: Model
    patience_s: float
    tell: Callable[[str], Awaitable[None]]
    card: ModelCard = field(init=False)
    _asked: Predictor = field(init=False)
    _held: AsyncExitStack = field(default_factory=AsyncExitStack)
    _leaving: bool = False  # the host is asked nothing more
    _fell_back: bool = False
    _reason: str = ""
    _failing_since: float | None = None
    _calls: int = 0  # of the host, that are not answered yet
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def begin(self, model: Model) -> None:
        """Lend the hosted model, or the other one where that is impossible already (no token, or offline)."""
        self._idle.set()
        try:
            self._asked = await self._held.enter_async_context(self.lend(model))
        except BridgeError as error:
            self._leaving = True
            await self._go_over(error.message)
        self.card = self._asked.card

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        """See ``Predictor.predict``. A failure that may pass is raised until patience is at its end."""
        if not self._leaving:
            try:
                return await self._ask_host(frames, options)
            except PredictorError as error:
                if not self._is_over(error):
                    raise
                self._leaving, self._reason = True, error.message
        async with self._lock:
            if not self._fell_back:
                await self._idle.wait()  # what the host still owes is its to answer
                await self._go_over(self._reason)
        return await self._asked.predict(frames, options)

    async def _ask_host(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        self._calls += 1
        self._idle.clear()
        try:
            found = await self._asked.predict(frames, options)
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()
        self._failing_since = None
        return found

    def _is_over(self, error: PredictorError) -> bool:
        """Whether the host is given up."""
        if isinstance(error, _FOR_GOOD):
            return True
        if not isinstance(error, Transient):
            return False  # the frame's fault, or the model's answer: the same here
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        return now - self._failing_since >= self.patience_s

    async def _go_over(self, reason: str) -> None:
        """Raises BridgeError where nothing can answer here either."""
        await self._held.aclose()
        try:
            self._asked = await self._held.enter_async_context(self.lend(self.spare))
        except BridgeError as error:
            error.message = f"{reason} {self.spare.name} cannot take over: {error.message}"
            error.args = (error.message,)
            raise
        self._fell_back = True
        log.warning("the host failed; the model runs here from now on", model=self.spare.name, reason=reason)
        await self.tell(f"{reason} From then on {self.spare.name} answered, here, at the same commit.")

    async def close(self) -> None:
        await self._held.aclose()
