"""Where the shapes of a job go: our own database, or the tool that a task lives in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bridge.domain import Intent, Shape
from bridge.store.leases import Lease
from bridge.store.ledger import FrameOutcome


@dataclass(frozen=True, slots=True)
class FinishedFrame:
    """A frame's ledger entry, and the shapes that come with it; ``size`` is the frame's width and height."""

    outcome: FrameOutcome
    shapes: Sequence[Shape] = ()
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Written:
    """What became of frames: how many are done or failed now, and how many shapes came."""

    done: int = 0
    failed: int = 0
    shapes: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(self.done + other.done, self.failed + other.failed, self.shapes + other.shapes)


class Sink(Protocol):
    """Writes for one run of one job, one call at a time.

    What goes from a frame (the job's ``clean``) goes only when what comes is safe. A sink into another tool cannot do
    both, and the ledger, in one transaction; so it works by intents (``bridge.store.intents``):

    1. ``put_intents``: what it is about to write and to take away, the frames' results and their ledger rows
       (``writing``) are committed to the disk before anything is asked for;
    2. the tool is asked to take what comes, then to let go of what goes;
    3. ``complete_intent``: the shapes with the tool's ids, the frames (``done``) and the end of the intent are one
       transaction.

    Whatever ends a run between these steps leaves an open intent. The next run hands all of them to ``reconcile``
    before it predicts anything: each is compared with what the tool holds, and goes on from there.
    """

    @property
    def lease(self) -> Lease: ...

    async def write(self, finished: Sequence[FinishedFrame]) -> Written:
        """Store these frames. A frame that the tool refuses by itself fails alone.

        Raises LeaseLost where another process has taken the job over, and PredictorError where the tool cannot be
        asked at all: the run ends then, and its frames stay as the ledger has them.
        """
        ...

    async def reconcile(self, intents: Sequence[Intent]) -> Written:
        """Bring to an end what an earlier run left half done; raises as ``write``."""
        ...

    async def flush(self) -> None:
        """At the end of a run that was not broken off: what was put off is done now; raises as ``write``."""
        ...

    async def finish(self) -> None:
        """All frames of the job are done or failed, and linked where it tracks: what waited for that is done now;
        raises as ``write``. What has been done is not done again by a later run."""
        ...
