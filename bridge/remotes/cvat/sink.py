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

from bridge.domain import FrameState, Intent, Shape
from bridge.errors import RemoteRefused
from bridge.job_spec import Clean
from bridge.keeping import beside, people_made
from bridge.remotes import Writing
from bridge.remotes.cvat.cleaning import Cleaning, place_of, removal, shape_at
from bridge.remotes.cvat.client import CvatClient
from bridge.remotes.cvat.description import Labels, RemoteJob, labels_of
from bridge.remotes.cvat.replaced import Replaced
from bridge.remotes.cvat.shapes import Body, Place, Size, by_kind, from_body, place_at, to_body
from bridge.remotes.cvat.standing import Looks, Standing
from bridge.remotes.cvat.writes import Writes
from bridge.remotes.target_lease import TargetLease
from bridge.sinks.sink import FinishedFrame, Written
from bridge.store import Store, leases, ledger, selection
from bridge.store import intents as intent_rows
from bridge.store import shapes as shape_rows
from bridge.store.intents import NewIntent
from bridge.store.leases import Lease
from bridge.store.ledger import FrameOutcome
from bridge.store.remote_shapes import KnownShape

REFUSED = "remote_refused"
_PAGE = 256  # frames looked through at once


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
    known: Callable[[Sequence[int]], Awaitable[Mapping[Place, Sequence[KnownShape]]]]
    spoken: Callable[[int, Standing], Awaitable[set[Place]]]
    target: TargetLease
    own: set[Place]
    old: Replaced = field(init=False)
    looks: Looks = field(init=False)
    _cleaning: Cleaning = field(init=False)
    _looked: dict[int, float] = field(default_factory=dict)  # CVAT job -> when, for what people made

    def __post_init__(self) -> None:
        spec = self.writing.spec
        self.looks = Looks(self.client, spec.clean is not Clean.NONE or spec.keep_manual_iou is not None)
        self.old = Replaced(spec, self.lease.job_id, self.labels, self.own)
        self._cleaning = Cleaning(
            self.store, self.writing, self.writes, self.labels, self.label_rows, self.looks, self.known
        )

    @property
    def lease(self) -> Lease:
        return self.writing.lease

    async def write(self, finished: Sequence[FinishedFrame]) -> Written:
        await self.target.acquire(self.writes.patience)
        self.old.known = await self.known([frame.outcome.frame for frame in finished])
        parts: dict[int, list[FinishedFrame]] = defaultdict(list)
        ended: list[FrameOutcome] = []
        for frame in finished:
            part = self.part_of(frame.outcome.frame)
            if frame.outcome.error_code is not None:
                ended.append(frame.outcome)
            elif part is None:
                ended.append(_nowhere(frame.outcome))
            else:
                parts[part].append(frame)
        planned = []
        for part, frames in parts.items():
            standing = await self.look(part)
            planned.append(await asyncio.to_thread(self._plan, part, frames, standing))
        if self.writing.spec.clean is not Clean.NONE:
            sizes = [(frame.outcome.frame, frame.size) for frames in parts.values() for frame in frames]
            planned += await self._removals(sizes, everywhere=False)
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
        if self.writing.spec.clean is not Clean.NONE:
            await self._replace_tracks()
        await self._cleaning.carry_out(due=False)
        await self.writes.remove_twins()

    async def finish(self) -> None:
        """See ``Sink``: there is nothing left to do."""

    async def kept(self, finished: Sequence[FinishedFrame]) -> list[FinishedFrame]:
        """The frames with those of their shapes that can come: on the frame, and beside what people made."""
        beside_people = self.writing.spec.keep_manual_iou is not None
        self.old.known = await self.known([frame.outcome.frame for frame in finished]) if beside_people else {}
        found = []
        for frame in finished:
            part = self.part_of(frame.outcome.frame)
            if part is None and frame.outcome.error_code is None:
                frame = FinishedFrame(_nowhere(frame.outcome))  # noqa: PLW2901
            elif part is not None and frame.shapes:
                shapes: Sequence[Shape] = frame.shapes
                if beside_people:
                    shapes = await asyncio.to_thread(self._beside_people, part, frame, await self.look(part))
                frame = replace(frame, shapes=await asyncio.to_thread(self._on_frame, shapes, frame))  # noqa: PLW2901
            found.append(frame)
        return found

    def _on_frame(self, shapes: Sequence[Shape], frame: FinishedFrame) -> list[Shape]:
        number, size, labels = frame.outcome.frame, frame.size, self.labels.by_name
        return [shape for shape in shapes if to_body(shape, number, size, labels[shape.label], 0) is not None]

    async def replace_all(self) -> None:
        """What the job replaces on all frames that are done: of one whose new annotations come all at once."""
        if self.writing.spec.clean is Clean.NONE:
            return
        after = -1
        while True:
            async with self.store.read() as connection:
                page = await ledger.frames_of(connection, self.lease.job_id, after, _PAGE)
                done = await ledger.done_frames(connection, self.lease.job_id, [frame.number for frame in page])
            if not page:
                return
            after = page[-1].number
            self.old.known = await self.known(sorted(done))
            sizes = [(frame.number, (frame.width, frame.height)) for frame in page if frame.number in done]
            await self._put_off(await self._removals(sizes, everywhere=True))

    def note_own(self, part: int, body: Body) -> None:
        """The job has written this there."""
        self.own.add(place_at(body))
        self.looks.note_created(part, body)

    def part_of(self, frame: int) -> int | None:
        """The CVAT job that a frame is written to: of several (an overlap) the first, so that it is written once."""
        return next((job.id for job in self.jobs if job.start <= frame <= job.stop), None)

    async def look(self, part: int) -> Standing:
        """What stands there, as it was not long ago where what people make meanwhile counts."""
        since = self._looked.get(part)
        if since is None:
            standing = await self.looks.last(part)
            self.old.spoken[part] = await self.spoken(part, standing)
        elif self.writing.spec.keep_manual_iou is not None and self.looks.is_due(part, since):
            standing = await self.looks.again(part)
        else:
            return await self.looks.last(part)
        self._looked[part] = time.monotonic()
        return standing

    def _plan(self, part: int, frames: Sequence[FinishedFrame], standing: Standing) -> NewIntent:
        """What comes and what goes; its ``frames`` are those on which anything does. Runs in a thread."""
        create: list[Body] = []
        remove: list[Body] = []
        touched, sizes = [], {}
        for frame in frames:
            number = frame.outcome.frame
            there = standing.by_frame.get(number, ())
            bodies = self._bodies(part, frame, standing)
            goes = self.old.on_frame(part, there, frame.size)
            if not bodies and not goes:
                continue
            touched.append(number)
            sizes[str(number)] = frame.size
            remove += goes
            create += bodies
        body = {"create": by_kind(create), "remove": remove, "after": dict(standing.after), "sizes": sizes}
        return NewIntent(str(part), tuple(touched), body)

    async def _removals(self, frames: Sequence[tuple[int, Size]], *, everywhere: bool) -> list[NewIntent]:
        """What goes from frames of these sizes: from the other CVAT jobs that share a frame (CVAT keeps the annotations
        of an overlap once for each), or from ``everywhere``."""
        by_part: dict[int, list[tuple[int, Size]]] = defaultdict(list)
        for number, size in frames:
            for job in self.jobs:
                if job.start <= number <= job.stop and (everywhere or job.id != self.part_of(number)):
                    by_part[job.id].append((number, size))
        intents = []
        for part, sizes in by_part.items():
            standing = await self.look(part)
            remove = [
                body
                for number, size in sizes
                for body in self.old.on_frame(part, standing.by_frame.get(number, ()), size)
            ]
            intents.append(NewIntent(str(part), (), removal(remove, {str(number): size for number, size in sizes})))
        return intents

    async def _replace_tracks(self) -> None:
        """What goes of tracks: whole ones, on all of whose frames new annotations are in.

        Of a track that our jobs wrote these are its keyframes, of any other one all frames that it is on.
        """
        await self.target.acquire(self.writes.patience)
        planned = []
        for job in self.jobs:
            async with self.store.read() as connection:
                done = await ledger.list_rows(
                    connection, self.lease.job_id, state=FrameState.DONE, after=job.start - 1, most=1
                )
            if done and done[0].frame <= job.stop:
                planned.append(await self._going_tracks(job, await self.look(job.id)))
        await self._put_off(planned)

    async def _going_tracks(self, job: RemoteJob, standing: Standing) -> NewIntent:
        keyframes = sorted({number for track in standing.tracks for number in track.keyframes})
        self.old.known = await self.known(keyframes)
        meant = self.old.tracks(job, standing.tracks)
        async with self.store.read() as connection:
            done = await ledger.done_frames(connection, self.lease.job_id, range(job.start, job.stop + 1))
            sizes = await selection.sizes_of(connection, self.writing.task.id, keyframes)
        goes = [
            track
            for track, spans in meant
            if all(number in done for span in spans for number in span) and self.old.lies_in_region(track, sizes)
        ]
        first = {str(track.body["frame"]): sizes[track.keyframes[0]] for track in goes}
        return NewIntent(str(job.id), (), removal([track.body for track in goes], first))

    async def _put_off(self, removals: Sequence[NewIntent]) -> None:
        """They wait from now on: see ``cleaning.py``."""
        removals = [intent for intent in removals if intent.body["remove"]]
        async with self.store.write(durable=True) as connection:
            await leases.renew(connection, self.lease, self.writing.lease_s)
            await intent_rows.put_intents(connection, self.lease.job_id, removals)
        for intent in removals:
            self._cleaning.note(int(intent.part))

    def _bodies(self, part: int, frame: FinishedFrame, standing: Standing) -> list[Body]:
        shapes = self._beside_people(part, frame, standing)
        found = numbered_bodies(shapes, frame.outcome.frame, frame.size, self.labels, standing)
        return [body for _, body in found]

    def _beside_people(self, part: int, frame: FinishedFrame, standing: Standing) -> Sequence[Shape]:
        """The frame's shapes without those that would lie on what people made and what stays."""
        iou = self.writing.spec.keep_manual_iou
        if iou is None:
            return frame.shapes
        known = standing.on(frame.outcome.frame, self.labels)
        goes = {id(body) for body in self.old.on_frame(part, known, frame.size)}
        stay = [body for body in known if id(body) not in goes]
        people = people_made([from_body(body, frame.size, self.labels) for body in stay])
        return beside(frame.shapes, people, iou, frame.size)

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
            self.note_own(part, body)
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


def numbered_bodies(
    shapes: Sequence[Shape], frame: int, size: Size, labels: Labels, standing: Standing
) -> list[tuple[Shape, Body]]:
    """Those of a frame's shapes of which something lies on it, as they are created; groups are numbered on."""
    groups: dict[int, int] = {}
    found = []
    for shape in shapes:
        if shape.group and shape.group not in groups:
            standing.group += 1
            groups[shape.group] = standing.group
        body = to_body(shape, frame, size, labels.by_name[shape.label], groups.get(shape.group, 0))
        if body is not None:
            found.append((shape, body))
    return found


def _only(intent: Intent, frames: Sequence[int]) -> NewIntent:
    """The part of an intent that concerns some frames."""
    meant, body = set(frames), intent.body
    create = {kind: [each for each in bodies if each["frame"] in meant] for kind, bodies in body["create"].items()}
    remove = [each for each in body["remove"] if each["frame"] in meant]
    return NewIntent(intent.part, tuple(frames), {**body, "create": create, "remove": remove})


def _nowhere(outcome: FrameOutcome) -> FrameOutcome:
    message = "No job of the CVAT task holds this frame."
    return FrameOutcome(outcome.frame, None, REFUSED, message)
