"""Tasks that live in another tool: which file speaks to which tool, and the one place where local and remote part.

A task whose ``remote_kind`` is None has its frames and shapes here.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, cast
from urllib.parse import urlsplit

from adapters.network import HttpPolicy
from bridge.domain import Job, Shape, StoredFrame, Task, Undone
from bridge.errors import InvalidRequest, translated
from bridge.job_spec import FrameSelection, JobSpec
from bridge.patience import Patience
from bridge.secrets import SecretsError
from bridge.sinks.holding import HoldingSink
from bridge.sinks.local import LocalSink
from bridge.sinks.sink import Sink
from bridge.sources.frame_source import FrameSource
from bridge.sources.local_frames import LocalFrames
from bridge.store import Store
from bridge.store.leases import Lease

Secrets = Callable[[str, str], Awaitable[str | None]]


async def _no_secret(kind: str, host: str) -> str | None:
    return None


def _no_key(token: bytes) -> str:
    raise SecretsError("No key is known for stored secrets.")


@dataclass(frozen=True, slots=True)
class Writing:
    """What a sink writes for: one run of a job on a task."""

    lease: Lease
    task: Task
    spec: JobSpec
    lease_s: float


@dataclass(frozen=True, slots=True)
class Access:
    """What a remote needs to reach its tool.

    secret            (kind of connection, host) -> the secret that is known for it, or None
    settle_s          how long a request that broke off may still be at work there
    decrypt           what the database holds of a secret -> the secret
    max_image_bytes   larger images are refused
    downloads         images that are fetched at the same time
    max_task_frames   tasks with more frames are refused; each becomes a row of ours
    hosts             kind -> ``host`` or ``host:port`` of the one that the operator named
    """

    store: Store
    secret: Secrets = _no_secret
    http: HttpPolicy = field(default_factory=HttpPolicy)
    settle_s: float = 30.0
    decrypt: Callable[[bytes], str] = _no_key
    max_image_bytes: int = 200 * 2**20
    downloads: int = 16
    max_task_frames: int = 1_000_000
    hosts: Mapping[str, str] = field(default_factory=dict)


class Remote(Protocol):
    """One kind of tool. Every method raises BridgeError or PredictorError where the tool cannot be asked."""

    def source(self, task: Task, patience: Patience) -> AbstractAsyncContextManager[FrameSource]: ...

    def sink(self, writing: Writing, patience: Patience) -> AbstractAsyncContextManager[Sink]: ...

    def reads(self, url: str) -> bool:
        """Whether this is an address of this kind of tool."""
        ...

    async def find_or_add(self, url: str) -> list[Task]:
        """The task of an address, or all tasks of a project's: known ones, and new rows of ours for the others."""
        ...

    async def refresh(self, task: Task, frames: FrameSelection) -> None:
        """Before a job is made: take over what changed there, such as labels, and frames that were deleted or (where
        ``frames`` asks for those without annotations) annotated since."""
        ...

    async def standing(self, task: Task, frames: Sequence[StoredFrame]) -> Mapping[int, Sequence[Shape]]:
        """By frame number, the shapes there that a job's ``keep_manual_iou`` has to do with."""
        ...

    async def undo(self, task: Task, job: Job) -> Undone:
        """Bring back what a job replaced and take away what it wrote, there and here; may be called again after a
        crash. The caller has checked that the job may be undone, and marks it afterwards."""
        ...


# Kind -> (module, class); the class takes an ``Access``. Imported when it is first used.
REMOTES: dict[str, tuple[str, str]] = {
    "cvat": ("bridge.remotes.cvat.remote", "Cvat"),
    "label-studio": ("bridge.remotes.label_studio.remote", "LabelStudioRemote"),
}


@dataclass(frozen=True, slots=True)
class Remotes:
    """Gives out a task's frames and the sink of its jobs, wherever the task lives."""

    access: Access

    def of(self, kind: str) -> Remote:
        module, name = REMOTES[kind]
        return cast(Remote, getattr(importlib.import_module(module), name)(self.access))

    async def reading(self, url: str) -> Remote | None:
        """The remote whose address this is; None where it is none's. Projects of CVAT and of Label Studio look alike:
        then it is that one whose host the operator named, or at whose host we have an account."""
        found = [(kind, remote) for kind in REMOTES if (remote := self.of(kind)).reads(url)]
        if not found:
            return None
        host = urlsplit(url.strip()).netloc.rpartition("@")[2].lower()
        for kind, remote in found[1:]:
            if host == self.access.hosts.get(kind) or await self.access.secret(kind, host) is not None:
                return remote
        return found[0][1]

    async def find_or_add(self, url: str) -> list[Task]:
        """The tasks of an address: see ``Remote``. Raises InvalidRequest where it is nobody's."""
        remote = await self.reading_or_refused(url)
        with translated():
            return await remote.find_or_add(url)

    async def reading_or_refused(self, url: str) -> Remote:
        """As ``reading``. Raises InvalidRequest where the address is nobody's."""
        remote = await self.reading(url)
        if remote is None:
            raise InvalidRequest(
                f"{url[:200]!r} is no address of a task.",
                hint="For example: https://cvat.example/tasks/42, or a project's: https://cvat.example/projects/7",
            )
        return remote

    def remote(self, task: Task) -> Remote | None:
        return None if task.remote_kind is None else self.of(task.remote_kind)

    @asynccontextmanager
    async def source(self, task: Task, patience: Patience | None = None) -> AsyncIterator[FrameSource]:
        """``patience``: of a job; somebody who waits for one frame has little."""
        remote = self.remote(task)
        if remote is None:
            yield LocalFrames()
            return
        with translated():
            async with remote.source(task, patience or Patience(10.0)) as source:
                yield source

    @asynccontextmanager
    async def sink(self, writing: Writing, patience: Patience) -> AsyncIterator[Sink]:
        remote = self.remote(writing.task)
        if remote is None or writing.spec.hold:
            local = LocalSink(
                self.access.store,
                writing.lease,
                writing.task.id,
                writing.spec.model_id,
                {label.name: label.id for label in writing.task.labels},
                writing.spec.clean,
                writing.lease_s,
                writing.spec.keep_manual_iou,
                writing.spec.roi,
            )
            yield local if remote is None else HoldingSink(local)
            return
        with translated():
            async with remote.sink(writing, patience) as sink:
                yield sink
