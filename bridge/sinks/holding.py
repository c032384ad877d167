"""What was found for a task that lives elsewhere stays here, until somebody wants it there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.domain import Intent
from bridge.sinks.local import LocalSink
from bridge.sinks.sink import FinishedFrame, Written
from bridge.store import label_studio as rows
from bridge.store.leases import Lease


@dataclass(frozen=True, slots=True)
class HoldingSink:
    """As ``LocalSink``; the sizes of frames are noted, which are known only when their images have been fetched."""

    local: LocalSink

    @property
    def lease(self) -> Lease:
        return self.local.lease

    async def write(self, finished: Sequence[FinishedFrame]) -> Written:
        """See ``Sink``."""
        sizes = {each.outcome.frame: each.size for each in finished if each.outcome.error_code is None}
        async with self.local.store.write() as connection:
            await rows.set_sizes(connection, self.local.task_id, sizes)
        return await self.local.write(finished)

    async def reconcile(self, intents: Sequence[Intent]) -> Written:
        """There are none."""
        return await self.local.reconcile(intents)

    async def flush(self) -> None:
        """Nothing is put off."""

    async def finish(self) -> None:
        """Nothing waits for the end."""
