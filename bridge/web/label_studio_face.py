"""The ML backend that Label Studio asks: /label-studio/{name}/health, setup, predict, versions, webhook.

Label Studio shows its user no more of a refusal than the status line, so there the reason stands in it, too.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web

import labelmatch
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
# Of /health, for which Label Studio waits one second: for the model's name, and for what /setup will need.
LOOK_S, WARM_S = 0.3, 0.4

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_face(app: web.Application) -> None:
    """Put the routes into the server's application."""
    app[WARM] = _WarmUp()
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
    await asyncio.wait((request.app[WARM].up(),), timeout=WARM_S)
    return web.json_response({"status": "UP", "model_class": name})


@dataclass(slots=True)
class _WarmUp:
    """/setup has three seconds, of which importing the SDK and reading the words of the label matcher may take two, and
    more on a busy machine: so a server does both as soon as it listens, and /health waits for it a little."""

    _work: asyncio.Future[None] | None = None

    def up(self) -> asyncio.Future[None]:
        if self._work is None:
            self._work = asyncio.get_running_loop().run_in_executor(None, _import)
        return self._work


def _import() -> None:
    labelmatch.suggest(["car"], ["vehicle"])
    try:
        interface_class()
    except BridgeError as error:
        log.warning("label configs cannot be read", error=error.message, hint=error.hint)


WARM = web.AppKey("label_studio_warm_up", _WarmUp)


def warm_up(app: web.Application) -> None:
    """Begin with it in a thread, where the extra is installed; whoever has no Label Studio pays nothing."""
    if importlib.util.find_spec("label_studio_sdk") is not None:
        app[WARM].up()


async def set_up(request: web.Request) -> web.Response:
    told = await read_json(request, Setup)
    version = await request.app[STATE].service.ml_backend.set_up(request.match_info["name"], told)
    return web.json_response({"model_version": version})


async def predict(request: web.Request) -> web.Response:
    asked = await _read_predict(request)
    state = request.app[STATE]
    results = await state.service.ml_backend.predict(request.match_info["name"], asked)
    state.metrics.frames.labels("prediction").inc(sum(map(bool, results)))
    body = await asyncio.to_thread(_packed, {"results": results})
    return web.Response(body=body, content_type="application/json")


async def _read_predict(request: web.Request) -> Predict:
    """The body, which may be larger than that of other routes: every task comes with its annotations and predictions,
    which may hold brush strokes. A refusal is a BridgeError, so it is told and logged."""
    service = request.app[STATE].service
    most = service.settings.label_studio.max_request_mb
    try:
        return await read_json(request.clone(client_max_size=most * 2**20), Predict)
    except web.HTTPRequestEntityTooLarge:
        return await service.ml_backend.refuse_size(request.match_info["name"], most)


def _packed(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, allow_nan=False, separators=(",", ":")).encode()


async def versions(request: web.Request) -> web.Response:
    found = await request.app[STATE].service.ml_backend.versions(request.match_info["name"])
    return web.json_response({"versions": found})


async def webhook(request: web.Request) -> web.Response:
    """Label Studio tells of annotations and trainings. Nothing is trained here, so nothing is read."""
    return web.json_response({"status": "ok"})
