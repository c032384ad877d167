"""Projects of Label Studio in the database: their frames, what was asked for them, and what a job took away there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.domain import FrameState, NewFrame, StoredFrame, Task, TaskLabel
from bridge.store import remote_tasks
from bridge.store import tasks as task_rows
from bridge.store.models import moment
from bridge.store.tables import (
    frames,
    job_frames,
    jobs,
    label_studio_backends,
    label_studio_projects,
    label_studio_replaced,
    results,
)

KIND = "label-studio"
_CHUNK = 500  # SQLite bounds the number of parameters


@dataclass(frozen=True, slots=True)
class StoredProject:
    """What /setup told. ``token`` is encrypted."""

    task_id: int
    project_key: str
    base_url: str
    token: bytes | None


@dataclass(frozen=True, slots=True)
class StoredBackend:
    """A model or profile as a project asked it last. ``outcome`` is a sentence; ``job_id`` the job that came of it."""

    task_id: int
    name: str
    label_config: str
    model_version: str
    outcome: str
    job_id: int | None
    updated_at: datetime


async def put_task(connection: AsyncConnection, ref: str, name: str, wanted: Sequence[TaskLabel]) -> Task:
    """The task of a project, with these labels; one that is there keeps its frames and shapes."""
    known = await remote_tasks.find_remote_task(connection, KIND, ref)
    if known is None:
        return await remote_tasks.add_remote_task(connection, name, wanted, [], kind=KIND, reference=ref)
    if [_meant(label) for label in known.labels] == [_meant(label) for label in wanted]:
        return known
    await remote_tasks.set_labels(connection, known.id, wanted)
    return await task_rows.get_task(connection, known.id)


def _meant(label: TaskLabel) -> tuple[str, str, tuple[str, ...]]:
    return label.name, label.type, label.sublabels


async def put_frames(
    connection: AsyncConnection, task_id: int, new: Sequence[NewFrame], *, states: bool = True
) -> None:
    """Add frames by their numbers. Of one that names another image than before, what was found on it is forgotten.

    states   whether ``remote_state`` is told; else a known one stays, but a frame that is named is not gone
    """
    known = await get_frames(connection, task_id, [frame.number for frame in new if frame.number is not None])
    await task_rows.add_frames(connection, task_id, [frame for frame in new if frame.number not in known])
    mine = sa.select(jobs.c.id).where(jobs.c.task_id == task_id)
    for frame in new:
        was = known.get(frame.number) if frame.number is not None else None
        if was is None:
            continue
        state = frame.remote_state if states or was.remote_state == "deleted" else was.remote_state
        if (was.path, was.remote_state) == (frame.path, state):
            continue
        values: dict[str, Any] = {"remote_state": state}
        if was.path != frame.path:
            values |= {"path": frame.path, "name": frame.name, "width": 0, "height": 0}
            stale = (results.c.frame == was.number) & results.c.job_id.in_(mine)
            await connection.execute(sa.delete(results).where(stale))
        here = (frames.c.task_id == task_id) & (frames.c.number == was.number)
        await connection.execute(sa.update(frames).where(here).values(**values))


async def mark_deleted(connection: AsyncConnection, task_id: int, left: Iterable[int]) -> None:
    """Frames of tasks that are gone there are taken by no job any more. ``left``: the numbers that are still there."""
    kept = set(left)
    rows = await connection.scalars(sa.select(frames.c.number).where(frames.c.task_id == task_id))
    gone = [number for number in rows if number not in kept]
    for start in range(0, len(gone), _CHUNK):
        here = (frames.c.task_id == task_id) & frames.c.number.in_(gone[start : start + _CHUNK])
        await connection.execute(sa.update(frames).where(here).values(remote_state="deleted"))


async def set_sizes(connection: AsyncConnection, task_id: int, sizes: Mapping[int, tuple[int, int]]) -> None:
    """Frame number -> width and height, which are known when the image has been fetched."""
    query = (
        sa.update(frames)
        .where(frames.c.task_id == task_id, frames.c.number == sa.bindparam("b_number"))
        .values(width=sa.bindparam("b_width"), height=sa.bindparam("b_height"))
    )
    rows = [{"b_number": number, "b_width": size[0], "b_height": size[1]} for number, size in sizes.items()]
    if rows:
        await connection.execute(query, rows)


async def get_frames(connection: AsyncConnection, task_id: int, numbers: Sequence[int]) -> dict[int, StoredFrame]:
    found: dict[int, StoredFrame] = {}
    for start in range(0, len(numbers), _CHUNK):
        some = numbers[start : start + _CHUNK]
        query = sa.select(frames).where(frames.c.task_id == task_id, frames.c.number.in_(some))
        found |= {row.number: StoredFrame(**row._mapping) for row in await connection.execute(query)}
    return found


async def count_ledger(connection: AsyncConnection, job_id: int, first: int, behind: int) -> int:
    """How many frames of a job have a number from ``first`` up to ``behind``, which is not meant."""
    here = (job_frames.c.job_id == job_id) & (job_frames.c.frame >= first) & (job_frames.c.frame < behind)
    return await connection.scalar(sa.select(sa.func.count()).select_from(job_frames).where(here)) or 0


async def written_tasks(
    connection: AsyncConnection, job_id: int, task_id: int, after: int, most: int
) -> tuple[list[int], int]:
    """(ids of Label Studio's tasks that a job has written, the last frame's number), a page of frames."""
    query = (
        sa.select(frames.c.number, frames.c.path)
        .join(job_frames, (job_frames.c.job_id == job_id) & (job_frames.c.frame == frames.c.number))
        .where(frames.c.task_id == task_id, frames.c.number > after)
        .where(job_frames.c.state.in_((str(FrameState.DONE), str(FrameState.WRITING))))
        .order_by(frames.c.number)
        .limit(most)
    )
    found = (await connection.execute(query)).all()
    ids = dict.fromkeys(int(row.path.split(":", 2)[1]) for row in found)
    return list(ids), found[-1].number if found else after


async def put_project(
    connection: AsyncConnection, task_id: int, project_key: str, base_url: str, token: bytes | None
) -> None:
    """What /setup told last. A project that was made anew under the same id replaces the earlier one."""
    same = (label_studio_projects.c.task_id == task_id) | (label_studio_projects.c.project_key == project_key)
    await connection.execute(sa.delete(label_studio_projects).where(same))
    values = {"task_id": task_id, "project_key": project_key, "base_url": base_url, "token": token}
    await connection.execute(sa.insert(label_studio_projects).values(updated_at=time.time(), **values))


async def find_project(
    connection: AsyncConnection, *, project_key: str | None = None, task_id: int | None = None
) -> StoredProject | None:
    table = label_studio_projects
    where = table.c.task_id == task_id if project_key is None else table.c.project_key == project_key
    row = (await connection.execute(sa.select(table).where(where))).one_or_none()
    return None if row is None else StoredProject(row.task_id, row.project_key, row.base_url, row.token)


async def put_backend(
    connection: AsyncConnection,
    task_id: int,
    name: str,
    *,
    label_config: str,
    model_version: str,
    outcome: str,
    job_id: int | None = None,
) -> None:
    table = label_studio_backends
    await connection.execute(sa.delete(table).where(table.c.task_id == task_id, table.c.name == name))
    values = {"label_config": label_config, "model_version": model_version, "outcome": outcome[:1000]}
    await connection.execute(
        sa.insert(table).values(task_id=task_id, name=name, job_id=job_id, updated_at=time.time(), **values)
    )


async def touch_backend(connection: AsyncConnection, task_id: int, name: str, outcome: str | None = None) -> None:
    """It was asked just now; with ``outcome``, what came of that."""
    table = label_studio_backends
    values: dict[str, Any] = {"updated_at": time.time()}
    if outcome is not None:
        values |= {"outcome": outcome[:1000], "job_id": None}
    await connection.execute(sa.update(table).where(table.c.task_id == task_id, table.c.name == name).values(**values))


async def list_backends(connection: AsyncConnection, *, task_id: int | None = None) -> list[StoredBackend]:
    """Those of a project, or all, the one that was asked last first."""
    table = label_studio_backends
    query = sa.select(table).order_by(table.c.updated_at.desc())
    if task_id is not None:
        query = query.where(table.c.task_id == task_id)
    return [
        StoredBackend(**{**row._mapping, "updated_at": moment(row.updated_at)})
        for row in await connection.execute(query)
    ]


async def keep_replaced(connection: AsyncConnection, job_id: int, predictions: Iterable[Mapping[str, Any]]) -> None:
    """Belongs into the transaction that notes that they are gone."""
    rows = [{"job_id": job_id, "body": json.dumps(each, separators=(",", ":"))} for each in predictions]
    if rows:
        await connection.execute(sa.insert(label_studio_replaced), rows)


async def replaced_by(
    connection: AsyncConnection, job_id: int, after: int, most: int
) -> list[tuple[int, dict[str, Any]]]:
    """(row's id, prediction) of what a job took away, a page of it."""
    table = label_studio_replaced
    query = sa.select(table).where(table.c.job_id == job_id, table.c.id > after).order_by(table.c.id).limit(most)
    return [(row.id, json.loads(row.body)) for row in await connection.execute(query)]


async def forget_replaced(connection: AsyncConnection, ids: Sequence[int]) -> None:
    table = label_studio_replaced
    await connection.execute(sa.delete(table).where(table.c.id.in_(ids)))


async def newest_results(
    connection: AsyncConnection,
    task_id: int,
    model_id: int,
    recall_key: str,
    numbers: Sequence[int],
    own_job: int | None = None,
) -> dict[int, bytes]:
    """Frame number -> what the model found there in the latest job that asked it the same (``recall_key``).

    A job in which another model answered in its place is left out, unless it is ``own_job``.
    """
    asked = sa.select(jobs.c.id, jobs.c.resolved).where(
        jobs.c.task_id == task_id, jobs.c.model_id == model_id, jobs.c.source_job_id.is_(None)
    )
    same = [
        row.id
        for row in await connection.execute(asked)
        if row.resolved.get("recall_key") == recall_key and ("fell_back" not in row.resolved or row.id == own_job)
    ]
    found: dict[int, bytes] = {}
    for start in range(0, len(numbers), _CHUNK):
        query = (
            sa.select(results.c.frame, results.c.body)
            .where(results.c.frame.in_(numbers[start : start + _CHUNK]), results.c.job_id.in_(same[-_CHUNK:]))
            .order_by(results.c.job_id)
        )
        found |= {row.frame: row.body for row in await connection.execute(query)}
    return found
