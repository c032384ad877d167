"""Tasks, labels and frames in the database."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.domain import LabelAttribute, NewFrame, StoredFrame, Task, TaskLabel
from bridge.errors import Conflict, NotFound
from bridge.job_spec import FrameSelection
from bridge.store.models import moment
from bridge.store.tables import frames, jobs, labels, learned_pairs, mappings, profiles, shapes, tasks

_LIVE = shapes.c.removed_by.is_(None)


async def add_task(connection: AsyncConnection, name: str, task_labels: Iterable[TaskLabel]) -> Task:
    """Store a task without frames. Raises Conflict where the name is taken."""
    try:
        result = await connection.execute(sa.insert(tasks).values(name=name, frame_count=0, created_at=time.time()))
    except IntegrityError as error:
        raise Conflict(f"A task named {name} exists already.", hint="Choose another name.") from error
    assert result.inserted_primary_key
    task_id = int(result.inserted_primary_key[0])
    rows = [{"task_id": task_id, **label_values(label, position)} for position, label in enumerate(task_labels)]
    if rows:
        await connection.execute(sa.insert(labels), rows)
    return await get_task(connection, task_id)


def label_values(label: TaskLabel, position: int) -> dict[str, Any]:
    """The columns of a label, but its task's."""
    return {
        "position": position,
        "name": label.name,
        "type": label.type,
        "color": label.color,
        "attributes": [asdict(attribute) for attribute in label.attributes],
        "sublabels": list(label.sublabels),
    }


def _label(row: sa.Row[Any]) -> TaskLabel:
    attributes = tuple(LabelAttribute(**{**entry, "values": tuple(entry["values"])}) for entry in row.attributes)
    return TaskLabel(row.name, row.type, row.color, attributes, tuple(row.sublabels), row.id)


async def get_labels(connection: AsyncConnection, task_ids: Sequence[int]) -> dict[int, list[TaskLabel]]:
    query = sa.select(labels).where(labels.c.task_id.in_(task_ids)).order_by(labels.c.task_id, labels.c.position)
    found: dict[int, list[TaskLabel]] = {task_id: [] for task_id in task_ids}
    for row in await connection.execute(query):
        found[row.task_id].append(_label(row))
    return found


async def _tasks(connection: AsyncConnection, query: sa.Select[Any]) -> list[Task]:
    rows = (await connection.execute(query)).all()
    ids = [row.id for row in rows]
    named = await get_labels(connection, ids)
    return [
        Task(
            id=row.id,
            name=row.name,
            labels=tuple(named[row.id]),
            frame_count=row.frame_count,
            shape_count=row.shape_count,
            created_at=moment(row.created_at),
            remote_kind=row.remote_kind,
            remote_ref=row.remote_ref,
        )
        for row in rows
    ]


async def get_task(connection: AsyncConnection, task_id: int) -> Task:
    found = await _tasks(connection, sa.select(tasks).where(tasks.c.id == task_id))
    if not found:
        raise NotFound(f"There is no task {task_id}.", hint="`hubbridge task list` shows all tasks.")
    return found[0]


async def find_task(connection: AsyncConnection, name: str) -> Task | None:
    found = await _tasks(connection, sa.select(tasks).where(tasks.c.name == name))
    return found[0] if found else None


async def list_tasks(
    connection: AsyncConnection,
    *,
    after: int = 0,
    before: int | None = None,
    most: int | None = None,
    named: str = "",
    remote: bool = False,
) -> list[Task]:
    """In the order of their ids, those behind ``after``; with ``before`` the newest first, those older than that.

    ``named``: only those whose name holds this text. ``remote``: only those that live in another tool.
    """
    query = sa.select(tasks).where(tasks.c.id > after).order_by(tasks.c.id).limit(most)
    if before is not None:
        query = sa.select(tasks).where(tasks.c.id < before).order_by(tasks.c.id.desc()).limit(most)
    if named:
        query = query.where(tasks.c.name.icontains(named, autoescape=True))
    if remote:
        query = query.where(tasks.c.remote_kind.is_not(None))
    return await _tasks(connection, query)


async def task_names(connection: AsyncConnection, task_ids: Iterable[int]) -> dict[int, str]:
    """Id -> name, of those that exist."""
    query = sa.select(tasks.c.id, tasks.c.name).where(tasks.c.id.in_(set(task_ids)))
    return {row.id: row.name for row in await connection.execute(query)}


