"""Whether a model's host answers at all, where it has failed on some frames: it is asked for a frame that is done."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.base import PredictOptions, Predictor
from adapters.errors import PredictorError
from bridge.domain import FrameState
from bridge.sources.frame_source import FrameSource, picture
from bridge.store import Store, ledger


@dataclass(frozen=True, slots=True)
class HostCheck:
    """Of one run. ``predictor`` and ``source`` are those that ask the host, and remember nothing themselves."""

    store: Store
    job_id: int
    predictor: Predictor
    source: FrameSource

    async def answers(self, options: PredictOptions) -> bool:
        """Asks once, without patience. False as well where no frame of the job is done, so that nobody can tell."""
        async with self.store.read() as connection:
            done = await ledger.list_rows(connection, self.job_id, state=FrameState.DONE, most=1)
            rows = await ledger.frames_of(connection, self.job_id, done[0].frame - 1, 1) if done else []
        if not rows:
            return False
        try:
            await self.predictor.predict([await picture(self.source, rows[0])], options)
        except PredictorError:
            return False
        return True
