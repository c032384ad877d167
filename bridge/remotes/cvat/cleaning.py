"""What a job replaces goes from CVAT: after what replaces it is in, and only as it stood when that was decided.

A removal waits as an intent without frames. When it is due, CVAT is looked at once for all that waits in a CVAT job:
what a person has changed since it was decided that it goes stays, and so does what came later. What is still as it was
is noted down (``checked``) before it is taken away, so that a run that goes on after a crash knows what is missing
there because of us.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bridge.domain import Intent, Shape
from bridge.remotes import Writing
from bridge.remotes.cvat.description import Labels
from bridge.remotes.cvat.shapes import Body, Place, by_kind, from_body, kind_of, place_at
from bridge.remotes.cvat.standing import Looks, Standing
from bridge.remotes.cvat.tracks import Track
from bridge.remotes.cvat.writes import Writes, unchanged
from bridge.store import Store, leases, ledger, remote_shapes
from bridge.store import intents as intent_rows
from bridge.store import shapes as shape_rows
from bridge.store.intents import NewIntent
from bridge.store.remote_shapes import KnownShape


def removal(remove: Sequence[Body], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an intent that only takes away; ``sizes``: frame -> its width and height."""
    return {"create": by_kind(()), "remove": list(remove), "after": {}, "sizes": dict(sizes)}


@dataclass(slots=True)
class Cleaning:
    """Of one run. ``known``: see ``CvatSink``."""

    store: Store
    writing: Writing
    writes: Writes
    labels: Labels
    label_rows: Mapping[str, int]
    looks: Looks
    known: Callable[[Sequence[int]], Awaitable[Mapping[Place, Sequence[KnownShape]]]]
    _waiting: dict[int, float] = field(default_factory=dict)  # CVAT job -> since when something waits

    def note(self, part: int) -> None:
        """A removal waits in this CVAT job."""
        self._waiting.setdefault(part, time.monotonic())

    async def carry_out(self, *, due: bool) -> None:
        """What waits is taken away; with ``due`` only where looking at CVAT again costs little of the time.

        Raises PredictorError where CVAT cannot be asked; then it goes on waiting.
        """
        for part, since in list(self._waiting.items()):
            if not due or self.looks.is_due(part, since):
                await self._sweep(part)
                del self._waiting[part]

    async def _sweep(self, part: int) -> None:
        job_id = self.writing.lease.job_id
        async with self.store.read() as connection:
            found = await intent_rows.open_intents(connection, job_id, part=str(part))
            waiting = [intent for intent in found if not intent.frames]
            frames = sorted({body["frame"] for intent in waiting for body in intent.body["remove"]})
            done = await ledger.done_frames(connection, job_id, frames)
        standing = await self.looks.again(part)
        goes = await asyncio.to_thread(_still, waiting, done, standing)
        sizes = {frame: size for intent in waiting for frame, size in intent.body["sizes"].items()}
        new = NewIntent(str(part), (), {**removal(goes, sizes), "checked": True})
        async with self.store.write(durable=True) as connection:
            await leases.renew(connection, self.writing.lease, self.writing.lease_s)
            for intent in waiting:
                await intent_rows.complete_intent(connection, intent.id)
            checked = await intent_rows.put_intents(connection, job_id, [new] if goes else [])
        for intent in checked:
            await self.writes.remove(intent)
            await self._complete(intent)

    async def _complete(self, intent: Intent) -> None:
        known = await self.known(sorted({frame for body in intent.body["remove"] for frame in frames_of(body)}))
        ours, foreign = await asyncio.to_thread(self._gone, intent, known)
        job_id, task_id = self.writing.lease.job_id, self.writing.task.id
        async with self.store.write() as connection:
            await remote_shapes.take_away(connection, job_id, ours)
            await shape_rows.add_removed_shapes(connection, task_id, self.label_rows, foreign, removed_by=job_id)
            await intent_rows.complete_intent(connection, intent.id)

    def _gone(
        self, intent: Intent, known: Mapping[Place, Sequence[KnownShape]]
    ) -> tuple[list[tuple[KnownShape, Mapping[str, Any]]], list[tuple[int, Shape]]]:
        """What went: of our own jobs, and of others."""
        ours: list[tuple[KnownShape, Mapping[str, Any]]] = []
        foreign: list[tuple[int, Shape]] = []
        for body in intent.body["remove"]:
            place = place_of(intent.part, body)
            mine = known.get(place_at(body))
            if mine:  # of a track a row for each keyframe, of which the first keeps what it was
                ours += [(row, {**place, "body": body} if row is mine[0] else place) for row in mine]
            elif body["label_id"] in self.labels.names:
                foreign.append((body["frame"], shape_at(intent, body, {**place, "body": body}, self.labels)))
        return ours, foreign


def _still(waiting: Sequence[Intent], done: set[int], standing: Standing) -> list[Body]:
    """What is to go now: of frames whose new annotations are in, what stands there as it did.

    What has gone already goes with it where an earlier run may have taken it away.
    """
    frames = {body["frame"] for intent in waiting for body in intent.body["remove"]}
    now = {place_at(body): body for frame in frames for body in standing.by_frame.get(frame, ())}
    now |= {place_at(track.body): track.body for track in standing.tracks}
    goes: dict[Place, Body] = {}
    for intent in waiting:
        for body in intent.body["remove"]:
            at = now.get(place_at(body))
            same = bool(intent.body.get("checked")) if at is None else unchanged(body, at)
            if same and body["frame"] in done:
                goes[place_at(body)] = body
    return list(goes.values())


def place_of(part: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Where an annotation stands, as it is kept with the shape."""
    kind = kind_of(body)
    place = {"job": int(part), "tag": kind == "tags", "id": body["id"]}
    return {**place, "track": True} if kind == "tracks" else place


def kept_at(place: Mapping[str, Any]) -> Place:
    """The inverse: where what is kept with a shape says that it stands."""
    return "tags" if place["tag"] else "tracks" if place.get("track") else "shapes", int(place["id"])


def frames_of(body: Body) -> list[int]:
    """The frames of ours that it is kept on: its own, or those on which a track was placed."""
    return Track.of(body).keyframes if kind_of(body) == "tracks" else [body["frame"]]


def shape_at(intent: Intent, body: Body, place: Mapping[str, Any], labels: Labels) -> Shape:
    """An annotation as a shape of ours that knows its place."""
    width, height = intent.body["sizes"][str(body["frame"])]
    return replace(from_body(body, (width, height), labels), remote=remote_shapes.packed(place))
