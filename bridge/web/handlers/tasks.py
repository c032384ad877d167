"""Tasks."""

from __future__ import annotations

from bridge.errors import InvalidRequest
from bridge.task_labels import labels_from_json
from bridge.web.answers import TaskAnswer, TaskPage
from bridge.web.paging import Paging, cut
from bridge.web.requests import CreateTask
from bridge.web.route import Call, Nothing


async def list_tasks(call: Call[Paging, Nothing]) -> TaskPage:
    query = call.query
    found = await call.service.tasks.page(after=query.after("tasks"), most=query.limit + 1)
    page, following = cut(found, query.limit, "tasks", lambda task: task.id)
    return TaskPage(tasks=[TaskAnswer.of(task) for task in page], next_cursor=following)


async def create_task(call: Call[Nothing, CreateTask]) -> TaskAnswer:
    body = call.body
    if body.remote is not None:
        found = await call.service.jobs.remotes.find_or_add(body.remote)
        if len(found) > 1:
            addresses = ", ".join(task.remote_ref or "" for task in found[:3])
            raise InvalidRequest(f"The project holds {len(found)} tasks.", hint=f"Name one of them: {addresses} ...")
        return TaskAnswer.of(found[0])
    assert body.name is not None and body.labels is not None
    labels = labels_from_json([label.model_dump(exclude_none=True) for label in body.labels])
    return TaskAnswer.of(await call.service.tasks.create(body.name, labels))


async def get_task(call: Call[Nothing, Nothing]) -> TaskAnswer:
    return TaskAnswer.of(await call.service.tasks.get(call.ids["task_id"]))


async def remove_task(call: Call[Nothing, Nothing]) -> None:
    await call.service.tasks.remove(call.ids["task_id"])
