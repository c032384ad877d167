"""Tasks: the list, a new one, one with its frames, automatic annotation of it, and a frame in the viewer."""

from __future__ import annotations

from pydantic import Field

from adapters.promptable import ASKED_BY_HAND
from bridge import formats
from bridge.domain import LABEL_TYPES, Model, Task
from bridge.ml_backend.connected import Connected, connected
from bridge.skeleton_drawing import bones
from bridge.statistics import Statistics
from bridge.store.label_studio import KIND
from bridge.task_labels import labels_as_json
from bridge.web.answers import ModelAnswer, TaskAnswer
from bridge.web.job_answers import JobAnswer
from bridge.web.pages.call import Older, PageCall
from bridge.web.pages.rendering import Page
from bridge.web.paging import cursor_behind
from bridge.web.requests import CreateTask

TASKS_A_PAGE = 24
FRAMES_A_PAGE = 60
JOBS_SHOWN = 8
MOST_MODELS = 500  # to choose from


class TasksQuery(Older):
    q: str = Field(default="", max_length=200)


class FramesQuery(Older):
    after: int = Field(default=-1, ge=-1, le=2**31 - 1)
    show: str = Field(default="all", pattern="^(all|unannotated)$")


class AnnotateQuery(Older):
    model: int | None = Field(default=None, ge=1, le=2**63 - 1)


class ViewerQuery(Older):
    job: int | None = Field(default=None, ge=1, le=2**63 - 1)


async def list_tasks(call: PageCall) -> Page:
    query = call.query(TasksQuery)
    found = await call.service.tasks.page(before=query.before, most=TASKS_A_PAGE + 1, named=query.q)
    values = {
        "tasks": found[:TASKS_A_PAGE],
        "older": found[TASKS_A_PAGE - 1].id if len(found) > TASKS_A_PAGE else None,
        "q": query.q,
        "first": query.before == 2**63 - 1,
        "models": len(await call.service.registry.page(most=1)),
    }
    return Page("tasks.html", "Tasks", "tasks", values)


async def new_task(call: PageCall) -> Page:
    settings = call.service.settings
    values = {
        "label_types": LABEL_TYPES,
        "takes_remote": "remote" in CreateTask.model_fields,
        "folders": settings.server.server_folders,
        "max_upload_mb": settings.server.max_upload_mb,
        "max_file_mb": settings.images.max_file_mb,
    }
    return Page("task_new.html", "New task", "tasks", values)


async def show_task(call: PageCall) -> Page:
    query, tasks = call.query(FramesQuery), call.service.tasks
    task = await tasks.get(call.ids["task_id"])
    found = await tasks.frames(
        task.id, after=query.after, most=FRAMES_A_PAGE + 1, unannotated=query.show == "unannotated"
    )
    frames = found[:FRAMES_A_PAGE]
    props = {
        "task": {"id": task.id, "name": task.name},
        "colors": {label.name: label.color for label in task.labels},
        # The same frames with their shapes, to be drawn over the pictures; those without shapes need none.
        "shapes": f"cursor={cursor_behind('annotations', query.after)}&limit={FRAMES_A_PAGE}"
        if frames and task.shape_count and query.show == "all"
        else None,
    }
    values = {
        "props": props,
        "task": task,
        "frames": frames,
        "counts": await Statistics(call.service.store).on_frames(task.id, [frame.number for frame in frames]),
        "show": query.show,
        "after": query.after,
        "following": frames[-1].number if len(found) > FRAMES_A_PAGE else None,
        "page_size": FRAMES_A_PAGE,
        "backends": await _asked_by_label_studio(call, task),
        "jobs": await call.service.jobs.page(task_id=task.id, before=2**63 - 1, most=JOBS_SHOWN),
        "formats": list(formats.FORMATS.values()),
        "labels_json": labels_as_json(task.labels),
        "folders": call.service.settings.server.server_folders,
    }
    return Page("task.html", task.name, "tasks", values)


async def _asked_by_label_studio(call: PageCall, task: Task) -> list[Connected]:
    """What a project of Label Studio asked our ML backends, the last first."""
    if task.remote_kind != KIND:
        return []
    return await connected(call.service.store, call.service.profiles, task_id=task.id)


async def annotate(call: PageCall) -> Page:
    query = call.query(AnnotateQuery)
    task = await call.service.tasks.get(call.ids["task_id"])
    found = await call.service.registry.page(most=MOST_MODELS)
    models = [model for model in found if model.card.task_type not in ASKED_BY_HAND]
    chosen = query.model if any(model.id == query.model for model in models) else _likely(models)
    props = {
        "task": _shown(task),
        "models": [ModelAnswer.of(model).model_dump(mode="json") for model in models],
        "model": chosen,
        "bones": _bones(task),
    }
    values = {
        "task": task,
        "models": models,
        "props": props,
        "trackable": task.remote_kind != KIND,  # Label Studio has none
        "is_video": await _begins_with_a_video(call, task),
    }
    return Page("annotate.html", "Automatic annotation", "tasks", values)


async def _begins_with_a_video(call: PageCall, task: Task) -> bool:
    first = await call.service.tasks.frames(task.id, most=1)
    return bool(first) and first[0].video_pts is not None


def _likely(models: list[Model]) -> int | None:
    """The newest one."""
    return models[-1].id if models else None


def _shown(task: Task) -> dict[str, object]:
    return TaskAnswer.of(task).model_dump(mode="json")


def _bones(task: Task) -> dict[str, list[tuple[int, int]]]:
    """Label -> the points of its skeleton that a line joins."""
    return {label.name: bones(label.sublabels) for label in task.labels if label.sublabels}


async def show_frame(call: PageCall) -> Page:
    query = call.query(ViewerQuery)
    task = await call.service.tasks.get(call.ids["task_id"])
    frame, _ = await call.service.tasks.frame(task.id, call.ids["number"])
    jobs = await call.service.jobs.page(task_id=task.id, before=2**63 - 1, most=JOBS_SHOWN)
    job = await call.service.jobs.get(query.job) if query.job is not None else None
    props = {
        "task": _shown(task),
        "bones": _bones(task),
        "number": frame.number,
        "job": None if job is None else JobAnswer.of(job).model_dump(mode="json"),
        "jobs": [{"id": one.id, "model": one.resolved["model"], "undone": one.undone_at is not None} for one in jobs],
    }
    return Page("frame.html", f"{frame.name} · {task.name}", "tasks", {"task": task, "frame": frame, "props": props})
