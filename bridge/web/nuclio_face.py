"""The Nuclio face: the dashboard routes that CVAT calls, and single functions on ports of their own.

All that a CVAT user ever reads of an error is HTTP's reason phrase, so every error here has one in plain words.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from aiohttp import web

from adapters.errors import PredictorError
from bridge.errors import BridgeError, InvalidRequest, NotFound, TooLarge, from_predictor
from bridge.nuclio.bodies import read_timeout
from bridge.nuclio.functions import Functions
from bridge.nuclio.reasons import reason_phrase
from bridge.web.client_shares import ClientShares
from bridge.web.errors import as_response
from bridge.web.metrics import Metrics
from bridge.web.nuclio_access import FaceAccess
from bridge.web.slow_clients import SlowClients

log = structlog.get_logger(__name__)

READ_WITHIN_S = 60.0  # a body has to have come
MOST_BODIES = 32  # calls whose images are in memory; others wait at the door
FUNCTIONS, INVOCATIONS = "/api/functions", "/api/function_invocations"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Face:
    """What the face's handlers share.

    port          the face's own, once it listens
    direct        port -> id of the function that answers there alone
    """

    functions: Functions
    metrics: Metrics
    access: FaceAccess
    shares: ClientShares
    timeout_s: float = 120.0
    port: int = 0
    direct: dict[int, str] = field(default_factory=dict)
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_BODIES))
    on_listed: Callable[[Sequence[str]], Awaitable[None]] | None = None

    def port_of(self, function_id: str) -> int:
        return next((port for port, name in self.direct.items() if name == function_id), self.port)


FACE = web.AppKey("face", Face)


def make_dashboard(face: Face, slow: SlowClients, max_bytes: int) -> web.Application:
    """The routes of Nuclio's dashboard, as far as CVAT uses them. ``max_bytes``: of one call's body."""
    app = web.Application(middlewares=[_in_plain_words, slow.middleware, _only_cvat], client_max_size=max_bytes)
    app[FACE] = face
    app.router.add_get(FUNCTIONS, _list)
    app.router.add_get(FUNCTIONS + "/{id}", _describe)
    app.router.add_post(INVOCATIONS, _invoke)
    app.router.add_post("/", _explain_method)
    return app


def make_direct(face: Face, slow: SlowClients, max_bytes: int) -> web.Application:
    """One function for each port: the port that was called says which."""
    app = web.Application(middlewares=[_in_plain_words, slow.middleware, _only_peers], client_max_size=max_bytes)
    app[FACE] = face
    app.router.add_post("/", _invoke_directly)
    return app


async def _list(request: web.Request) -> web.Response:
    face = request.app[FACE]
    listed = await face.functions.listed(face.port_of)
    if face.on_listed is not None:
        await face.on_listed(list(listed.entries))
        for name, entry in listed.entries.items():  # ports may have been opened just now
            entry["status"]["httpPort"] = face.port_of(name)
    return web.json_response(listed.entries)


async def _describe(request: web.Request) -> web.Response:
    face, function_id = request.app[FACE], request.match_info["id"]
    return web.json_response(await face.functions.described(function_id, face.port_of(function_id)))


async def _invoke(request: web.Request) -> web.Response:
    function_id = request.headers.get("x-nuclio-function-name", "")
    if not function_id:
        raise InvalidRequest("The call names no function.", hint="CVAT sends x-nuclio-function-name.")
    return await _answer(request, function_id)


async def _invoke_directly(request: web.Request) -> web.Response:
    assert request.transport is not None
    port = request.transport.get_extra_info("sockname")[1]
    function_id = request.app[FACE].direct.get(port)
    if function_id is None:
        raise NotFound("No model answers at this port any more.", hint="Reload CVAT's Models page.")
    return await _answer(request, function_id)


async def _explain_method(_: web.Request) -> web.Response:
    raise InvalidRequest(
        "CVAT called without naming a model.", hint="Set CVAT_NUCLIO_INVOKE_METHOD=dashboard in CVAT's environment."
    )


async def _answer(request: web.Request, function_id: str) -> web.Response:
    face = request.app[FACE]
    started = time.monotonic()
    within_s = read_timeout(request.headers.get("X-Nuclio-Invoke-Timeout"), face.timeout_s)
    async with face.room:
        data = await _read(request, min(READ_WITHIN_S, within_s))
        left_s = max(0.1, within_s - (time.monotonic() - started))
        answer = await face.functions.invoke(function_id, data, left_s)
    face.metrics.frames.labels("cvat").inc()
    return web.Response(body=answer, content_type="application/json")


async def _read(request: web.Request, within_s: float) -> bytes:
    try:
        async with asyncio.timeout(within_s):
            return await request.read()
    except TimeoutError as error:
        raise InvalidRequest("The image did not arrive in time.", hint="Look at the network to Hubbridge.") from error
    except web.RequestPayloadError as error:
        raise InvalidRequest("The call is not sent as HTTP has it.") from error


@web.middleware
async def _only_cvat(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path == "/":  # where nothing is but an explanation
        return await handler(request)
    face = request.app[FACE]
    with face.shares.request(await face.access.authorize(request)):
        return await handler(request)


@web.middleware
async def _only_peers(request: web.Request, handler: Handler) -> web.StreamResponse:
    face = request.app[FACE]
    face.access.check_peer(request)
    with face.shares.request(request.remote or ""):
        return await handler(request)


@web.middleware
async def _in_plain_words(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost layer: every error has a reason phrase that CVAT can show, and is counted."""
    try:
        response = await handler(request)
    except ConnectionError:
        raise  # the client has gone; aiohttp drops the connection
    except Exception as error:  # noqa: BLE001  (whatever it is, CVAT is told in words)
        response = _told(_as_bridge_error(error, request))
    resource = request.match_info.route.resource
    route = "nuclio " + (resource.canonical if resource is not None else "unknown")
    request.app[FACE].metrics.requests.labels(request.method if resource else "any", route, str(response.status)).inc()
    return response


def _as_bridge_error(error: Exception, request: web.Request) -> BridgeError:
    if isinstance(error, BridgeError):
        if error.status >= 500:
            log.warning("a call from CVAT failed", path=request.path, code=error.code, error=error.message)
        return error
    if isinstance(error, PredictorError):
        return from_predictor(error)
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return TooLarge("The image is larger than Hubbridge takes.", hint="[images] max_file_mb allows more.")
    if isinstance(error, web.HTTPException):
        found = BridgeError(
            f"{request.method} {request.path[:100]} is nothing that Hubbridge answers.", code="not_found"
        )
        found.status = error.status
        return found
    log.error("a call from CVAT failed unexpectedly", path=request.path, exc_info=error)
    return BridgeError(f"Hubbridge failed with {type(error).__name__}.", hint="This is a defect; its log says more.")


def _told(error: BridgeError) -> web.Response:
    response = as_response(error)
    response.set_status(error.status, reason_phrase(error.message, error.hint))
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="hubbridge"'
    return response


def assign_ports(known: Mapping[int, str], ports: range, function_ids: Sequence[str]) -> dict[int, str]:
    """Each function's port: the one that it has, else the lowest free one. Those beyond the last port get none."""
    wanted = set(function_ids)
    taken = {port: name for port, name in known.items() if name in wanted}
    free = (port for port in ports if port not in taken)
    placed = set(taken.values())
    for name in function_ids:
        if name not in placed and (port := next(free, None)) is not None:
            taken[port] = name
    return taken