async def remove_task(connection: AsyncConnection, task_id: int) -> None:
    """Remove a task with its frames, shapes, jobs, and mappings that nothing else refers to.

    Raises Conflict while a job of it is queued or running.
    """
    await get_task(connection, task_id)
    busy = await connection.scalar(
        sa.select(jobs.c.id).where(jobs.c.task_id == task_id, jobs.c.state.in_(("queued", "running"))).limit(1)
    )
    if busy is not None:
        raise Conflict(
            f"Annotation job {busy} is at work on this task.", hint=f"Cancel it first: hubbridge job cancel {busy}"
        )
    # In this order, so that no cascade has to walk through millions of rows twice.
    await connection.execute(sa.delete(shapes).where(shapes.c.task_id == task_id))
    await connection.execute(sa.delete(jobs).where(jobs.c.task_id == task_id))
    in_use = [sa.exists().where(table.c.mapping_id == mappings.c.id) for table in (profiles, learned_pairs)]
    await connection.execute(sa.delete(mappings).where(mappings.c.task_id == task_id, ~sa.or_(*in_use)))
    await connection.execute(sa.delete(tasks).where(tasks.c.id == task_id))


async def add_frames(connection: AsyncConnection, task_id: int, new: Sequence[NewFrame]) -> list[StoredFrame]:
    """Append frames; they are numbered on from the last one. Raises Conflict where a name is taken."""
    row = (await connection.execute(sa.select(tasks.c.frame_count).where(tasks.c.id == task_id))).one_or_none()
    if row is None:
        raise NotFound(f"There is no task {task_id}.", hint="`hubbridge task list` shows all tasks.")
    stored = [
        StoredFrame(
            task_id,
            row.frame_count + i if frame.number is None else frame.number,
            frame.name,
            frame.path,
            frame.width,
            frame.height,
            frame.remote_state,
            frame.video_pts,
        )
        for i, frame in enumerate(new)
    ]
    if not stored:
        return []
    taken = set(await frame_names(connection, task_id)) if row.frame_count else set()
    for frame in new:
        if frame.name in taken:
            raise Conflict(
                f"The task already has a frame named {frame.name}.",
                hint="Nothing was added. Leave it out or rename it.",
            )
        taken.add(frame.name)
    await connection.execute(sa.insert(frames), [asdict(frame) for frame in stored])
    await connection.execute(
        sa.update(tasks).where(tasks.c.id == task_id).values(frame_count=tasks.c.frame_count + len(stored))
    )
    return stored


async def frame_names(connection: AsyncConnection, task_id: int) -> dict[str, int]:
    """Name -> number of every frame of a task."""
    query = sa.select(frames.c.name, frames.c.number).where(frames.c.task_id == task_id)
    return {row.name: row.number for row in await connection.execute(query)}


async def get_frame(connection: AsyncConnection, task_id: int, number: int) -> StoredFrame:
    query = sa.select(frames).where(frames.c.task_id == task_id, frames.c.number == number)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"Task {task_id} has no frame {number}.")
    return StoredFrame(**row._mapping)


async def list_frames(
    connection: AsyncConnection,
    task_id: int,
    *,
    after: int = -1,
    most: int | None = None,
    unannotated: bool = False,
) -> list[StoredFrame]:
    """In the order of their numbers, those behind ``after``; with ``unannotated`` only those without a shape."""
    query = (
        sa.select(frames)
        .where(frames.c.task_id == task_id, frames.c.number > after)
        .order_by(frames.c.number)
        .limit(most)
    )
    if unannotated:
        some = sa.exists().where(shapes.c.task_id == task_id, shapes.c.frame == frames.c.number, _LIVE)
        query = query.where(~some)
    return [StoredFrame(**row._mapping) for row in await connection.execute(query)]


def selected_frames(task_id: int, selection: FrameSelection) -> sa.Select[tuple[int]]:
    """A query for the numbers of the frames that a selection means."""
    query = sa.select(frames.c.number).where(frames.c.task_id == task_id, frames.c.number >= selection.start)
    query = query.where(frames.c.remote_state.is_distinct_from("deleted"))
    if selection.stop is not None:
        query = query.where(frames.c.number < selection.stop)
    if selection.step > 1:
        query = query.where((frames.c.number - selection.start) % selection.step == 0)
    if selection.numbers is not None:
        query = query.where(frames.c.number.in_(selection.numbers))
    if selection.only == "unannotated":
        # In Label Studio our shapes are predictions: only what people did there counts, which remote_state tells.
        beside = sa.exists().where(tasks.c.id == task_id, tasks.c.remote_kind == "label-studio")
        annotated = sa.select(shapes.c.frame).where(shapes.c.task_id == task_id, _LIVE, ~beside)
        query = query.where(frames.c.number.not_in(annotated), frames.c.remote_state.is_(None))
    return query
