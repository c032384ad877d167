"""Tasks."""

from __future__ import annotations

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
    labels = labels_from_json([label.model_dump(exclude_none=True) for label in call.body.labels])
    return TaskAnswer.of(await call.service.tasks.create(call.body.name, labels))


async def get_task(call: Call[Nothing, Nothing]) -> TaskAnswer:
    return TaskAnswer.of(await call.service.tasks.get(call.ids["task_id"]))


async def remove_task(call: Call[Nothing, Nothing]) -> None:
    await call.service.tasks.remove(call.ids["task_id"])
