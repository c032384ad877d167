"""Whether the service lives and works, what it measures, and its own description."""

from __future__ import annotations

import json

from aiohttp import web

from bridge.domain import JobState, Scope
from bridge.errors import NotReady
from bridge.web.answers import Health, Readiness
from bridge.web.authentication import current_principal
from bridge.web.docs_page import render_page
from bridge.web.route import Call, Nothing


async def healthz(_: Call[Nothing, Nothing]) -> Health:
    return Health(status="ok")


async def readyz(call: Call[Nothing, Nothing]) -> Readiness:
    await call.service.jobs.counts()  # Overloaded where the database does not answer
    if call.state.closing.is_set() or not call.state.worker.alive:
        raise NotReady("No job is being claimed.", hint="The server is starting or closing, or its log says why not.")
    if hung := call.service.registry.hung:
        seen = current_principal().scope.covers(Scope.READ)
        names = ", ".join(hung) if seen else "a model"
        return Readiness(
            status="degraded",
            reason=f"Unloaded because calls of it hung: {names}. It is loaded anew when it is next used; the threads "
            "that hang end with the server.",
        )
    return Readiness(status="ready", reason=None)


async def metrics(call: Call[Nothing, Nothing]) -> web.Response:
    counts: dict[JobState, int] = await call.service.jobs.counts()
    service = call.service
    text = call.state.metrics.render(counts, service.registry, service.settings.storage.folder)
    return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def openapi(call: Call[Nothing, Nothing]) -> web.Response:
    return web.Response(body=json.dumps(call.state.document).encode(), content_type="application/json")


async def docs(call: Call[Nothing, Nothing]) -> web.Response:
    policy = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    page = render_page(call.state.document)
    return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": policy})
