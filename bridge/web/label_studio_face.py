"""The ML backend that Label Studio asks: /label-studio/{name}/health, setup, predict, versions, webhook.

Label Studio shows its user no more of a refusal than the status line, so there the reason stands in it, too.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web

from bridge.domain import Scope
from bridge.errors import BridgeError, NotFound
from bridge.label_studio.config import interface_class
from bridge.ml_backend.requests import Predict, Setup
from bridge.nuclio.reasons import reason_phrase
from bridge.web.authentication import needs
from bridge.web.errors import as_response
from bridge.web.reading import read_json
from bridge.web.state import STATE

log = structlog.get_logger(__name__)

PREFIX = "/label-studio/{name:[A-Za-z0-9_.-]{1,100}}"
LOOK_S = 0.5  # for the model's name, before /health answers without; Label Studio waits one second

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_face(app: web.Application) -> None:
    """Put the routes into the server's application."""
    for method, path, handler, scope in (
        ("GET", "", health, Scope.ANNOTATE),
        ("GET", "/health", health, Scope.ANNOTATE),
        ("POST", "/setup", set_up, Scope.ANNOTATE),
        ("POST", "/predict", predict, Scope.ANNOTATE),
        ("GET", "/versions", versions, Scope.ANNOTATE),
        ("POST", "/webhook", webhook, Scope.OPEN),
    ):
        app.router.add_route(method, PREFIX + path, needs(scope)(_with_reason(handler)))


def _with_reason(handler: Handler) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except BridgeError as error:
            log.warning("Label Studio was refused", path=request.path, code=error.code, error=error.message)
            response = as_response(error)
            response.set_status(response.status, reason=reason_phrase(error.message, error.hint))
            return response

    return handle


async def health(request: web.Request) -> web.Response:
    """Within Label Studio's second, whatever the models are doing."""
    name = request.match_info["name"]
    try:
        async with asyncio.timeout(LOOK_S):
            await request.app[STATE].service.ml_backend.find(name)
    except NotFound:
        raise
    except (TimeoutError, BridgeError) as error:
        log.warning("health was answered without looking", error=str(error))
    _warm_up()
    return web.json_response({"status": "UP", "model_class": name})


_warming: set[asyncio.Future[Any]] = set()


def _warm_up() -> None:
    """/setup follows in a moment and has three seconds, of which importing the SDK may take two."""

    def warm() -> None:
        try:
            interface_class()
        except BridgeError:
            return  # /setup says so

    work = asyncio.get_running_loop().run_in_executor(None, warm)
    _warming.add(work)
    work.add_done_callback(_warming.discard)


async def set_up(request: web.Request) -> web.Response:
    told = await read_json(request, Setup)
    version = await request.app[STATE].service.ml_backend.set_up(request.match_info["name"], told)
    return web.json_response({"model_version": version})


async def predict(request: web.Request) -> web.Response:
    asked = await read_json(request, Predict)
    state = request.app[STATE]
    results = await state.service.ml_backend.predict(request.match_info["name"], asked)
    state.metrics.frames.labels("prediction").inc(len(results))
    body = await asyncio.to_thread(_packed, {"results": results})
    return web.Response(body=body, content_type="application/json")


def _packed(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, allow_nan=False, separators=(",", ":")).encode()


async def versions(request: web.Request) -> web.Response:
    found = await request.app[STATE].service.ml_backend.versions(request.match_info["name"])
    return web.json_response({"versions": found})


async def webhook(request: web.Request) -> web.Response:
    """Label Studio tells of annotations and trainings. Nothing is trained here, so nothing is read."""
    return web.json_response({"status": "ok"})
