"""CVAT as a place where tasks live: finding them, their frames, the sink of their jobs, undoing."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.network import HttpPolicy
from bridge.domain import Intent, Job, NewFrame, Shape, StoredFrame, Task, Undone
from bridge.errors import Forbidden, InvalidRequest, NotFound, RemoteRefused
from bridge.job_spec import Clean, FrameSelection
from bridge.patience import Patience
from bridge.remotes import Access, Writing
from bridge.remotes.cvat.addresses import Address, parse_address
from bridge.remotes.cvat.cleaning import kept_at
from bridge.remotes.cvat.client import CvatClient
from bridge.remotes.cvat.description import (
    Data,
    Labels,
    RemoteJob,
    data_of,
    first_difference,
    jobs_of,
    labels_of,
    list_of,
)
from bridge.remotes.cvat.frames import CvatFrames
from bridge.remotes.cvat.shapes import Place, from_body
from bridge.remotes.cvat.sink import CvatSink
from bridge.remotes.cvat.standing import Standing
from bridge.remotes.cvat.tracking_sink import CvatTrackingSink
from bridge.remotes.cvat.undo import CvatUndo
from bridge.remotes.cvat.writes import Writes, half_done
from bridge.remotes.target_lease import TargetLease
from bridge.sinks.local import LocalSink
from bridge.sinks.sink import Sink
from bridge.sources.frame_source import FrameSource
from bridge.store import Store, leases, remote_shapes
from bridge.store import intents as intent_rows
from bridge.store import jobs as job_rows
from bridge.store import remote_tasks as remote_rows
from bridge.store import tasks as task_rows
from bridge.store.remote_shapes import KnownShape

KIND = "cvat"
OLDEST = (2, 0)  # whose REST API has these routes
UNDO_LEASE_S = 60.0


@dataclass(frozen=True, slots=True)
class Cvat:
    """See ``Remote``."""

    access: Access

    def reads(self, url: str) -> bool:
        return parse_address(url) is not None

    async def find_or_add(self, url: str) -> list[Task]:
        address = parse_address(url)
        assert address is not None
        async with self._client(address, Patience(10.0)) as client:
            await check_version(client)
            if address.task is not None:
                return [await self._find_or_add(client, address)]
            entries = await client.pages("/api/tasks", f"project {address.project}", project_id=address.project)
            numbers = sorted(entry["id"] for entry in entries if isinstance(entry.get("id"), int) and entry.get("size"))
            if not numbers:
                raise NotFound(f"Project {address.project} of CVAT holds no task with frames.")
            return [await self._find_or_add(client, address.of_task(number)) for number in numbers]

    @asynccontextmanager
    async def source(self, task: Task, patience: Patience) -> AsyncIterator[FrameSource]:
        address = address_of(task)
        async with self._client(address, patience) as client:
            _, data = await _data(client, address, self._most(task))
            yield CvatFrames(client, address.task or 0, data)

    @asynccontextmanager
    async def sink(self, writing: Writing, patience: Patience) -> AsyncIterator[Sink]:
        address, store = address_of(writing.task), self.access.store
        async with self._client(address, patience) as client:
            await self._check_frames(writing.task, (await _data(client, address, self._most(writing.task)))[1])
            labels = await self._labels(client, address, writing.task)
            wanted = {name for name in (await self._pairs(writing)) if name not in labels.by_name}
            if wanted:
                raise RemoteRefused(
                    404,
                    f"The task in CVAT no longer has the label {sorted(wanted)[0]!r}.",
                    hint="Start a new job, which matches the labels anew.",
                )
            task = await self._task(writing.task.id)
            jobs, job_id = await _jobs(client, address), writing.lease.job_id

            async def check(intent: Intent) -> None:
                async with store.write() as connection:
                    await leases.renew(connection, writing.lease, writing.lease_s)
                    await target.check(connection)
                    await intent_rows.note_sent(connection, intent.id)

            async with self._target(address, jobs, job_id, writing.lease_s) as target:
                sink = CvatSink(
                    store,
                    replace(writing, task=task),
                    client,
                    address.task or 0,
                    labels,
                    jobs,
                    Writes(client, patience, self.access.settle_s, lambda: self._places(address), check),
                    {label.name: label.id for label in task.labels},
                    lambda frames: self._known(address, frames),
                    lambda part, standing: self._half_done(address, job_id, part, standing),
                    target,
                    await self._places(address, job_id),
                )
                yield sink if writing.spec.track is None else CvatTrackingSink(sink, _holding(store, sink))

    async def refresh(self, task: Task, frames: FrameSelection) -> None:
        address = address_of(task)
        async with self._client(address, Patience(10.0)) as client:
            _, data = await _data(client, address, self._most(task))
            await self._check_frames(task, data)
            await self._labels(client, address, task)
            annotated = await _annotated(client, address, data) if frames.only == "unannotated" else set[int]()
        states = {frame.number: _state(frame, annotated) for frame in data.frames if frame.number is not None}
        async with self.access.store.write() as connection:
            await remote_rows.set_frame_states(connection, task.id, states)

    async def standing(self, task: Task, frames: Sequence[StoredFrame]) -> Mapping[int, Sequence[Shape]]:
        address = address_of(task)
        found = defaultdict[int, list[Shape]](list)
        async with self._client(address, Patience(10.0)) as client:
            labels = Labels(labels_of(await client.pages("/api/labels", f"task {address.task}", task_id=address.task)))
            for job in await _jobs(client, address):
                within = [frame for frame in frames if job.start <= frame.number <= job.stop]
                if not within:
                    continue
                there = Standing.of(await client.annotations(job.id), whole=True)
                for frame in within:
                    size = (frame.width, frame.height)
                    found[frame.number] += [from_body(body, size, labels) for body in there.on(frame.number, labels)]
        return found

    async def undo(self, task: Task, job: Job) -> Undone:
        address = address_of(task)
        patience = Patience()

        async def check(intent: Intent) -> None:
            async with self.access.store.write() as connection:
                await target.check(connection)
                await intent_rows.note_sent(connection, intent.id)

        async with self._client(address, patience) as client:
            labels = Labels(labels_of(await client.pages("/api/labels", f"task {address.task}", task_id=address.task)))
            writes = Writes(client, patience, self.access.settle_s, lambda: self._places(address), check)
            jobs = await _jobs(client, address)
            async with self._target(address, jobs, job.id, UNDO_LEASE_S) as target:
                await target.acquire_at_once()
                parts = {str(part.id): part for part in jobs}
                return await CvatUndo(self.access.store, job, client, labels, writes, parts).run()

    def _target(self, address: Address, jobs: Sequence[RemoteJob], job_id: int, lease_s: float) -> TargetLease:
        targets = [f"{KIND} {address.base}/jobs/{job.id}" for job in jobs]
        return TargetLease(self.access.store, targets, f"to task {address.task} of CVAT", job_id, lease_s)

    @asynccontextmanager
    async def _client(self, address: Address, patience: Patience) -> AsyncIterator[CvatClient]:
        """A host is asked only where there is an account for it: whoever stored that trusts the host."""
        secret = await self.access.secret(KIND, address.host)
        if secret is None:
            raise Forbidden(
                f"No account at the CVAT of {address.host} is known.",
                hint=f"Store one on the page Settings, or: hubbridge connection add cvat --host {address.host}",
                code="no_account",
            )
        policy = HttpPolicy(self.access.http.allowed_hosts | {address.host})
        client = CvatClient(address.base, secret, organization=address.organization, patience=patience, policy=policy)
        try:
            yield client
        finally:
            await client.close()

    async def _check_frames(self, task: Task, data: Data) -> None:
        """Raises RemoteRefused where the frames are no longer those with which the task was added here."""
        async with self.access.store.read() as connection:
            rows = await task_rows.list_frames(connection, task.id)
        other = await asyncio.to_thread(first_difference, rows, data.frames)
        if other is not None:
            raise RemoteRefused(
                422,
                f"The task in CVAT holds other frames than when it was added here: {other}.",
                hint=f"Was it made anew? Remove it here (its annotations in CVAT stay), and start again: "
                f"hubbridge task remove {task.id}",
            )

    def _most(self, task: Task) -> int:
        """Frames that a task which is known may have: it stays, whatever the setting says by now."""
        return max(self.access.max_task_frames, task.frame_count)

    async def _find_or_add(self, client: CvatClient, address: Address) -> Task:
        known = await self._find(str(address))
        if known is not None:
            return known
        entry, data = await _data(client, address, self.access.max_task_frames)
        labels = labels_of(await client.pages("/api/labels", f"task {address.task}", task_id=address.task))
        if not labels:
            raise InvalidRequest(f"Task {address.task} of CVAT has no labels.", hint="Add labels to it in CVAT.")
        async with self.access.store.write() as connection:
            return await remote_rows.add_remote_task(
                connection,
                _name(entry, address),
                [label.label for label in labels],
                data.frames,
                kind=KIND,
                reference=str(address),
            )

    async def _find(self, reference: str) -> Task | None:
        async with self.access.store.read() as connection:
            return await remote_rows.find_remote_task(connection, KIND, reference)

    async def _task(self, task_id: int) -> Task:
        async with self.access.store.read() as connection:
            return await task_rows.get_task(connection, task_id)

    async def _labels(self, client: CvatClient, address: Address, task: Task) -> Labels:
        """As they are in CVAT now; ours follow."""
        labels = Labels(labels_of(await client.pages("/api/labels", f"task {address.task}", task_id=address.task)))
        async with self.access.store.write() as connection:
            await remote_rows.set_labels(connection, task.id, [label.label for label in labels.all])
        return labels

    async def _pairs(self, writing: Writing) -> set[str]:
        """The task labels that the job's model labels are mapped to."""
        async with self.access.store.read() as connection:
            job = await job_rows.get_job(connection, writing.lease.job_id)
        return set(job.resolved["pairs"].values())

    async def _known(
        self, address: Address, frames: Sequence[int] | None = None, job_id: int | None = None
    ) -> dict[Place, list[KnownShape]]:
        """What our jobs have written to this task of CVAT, whichever rows of ours it is known by: of a track one for
        each keyframe."""
        async with self.access.store.read() as connection:
            same = await _rows_of(connection, address)
            standing = await remote_shapes.standing(connection, same, job_id=job_id, frames=frames)
        found = defaultdict[Place, list[KnownShape]](list)
        for known in standing:
            found[kept_at(known.place)].append(known)
        return dict(found)

    async def _half_done(self, address: Address, job_id: int, part: int, standing: Standing) -> set[Place]:
        """What stands in a CVAT job and is another job's to go on with: its run was broken off while it wrote."""
        async with self.access.store.read() as connection:
            same = await _rows_of(connection, address)
            left = await intent_rows.of_other_jobs(connection, job_id, same, str(part))
        if not left:
            return set()
        return await asyncio.to_thread(half_done, left, standing.all, await self._places(address))

    async def _places(self, address: Address, job_id: int | None = None) -> set[Place]:
        return set(await self._known(address, job_id=job_id))


