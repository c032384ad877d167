"""A job undone in CVAT: what it took away comes back, and then what it wrote goes.

What a person has changed since stays: it is theirs now.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.domain import Intent, Job, Shape, Undone
from bridge.remotes.cvat.cleaning import kept_at, place_of
from bridge.remotes.cvat.client import CvatClient
from bridge.remotes.cvat.description import Labels, RemoteJob
from bridge.remotes.cvat.shapes import KINDS, Body, Place, Size, again, kind_of, to_body
from bridge.remotes.cvat.standing import Standing
from bridge.remotes.cvat.tracks import track_body
from bridge.remotes.cvat.writes import Writes, unchanged, with_rows
from bridge.store import Store, ledger, remote_shapes, selection
from bridge.store import intents as intent_rows
from bridge.store import shapes as shape_rows
from bridge.store.intents import NewIntent
from bridge.store.remote_shapes import KnownShape


@dataclass(slots=True)
class CvatUndo:
    """Of one job. Each CVAT job is an intent, so a crash on the way is gone on from by calling ``run`` again."""

    store: Store
    job: Job
    client: CvatClient
    labels: Labels
    writes: Writes
    parts: Mapping[str, RemoteJob]  # CVAT's jobs by their numbers
    _kept: list[KnownShape] = field(default_factory=list)

    async def run(self) -> Undone:
        done = Undone(0, 0)
        async with self.store.read() as connection:
            left = await intent_rows.open_intents(connection, self.job.id, "undo")
        for intent in left:
            done = _sum(done, await self._carry_out(intent, since=intent.created_at.timestamp()))
        for intent in await self._plan():
            done = _sum(done, await self._carry_out(intent))
        await self.writes.remove_twins()
        async with self.store.write() as connection:
            await remote_shapes.forget(connection, self._kept)
            held = await remote_shapes.count_held(connection, self.job.id)  # goes with the job's other rows
        return Undone(done.removed + held, done.restored, len(self._kept))

    async def _plan(self) -> list[Intent]:
        """What is still to be done, committed before anything is asked for."""
        async with self.store.read() as connection:
            written = await remote_shapes.standing(connection, [self.job.spec.target], job_id=self.job.id)
            gone = await remote_shapes.taken_away(connection, self.job.id)
        mine, theirs = defaultdict[str, list[KnownShape]](list), defaultdict[str, list[KnownShape]](list)
        for known in written:
            mine[str(known.place["job"])].append(known)
        for known in gone:
            theirs[str(known.place["job"])].append(known)
        planned = []
        for part in sorted({*mine, *theirs}, key=int):
            planned.append(await self._plan_part(part, mine[part], theirs[part]))
        async with self.store.write(durable=True) as connection:
            return await intent_rows.put_intents(connection, self.job.id, planned, "undo")

    async def _plan_part(self, part: str, mine: Sequence[KnownShape], theirs: Sequence[KnownShape]) -> NewIntent:
        answer = await self.client.annotations(int(part))
        now = {(kind, body.get("id", 0)): body for kind in KINDS for body in answer[kind]}
        written, sent = _by_place(mine), await self._as_sent(part, mine)
        remove = []
        for place, rows in written.items():
            at, body = now.get(place), sent.get(place)
            if at is not None and (body is None or not unchanged(body, at)):
                self._kept += rows
            elif at is not None:
                remove.append({**at, "rows": [known.row for known in rows]})
            # What a person has taken away is gone; its rows go with the job's others.
        create: dict[str, list[Body]] = {kind: [] for kind in KINDS}
        back: dict[str, list[list[int]]] = {kind: [] for kind in KINDS}
        for rows in _by_place(theirs).values():
            body = again(next(known.place["body"] for known in rows if "body" in known.place))
            create[kind_of(body)].append(body)
            back[kind_of(body)].append([known.row for known in rows])
        after = Standing.of(answer, whole=False).after
        return NewIntent(part, (), {"create": create, "remove": remove, "after": after, "rows": back})

    async def _as_sent(self, part: str, mine: Sequence[KnownShape]) -> dict[Place, Body]:
        """Place -> the annotation as this job sent it."""
        target, job = self.job.spec.target, self.parts.get(part)
        async with self.store.read() as connection:
            shapes = await shape_rows.get_shapes_by_id(connection, target, [known.row for known in mine])
            sizes = await selection.sizes_of(connection, target, sorted({frame for frame, _ in shapes.values()}))
            looked = await ledger.numbers_of(connection, self.job.id) if self.job.spec.track else []

        def bodies() -> dict[Place, Body]:
            made = {}
            for place, rows in _by_place(mine).items():
                found = [shapes[known.row] for known in rows if known.row in shapes]
                body = self._body(place, found, sizes, looked, job)
                if body is not None:
                    made[place] = body
            return made

        return await asyncio.to_thread(bodies)

    def _body(
        self,
        place: Place,
        found: Sequence[tuple[int, Shape]],
        sizes: Mapping[int, Size],
        looked: Sequence[int],
        job: RemoteJob | None,
    ) -> Body | None:
        """Of the rows of one annotation, what was sent of them; None where its label is gone."""
        label = self.labels.by_name.get(found[0][1].label) if found else None
        if label is None:
            return None
        if place[0] == "tracks":
            placed = sorted(((frame, shape, sizes[frame]) for frame, shape in found), key=lambda each: each[0])
            return None if job is None else track_body(placed, label, 0, looked, job.stop)
        frame, shape = found[0]
        return to_body(shape, frame, sizes[frame], label, shape.group)

    async def _carry_out(self, intent: Intent, *, since: float | None = None) -> Undone:
        created = await self.writes.create(intent, since=since)
        await self.writes.remove(intent)
        async with self.store.read() as connection:
            gone = {known.row: known for known in await remote_shapes.taken_away(connection, self.job.id)}
            written = {
                known.row: known
                for known in await remote_shapes.standing(connection, [self.job.spec.target], job_id=self.job.id)
            }
        back = [
            (gone[row], place_of(intent.part, body))
            for rows, body in with_rows(intent.body["rows"], intent.body["create"], created)
            for row in rows
            if row in gone
        ]
        taken = [written[row] for body in intent.body["remove"] for row in body["rows"] if row in written]
        async with self.store.write() as connection:
            await remote_shapes.bring_back(connection, back)
            await remote_shapes.forget(connection, taken)
            await intent_rows.complete_intent(connection, intent.id)
        return Undone(len(taken), len(back))


def _by_place(rows: Sequence[KnownShape]) -> dict[Place, list[KnownShape]]:
    """Of a track there is a row for each keyframe."""
    found = defaultdict[Place, list[KnownShape]](list)
    for known in rows:
        found[kept_at(known.place)].append(known)
    return dict(found)


def _sum(one: Undone, other: Undone) -> Undone:
    return Undone(one.removed + other.removed, one.restored + other.restored)
