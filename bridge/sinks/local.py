"""The shapes of a job go into our own database."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bridge.domain import Intent
from bridge.job_spec import Clean, Region
from bridge.keeping import beside, looked_at, people_made
from bridge.sinks.sink import FinishedFrame, Written
from bridge.store import Store, ledger
from bridge.store import shapes as shape_rows
from bridge.store.leases import Lease


@dataclass(frozen=True, slots=True)
class LocalSink:
    """Writes frames of one job: what goes, what comes, the results and the ledger are one transaction.

    ``keep_manual_iou``: new shapes that overlap a person's shape at least so much do not come. ``roi``: outside of it
    nothing goes.
    """

    store: Store
    lease: Lease
    task_id: int
    model_id: int
    label_ids: Mapping[str, int]
    clean: Clean
    lease_s: float
    keep_manual_iou: float | None = None
    roi: Region | None = None

    async def write(self, finished: Sequence[FinishedFrame]) -> Written:
        """All of these frames, or none. Raises LeaseLost where another process has taken the job over."""
        good = [frame for frame in finished if frame.outcome.error_code is None]
        numbers = [frame.outcome.frame for frame in good]
        only = None if self.roi is None or self.clean is Clean.NONE else await self._looked_at(good, self.roi)
        if self.keep_manual_iou is not None:
            good = await self._beside_manual(good, numbers, self.keep_manual_iou)
        job_id = self.lease.job_id
        async with self.store.write() as connection:
            await shape_rows.retire_shapes(
                connection,
                self.task_id,
                numbers,
                job_id=job_id,
                model_id=self.model_id,
                clean=self.clean,
                only=only,
            )
            created = await shape_rows.add_shapes(
                connection,
                self.task_id,
                self.label_ids,
                ((frame.outcome.frame, frame.shapes) for frame in good),
                job_id=job_id,
            )
            await ledger.record_outcomes(
                connection, self.lease, [frame.outcome for frame in finished], created, self.lease_s
            )
        return Written(len(good), len(finished) - len(good), created)

    async def reconcile(self, intents: Sequence[Intent]) -> Written:
        """There are none: what comes and what goes is one transaction."""
        return Written()

    async def flush(self) -> None:
        """Nothing is put off."""

    async def finish(self) -> None:
        """Nothing waits for the end."""

    async def _looked_at(self, frames: Sequence[FinishedFrame], roi: Region) -> list[int]:
        """Ids of the shapes on these frames that lie in the region."""
        async with self.store.read() as connection:
            known = await shape_rows.get_shapes(connection, self.task_id, [frame.outcome.frame for frame in frames])

        def found() -> list[int]:
            return [shape.id for frame in frames for shape in looked_at(known[frame.outcome.frame], roi, frame.size)]

        return await asyncio.to_thread(found)

    async def _beside_manual(
        self, frames: Sequence[FinishedFrame], numbers: Sequence[int], iou: float
    ) -> list[FinishedFrame]:
        """The frames without the shapes that overlap what people made."""
        async with self.store.read() as connection:
            known = await shape_rows.get_shapes(connection, self.task_id, numbers)

        def kept() -> list[FinishedFrame]:
            found = ((frame, known[frame.outcome.frame]) for frame in frames)
            return [
                replace(frame, shapes=beside(frame.shapes, people_made(shapes), iou, frame.size))
                for frame, shapes in found
            ]

        return await asyncio.to_thread(kept)
