"""How many online predictions one model works on at once, and how many may wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bridge.errors import Overloaded

MAX_WAITING = 64


@dataclass(slots=True)
class _Gate:
    slots: asyncio.Semaphore
    inside: int = 0


@dataclass(slots=True)
class Gates:
    """One gate per model, by its id."""

    _gates: dict[int, _Gate] = field(default_factory=dict)

    @asynccontextmanager
    async def enter(self, model_id: int, at_once: int) -> AsyncIterator[None]:
        """Wait for one of ``at_once`` places. Raises Overloaded where too many wait already."""
        gate = self._gates.setdefault(model_id, _Gate(asyncio.Semaphore(max(1, at_once))))
        if gate.inside >= MAX_WAITING + at_once:
            raise Overloaded(
                f"{MAX_WAITING} predictions of this model are waiting already.",
                hint="Try again in a moment, or annotate many images as a job.",
            )
        gate.inside += 1
        try:
            async with gate.slots:
                yield
        finally:
            gate.inside -= 1
            if gate.inside == 0:
                self._gates.pop(model_id, None)
