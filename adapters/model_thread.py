"""The thread that runs a model, one step after another.

No thread can be killed. A step that is not done at its deadline is abandoned: its caller is told, a new thread goes on
with the steps that wait, and the old one ends whenever its step does. The threads do not keep the process alive.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

MOST_HUNG = 2  # steps that may hang before nothing more is taken


@dataclass(slots=True, eq=False)
class _Step:
    call: Callable[[], Any]
    deadline_s: float
    future: Future[Any] = field(default_factory=Future)
    started: float = 0.0

    def left_s(self) -> float:
        return self.started + self.deadline_s - time.monotonic()


class ModelThread:
    """Runs what is given to ``run`` in order; may serve several event loops, one after another or together.

    When ``most_hung`` steps were abandoned, it closes: each costs a thread and what that thread holds.
    """

    def __init__(self, name: str, most_hung: int = MOST_HUNG) -> None:
        self._name, self._most_hung = name, most_hung
        self._changed = threading.Condition()
        self._waiting: deque[_Step] = deque()
        self._current: _Step | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._hung = 0

    @property
    def stuck(self) -> bool:
        """Whether it has closed because so many steps hung."""
        return self._hung >= self._most_hung

    @property
    def hung(self) -> int:
        """How many steps were abandoned so far."""
        return self._hung

    async def run(self, call: Callable[[], T], deadline_s: float) -> T:
        """The answer of ``call``, or what it raises; TimeoutError where it ran for longer than ``deadline_s``.

        The time counts from when the call begins, not from when it was given. A caller that is cancelled leaves at
        once. CancelledError without a cancellation means that the thread was closed.
        """
        step = _Step(call, deadline_s)
        self._give(step)
        answer = asyncio.wrap_future(step.future)
        try:
            while not (await asyncio.wait([answer], timeout=self._abandon_overdue()))[0]:
                pass
        except asyncio.CancelledError:
            answer.cancel()  # before it has begun, it never will
            raise
        result: T = await answer
        return result

    def close(self) -> None:
        """Drop the steps that wait, and wait for the one that runs, but not beyond its deadline."""
        with self._changed:
            self._refuse()
            thread = self._thread
        while thread is not None and thread.is_alive():
            thread.join(max(self._abandon_overdue() or 0.0, 0.001))
            thread = self._thread

    def _give(self, step: _Step) -> None:
        with self._changed:
            if self._closed:
                step.future.cancel()
                return
            self._waiting.append(step)
            if self._thread is None:
                self._start()
            self._changed.notify_all()

    def _refuse(self) -> None:
        """Take nothing more, and drop what waits."""
        self._closed = True
        while self._waiting:
            self._waiting.popleft().future.cancel()
        self._changed.notify_all()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._work, name=f"{self._name}_{self._hung}", daemon=True)
        self._thread.start()

    def _abandon_overdue(self) -> float | None:
        """Give the running step up where its time is over; seconds until it is worth looking again."""
        with self._changed:
            step = self._current
            if step is None:
                return 1.0 if self._waiting else None
            if step.left_s() > 0:
                return step.left_s()
            self._current = self._thread = None
            self._hung += 1
            if self.stuck:
                self._refuse()
            elif self._waiting:
                self._start()
        step.future.set_exception(TimeoutError(f"not done within {step.deadline_s:g} s"))
        return 1.0

    def _next(self) -> _Step | None:
        """The next step for this thread to take; None where it is to end."""
        with self._changed:
            while self._thread is threading.current_thread():
                if self._waiting:
                    step = self._waiting.popleft()
                    if step.future.set_running_or_notify_cancel():
                        step.started = time.monotonic()
                        self._current = step
                        self._changed.notify_all()
                        return step
                elif self._closed:
                    self._thread = None
                else:
                    self._changed.wait()
        return None

    def _work(self) -> None:
        while (step := self._next()) is not None:
            answer: Any = None
            failure: BaseException | None = None
            try:
                answer = step.call()
            except BaseException as error:  # noqa: BLE001  (the caller's to judge)
                failure = error
            with self._changed:
                if self._current is not step:  # abandoned meanwhile
                    return
                self._current = None
            if failure is not None:
                step.future.set_exception(failure)
            else:
                step.future.set_result(answer)
            del step, answer, failure  # nothing is kept alive while this thread waits
