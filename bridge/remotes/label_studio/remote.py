"""Label Studio as a place where tasks live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from adapters.errors import AccessDenied, BadOutput, ModelNotFound
from adapters.network import HttpPolicy
from bridge.domain import Job, Shape, StoredFrame, Task, Undone
from bridge.errors import Conflict, too_many_frames, translated
from bridge.job_spec import FrameSelection
from bridge.label_studio.config import LabelConfig, read_config
from bridge.label_studio.labels import task_labels
from bridge.label_studio.version import version_of
from bridge.mapping import some
from bridge.patience import Patience
from bridge.remotes import Access, Writing
from bridge.remotes.label_studio.address import ProjectAddress, is_project, parse_project
from bridge.remotes.label_studio.client import Json, LabelStudio, Project, regions_of
from bridge.remotes.label_studio.frames import ProjectFrames, frames_of
from bridge.remotes.label_studio.images import Images
from bridge.remotes.label_studio.sink import AT_ONCE, Naming, PredictionSink, remove_predictions
from bridge.remotes.target_lease import TargetLease
from bridge.sinks.sink import Sink
from bridge.sources.frame_source import FrameSource
from bridge.store import jobs as job_rows
from bridge.store import label_studio as rows
from bridge.store import models as model_rows
from bridge.store import tasks as task_rows
from bridge.store import undoing

log = structlog.get_logger(__name__)

PAGE = 100  # tasks in one answer
READINGS = 3  # of a project whose tasks change while they are read
UNDO_LEASE_S = 60.0


@dataclass(frozen=True, slots=True)
class LabelStudioRemote:
    """A ``Remote``; tasks are projects, by their addresses."""

    access: Access

    def reads(self, url: str) -> bool:
        return is_project(url)

    async def find_or_add(self, url: str) -> list[Task]:
        return [await self.open_project(parse_project(url))]

    @asynccontextmanager
    async def studio(self, address: ProjectAddress, task_id: int | None = None) -> AsyncIterator[LabelStudio]:
        """A client of the server, with the key that is known for it. Raises AccessDenied where it may not be asked."""
        policy = await self._policy(address)
        try:
            studio = LabelStudio(address.base, await self._key(address, policy, task_id), policy)
        except AccessDenied as error:
            raise AccessDenied(f"Label Studio is not asked: {error.message}", hint=_trusting(address)) from error
        try:
            yield studio
        finally:
            await studio.close()

    async def _policy(self, address: ProjectAddress) -> HttpPolicy:
        """Whoever stored an account for exactly this host trusts it; so does who named it in the settings."""
        async with self.access.store.read() as connection:
            accounts = await model_rows.list_connections(connection)
        named = any((account.kind, account.host) == (rows.KIND, address.host) for account in accounts)
        return HttpPolicy(self.access.http.allowed_hosts | {address.host}) if named else self.access.http

    async def _key(self, address: ProjectAddress, policy: HttpPolicy, task_id: int | None) -> str | None:
        """Stored or from the environment, else what Label Studio itself told its backend; only for a trusted host."""
        if not policy.trusts(address.base):
            return None
        key = await self.access.secret("label-studio", address.host)
        if key is not None or task_id is None:
            return key
        async with self.access.store.read() as connection:
            known = await rows.find_project(connection, task_id=task_id)
        return None if known is None or known.token is None else self.access.decrypt(known.token)

    async def open_project(self, address: ProjectAddress) -> Task:
        """The local row of a project, with its labels and frames as they are now. Raises BridgeError."""
        with translated():
            async with self.studio(address) as studio:
                project = await self._project(studio, address)
                config = await self._config(project)
                async with self.access.store.write() as connection:
                    name = f"Label Studio {project.title or address.project} ({address.text})"[:200]
                    task = await rows.put_task(connection, address.text, name, task_labels(config))
                await self._read_tasks(studio, address, config, task)
        async with self.access.store.read() as connection:
            return await task_rows.get_task(connection, task.id)

    async def refresh(self, task: Task, frames: FrameSelection | None = None) -> None:
        """See ``Remote``. All of the project is read, whatever is selected."""
        await self.open_project(address_of(task))

    @staticmethod
    async def _project(studio: LabelStudio, address: ProjectAddress) -> Project:
        if studio.key_kind == "none":
            raise AccessDenied(
                f"No key is known for Label Studio at {address.base}.",
                hint=_trusting(address),
            )
        return await studio.project(address.project)

    @staticmethod
    async def _config(project: Project) -> LabelConfig:
        config = await asyncio.to_thread(read_config, project.label_config)
        config.check()
        return config

    async def _read_tasks(self, studio: LabelStudio, address: ProjectAddress, config: LabelConfig, task: Task) -> None:
        """Page by page, so that no more than a page is in memory. Where tasks go meanwhile, those behind them move up
        and between two pages, so then all is read once more."""
        for _ in range(READINGS):
            seen, same = await self._read_pages(studio, address, config, task)
            if same:
                break
        async with self.access.store.write() as connection:
            await rows.mark_deleted(connection, task.id, seen)

    async def _read_pages(
        self, studio: LabelStudio, address: ProjectAddress, config: LabelConfig, task: Task
    ) -> tuple[set[int], bool]:
        """(numbers of the frames, whether as many tasks were there all the time).

        Raises BadOutput where pages never end, TooLarge where there are more frames than a task may have.
        """
        seen: set[int] = set()
        ids: set[int] = set()
        page, total, totals = 1, 1, set[int]()
        while (page - 1) * PAGE < total:
            try:
                found, total = await studio.tasks(address.project, page, PAGE)
            except ModelNotFound:
                if page == 1:
                    raise
                return seen, False  # so many tasks have gone that there is no such page any more
            totals.add(total)
            if not found:
                break
            known = len(ids)
            ids.update(number for each in found if isinstance(number := each.get("id"), int))
            if len(ids) == known:
                raise BadOutput(f"Page {page} of {address.text} holds no task that was not on an earlier page.")
            frames = [frame for each in found for frame in frames_of(each, config)]
            seen |= {frame.number for frame in frames if frame.number is not None}
            if len(seen) > self.access.max_task_frames:
                raise too_many_frames("The project", len(seen), self.access.max_task_frames)
            async with self.access.store.write() as connection:
                await rows.put_frames(connection, task.id, frames)
            page += 1
        return seen, len(totals) <= 1

    @asynccontextmanager
    async def source(self, task: Task, patience: Patience) -> AsyncIterator[FrameSource]:
        """See ``Remote``. Where the server may not be asked, images at other addresses still can be fetched."""
        address = address_of(task)
        policy = await self._policy(address)
        try:
            studio = LabelStudio(address.base, await self._key(address, policy, task.id), policy)
        except AccessDenied:
            studio = None
        images = Images(studio, policy, self.access.max_image_bytes)
        try:
            yield ProjectFrames(images, patience, self.access.downloads)
        finally:
            await images.close()
            if studio is not None:
                await studio.close()

    @asynccontextmanager
    async def sink(self, writing: Writing, patience: Patience) -> AsyncIterator[Sink]:
        """See ``Remote``."""
        address = address_of(writing.task)
        async with self.studio(address, writing.task.id) as studio:
            project = await patience.ask("Label Studio", lambda: self._project(studio, address))
            config = await self._config(project)
            async with self.access.store.read() as connection:
                job = await job_rows.get_job(connection, writing.lease.job_id)
            _refuse_without_labels(job, config)
            naming = await self._naming(job, config)
            async with self.access.store.write() as connection:
                await job_rows.note(connection, writing.lease, model_version=naming.version)
            async with self._target(address, job.id, writing.lease_s) as target:
                yield PredictionSink(
                    self.access.store,
                    studio,
                    address.project,
                    config,
                    naming,
                    writing,
                    {label.name: label.id for label in writing.task.labels},
                    patience,
                    self.access.settle_s,
                    target,
                )

    def _target(self, address: ProjectAddress, job_id: int, lease_s: float) -> TargetLease:
        what = f"to project {address.project} of Label Studio"
        return TargetLease(self.access.store, [f"label-studio {address.text}"], what, job_id, lease_s)

    async def _naming(self, job: Job, config: LabelConfig) -> Naming:
        """As it was when the job first ran: its predictions are found by it, whatever the project says by now."""
        version = job.resolved.get("model_version")
        if version is None:
            async with self.access.store.read() as connection:
                model = await model_rows.get_model(connection, job.spec.model_id)
            name = str(job.resolved.get("profile") or model.name)
            version = version_of(name, model, job.resolved["threshold"], job.resolved["pairs"], config, job.spec)
        return Naming(version, job.id)

    async def standing(self, task: Task, frames: Sequence[StoredFrame]) -> Mapping[int, Sequence[Shape]]:
        return {}  # predictions stand beside what people drew

    async def undo(self, task: Task, job: Job) -> Undone:
        """See ``Remote``: first there, then here; both can be done again."""
        address, patience = address_of(task), Patience(30.0)
        with translated():
            async with self.studio(address, task.id) as studio:
                project = await self._project(studio, address)
                naming = await self._naming(job, await self._config(project))
                async with self._target(address, job.id, UNDO_LEASE_S) as target:
                    await target.acquire_at_once()
                    await self._take_away(studio, address.project, task, job, naming, patience)
                    await self._bring_back(studio, address.project, job, patience)
        async with self.access.store.write() as connection:
            return Undone(*await undoing.undo_shapes(connection, job.id))

    @staticmethod
    async def _held(
        studio: LabelStudio, project: int, tasks: Sequence[int], patience: Patience
    ) -> dict[int, list[Json]]:
        return await patience.ask("Label Studio", lambda: studio.predictions(project, tasks))

    async def _take_away(
        self, studio: LabelStudio, project: int, task: Task, job: Job, naming: Naming, patience: Patience
    ) -> None:
        after = -1
        while True:
            async with self.access.store.read() as connection:
                tasks, after = await rows.written_tasks(connection, job.id, task.id, after, AT_ONCE)
            if not tasks:
                return
            held = await self._held(studio, project, tasks, patience)
            mine = [each["id"] for task_id, found in held.items() for each in found if naming.made(each, task_id)]
            await remove_predictions(studio, mine, patience)

    async def _bring_back(self, studio: LabelStudio, project: int, job: Job, patience: Patience) -> None:
        """What the job replaced. One that came back already is not sent again."""
        while True:
            async with self.access.store.read() as connection:
                some = await rows.replaced_by(connection, job.id, 0, AT_ONCE)
            if not some:
                return
            tasks = sorted({int(body["task"]) for _, body in some})
            held = await self._held(studio, project, tasks, patience)
            missing = [body for _, body in some if body["task"] in held and not _is_there(body, held[body["task"]])]
            if missing:
                await studio.import_predictions(project, missing)
            async with self.access.store.write() as connection:
                await rows.forget_replaced(connection, [row_id for row_id, _ in some])


def _trusting(address: ProjectAddress) -> str:
    """How a Label Studio becomes known. A job that a running `serve` takes has the environment of that."""
    return (
        f"Set LABEL_STUDIO_URL={address.base} and LABEL_STUDIO_API_KEY to an access token of it, for a server "
        f"that runs the job, too; or store the token: hubbridge connection add label-studio --host {address.host}"
    )


def _refuse_without_labels(job: Job, config: LabelConfig) -> None:
    """Raise Conflict where the project has lost a label that the job writes: its shapes would be left out unseen."""
    lost = sorted(set(job.resolved["pairs"].values()) - {label.name for label in task_labels(config)})
    if lost:
        raise Conflict(
            f"The project's label config has changed since the job was made: it has no {some(lost)} any more.",
            hint="Start a new job, which takes the labels as they are now.",
        )


def address_of(task: Task) -> ProjectAddress:
    """Of a task that is a project."""
    return parse_project(task.remote_ref or "")


def _is_there(body: Json, held: Sequence[Json]) -> bool:
    """Whether a task holds this prediction: the same version and regions of the same ids."""
    ids = [region.get("id") for region in regions_of(body)]
    return any(
        each.get("model_version") == body.get("model_version")
        and [region.get("id") for region in regions_of(each)] == ids
        for each in held
    )
