"""Annotation jobs from start to undo."""

from __future__ import annotations

from aiohttp import web

from bridge.applying import ApplySpec
from bridge.domain import Scope
from bridge.job_spec import JobSpec
from bridge.web.events import stream_events
from bridge.web.job_answers import JobAnswer, JobPage, LedgerEntry, LedgerPage, PreviewAnswer, UndoneAnswer
from bridge.web.paging import cut
from bridge.web.requests import JobsQuery, LedgerQuery, PreviewQuery
from bridge.web.route import Call, Nothing


async def list_jobs(call: Call[JobsQuery, Nothing]) -> JobPage:
    query = call.query
    found = await call.service.jobs.page(
        task_id=query.task_id, state=query.state, after=query.after("jobs"), most=query.limit + 1
    )
    page, following = cut(found, query.limit, "jobs", lambda job: job.id)
    return JobPage(jobs=[JobAnswer.of(job) for job in page], next_cursor=following)


async def create_job(call: Call[Nothing, JobSpec]) -> JobAnswer:
    spec = call.body
    if "max_failure_rate" not in spec.model_fields_set:
        spec = spec.model_copy(update={"max_failure_rate": call.service.settings.jobs.max_failure_rate})
    async with call.state.shares.job(call.service.jobs.queued) as made:
        job = await call.service.jobs.create(spec)
        made.add(job.id)
    call.state.worker.wake()
    return JobAnswer.of(job)


async def preview_job(call: Call[PreviewQuery, JobSpec]) -> PreviewAnswer:
    return PreviewAnswer.of(await call.service.jobs.preview(call.body, frames=call.query.frames))


async def apply_job(call: Call[Nothing, ApplySpec]) -> JobAnswer:
    async with call.state.shares.job(call.service.jobs.queued) as made:
        job = await call.service.jobs.apply(call.ids["job_id"], call.body)
        made.add(job.id)
    call.state.worker.wake()
    return JobAnswer.of(job)


async def get_job(call: Call[Nothing, Nothing]) -> JobAnswer:
    return JobAnswer.of(await call.service.jobs.get(call.ids["job_id"]))


async def cancel_job(call: Call[Nothing, Nothing]) -> JobAnswer:
    return JobAnswer.of(await call.service.jobs.cancel(call.ids["job_id"]))


async def resume_job(call: Call[Nothing, Nothing]) -> JobAnswer:
    job = await call.service.jobs.resume(call.ids["job_id"])
    call.state.worker.wake()
    return JobAnswer.of(job)


async def retry_job(call: Call[Nothing, Nothing]) -> JobAnswer:
    job = await call.service.jobs.retry(call.ids["job_id"])
    call.state.worker.wake()
    return JobAnswer.of(job)


async def undo_job(call: Call[Nothing, Nothing]) -> UndoneAnswer:
    return UndoneAnswer.of(await call.service.jobs.undo(call.ids["job_id"]))


async def list_ledger(call: Call[LedgerQuery, Nothing]) -> LedgerPage:
    query = call.query
    found = await call.service.jobs.ledger(
        call.ids["job_id"], state=query.state, after=query.after("ledger", -1), most=query.limit + 1
    )
    page, following = cut(found, query.limit, "ledger", lambda row: row.frame)
    return LedgerPage(frames=[LedgerEntry.of(row) for row in page], next_cursor=following)


async def job_events(call: Call[Nothing, Nothing]) -> web.StreamResponse:
    auth, request = call.state.auth, call.request
    return await stream_events(
        request,
        call.service.jobs,
        call.ids["job_id"],
        call.state.closing,
        still_allowed=lambda: auth.authorize(request, Scope.READ),
    )
