"""Rows of ours for tasks that live in another tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.domain import NewFrame, Task, TaskLabel
from bridge.store.tables import frames, labels, shapes, tasks
from bridge.store.tasks import add_frames, add_task, find_task, get_labels, get_task, label_values


async def find_remote_task(connection: AsyncConnection, kind: str, reference: str) -> Task | None:
    query = sa.select(tasks.c.id).where(tasks.c.remote_kind == kind, tasks.c.remote_ref == reference)
    number = await connection.scalar(query.limit(1))
    return None if number is None else await get_task(connection, number)


async def add_remote_task(
    connection: AsyncConnection,
    name: str,
    task_labels: Sequence[TaskLabel],
    new: Sequence[NewFrame],
    *,
    kind: str,
    reference: str,
) -> Task:
    """The row of a remote task with its frames; the same one where another call was quicker."""
    known = await find_remote_task(connection, kind, reference)
    if known is not None:
        return known
    free, count = name, 1
    while await find_task(connection, free) is not None:
        count += 1
        free = f"{name} {count}"
    task = await add_task(connection, free, task_labels)
    values = {"remote_kind": kind, "remote_ref": reference}
    await connection.execute(sa.update(tasks).where(tasks.c.id == task.id).values(**values))
    await add_frames(connection, task.id, new)
    return await get_task(connection, task.id)


async def set_labels(connection: AsyncConnection, task_id: int, wanted: Sequence[TaskLabel]) -> None:
    """Make a task's labels those that its tool has now; one that is gone stays while shapes of it are kept here."""
    known = {label.name: label for label in (await get_labels(connection, [task_id]))[task_id]}
    for position, label in enumerate(wanted):
        values = label_values(label, position)
        old = known.pop(label.name, None)
        if old is None:
            await connection.execute(sa.insert(labels).values(task_id=task_id, **values))
        else:
            await connection.execute(sa.update(labels).where(labels.c.id == old.id).values(**values))
    for label in known.values():
        kept = sa.select(shapes.c.id).where(shapes.c.label_id == label.id).exists()
        await connection.execute(sa.delete(labels).where(labels.c.id == label.id, ~kept))


async def set_frame_states(connection: AsyncConnection, task_id: int, states: Mapping[int, str | None]) -> None:
    """Note what the tool says of each frame: see ``StoredFrame.remote_state``."""
    query = sa.select(frames.c.number, frames.c.remote_state).where(frames.c.task_id == task_id)
    changed = [
        {"b_number": row.number, "b_state": states[row.number]}
        for row in await connection.execute(query)
        if row.number in states and row.remote_state != states[row.number]
    ]
    if changed:
        update = (
            sa.update(frames)
            .where(frames.c.task_id == task_id, frames.c.number == sa.bindparam("b_number"))
            .values(remote_state=sa.bindparam("b_state"))
        )
        await connection.execute(update, changed)
