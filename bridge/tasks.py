"""Tasks as people use them: creating, filling with frames, importing and exporting annotations, removing."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

from bridge import formats
from bridge.domain import Shape, Source, StoredFrame, Task, TaskLabel
from bridge.errors import BridgeError, InvalidRequest, NotFound, TooLarge
from bridge.formats import ExportSummary
from bridge.formats.with_images import Pictured
from bridge.near_names import did_you_mean
from bridge.sources.files import Collected, ImageLimits, VideoRange, collect
from bridge.sources.frame_source import FrameSource
from bridge.store import Store
from bridge.store import shapes as shape_rows
from bridge.store import tasks as rows

EXPORT_PAGE = 256  # frames read at once
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import brought in, and what it could not place.

    unknown_files    images of the file that are no frame of the task
    unknown_labels   labels of the file that the task does not have
    wrong_size       images whose size in the file is not the frame's
    outside          shapes that lie wholly outside of their frame
    """

    frames: int
    shapes: int
    unknown_files: tuple[str, ...] = ()
    unknown_labels: tuple[str, ...] = ()
    wrong_size: tuple[str, ...] = ()
    outside: int = 0


@dataclass(slots=True)
class Tasks:
    """The local tasks of this installation; ``folder`` holds what was uploaded or unpacked for them."""

    store: Store
    folder: Path
    limits: ImageLimits = field(default_factory=ImageLimits)

    async def create(self, name: str, labels: Sequence[TaskLabel]) -> Task:
        """A task without frames. Raises InvalidRequest, or Conflict where the name is taken."""
        if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
            raise InvalidRequest(
                "A task's name needs 1 to 200 printable characters.", hint="Name it by what its frames show."
            )
        if not labels:
            raise InvalidRequest("A task needs at least one label.", hint="For example: --labels car,person")
        async with self.store.write() as connection:
            return await rows.add_task(connection, name, labels)

    async def create_with_frames(
        self, name: str, labels: Sequence[TaskLabel], paths: Sequence[Path], video: VideoRange
    ) -> tuple[Task, Collected]:
        """A task with these frames; see ``create`` and ``add_frames``. Where there is none, there is no task either."""
        task = await self.create(name, labels)
        try:
            found = await self.add_frames(task.id, paths, video=video)
            if not found.frames:
                raise InvalidRequest(
                    "None of the given files is an image or a video, so no task was created.",
                    hint="; ".join(r.reason for r in found.rejected[:3]) or "Give a folder, image files or a zip.",
                )
        except BridgeError:
            await self.remove(task.id)
            raise
        return await self.get(task.id), found

    async def find(self, name_or_id: str | int) -> Task:
        """A task by its name or id. Raises NotFound."""
        async with self.store.read() as connection:
            task = await rows.find_task(connection, str(name_or_id))
            if task is None and str(name_or_id).isdecimal() and len(str(name_or_id)) < 19:
                task = await rows.get_task(connection, int(name_or_id))
        if task is None:
            near = did_you_mean(str(name_or_id), [each.name for each in await self.page(before=1 << 62, most=1000)])
            raise NotFound(
                f"There is no task {str(name_or_id)[:100]!r}.", hint=f"{near}`hubbridge task list` shows all tasks."
            )
        return task

    async def get(self, task_id: int) -> Task:
        """A task by its id. Raises NotFound."""
        async with self.store.read() as connection:
            return await rows.get_task(connection, task_id)

    async def page(
        self, *, after: int = 0, before: int | None = None, most: int | None = None, named: str = ""
    ) -> list[Task]:
        """Those behind ``after``; with ``before`` the newest first. ``named``: whose name holds this text."""
        async with self.store.read() as connection:
            return await rows.list_tasks(connection, after=after, before=before, most=most, named=named)

    async def remote(self, *, before: int, most: int) -> list[Task]:
        """Those that live in another tool, the newest first."""
        async with self.store.read() as connection:
            return await rows.list_tasks(connection, before=before, most=most, remote=True)

    async def names(self, task_ids: Iterable[int]) -> dict[int, str]:
        """Id -> name, of those that exist."""
        async with self.store.read() as connection:
            return await rows.task_names(connection, task_ids)

    async def shapes_by_label(self, task_id: int) -> dict[str, int]:
        async with self.store.read() as connection:
            return await shape_rows.count_shapes(connection, task_id)

    def files_of(self, task_id: int) -> Path:
        """The folder for files that belong to a task."""
        return self.folder / str(task_id)

    async def add_frames(
        self,
        task_id: int,
        paths: Sequence[Path],
        *,
        skip_known: bool = False,
        within: Sequence[Path] | None = None,
        video: VideoRange | None = None,
    ) -> Collected:
        """Append the images of folders, files and zips, read where they are (zips are unpacked into our folder), and
        the frames of videos, of which ``video`` says which; they are decoded when they are looked at.

        What is no image is in the answer by name, and the rest is added. Raises Conflict where a frame's name is
        taken, and adds nothing then; with ``skip_known`` such a frame is left as it is. With ``within``, no link may
        lead out of those folders.
        """
        extracted = self.files_of(task_id) / uuid.uuid4().hex
        try:
            found = await asyncio.to_thread(
                collect, paths, extract_to=extracted, limits=self.limits, within=within, video=video
            )
            async with self.store.write() as connection:
                known = await rows.frame_names(connection, task_id) if skip_known else {}
                again = [frame for frame in found.frames if frame.name in known]
                fresh = [frame for frame in found.frames if frame.name not in known]
                found = replace(found, frames=fresh, known=len(again))
                self._check_room(await rows.get_task(connection, task_id), len(found.frames))
                await rows.add_frames(connection, task_id, found.frames)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, extracted, ignore_errors=True)
            raise
        unpacked_again = [path for frame in again if (path := Path(frame.path)).is_relative_to(extracted)]
        await asyncio.to_thread(_remove, unpacked_again)
        if not found.frames:
            await asyncio.to_thread(shutil.rmtree, extracted, ignore_errors=True)
        return found

    def _check_room(self, task: Task, more: int) -> None:
        """Raises TooLarge where a task would have more frames than it may."""
        most = self.limits.max_task_frames
        if task.frame_count + more > most:
            raise TooLarge(
                f"{task.name} has {task.frame_count} frames, and {more} more would be above the {most} of a task.",
                hint="Make another task, or raise max_task_frames in [images] of config.toml.",
            )

    async def remove(self, task_id: int) -> None:
        """Remove a task, its annotations, its jobs and the files that were uploaded for it; other files stay."""
        async with self.store.write() as connection:
            await rows.remove_task(connection, task_id)
        await asyncio.to_thread(shutil.rmtree, self.files_of(task_id), ignore_errors=True)

    async def frames(
        self, task_id: int, *, after: int = -1, most: int | None = None, unannotated: bool = False
    ) -> list[StoredFrame]:
        """The frames numbered behind ``after``, in order; NotFound where there is no such task.

        ``unannotated``: only those without a shape.
        """
        async with self.store.read() as connection:
            await rows.get_task(connection, task_id)
            return await rows.list_frames(connection, task_id, after=after, most=most, unannotated=unannotated)

    async def frames_with_shapes(
        self, task_id: int, *, after: int = -1, most: int
    ) -> list[tuple[StoredFrame, Sequence[Shape]]]:
        """As ``frames``, each with its shapes."""
        async with self.store.read() as connection:
            await rows.get_task(connection, task_id)
            page = await rows.list_frames(connection, task_id, after=after, most=most)
            shapes = await shape_rows.get_shapes(connection, task_id, [frame.number for frame in page])
        return [(frame, shapes[frame.number]) for frame in page]

    async def frame(self, task_id: int, number: int) -> tuple[StoredFrame, Sequence[Shape]]:
        """One frame and its shapes. Raises NotFound."""
        async with self.store.read() as connection:
            await rows.get_task(connection, task_id)
            found = await rows.get_frame(connection, task_id, number)
            return found, (await shape_rows.get_shapes(connection, task_id, [number]))[number]

    async def annotated(self, task_id: int) -> AsyncIterator[tuple[StoredFrame, Sequence[Shape]]]:
        """Every frame in order with its shapes, some hundred at a time."""
        after = -1
        while True:
            async with self.store.read() as connection:
                page = await rows.list_frames(connection, task_id, after=after, most=EXPORT_PAGE)
                shapes = await shape_rows.get_shapes(connection, task_id, [frame.number for frame in page])
            for frame in page:
                yield frame, shapes[frame.number]
            if len(page) < EXPORT_PAGE:
                return
            after = page[-1].number

    async def export(
        self, task: Task, path: Path, format_name: str = "coco", images: FrameSource | None = None
    ) -> ExportSummary:
        """Write a task's annotations, with the images of that source; all appears whole or not at all."""
        form = formats.find(format_name)
        if images is None:
            return await form.write(path, task.labels, self.annotated(task.id))
        async with aclosing(self._pictured(task.id, images)) as frames:
            return await form.write_with_images(path, task.labels, frames)

    async def _pictured(self, task_id: int, images: FrameSource) -> AsyncGenerator[Pictured, None]:
        waiting: dict[int, Sequence[Shape]] = {}  # as many as the source reads ahead

        async def rows_ahead() -> AsyncIterator[StoredFrame]:
            async for frame, shapes in self.annotated(task_id):
                waiting[frame.number] = shapes
                yield frame

        async with aclosing(images.read(rows_ahead())) as found:
            async for frame, picture in found:
                yield frame, waiting.pop(frame.number), picture

    async def import_annotations(
        self, task: Task, path: Path, format_name: str = "coco", source: Source = Source.MANUAL
    ) -> ImportSummary:
        """Add the shapes of a file to the frames of the same name, in one transaction.

        Files and labels that the task does not know are in the answer, and left out.
        """
        read = await asyncio.to_thread(formats.find(format_name).read, path)
        document = await asyncio.to_thread(formats.fit_joints, read, task.labels)
        async with self.store.read() as connection:
            frames = await rows.list_frames(connection, task.id)
        placed = await asyncio.to_thread(formats.place, document, frames)
        ids = {label.name: label.id for label in task.labels}
        unknown_labels = {shape.label for shapes in placed.shapes.values() for shape in shapes} - ids.keys()
        async with self.store.write() as connection:
            await rows.get_task(connection, task.id)  # it may have been removed meanwhile
            tracks = _new_tracks(placed.shapes.values(), await shape_rows.last_track(connection, task.id))
            changes = [
                (number, [_imported(shape, source, tracks) for shape in shapes if shape.label in ids])
                for number, shapes in placed.shapes.items()
            ]
            count = await shape_rows.add_shapes(connection, task.id, ids, changes)
        return ImportSummary(
            frames=sum(bool(shapes) for _, shapes in changes),
            shapes=count,
            unknown_files=placed.unknown_files,
            unknown_labels=tuple(sorted(unknown_labels)),
            wrong_size=placed.wrong_size,
            outside=sum(placed.outside.values()),
        )


def _remove(files: Iterable[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)


def _new_tracks(shapes: Iterable[Sequence[Shape]], last: int) -> dict[int, int]:
    """A number behind ``last`` for each track of a file, so that none is one that the task has already."""
    theirs = sorted({shape.track_id for group in shapes for shape in group if shape.track_id})
    return {track: number for number, track in enumerate(theirs, last + 1)}


def _imported(shape: Shape, source: Source, tracks: Mapping[int, int]) -> Shape:
    return replace(shape, source=source, track_id=tracks.get(shape.track_id, 0))
