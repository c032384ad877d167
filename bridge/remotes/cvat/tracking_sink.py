"""The annotations of a job that tracks go into CVAT when all its frames are done and linked: tracks as tracks, all else
as shapes and tags.

Until then what is found is kept here, and CVAT is as it was. Each bulk is an intent that names our rows; what stands in
CVAT is known by its row, so a run that goes on writes the rest.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from adapters.errors import Unavailable
from bridge.domain import Intent, Shape
from bridge.errors import RemoteRefused
from bridge.remotes.cvat.cleaning import place_of
from bridge.remotes.cvat.description import RemoteJob
from bridge.remotes.cvat.shapes import KINDS, Body, Kind, Size
from bridge.remotes.cvat.sink import CvatSink, numbered_bodies
from bridge.remotes.cvat.standing import Standing
from bridge.remotes.cvat.tracks import TRACKED, track_body
from bridge.remotes.cvat.writes import with_rows
from bridge.sinks.local import LocalSink
from bridge.sinks.sink import FinishedFrame, Written
from bridge.store import intents as intent_rows
from bridge.store import jobs as job_rows
from bridge.store import leases, ledger, remote_shapes, selection
from bridge.store import shapes as shape_rows
from bridge.store.intents import NewIntent
from bridge.store.leases import Lease

MOST = 2000  # shapes and keyframes created by one request; a track is never parted
_PAGE = 10_000  # rows read at once


@dataclass(slots=True)
class CvatTrackingSink:
    """Of one run. ``held`` keeps what is found, ``cvat`` knows the task there and replaces what goes."""

    cvat: CvatSink
    held: LocalSink
    _looked: Sequence[int] = field(default=())  # the frames of the job

    @property
    def lease(self) -> Lease:
        return self.held.lease

    async def write(self, finished: Sequence[FinishedFrame]) -> Written:
        """See ``Sink``; nothing changes in CVAT."""
        await self.cvat.target.acquire(self.cvat.writes.patience)
        return await self.held.write(await self.cvat.kept(finished))

    async def reconcile(self, intents: Sequence[Intent]) -> Written:
        """See ``Sink``; its frames are done already."""
        await self.cvat.target.acquire(self.cvat.writes.patience)
        await self._recall_what_stood()
        for intent in intents:
            if "rows" in intent.body:
                await self._carry_out(intent, since=intent.created_at.timestamp())
        return await self.cvat.reconcile([intent for intent in intents if "rows" not in intent.body])

    async def flush(self) -> None:
        """See ``Sink``; nothing is put off before the end."""

    async def finish(self) -> None:
        """See ``Sink``: what is held goes into CVAT, and what it replaces goes from there."""
        await self.cvat.target.acquire(self.cvat.writes.patience)
        await self._recall_what_stood()
        held = await self._held()
        for job, rows in await asyncio.to_thread(lambda: list(_bulks(held, self.cvat.jobs))):
            if self.cvat.writes.patience.ending.is_set():
                raise Unavailable("The run ended before all tracks were in CVAT.")
            await self._carry_out(await self._put(job, rows.tolist()))
        await self.cvat.replace_all()
        await self.cvat.flush()

    async def _recall_what_stood(self) -> None:
        """What "clean" names is what stood there when the job first wrote: never what came later."""
        store, lease = self.cvat.store, self.lease
        async with store.read() as connection:
            stood = (await job_rows.get_job(connection, lease.job_id)).resolved.get("stood")
            self._looked = await ledger.numbers_of(connection, lease.job_id)
        if stood is None:
            concerned = [job for job in self.cvat.jobs if any(job.start <= frame <= job.stop for frame in self._looked)]
            stood = {str(job.id): dict((await self.cvat.look(job.id)).after) for job in concerned}
            async with store.write() as connection:
                await job_rows.note(connection, lease, stood=stood)
        self.cvat.old.stood = stood

    async def _held(self) -> NDArray[np.int64]:
        """Rows, frames and tracks of what stands nowhere yet: i64[n, 3]."""
        found, after = array("q"), 0
        while True:
            async with self.cvat.store.read() as connection:
                page = await remote_shapes.held(connection, self.lease.job_id, after, _PAGE)
            if not page:
                return np.array(found, np.int64).reshape(-1, 3)
            after = page[-1][0]
            for row in page:
                found.extend(row)

    async def _put(self, job: RemoteJob, rows: Sequence[int]) -> Intent:
        """What becomes of these rows, committed before anything is asked for."""
        store, task_id = self.cvat.store, self.cvat.writing.task.id
        standing = await self.cvat.look(job.id)
        async with store.read() as connection:
            found = await shape_rows.get_shapes_by_id(connection, task_id, rows)
            sizes = await selection.sizes_of(connection, task_id, sorted({frame for frame, _ in found.values()}))
        shapes = [found[row] for row in rows if row in found]
        bodies = await asyncio.to_thread(self._bodies, job, shapes, sizes, standing)
        create: dict[Kind, list[Body]] = {kind: [body for _, body in bodies[kind]] for kind in KINDS}
        of_rows = {kind: [numbers for numbers, _ in bodies[kind]] for kind in KINDS}
        body = {"create": create, "remove": [], "after": dict(standing.after), "rows": of_rows, "held": list(rows)}
        async with store.write(durable=True) as connection:
            await leases.renew(connection, self.lease, self.cvat.writing.lease_s)
            (intent,) = await intent_rows.put_intents(connection, self.lease.job_id, [NewIntent(str(job.id), (), body)])
        return intent

    def _bodies(
        self, job: RemoteJob, shapes: Sequence[tuple[int, Shape]], sizes: Mapping[int, Size], standing: Standing
    ) -> dict[Kind, list[tuple[list[int], Body]]]:
        """Rows of ours and what is created of them. Several parts of one object are tracks in one group."""
        made: dict[Kind, list[tuple[list[int], Body]]] = {kind: [] for kind in KINDS}
        parts: dict[int, list[list[tuple[int, Shape]]]] = defaultdict(list)
        single = [(frame, shape) for frame, shape in shapes if not shape.track_id or shape.type not in TRACKED]
        for frame, shape in shapes:
            if shape.track_id and shape.type in TRACKED:
                _add(parts[shape.track_id], frame, shape)
        for tracks in parts.values():
            standing.group += len(tracks) > 1
            for track in tracks:
                placed = [(frame, shape, sizes[frame]) for frame, shape in track]
                label = self.cvat.labels.by_name[track[0][1].label]
                group = standing.group if len(tracks) > 1 else 0
                body = track_body(placed, label, group, self._looked, job.stop)
                if body is not None:
                    made["tracks"].append(([shape.id for _, shape in track], body))
        for frame, on_frame in groupby(sorted(single, key=lambda each: each[0]), key=lambda each: each[0]):
            there = [shape for _, shape in on_frame]
            for shape, body in numbered_bodies(there, frame, sizes[frame], self.cvat.labels, standing):
                made["tags" if shape.type == "tag" else "shapes"].append(([shape.id], body))
        return made

    async def _carry_out(self, intent: Intent, *, since: float | None = None) -> None:
        """What comes; rows of what people have taken away in the meantime, or nothing came of, are forgotten."""
        cvat, part = self.cvat, int(intent.part)
        try:
            created = await cvat.writes.create(intent, since=since)
        except RemoteRefused as error:
            async with cvat.store.write() as connection:
                await leases.renew(connection, self.lease, cvat.writing.lease_s)
                await intent_rows.complete_intent(connection, intent.id)
            hint = f"To write shapes without tracks: hubbridge job apply {self.lease.job_id} --no-track"
            raise RemoteRefused(error.http_status, error.message, hint=hint) from error
        pairs = with_rows(intent.body["rows"], intent.body["create"], created)
        places = {row: place_of(intent.part, body) for rows, body in pairs for row in rows}
        async with cvat.store.write() as connection:
            await leases.renew(connection, self.lease, cvat.writing.lease_s)
            await remote_shapes.put_places(connection, places)
            lost = [row for row in intent.body["held"] if row not in places]
            await remote_shapes.drop(connection, cvat.writing.task.id, lost)
            await intent_rows.complete_intent(connection, intent.id)
        for _, body in pairs:
            cvat.note_own(part, body)


def _add(tracks: list[list[tuple[int, Shape]]], frame: int, shape: Shape) -> None:
    """Put a shape of an object to its track: a track has one shape a frame, all of one label and type."""
    for track in tracks:
        last_frame, last = track[-1]
        if last_frame < frame and (last.label, last.type) == (shape.label, shape.type):
            track.append((frame, shape))
            return
    tracks.append([(frame, shape)])


def _bulks(held: NDArray[np.int64], jobs: Sequence[RemoteJob]) -> Iterator[tuple[RemoteJob, NDArray[np.int64]]]:
    """Some rows at a time, of one CVAT job each: whole tracks, as far as they lie in it, and whole frames of the rest.

    ``held``: see ``_held``. A frame that several CVAT jobs share is the first one's.
    """
    rows, frames, tracks = held.T
    parts = np.full(len(rows), -1)
    for place, job in reversed(list(enumerate(jobs))):
        parts[(job.start <= frames) & (frames <= job.stop)] = place
    order = np.lexsort((rows, frames, tracks, parts))
    order = order[parts[order] >= 0]
    keys = np.stack((parts, tracks, np.where(tracks > 0, 0, frames)), axis=1)[order]
    changes = np.flatnonzero((keys[1:] != keys[:-1]).any(axis=1)) + 1
    begin = 0
    for start, end in pairwise([0, *changes.tolist(), len(order)] if len(order) else []):
        if begin < start and (keys[begin, 0] != keys[start, 0] or end - begin > MOST):
            yield jobs[keys[begin, 0]], rows[order[begin:start]]
            begin = start
    if len(order):
        yield jobs[keys[begin, 0]], rows[order[begin:]]
