"""Every page, as a row; and how a row becomes a handler. Pages only read: what changes something is the REST API's."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from bridge.domain import Scope
from bridge.errors import BridgeError, NotFound
from bridge.web.authentication import needs
from bridge.web.pages import jobs, models, settings, tasks
from bridge.web.pages.call import PageCall
from bridge.web.pages.rendering import Page, error_page, render
from bridge.web.pages.static import PREFIX, serve_static
from bridge.web.reading import path_numbers
from bridge.web.state import STATE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class PageRoute:
    path: str
    scope: Scope
    handler: Callable[[PageCall], Awaitable[Page]]


PAGES = (
    PageRoute("/tasks", Scope.READ, tasks.list_tasks),
    PageRoute("/tasks/new", Scope.ANNOTATE, tasks.new_task),
    PageRoute("/tasks/{task_id}", Scope.READ, tasks.show_task),
    PageRoute("/tasks/{task_id}/annotate", Scope.ANNOTATE, tasks.annotate),
    PageRoute("/tasks/{task_id}/frames/{number}", Scope.READ, tasks.show_frame),
    PageRoute("/models", Scope.READ, models.list_models),
    PageRoute("/models/{model_id}", Scope.READ, models.show_model),
    PageRoute("/jobs", Scope.READ, jobs.list_jobs),
    PageRoute("/jobs/{job_id}", Scope.READ, jobs.show_job),
    PageRoute("/settings", Scope.ADMIN, settings.show_settings),
)


def add_pages(app: web.Application) -> None:
    """The pages, their files, and ``/``, which leads to the tasks."""
    for row in PAGES:
        app.router.add_get(re.sub(r"{(\w+)}", r"{\1:[0-9]+}", row.path), _handler(row))
    app.router.add_get(PREFIX + r"/{version:[0-9a-f]+}/{path:.+}", serve_static)
    app.router.add_get("/", _home)


@needs(Scope.OPEN)
async def _home(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "/tasks"})


def _handler(row: PageRoute) -> Handler:
    @needs(row.scope)
    async def handle(request: web.Request) -> web.StreamResponse:
        call = PageCall(request, request.app[STATE], path_numbers(request))
        return render(request, await row.handler(call))

    return handle


@web.middleware
async def errors_as_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What goes wrong is a page for whoever looks at pages, and JSON for everybody else."""
    try:
        return await handler(request)
    except (BridgeError, web.HTTPNotFound) as error:
        if not _wants_page(request):
            raise
        if isinstance(error, web.HTTPNotFound):
            error = NotFound("There is no such page.", hint="The navigation leads to those that there are.")
        return error_page(request, error)


def _wants_page(request: web.Request) -> bool:
    first = request.path.strip("/").partition("/")[0]
    return request.method == "GET" and first != "v1" and "text/html" in request.headers.get("Accept", "")
