"""The shapes of a job go into CVAT, per CVAT job and in bulk: see ``bridge/sinks/sink.py`` for the order of things."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bridge.domain import Intent, Shape
from bridge.errors import RemoteRefused
from bridge.job_spec import Clean
from bridge.keeping import beside, looked_at, people_made
from bridge.remotes import Writing
from bridge.remotes.cvat.client import CvatClient
from bridge.remotes.cvat.description import Labels, RemoteJob, labels_of
from bridge.remotes.cvat.shapes import AUTO, Body, Size, from_body, is_tag, to_body
from bridge.remotes.cvat.tracks import Track
from bridge.remotes.cvat.writes import KINDS, Place, Writes, unchanged
from bridge.sinks.sink import FinishedFrame, Written
from bridge.store import Store, leases, ledger, remote_shapes
from bridge.store import intents as intent_rows
from bridge.store import shapes as shape_rows
from bridge.store.intents import NewIntent
from bridge.store.leases import Lease
from bridge.store.ledger import FrameOutcome
from bridge.store.remote_shapes import KnownShape

REFUSED = "remote_refused"


@dataclass(slots=True)
class Standing:
    """What stands in a CVAT job: by frame, and the highest numbers so far."""

    by_frame: Mapping[int, Sequence[Body]]
    tracks: Sequence[Track]
    after: dict[str, int]
    group: int

    @classmethod
    def of(cls, answer: Mapping[str, Sequence[Body]], *, whole: bool) -> Standing:
        """``whole``: with the annotations themselves."""
        by_frame: dict[int, list[Body]] = defaultdict(list)
        after = {kind: max((body.get("id") or 0 for body in answer[kind]), default=0) for kind in KINDS}
        everything = [body for kind in (*KINDS, "tracks") for body in answer[kind]]
        group = max((body.get("group") or 0 for body in everything), default=0)
        if whole:
            for body in (body for kind in KINDS for body in answer[kind]):
                by_frame[body.get("frame", -1)].append(body)
        tracks = [Track.of(body) for body in answer["tracks"]] if whole else []
        return cls(by_frame, tracks, after, group)

    def on(self, frame: int, labels: Labels) -> list[Body]:
        """All that stands on a frame and has a label of the task; of tracks where they are then."""
        shown = (track.on(frame) for track in self.tracks)
        bodies = (*self.by_frame.get(frame, ()), *(body for body in shown if body is not None))
        return [body for body in bodies if body.get("label_id") in labels.names]


@dataclass(slots=True)
class CvatSink:
    """Of one run.

    known   frames -> what our jobs have written to them in this CVAT task, by its place there
    turn    held while something is written there
    own     what this job has written there
    """

    store: Store
    writing: Writing
    client: CvatClient
    task: int  # CVAT's number of it
    labels: Labels
    jobs: Sequence[RemoteJob]
    writes: Writes
    label_rows: Mapping[str, int]  # our own ids
    known: Callable[[Sequence[int]], Awaitable[Mapping[Place, KnownShape]]]
    turn: asyncio.Lock
    own: set[Place]
    _known: Mapping[Place, KnownShape] = field(default_factory=dict)  # on the frames that are being written
    _standing: dict[int, Standing] = field(default_factory=dict)

    @property
    def lease(self) -> Lease:
        return self.writing.lease

    async def write(self, finished: Sequence[FinishedFrame]) -> Written:
        async with self.turn:
            return await self._write(finished)

    async def _write(self, finished: Sequence[FinishedFrame]) -> Written:
        self._known = await self.known([frame.outcome.frame for frame in finished])
        parts: dict[int, list[FinishedFrame]] = defaultdict(list)
        ended: list[FrameOutcome] = []
        for frame in finished:
            part = self._part_of(frame.outcome.frame)
            if frame.outcome.error_code is not None:
                ended.append(frame.outcome)
            elif part is None:
                ended.append(_nowhere(frame.outcome))
            else:
                parts[part].append(frame)
        planned = []
        for part, frames in parts.items():
            standing = await self._look(part)
            planned.append(await asyncio.to_thread(self._plan, part, frames, standing))
        if self.writing.spec.clean is not Clean.NONE:
            planned += await self._twice_stored([frame for frames in parts.values() for frame in frames])
        waiting = {number for intent in planned for number in intent.frames}
        outcomes = [frame.outcome for frames in parts.values() for frame in frames]
        ended += [outcome for outcome in outcomes if outcome.frame not in waiting]
        async with self.store.write(durable=True) as connection:
            await ledger.begin_writing(
                connection,
                self.lease,
                [outcome for outcome in outcomes if outcome.frame in waiting],
                self.writing.lease_s,
            )
            if ended:
                await ledger.record_outcomes(connection, self.lease, ended, 0, self.writing.lease_s)
            planned = [intent for intent in planned if intent.frames or intent.body["remove"]]
            intents = await intent_rows.put_intents(connection, self.lease.job_id, planned)
        failed = sum(outcome.error_code is not None for outcome in ended)
        written = Written(len(ended) - failed, failed)
        for intent in intents:
            written += await self._carry_out(intent)
        return written

    async def reconcile(self, intents: Sequence[Intent]) -> Written:
        """An intent of an earlier run: what it creates may stand there already, or a request may be at work yet."""
        async with self.turn:
            return await self._reconcile(intents)

    async def _reconcile(self, intents: Sequence[Intent]) -> Written:
        written = Written()
        for intent in intents:
            self._known = await self.known(sorted({body["frame"] for body in intent.body["remove"]}))
            answer = await self.client.annotations(int(intent.part))
            now = {(kind == "tags", body.get("id")): body for kind in ("tags", "shapes") for body in answer[kind]}
            # What a person has changed since it was decided that it goes stays. What has gone already is passed over.
            goes = [
                body
                for body in intent.body["remove"]
                if (at := now.get((is_tag(body), body["id"]))) is None or unchanged(body, at)
            ]
            checked = replace(intent, body={**intent.body, "remove": goes})
            written += await self._carry_out(checked, since=intent.created_at.timestamp())
        return written

    async def finish(self) -> None:
        """At the end of a run."""
        await self.writes.remove_twins()

    def _part_of(self, frame: int) -> int | None:
        """The CVAT job that a frame is written to: of several (an overlap) the first, so that it is written once."""
        return next((job.id for job in self.jobs if job.start <= frame <= job.stop), None)

    async def _look(self, part: int) -> Standing:
        """What stands there: as it is now where anything depends on it, else as it was at the first look."""
        spec = self.writing.spec
        whole = spec.clean is not Clean.NONE or spec.keep_manual_iou is not None
        if part not in self._standing or whole:
            standing = Standing.of(await self.client.annotations(part), whole=whole)
            before = self._standing.get(part)
            if before is not None:
                standing.after = {kind: max(value, before.after[kind]) for kind, value in standing.after.items()}
                standing.group = max(standing.group, before.group)
            self._standing[part] = standing
        return self._standing[part]

    def _plan(self, part: int, frames: Sequence[FinishedFrame], standing: Standing) -> NewIntent:
        """What comes and what goes; its ``frames`` are those on which anything does. Runs in a thread."""
        create: dict[str, list[Body]] = {"tags": [], "shapes": []}
        remove: list[Body] = []
        touched, sizes = [], {}
        for frame in frames:
            number = frame.outcome.frame
            there = standing.by_frame.get(number, ())
            bodies = self._bodies(frame, standing)
            goes = [body for body in there if self._goes(body, frame.size)]
            if not bodies and not goes:
                continue
            touched.append(number)
            sizes[str(number)] = frame.size
            remove += goes
            for body in bodies:
                create["tags" if is_tag(body) else "shapes"].append(body)
        return NewIntent(
            str(part),
            tuple(touched),
            {"create": create, "remove": remove, "after": dict(standing.after), "sizes": sizes},
        )

    async def _twice_stored(self, frames: Sequence[FinishedFrame]) -> list[NewIntent]:
        """What goes from other CVAT jobs that share a frame: CVAT keeps the annotations of an overlap once for each."""
        elsewhere: dict[int, list[FinishedFrame]] = defaultdict(list)
        for frame in frames:
            number = frame.outcome.frame
            for job in self.jobs:
                if job.start <= number <= job.stop and job.id != self._part_of(number):
                    elsewhere[job.id].append(frame)
        intents = []
        for part, shared in elsewhere.items():
            standing = await self._look(part)
            goes = {
                frame.outcome.frame: [
                    body for body in standing.by_frame.get(frame.outcome.frame, ()) if self._goes(body, frame.size)
                ]
                for frame in shared
            }
            body = {
                "create": {"tags": [], "shapes": []},
                "remove": [each for bodies in goes.values() for each in bodies],
                "after": dict(standing.after),
                "sizes": {str(frame.outcome.frame): frame.size for frame in shared},
            }
            intents.append(NewIntent(str(part), (), body))
        return intents

    def _bodies(self, frame: FinishedFrame, standing: Standing) -> list[Body]:
        shapes, iou = frame.shapes, self.writing.spec.keep_manual_iou
        if iou is not None:
            known = standing.on(frame.outcome.frame, self.labels)
            stay = [body for body in known if not self._goes(body, frame.size)]
            people = people_made([from_body(body, frame.size, self.labels) for body in stay])
            shapes = beside(shapes, people, iou, frame.size)
        groups: dict[int, int] = {}
        bodies = []
        for shape in shapes:
            if shape.group and shape.group not in groups:
                standing.group += 1
                groups[shape.group] = standing.group
            label = self.labels.by_name[shape.label]
            body = to_body(shape, frame.outcome.frame, frame.size, label, groups.get(shape.group, 0))
            if body is not None:
                bodies.append(body)
        return bodies

    def _goes(self, body: Body, size: Size) -> bool:
        """Whether the job takes an annotation away: one that ``clean`` names, where it looks. ``size``: the frame's."""
        roi = self.writing.spec.roi
        if roi is None or not self._cleaned(body):
            return self._cleaned(body)
        if body.get("label_id") not in self.labels.names:
            return False
        return bool(looked_at([from_body(body, size, self.labels)], roi, size))

    def _cleaned(self, body: Body) -> bool:
        """Whether it is of those that ``clean`` names; never one that the job has made itself."""
        place = (is_tag(body), body.get("id", 0))
        if place in self.own:
            return False
        match self.writing.spec.clean:
            case Clean.ALL:
                return True
            case Clean.AUTOMATIC:
                return bool(body.get("source") == AUTO)
            case Clean.MODEL:
                known = self._known.get(place)
                if known is None:
                    return False
                return known.job_id != self.lease.job_id and known.model_id == self.writing.spec.model_id
        return False

    async def _carry_out(self, intent: Intent, *, since: float | None = None) -> Written:
        if not intent.frames:
            intent = await self._of_done_frames(intent)
        try:
            created = await self.writes.create(intent, since=since)
        except RemoteRefused as error:
            return await self._without_the_refused(intent, error)
        await self.writes.remove(intent)
        return await self._complete(intent, created)

    async def _of_done_frames(self, intent: Intent) -> Intent:
        """What goes from another CVAT job that shares frames, as far as what comes on them has been taken."""
        remove = intent.body["remove"]
        numbers = sorted({body["frame"] for body in remove})
        async with self.store.read() as connection:
            done = await ledger.done_frames(connection, self.lease.job_id, numbers)
        return replace(intent, body={**intent.body, "remove": [body for body in remove if body["frame"] in done]})

    async def _complete(self, intent: Intent, created: Sequence[Body]) -> Written:
        """What has come and gone, the frames and the end of the intent, in one transaction."""
        shapes = await asyncio.to_thread(self._as_shapes, intent, created)
        gone_known, gone_foreign = await asyncio.to_thread(self._gone, intent)
        job_id, task_id = self.lease.job_id, self.writing.task.id
        async with self.store.write() as connection:
            await remote_shapes.take_away(connection, job_id, gone_known)
            await shape_rows.add_removed_shapes(connection, task_id, self.label_rows, gone_foreign, removed_by=job_id)
            await shape_rows.add_shapes(connection, task_id, self.label_rows, shapes, job_id=job_id)
            outcomes = [FrameOutcome(frame) for frame in intent.frames]
            await ledger.record_outcomes(connection, self.lease, outcomes, len(created), self.writing.lease_s)
            await intent_rows.complete_intent(connection, intent.id)
        standing = self._standing.get(int(intent.part))
        for body in created:
            self.own.add((is_tag(body), body["id"]))
            if standing is not None:
                kind = "tags" if is_tag(body) else "shapes"
                standing.after[kind] = max(standing.after[kind], body["id"])
        return Written(len(intent.frames), 0, len(created))

    def _as_shapes(self, intent: Intent, created: Sequence[Body]) -> list[tuple[int, list[Shape]]]:
        """What came, by frame, as it is kept here."""
        by_frame: dict[int, list[Shape]] = defaultdict(list)
        for body in created:
            by_frame[body["frame"]].append(self._shape(intent, body, place_of(intent.part, body)))
        return list(by_frame.items())

    def _gone(self, intent: Intent) -> tuple[list[tuple[KnownShape, Mapping[str, Any]]], list[tuple[int, Shape]]]:
        """What went: of our own jobs, and of others."""
        known: list[tuple[KnownShape, Mapping[str, Any]]] = []
        foreign: list[tuple[int, Shape]] = []
        for body in intent.body["remove"]:
            place = {**place_of(intent.part, body), "body": body}
            mine = self._known.get((is_tag(body), body["id"]))
            if mine is not None:
                known.append((mine, place))
            elif body["label_id"] in self.labels.names:
                foreign.append((body["frame"], self._shape(intent, body, place)))
        return known, foreign

    def _shape(self, intent: Intent, body: Body, place: Mapping[str, Any]) -> Shape:
        width, height = intent.body["sizes"][str(body["frame"])]
        shape = from_body(body, (width, height), self.labels)
        return Shape(
            shape.label,
            shape.type,
            shape.points,
            shape.rle,
            shape.rotation,
            shape.score,
            shape.source,
            shape.attributes,
            shape.group,
            remote=remote_shapes.packed(place),
        )

    async def _without_the_refused(self, intent: Intent, error: RemoteRefused) -> Written:
        """CVAT takes nothing of a bulk in which one annotation is wrong: halve it until that one's frame is alone."""
        entries = await self.client.pages("/api/labels", "the labels", task_id=self.task)
        if Labels(labels_of(entries)).ids != self.labels.ids:
            raise RemoteRefused(
                error.http_status,
                "The labels of the task were changed in CVAT while the job ran.",
                hint="Start a new job, which matches the labels anew.",
            ) from error
        if len(intent.frames) == 1:
            outcome = FrameOutcome(intent.frames[0], error_code=REFUSED, error=error.message)
            async with self.store.write() as connection:
                await ledger.record_outcomes(connection, self.lease, [outcome], 0, self.writing.lease_s)
                await ledger.drop_results(connection, self.lease.job_id, intent.frames)
                await intent_rows.complete_intent(connection, intent.id)
            return Written(0, 1)
        middle = len(intent.frames) // 2
        halves = [_only(intent, intent.frames[:middle]), _only(intent, intent.frames[middle:])]
        async with self.store.write(durable=True) as connection:
            await leases.renew(connection, self.lease, self.writing.lease_s)
            await intent_rows.complete_intent(connection, intent.id)
            intents = await intent_rows.put_intents(connection, self.lease.job_id, halves)
        written = Written()
        for half in intents:
            written += await self._carry_out(half)
        return written


def place_of(part: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Where an annotation stands, as it is kept with the shape."""
    return {"job": int(part), "tag": is_tag(body), "id": body["id"]}


def _only(intent: Intent, frames: Sequence[int]) -> NewIntent:
    """The part of an intent that concerns some frames."""
    meant, body = set(frames), intent.body
    create = {kind: [each for each in bodies if each["frame"] in meant] for kind, bodies in body["create"].items()}
    remove = [each for each in body["remove"] if each["frame"] in meant]
    return NewIntent(intent.part, tuple(frames), {**body, "create": create, "remove": remove})


def _nowhere(outcome: FrameOutcome) -> FrameOutcome:
    message = "No job of the CVAT task holds this frame."
    return FrameOutcome(outcome.frame, None, REFUSED, message)
