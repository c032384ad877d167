"""Annotation jobs: the list, and one as it runs."""

from __future__ import annotations

from pydantic import Field

from bridge.domain import FrameState, JobState
from bridge.errors import NotFound
from bridge.web.job_answers import JobAnswer
from bridge.web.pages.call import Older, PageCall
from bridge.web.pages.models import place
from bridge.web.pages.rendering import Page

JOBS_A_PAGE = 50
ERRORS_SHOWN = 20


class JobsQuery(Older):
    state: JobState | None = None
    task: int | None = Field(default=None, ge=1, le=2**63 - 1)


async def list_jobs(call: PageCall) -> Page:
    query, service = call.query(JobsQuery), call.service
    found = await service.jobs.page(state=query.state, task_id=query.task, before=query.before, most=JOBS_A_PAGE + 1)
    page = found[:JOBS_A_PAGE]
    values = {
        "jobs": page,
        "names": await service.tasks.names(job.spec.target for job in page),
        "older": page[-1].id if len(found) > JOBS_A_PAGE else None,
        "counts": await service.jobs.counts(),
        "states": list(JobState),
        "state": query.state,
        "task": query.task,
        "first": query.before == 2**63 - 1,
    }
    return Page("jobs.html", "Jobs", "jobs", values)


async def show_job(call: PageCall) -> Page:
    service = call.service
    job = await service.jobs.get(call.ids["job_id"])
    task = await service.tasks.get(job.spec.target)
    # Looking for failed frames walks through the whole ledger: not where there are none.
    failed = await service.jobs.ledger(job.id, state=FrameState.FAILED, most=ERRORS_SHOWN) if job.frames_failed else []
    try:
        model = await service.registry.get(job.spec.model_id)
    except NotFound:
        model = None
    props = {"job": JobAnswer.of(job).model_dump(mode="json"), "task": {"id": task.id, "name": task.name},
             "colors": {label.name: label.color for label in task.labels}}  # fmt: skip
    values = {
        "job": job,
        "task": task,
        "model": model,
        "place": place(job.runs_on),
        "failed": failed,
        "props": props,
    }
    return Page("job.html", f"Job {job.id}", "jobs", values)
