"""A job undone in CVAT: what it took away comes back, and then what it wrote goes.

What a person has changed since stays: it is theirs now.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.domain import Intent, Job, Undone
from bridge.remotes.cvat.cleaning import place_of
from bridge.remotes.cvat.client import CvatClient
from bridge.remotes.cvat.description import Labels
from bridge.remotes.cvat.shapes import Body, again, is_tag, to_body
from bridge.remotes.cvat.writes import KINDS, Place, Writes, unchanged
from bridge.store import Store, remote_shapes
from bridge.store import intents as intent_rows
from bridge.store import shapes as shape_rows
from bridge.store import tasks as task_rows
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
        return Undone(done.removed, done.restored, len(self._kept))

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
        now = {(kind == "tags", body.get("id", 0)): body for kind in KINDS for body in answer[kind]}
        sent = await self._as_sent(mine)
        remove = []
        for known in mine:
            at, body = now.get(_place(known)), sent.get(known.row)
            if at is not None and (body is None or not unchanged(body, at)):
                self._kept.append(known)
            elif at is not None:
                remove.append({**at, "row": known.row})
            # What a person has taken away is gone; its row goes with the job's others.
        restore = [(known, again(known.place["body"])) for known in theirs]
        create = {
            "tags": [body for _, body in restore if is_tag(body)],
            "shapes": [body for _, body in restore if not is_tag(body)],
        }
        rows = {
            "tags": [known.row for known, body in restore if is_tag(body)],
            "shapes": [known.row for known, body in restore if not is_tag(body)],
        }
        after = {kind: max((body.get("id") or 0 for body in answer[kind]), default=0) for kind in KINDS}
        return NewIntent(part, (), {"create": create, "remove": remove, "after": after, "rows": rows})

    async def _as_sent(self, mine: Sequence[KnownShape]) -> dict[int, Body]:
        """Row -> the annotation as this job sent it."""
        wanted = {known.row for known in mine}
        numbers = sorted({known.frame for known in mine})
        async with self.store.read() as connection:
            shapes = await shape_rows.get_shapes(connection, self.job.spec.target, numbers)
            sizes = {
                row.number: (row.width, row.height)
                for row in await task_rows.list_frames(connection, self.job.spec.target)
            }

        def bodies() -> dict[int, Body]:
            made = {}
            for number, found in shapes.items():
                for shape in found:
                    label = self.labels.by_name.get(shape.label)
                    if shape.id in wanted and label is not None:
                        body = to_body(shape, number, sizes[number], label, shape.group)
                        if body is not None:
                            made[shape.id] = body
            return made

        return await asyncio.to_thread(bodies)

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
            for row, body in _with_rows(intent.body["rows"], intent.body["create"], created)
            if row in gone
        ]
        taken = [written[body["row"]] for body in intent.body["remove"] if body["row"] in written]
        async with self.store.write() as connection:
            await remote_shapes.bring_back(connection, back)
            await remote_shapes.forget(connection, taken)
            await intent_rows.complete_intent(connection, intent.id)
        return Undone(len(taken), len(back))


def _with_rows(
    rows: Mapping[str, Sequence[int]], sent: Mapping[str, Sequence[Body]], created: Sequence[Body]
) -> list[tuple[int, Body]]:
    """The created annotations with the rows of ours that they are; they are those sent, in order, some missing."""
    pairs, place = [], 0
    for kind in KINDS:
        for row, body in zip(rows[kind], sent[kind], strict=True):
            if place < len(created) and {**body, "id": created[place]["id"]} == created[place]:
                pairs.append((row, created[place]))
                place += 1
    return pairs


def _place(known: KnownShape) -> Place:
    return bool(known.place["tag"]), int(known.place["id"])


def _sum(one: Undone, other: Undone) -> Undone:
    return Undone(one.removed + other.removed, one.restored + other.restored)
