"""What stands in the CVAT jobs that a run writes to, as it was when it was last looked.

CVAT gives out the annotations of a job as a whole, which of a large one takes seconds. So a look is used for many
writes, and looking again waits until it costs a small share of the time.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.remotes.cvat.client import CvatClient
from bridge.remotes.cvat.description import Labels
from bridge.remotes.cvat.shapes import KINDS, Body, Kind, place_at
from bridge.remotes.cvat.tracks import Track

SELDOM = 10.0  # times as long as a look took go by before the next one


@dataclass(slots=True)
class Standing:
    """What stands in a CVAT job: tags and shapes by frame, tracks, and the highest numbers so far."""

    by_frame: Mapping[int, Sequence[Body]]
    tracks: Sequence[Track]
    after: dict[Kind, int]
    group: int

    @classmethod
    def of(cls, answer: Mapping[str, Sequence[Body]], *, whole: bool) -> Standing:
        """``whole``: with the annotations themselves."""
        by_frame: dict[int, list[Body]] = defaultdict(list)
        after = {kind: max((body.get("id") or 0 for body in answer[kind]), default=0) for kind in KINDS}
        group = max((body.get("group") or 0 for kind in KINDS for body in answer[kind]), default=0)
        if whole:
            for body in (*answer["tags"], *answer["shapes"]):
                by_frame[body.get("frame", -1)].append(body)
        tracks = [Track.of(body) for body in answer["tracks"]] if whole else []
        return cls(by_frame, tracks, after, group)

    @property
    def all(self) -> list[Body]:
        """Tags, shapes and tracks."""
        return [*(body for bodies in self.by_frame.values() for body in bodies), *(each.body for each in self.tracks)]

    def on(self, frame: int, labels: Labels) -> list[Body]:
        """All that stands on a frame and has a label of the task; of tracks where they are then."""
        shown = (track.on(frame) for track in self.tracks)
        bodies = (*self.by_frame.get(frame, ()), *(body for body in shown if body is not None))
        return [body for body in bodies if body.get("label_id") in labels.names]


@dataclass(slots=True)
class Looks:
    """The last look at each CVAT job of one run; ``whole``: with the annotations themselves, not only their numbers."""

    client: CvatClient
    whole: bool
    _last: dict[int, Standing] = field(default_factory=dict)
    _took_s: dict[int, float] = field(default_factory=dict)

    async def last(self, part: int) -> Standing:
        """As it was at the last look; the first time it is looked."""
        return self._last[part] if part in self._last else await self.again(part)

    async def again(self, part: int) -> Standing:
        """As it is now."""
        start = time.monotonic()
        standing = Standing.of(await self.client.annotations(part), whole=self.whole)
        self._took_s[part] = time.monotonic() - start
        before = self._last.get(part)
        if before is not None:
            standing.after = {kind: max(value, before.after[kind]) for kind, value in standing.after.items()}
            standing.group = max(standing.group, before.group)
        self._last[part] = standing
        return standing

    def is_due(self, part: int, since: float) -> bool:
        """Whether, by the clock ``time.monotonic``, so much time has passed that another look costs little of it."""
        return time.monotonic() - since >= SELDOM * self._took_s.get(part, 0.0)

    def note_created(self, part: int, body: Body) -> None:
        """What this run has created itself is known without looking."""
        standing = self._last.get(part)
        if standing is not None:
            kind, number = place_at(body)
            standing.after[kind] = max(standing.after[kind], number)
