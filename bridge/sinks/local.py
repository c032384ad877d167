"""The shapes of a job go into our own database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bridge.domain import Clean, Shape
from bridge.store import Store
from bridge.store import jobs as ledger
from bridge.store import shapes as shape_rows
from bridge.store.jobs import FrameOutcome, Lease


@dataclass(frozen=True, slots=True)
class FinishedFrame:
    """A frame's ledger entry, and the shapes that come with it."""

    outcome: FrameOutcome
    shapes: Sequence[Shape] = ()


@dataclass(frozen=True, slots=True)
class LocalSink:
    """Writes frames of one job: what goes, what comes, the results and the ledger are one transaction."""

    store: Store
    lease: Lease
    task_id: int
    model_id: int
    label_ids: Mapping[str, int]
    clean: Clean
    lease_s: float

    async def write(self, finished: Sequence[FinishedFrame]) -> None:
        """All of these frames, or none. Raises LeaseLost where another process has taken the job over."""
        good = [frame for frame in finished if frame.outcome.error_code is None]
        numbers = [frame.outcome.frame for frame in good]
        job_id = self.lease.job_id
        async with self.store.write() as connection:
            await shape_rows.retire_shapes(
                connection, self.task_id, numbers, job_id=job_id, model_id=self.model_id, clean=self.clean
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
