"""Who may ask a model now: so many at once, so many a second, and nobody while its host wants to be left alone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.errors import RateLimited

PATIENT_EVERY = 8  # where both kinds wait, so many turns have a patient one among them: a job is slow, and never stands
LONG_S = 5.0  # a host that wants to be left alone for longer is not waited for in the queue


class Turns:
    """The turns of one model, shared by everyone who asks it. Used in one event loop.

    at_once      calls under way together
    per_second   calls that may begin in a second, evenly spread; None for as many as may be
    """

    def __init__(self, at_once: int, per_second: float | None = None) -> None:
        self._free = max(1, at_once)
        self._gap_s = 1 / per_second if per_second else 0.0
        self._next = 0.0  # when the next call may begin, by the loop's clock
        self._closed_until = 0.0
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._patient: deque[asyncio.Future[None]] = deque()
        self._passed_over = 0  # urgent turns since a patient caller has had to wait
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def take(self, *, urgent: bool = False) -> AsyncIterator[None]:
        """Wait for a turn and hold it. Urgent callers go first, but for one turn of ``PATIENT_EVERY``; within each
        kind, who came first.

        Raises RateLimited, saying for how long, where nobody may begin for more than ``LONG_S``.
        """
        if self.closed_s > LONG_S:
            raise self._refusal()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._urgent if urgent else self._patient).append(turn)
        self._give()
        try:
            await turn
        except asyncio.CancelledError:
            given = turn.done() and not turn.cancelled() and turn.exception() is None
            if given:  # together with the cancellation: the turn goes to the next caller
                self._return()
            raise
        try:
            yield
        finally:
            self._return()

    def close_for(self, seconds: float) -> None:
        """Nobody begins for so long; what is under way goes on."""
        self._closed_until = max(self._closed_until, asyncio.get_running_loop().time() + seconds)
        if seconds > LONG_S:
            for turn in (*self._urgent, *self._patient):
                if not turn.done():
                    turn.set_exception(self._refusal())

    @property
    def closed_s(self) -> float:
        """For how many seconds nobody may begin."""
        return max(0.0, self._closed_until - asyncio.get_running_loop().time())

    def _refusal(self) -> RateLimited:
        return RateLimited("The model's host asks to be left alone for a while.", retry_after=self.closed_s)

    def _return(self) -> None:
        self._free += 1
        self._give()

    def _give(self) -> None:
        """Hand out every turn that may begin now, and come back when the next one may."""
        loop = asyncio.get_running_loop()
        while self._free and (waiting := self._whose_turn()):
            now, opens = loop.time(), max(self._next, self._closed_until)
            if now < opens:
                if self._timer is None:
                    self._timer = loop.call_at(opens, self._on_time)
                return
            turn = waiting.popleft()
            self._passed_over = self._passed_over + 1 if waiting is self._urgent and self._patient else 0
            self._free -= 1
            on_time = now - self._next < self._gap_s  # what a late timer lost is made up, what nobody asked is not
            self._next = (self._next if on_time else now) + self._gap_s
            turn.set_result(None)

    def _on_time(self) -> None:
        self._timer = None
        self._give()

    def _whose_turn(self) -> deque[asyncio.Future[None]] | None:
        """Those whose turn is next, the first of them still waiting; those who have left are forgotten."""
        for waiting in (self._urgent, self._patient):
            while waiting and waiting[0].done():
                waiting.popleft()
        if self._patient and self._passed_over >= PATIENT_EVERY - 1:
            return self._patient
        return self._urgent or self._patient or None
