"""A job's progress as server-sent events (the WHATWG HTML standard, section 9.2).

An event's id holds the whole snapshot that it tells of. So a client that comes back with Last-Event-ID is told only
what has changed since, whichever server it meets, and nothing has to be remembered for it. The job is looked at in
the database, so it may run in any process.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from bridge.domain import Job, JobState
from bridge.errors import BridgeError
from bridge.jobs import Jobs
from bridge.speed import Speed

log = structlog.get_logger(__name__)

POLL_S = 0.3
HEARTBEAT_S = 15.0
ASK_AGAIN_S = 5.0  # whether the caller's token still holds
ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


def event_id(job: Job) -> str:
    waiting = ".waiting" if job.waiting else ""
    return f"{job.state}.{job.frames_done}.{job.frames_failed}.{job.shapes_created}{waiting}"


def _data(job: Job, speed: float) -> str:
    left = job.frames_total - job.frames_done - job.frames_failed
    return json.dumps(
        {
            "job_id": job.id,
            "state": str(job.state),
            "frames_total": job.frames_total,
            "frames_done": job.frames_done,
            "frames_failed": job.frames_failed,
            "shapes_created": job.shapes_created,
            "frames_per_second": round(speed, 2),
            "seconds_left": round(left / speed, 1) if speed > 0 else None,
            "error": job.error,
            "waiting": job.waiting,
        },
        separators=(",", ":"),
    )


async def stream_events(
    request: web.Request,
    jobs: Jobs,
    job_id: int,
    closing: asyncio.Event,
    still_allowed: Callable[[], Awaitable[object]],
) -> web.StreamResponse:
    """Send ``state`` when the state changes and ``progress`` when the counts do, until the job ends.

    ``still_allowed`` raises BridgeError where the caller's token has ended meanwhile. What goes wrong after the first
    byte is sent as ``error``, with code, message and hint, and ends the stream. 204 where the client has seen the end
    already, which tells an EventSource not to come back. Raises NotFound.
    """
    job = await jobs.get(job_id)
    seen = request.headers.get("Last-Event-ID", "")
    if job.state in ENDED and seen == event_id(job):
        return web.Response(status=204)
    response = web.StreamResponse(headers={"X-Accel-Buffering": "no"})
    response.content_type, response.charset = "text/event-stream", "utf-8"
    await response.prepare(request)
    try:
        await response.write(b"retry: 1000\n\n")
        try:
            await _follow(response, jobs, job, seen, closing, still_allowed)
        except BridgeError as error:  # the job was removed, the token revoked, or the database is away
            log.warning("a stream of events ended early", job=job_id, code=error.code, error=error.message)
            data = json.dumps(error.as_json()["error"], separators=(",", ":"))
            await response.write(f"event: error\ndata: {data}\n\n".encode())
        await response.write_eof()
    except ConnectionError:
        pass  # the client has left, and the job does not care
    return response


async def _follow(
    response: web.StreamResponse,
    jobs: Jobs,
    job: Job,
    seen: str,
    closing: asyncio.Event,
    still_allowed: Callable[[], Awaitable[object]],
) -> None:
    speed = Speed(marks=deque())  # as this stream sees it; a retry of the job begins anew
    told_at = asked_at = time.monotonic()
    while True:
        if time.monotonic() - asked_at >= ASK_AGAIN_S:
            await still_allowed()
            asked_at = time.monotonic()
        now = event_id(job)
        rate = speed.mark(job.frames_done + job.frames_failed)
        if now != seen:
            kind = "progress" if seen.partition(".")[0] == str(job.state) else "state"
            await response.write(f"id: {now}\nevent: {kind}\ndata: {_data(job, rate)}\n\n".encode())
            seen, told_at = now, time.monotonic()
        elif time.monotonic() - told_at >= HEARTBEAT_S:
            await response.write(b": still here\n\n")
            told_at = time.monotonic()
        if job.state in ENDED:
            return
        try:
            async with asyncio.timeout(POLL_S):
                await closing.wait()
        except TimeoutError:
            job = await jobs.get(job.id)
        else:
            return
