"""The shapes of a job go into CVAT, per CVAT job and in bulk: see ``bridge/sinks/sink.py`` for the order of things.

A frame is done when its new annotations are in. What they replace goes afterwards, several frames' at once:
``cleaning.py``.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bridge.domain import Intent, Shape
from bridge.errors import RemoteRefused
from bridge.job_spec import Clean
from bridge.keeping import beside, looked_at, people_made
from bridge.remotes import Writing
from bridge.remotes.cvat.cleaning import Cleaning, place_of, removal, shape_at
from bridge.remotes.cvat.client import CvatClient
from bridge.remotes.cvat.description import Labels, RemoteJob, labels_of
from bridge.remotes.cvat.shapes import AUTO, Body, Size, from_body, is_tag, to_body
from bridge.remotes.cvat.standing import Looks, Standing
from bridge.remotes.cvat.writes import Place, Writes
from bridge.remotes.target_lease import TargetLease
from bridge.sinks.sink import FinishedFrame, Written
from bridge.store import Store, leases, ledger
from bridge.store import intents as intent_rows
from bridge.store import shapes as shape_rows
from bridge.store.intents import NewIntent
from bridge.store.leases import Lease
from bridge.store.ledger import FrameOutcome
from bridge.store.remote_shapes import KnownShape

REFUSED = "remote_refused"


@dataclass(slots=True)
class CvatSink:
    """Of one run.

    known    frames -> what our jobs have written to them in this CVAT task, by its place there
    spoken   CVAT job, what stands there -> places that other jobs have left half written or half taken away
    target   held from the first write on
    own      what this job has written there
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
    spoken: Callable[[int, Standing], Awaitable[set[Place]]]
    target: TargetLease
    own: set[Place]
    _looks: Looks = field(init=False)
    _cleaning: Cleaning = field(init=False)
    _known: Mapping[Place, KnownShape] = field(default_factory=dict)  # on the frames that are being written
    _spoken: dict[int, set[Place]] = field(default_factory=dict)
    _looked: dict[int, float] = field(default_factory=dict)  # CVAT job -> when, for what people made

    def __post_init__(self) -> None:
        spec = self.writing.spec
        self._looks = Looks(self.client, spec.clean is not Clean.NONE or spec.keep_manual_iou is not None)
        self._cleaning = Cleaning(
            self.store, self.writing, self.writes, self.labels, self.label_rows, self._looks, self.known
        )

    @property
    def lease(self) -> Lease:
        return self.writing.lease

    async def write(self, finished: Sequence[FinishedFrame]) -> Written:
        await self.target.acquire(self.writes.patience)
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
        await self._cleaning.carry_out(due=True)
        return written

    async def reconcile(self, intents: Sequence[Intent]) -> Written:
        """An intent of an earlier run: what it creates may stand there already, or a request may be at work yet."""
        await self.target.acquire(self.writes.patience)
        written = Written()
        for intent in intents:
            written += await self._carry_out(intent, since=intent.created_at.timestamp())
        await self._cleaning.carry_out(due=False)
        return written

    async def flush(self) -> None:
        """See ``Sink``."""
        await self._cleaning.carry_out(due=False)
        await self.writes.remove_twins()

    def _part_of(self, frame: int) -> int | None:
        """The CVAT job that a frame is written to: of several (an overlap) the first, so that it is written once."""
        return next((job.id for job in self.jobs if job.start <= frame <= job.stop), None)

    async def _look(self, part: int) -> Standing:
        """What stands there, as it was not long ago where what people make meanwhile counts."""
        since = self._looked.get(part)
        if since is None:
            standing = await self._looks.last(part)
            self._spoken[part] = await self.spoken(part, standing)
        elif self.writing.spec.keep_manual_iou is not None and self._looks.is_due(part, since):
            standing = await self._looks.again(part)
        else:
            return await self._looks.last(part)
        self._looked[part] = time.monotonic()
        return standing

    def _plan(self, part: int, frames: Sequence[FinishedFrame], standing: Standing) -> NewIntent:
        """What comes and what goes; its ``frames`` are those on which anything does. Runs in a thread."""
        create: dict[str, list[Body]] = {"tags": [], "shapes": []}
        remove: list[Body] = []
        touched, sizes = [], {}
        for frame in frames:
            number = frame.outcome.frame
            there = standing.by_frame.get(number, ())
            bodies = self._bodies(part, frame, standing)
            goes = self._going(part, there, frame.size)
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
            remove = [
                body
                for frame in shared
                for body in self._going(part, standing.by_frame.get(frame.outcome.frame, ()), frame.size)
            ]
            sizes = {str(frame.outcome.frame): frame.size for frame in shared}
            intents.append(NewIntent(str(part), (), removal(remove, sizes)))
        return intents

    def _bodies(self, part: int, frame: FinishedFrame, standing: Standing) -> list[Body]:
        shapes, iou = frame.shapes, self.writing.spec.keep_manual_iou
        if iou is not None:
            known = standing.on(frame.outcome.frame, self.labels)
            goes = {id(body) for body in self._going(part, known, frame.size)}
            stay = [body for body in known if id(body) not in goes]
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

    def _going(self, part: int, bodies: Sequence[Body], size: Size) -> list[Body]:
        """Of the annotations of a frame those that the job takes away: what ``clean`` names, where it looks."""
        named = self.labels.names  # of a label that came after the run began nothing could be brought back
        known = [body for body in bodies if body.get("label_id") in named and self._cleaned(part, body)]
        roi = self.writing.spec.roi
        if roi is None:
            return known
        shapes = [self._shape(body, size) for body in known]
        there = {id(shape) for shape in looked_at(shapes, roi, size)}
        return [body for body, shape in zip(known, shapes, strict=True) if id(shape) in there]

    def _shape(self, body: Body, size: Size) -> Shape:
        """Of what our jobs wrote, a group is one object in parts; any other may be of many."""
        shape = from_body(body, size, self.labels)
        return shape if (is_tag(body), body.get("id", 0)) in self._known else replace(shape, group=0)

    def _cleaned(self, part: int, body: Body) -> bool:
        """Whether it is of those that ``clean`` names; never one that the job has made itself, or that a run of another
        job will look for when it goes on."""
        place = (is_tag(body), body.get("id", 0))
        if place in self.own or place in self._spoken[part]:
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
        """What comes; what goes waits from then on."""
        part = int(intent.part)
        if not intent.frames:
            self._cleaning.note(part)
            return Written()
        try:
            created = await self.writes.create(intent, since=since)
        except RemoteRefused as error:
            return await self._without_the_refused(intent, error)
        shapes = await asyncio.to_thread(self._as_shapes, intent, created)
        async with self.store.write() as connection:
            await shape_rows.add_shapes(
                connection, self.writing.task.id, self.label_rows, shapes, job_id=self.lease.job_id
            )
            outcomes = [FrameOutcome(frame) for frame in intent.frames]
            await ledger.record_outcomes(connection, self.lease, outcomes, len(created), self.writing.lease_s)
            if intent.body["remove"]:
                left = removal(intent.body["remove"], intent.body["sizes"])
                await intent_rows.change_intent(connection, intent.id, left)
            else:
                await intent_rows.complete_intent(connection, intent.id)
        if intent.body["remove"]:
            self._cleaning.note(part)
        for body in created:
            self.own.add((is_tag(body), body["id"]))
            self._looks.note_created(part, "tags" if is_tag(body) else "shapes", body["id"])
        return Written(len(intent.frames), 0, len(created))

    def _as_shapes(self, intent: Intent, created: Sequence[Body]) -> list[tuple[int, list[Shape]]]:
        """What came, by frame, as it is kept here."""
        by_frame: dict[int, list[Shape]] = defaultdict(list)
        for body in created:
            by_frame[body["frame"]].append(shape_at(intent, body, place_of(intent.part, body), self.labels))
        return list(by_frame.items())

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


def _only(intent: Intent, frames: Sequence[int]) -> NewIntent:
    """The part of an intent that concerns some frames."""
    meant, body = set(frames), intent.body
    create = {kind: [each for each in bodies if each["frame"] in meant] for kind, bodies in body["create"].items()}
    remove = [each for each in body["remove"] if each["frame"] in meant]
    return NewIntent(intent.part, tuple(frames), {**body, "create": create, "remove": remove})


def _nowhere(outcome: FrameOutcome) -> FrameOutcome:
    message = "No job of the CVAT task holds this frame."
    return FrameOutcome(outcome.frame, None, REFUSED, message)
