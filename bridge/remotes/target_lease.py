"""One writer at a time for each target in another tool, whichever processes of this installation want to write there.

Two that look at the same time at what stands in a CVAT job take each other's newest shapes for somebody else's. So a
run holds the targets that it writes to from its first write to its end, and others wait. Processes that do not share a
database do not see each other.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.errors import Unavailable
from bridge.errors import BridgeError, Conflict, TargetLost
from bridge.owner import is_dead, owner_here
from bridge.patience import Patience
from bridge.store import Store
from bridge.store import target_leases as rows
from bridge.store.target_leases import TargetHolder

log = structlog.get_logger(__name__)

POLL_S = 0.5


@dataclass(slots=True)
class TargetLease:
    """Of one run or undoing of a job; a context manager, at whose end the targets are free again.

    targets   such as "cvat https://cvat.example/jobs/9"
    what      they are, in a sentence: "to the same task of CVAT"
    """

    store: Store
    targets: Sequence[str]
    what: str
    job_id: int
    lease_s: float
    _mine: TargetHolder = field(init=False)
    _beat: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self._mine = TargetHolder(self.job_id, uuid.uuid4().hex, owner_here())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._beat is None:
            return
        self._beat.cancel()
        await asyncio.gather(self._beat, return_exceptions=True)
        await asyncio.shield(self._release())

    async def acquire(self, patience: Patience) -> None:
        """Hold the targets, as soon as nobody else does; at once where they are held already.

        Raises Unavailable where the run ends before that.
        """
        told: int | None = None
        try:
            while self._beat is None:
                other = await self._take()
                if other is None:
                    return
                patience.tell(f"annotation job {other.job_id}", f"It writes {self.what}.")
                if told != other.job_id:
                    told = other.job_id
                    await self._tell(f"Waiting for annotation job {told}, which writes {self.what}.")
                await patience.sleep(POLL_S)
                if patience.ending.is_set():
                    raise Unavailable(f"The run ended while annotation job {other.job_id} wrote {self.what}.")
        finally:
            if told is not None:
                await asyncio.shield(self._tell(None))

    async def acquire_at_once(self) -> None:
        """Raises Conflict where somebody else holds a target."""
        other = await self._take()
        if other is not None:
            raise Conflict(
                f"Annotation job {other.job_id} writes {self.what} now.",
                hint=f"Wait for its end: hubbridge job watch {other.job_id}",
                code="target_busy",
            )

    async def check(self, connection: AsyncConnection) -> None:
        """Before anything is asked for there, in the transaction that notes it. Raises TargetLost."""
        if not await rows.renew(connection, self._mine.holder, len(self.targets), self.lease_s):
            raise TargetLost(f"Another annotation job took over writing {self.what}, while this one stood still.")

    async def _take(self) -> TargetHolder | None:
        async with self.store.write() as connection:
            other = await rows.take(connection, self.targets, self._mine, self.lease_s, is_dead)
        if other is None:
            self._beat = asyncio.create_task(self._renew())
        return other

    async def _tell(self, waiting: str | None) -> None:
        """What the job waits for, to whoever looks at it."""
        with suppress(BridgeError):  # the database is away: nobody can look
            async with self.store.write() as connection:
                await rows.tell_waiting(connection, self.job_id, waiting)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self.lease_s / 3)
            with suppress(BridgeError):  # the database is away: later, then
                async with self.store.write() as connection:
                    await rows.renew(connection, self._mine.holder, len(self.targets), self.lease_s)

    async def _release(self) -> None:
        try:
            async with self.store.write() as connection:
                await rows.release(connection, self._mine.holder)
        except BridgeError as error:  # the lease runs out by itself
            log.warning("targets could not be given back", job=self.job_id, error=error.message)