def _holding(store: Store, sink: CvatSink) -> LocalSink:
    """Keeps what is found; what goes is CVAT's."""
    task, spec = sink.writing.task, sink.writing.spec
    return LocalSink(store, sink.lease, task.id, spec.model_id, sink.label_rows, Clean.NONE, sink.writing.lease_s)


async def _rows_of(connection: AsyncConnection, address: Address) -> list[int]:
    """Our tasks that are this task of CVAT, or one of its jobs."""
    references = await remote_shapes.tasks_of(connection, KIND)
    return [task_id for task_id, reference in references.items() if _same_task(reference, address)]


def address_of(task: Task) -> Address:
    address = parse_address(task.remote_ref or "")
    assert address is not None, "a remote task holds an address"
    return address


async def check_version(client: CvatClient) -> str:
    """The version of CVAT. Raises RemoteRefused where it is too old, or no CVAT at all."""
    try:
        version = await client.version()
    except RemoteRefused:
        version = ""
    numbers = [int(part) for part in version.split(".")[:2] if part.isdecimal()]
    if not numbers:
        raise RemoteRefused(
            422,
            "The address does not answer as a CVAT does: it does not say its version.",
            hint="Open it in a browser: the address is that of the page, such as https://cvat.example/tasks/42.",
        )
    if tuple(numbers) < OLDEST:
        raise RemoteRefused(
            422, f"This is CVAT {version}; versions from 2.0 on are understood.", hint="Upgrade CVAT; 2.15 was checked."
        )
    return version


