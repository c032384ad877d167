"""Many callers' single frames -> batches of one model; each caller awaits its own result.

A caller who is alone is served at once, in a batch of one. Where others are about, a batch forms while all turns of
the model are taken, and for ``LINGER_S`` at most. Who leaves, or brings a bad frame, harms nobody else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from adapters.base import Detections, PredictOptions
from adapters.errors import (
    AccessDenied,
    GatewayTimeout,
    ModelNotFound,
    PredictorError,
    PredictTimeout,
    RateLimited,
    Transient,
    Unsupported,
)
from adapters.frame import Frame
from bridge.caller import caller
from bridge.errors import Overloaded, TooManyRequests
from bridge.lent import LentPredictor
from bridge.turns import Turns

LINGER_S = 0.003  # how long a batch that could be larger waits for others
MAX_WAITING = 256  # predictions of one model that are not served yet
CLIENT_WAITING = 64  # those of one client among them

# What every frame of the batch would meet as well: asking for each alone would not help.
_FOR_ALL = (AccessDenied, ModelNotFound, Unsupported, Transient)


@dataclass(slots=True, eq=False)
class _Ask:
    frame: Frame
    options: PredictOptions
    since: float
    client: str
    turn: int
    answer: asyncio.Future[Detections]


class Batcher:
    """The online calls of one loaded model. Used in one event loop; they go ahead of jobs."""

    def __init__(self, predictor: LentPredictor, turns: Turns) -> None:
        self._predictor, self._turns = predictor, turns
        self._waiting: deque[_Ask] = deque()
        self._servers: set[asyncio.Task[None]] = set()
        self._idle_servers = 0  # wait for a turn
        self._turn = 0  # of the latest that was served
        self._inside = 0  # callers, waiting or being served
        self._arrived = asyncio.Event()

    async def predict(self, frame: Frame, options: PredictOptions) -> Detections:
        """The frame's own result. Raises PredictorError, among them PredictTimeout.

        Raises TooManyRequests where too many of the caller wait already; Overloaded where too many of all do, or where
        no turn came within ``limits.timeout_s``.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded(
                f"{MAX_WAITING} predictions of this model are waiting already.",
                hint="Try again in a moment, or annotate many images as a job.",
            )
        client = caller.get()
        own = [ask.turn for ask in self._waiting if ask.client == client]
        if len(own) >= CLIENT_WAITING:
            raise TooManyRequests(
                f"{CLIENT_WAITING} predictions of yours are waiting for this model already.",
                hint="Try again in a moment, or annotate many images as a job.",
            )
        loop = asyncio.get_running_loop()
        turn = max(self._turn, own[-1] + 1) if own else self._turn
        ask = _Ask(frame, options, loop.time(), client, turn, loop.create_future())
        self._waiting.append(ask)
        self._inside += 1
        self._arrived.set()
        if self._idle_servers * self._most < len(self._waiting):
            self._start()
        timer = loop.call_later(self._predictor.card.limits.timeout_s, self._turn_away, ask)
        try:
            return await ask.answer
        finally:
            timer.cancel()
            self._inside -= 1
            if ask in self._waiting:  # it left before it was served
                self._waiting.remove(ask)

    def _turn_away(self, ask: _Ask) -> None:
        """Who still waits for a turn when the time is up; the time of a call itself is ``LentPredictor``'s to keep."""
        if ask in self._waiting and not ask.answer.done():
            ask.answer.set_exception(
                Overloaded(
                    "The model was busy with others until the time was up.",
                    hint="Try again in a moment, or annotate many images as a job.",
                )
            )

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def close(self) -> None:
        """Break off what is under way."""
        for server in self._servers:
            server.cancel()
        await asyncio.gather(*self._servers, return_exceptions=True)

    @property
    def _most(self) -> int:
        return max(1, self._predictor.card.limits.max_batch)

    def _start(self) -> None:
        self._idle_servers += 1
        server = asyncio.create_task(self._serve())
        self._servers.add(server)
        server.add_done_callback(self._servers.discard)

    async def _serve(self) -> None:
        """Serve one batch of whoever waits when the model's turn comes."""
        batch: Sequence[_Ask] = self._waiting
        idle = True
        failure = PredictorError("The model was closed.", hint="Try again.")
        try:
            async with self._turns.take(urgent=True):
                await self._linger()
                self._idle_servers -= 1
                idle = False
                batch = self._next_batch()
                if batch:
                    await self._answer(batch)
        except RateLimited as error:  # no turn is to be had
            failure = error
        finally:
            self._idle_servers -= idle
            for ask in batch:
                if not ask.answer.done():
                    ask.answer.set_exception(failure)

    async def _linger(self) -> None:
        """Where others are about, wait a moment for them to fill the batch."""
        if not self._waiting:
            return
        deadline = self._waiting[0].since + LINGER_S
        # Who is not waiting is being served, and may be back soon.
        while len(self._waiting) < min(self._most, self._inside):
            self._arrived.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._arrived.wait()
            except TimeoutError:
                return

    def _next_batch(self) -> list[_Ask]:
        """Those whose turn it is and who ask for the same things; thresholds may differ.

        Clients take turns: who has many frames waiting waits behind the next one of everybody else.
        """
        batch: list[_Ask] = []
        others: deque[_Ask] = deque()
        for ask in sorted(self._waiting, key=lambda ask: ask.turn):
            if ask.answer.done():
                continue
            same = not batch or ask.options.prompts == batch[0].options.prompts
            (batch if same and len(batch) < self._most else others).append(ask)
        self._waiting.clear()
        self._waiting.extend(others)
        if batch:
            self._turn = batch[-1].turn
        if len(self._waiting) > self._idle_servers * self._most:
            self._start()
        return batch

    async def _answer(self, batch: Sequence[_Ask]) -> None:
        """Give everybody their answer; where all have left, the call is broken off."""
        work = asyncio.create_task(self._answers(batch))

        def stop_where_all_left(_: object) -> None:
            if all(ask.answer.cancelled() for ask in batch):
                work.cancel()

        for ask in batch:
            ask.answer.add_done_callback(stop_where_all_left)
        try:
            answers = await work
        except asyncio.CancelledError:
            if all(ask.answer.cancelled() for ask in batch):
                return
            raise
        for ask, answer in zip(batch, answers, strict=True):
            if ask.answer.done():  # it left
                continue
            if isinstance(answer, PredictorError):
                ask.answer.set_exception(answer)
            else:
                ask.answer.set_result(answer.best(ask.options.max_detections, ask.options.floor_score))

    async def _answers(self, batch: Sequence[_Ask]) -> list[Detections | PredictorError]:
        """One answer or error per caller. A batch that fails is split until the bad frame is alone."""
        if not batch:
            return []
        options = replace(
            batch[0].options,
            floor_score=min(ask.options.floor_score for ask in batch),
            max_detections=max(ask.options.max_detections for ask in batch),
        )
        try:
            return list(await self._predictor.ask([ask.frame for ask in batch], options))
        except PredictorError as error:
            for_all = isinstance(error, _FOR_ALL) and not isinstance(error, PredictTimeout | GatewayTimeout)
            if len(batch) == 1 or for_all:
                return [error] * len(batch)
        half = len(batch) // 2
        return [*await self._answers(batch[:half]), *await self._answers(batch[half:])]