async def _data(client: CvatClient, address: Address, most: int) -> tuple[dict[str, Any], Data]:
    subject = f"task {address.task}"
    entry = await client.get(f"/api/tasks/{address.task}", subject)
    if not isinstance(entry, dict) or not entry.get("size"):
        raise RemoteRefused(
            422, f"Task {address.task} of CVAT has no frames yet.", hint="Wait until its data is there."
        )
    within = None
    if address.job is not None:
        within = (await _jobs(client, address))[0]
    meta = await client.get(f"/api/tasks/{address.task}/data/meta", subject)
    return entry, data_of(entry, meta if isinstance(meta, dict) else {}, within, most)


async def _jobs(client: CvatClient, address: Address) -> list[RemoteJob]:
    """The jobs that may be written to: those of the task, or the one of the address. Raises NotFound."""
    jobs = jobs_of(await client.pages("/api/jobs", f"task {address.task}", task_id=address.task))
    meant = [job for job in jobs if address.job in (None, job.id)]
    if not meant:
        raise NotFound(
            f"Task {address.task} of CVAT has no annotation job{f' {address.job}' if address.job else ''}.",
            hint="Jobs of ground truth are not written to.",
        )
    return meant


async def _annotated(client: CvatClient, address: Address, data: Data) -> set[int]:
    """Numbers of the frames that hold annotations; of a track all frames from its first to where it ends."""
    found: set[int] = set()
    for job in await _jobs(client, address):
        answer = await client.annotations(job.id)
        found |= {_frame_of(body) for kind in ("tags", "shapes") for body in answer[kind]}
        for track in answer["tracks"]:
            keyed = [shape for shape in list_of(track.get("shapes")) if isinstance(shape, dict)]
            placed = sorted(keyed, key=_frame_of)
            for shape, following in zip(placed, [*placed[1:], None], strict=True):
                last = job.stop if following is None else _frame_of(following) - 1
                frames = range(max(0, _frame_of(shape)), min(last + 1, data.size))
                found |= set() if shape.get("outside") else set(frames)
    return found


def _frame_of(body: dict[str, Any]) -> int:
    frame = body.get("frame")
    return frame if isinstance(frame, int) else -1


def _state(frame: NewFrame, annotated: set[int]) -> str | None:
    return frame.remote_state or ("annotated" if frame.number in annotated else None)


def _same_task(reference: str, address: Address) -> bool:
    other = parse_address(reference)
    return other is not None and (other.base, other.task) == (address.base, address.task)


def _name(entry: dict[str, Any], address: Address) -> str:
    name = "".join(letter for letter in str(entry.get("name") or "") if letter.isprintable()).strip()[:150]
    what = f"CVAT {address.task}" + (f" job {address.job}" if address.job is not None else "")
    return f"{name} ({what})" if name else what
