"""Every error as ``{"error": {"code", "message", "hint"}}``, and every request counted."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import structlog
from aiohttp import HttpVersion11, web

from bridge.errors import PREDICTOR_STATUS, BridgeError
from bridge.web.state import STATE

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Code -> what it means. The reference documents each of them, and a test compares.
ERROR_CODES: dict[str, str] = {
    "invalid_request": "A parameter, the body or its meaning is wrong; the message names what.",
    "invalid_json": "The body is no JSON in UTF-8, or a field of it is missing, unknown or of the wrong type or size.",
    "invalid_cursor": "The cursor is not one that this list gave.",
    "unknown_label": "A label is named that the model or the task does not have.",
    "nothing_matched": "No label of the model is matched to a label of the task.",
    "wrong_kind_of_model": "The model answers clicks and boxes and no frames, or the other way round.",
    "wrong_shape": "A mapping pairs a task label with a model whose shapes it cannot hold.",
    "bad_prompts": "What a model is asked to look for is missing, ambiguous, or nothing that it can be asked.",
    "no_frames": "The job's selection of frames is empty.",
    "no_tracks": "Tracks are wanted of a task in Label Studio, or of shapes that CVAT has no tracks of.",
    "empty_region": "The region of interest lies outside of every frame.",
    "too_many_tiles": "A frame would be cut into too many tiles.",
    "no_results": "The job has left no raw results that another one could read.",
    "below_floor": "A threshold is below the score down to which a job has kept its raw results.",
    "no_images": "Nothing of what was uploaded is an image.",
    "invalid_label_config": "The label config of a Label Studio project cannot be read.",
    "label_studio_not_installed": "The extra that reads Label Studio's label configs is not installed.",
    "becomes_a_job": "Label Studio would not wait for so many predictions: a job writes them.",
    "in_progress": "The predictions are being made or written already.",
    "job_ended": "The job that was to answer has failed or was cancelled.",
    "invalid_reference": "The text names no model that Hubbridge can use.",
    "unauthorized": "A token is missing, or it is unknown, revoked or expired.",
    "forbidden": "The token's scope is not enough for this.",
    "csrf": "A browser's session alone does not vouch for the request: the page's CSRF token is missing or wrong.",
    "needs_authentication": "Serving beyond this machine is refused while no token is asked for.",
    "foreign_host": "The Host header does not name this machine.",
    "foreign_origin": "A page of another site tried to change something.",
    "folder_not_allowed": "A folder of the server is named that lies outside [server] server_folders.",
    "access_denied": "The model's host, or the tool that a task lives in, refuses access: gated, private, or a token "
    "is missing or wrong.",
    "no_account": "No account is stored for the host that a remote task lives at.",
    "remote_not_found": "The tool that a task lives in does not have it any more, or hides it from this account.",
    "remote_refused": "The tool that a task lives in does not take what it was sent.",
    "target_busy": "Another annotation job writes to the same CVAT job or Label Studio project now.",
    "target_lost": "Another annotation job took over writing to the same CVAT job or Label Studio project.",
    "not_found": "There is no such thing, or no such route.",
    "model_not_registered": "No model of that name or id is registered.",
    "model_not_found": "The host knows no such model.",
    "method_not_allowed": "The path exists, the method does not; the Allow header lists those that do.",
    "conflict": "It contradicts the present state: a name is taken, a job has ended or still runs.",
    "later_job": "A later job has replaced shapes of this one; undo that one first.",
    "idempotency_key_reused": "The Idempotency-Key was used for another request.",
    "idempotency_in_progress": "The first request with this Idempotency-Key is still at work.",
    "too_large": "The body, a file or an archive is larger than the settings allow.",
    "unsupported_media_type": "The Content-Type is none of those that the route takes.",
    "expectation_failed": "The Expect header asks for something else than 100-continue.",
    "bad_frame": "The image cannot be read.",
    "must_be_downloaded": "What the model is stands in its file alone; registering it downloads it.",
    "unsupported_model": "The model is of a kind that Hubbridge does not run.",
    "too_many_requests": "Too many wrong credentials, or requests or queued jobs of one client; Retry-After says when "
    "to try again.",
    "rate_limited": "The model's host asks to slow down.",
    "overloaded": "Too much is waiting already; ask again later.",
    "database_unavailable": "The database did not answer.",
    "disk_full": "The disk that holds the database is full.",
    "restore_unfinished": "A backup was put back by half; the next command or start finishes it.",
    "database_too_new": "A newer version of Hubbridge wrote the database.",
    "database_of_another_version": "The database was made by another version of Hubbridge.",
    "not_ready": "The service cannot work at present; the message says why.",
    "out_of_memory": "The model does not fit into memory.",
    "model_stuck": "The model hung and is loaded anew; ask again.",
    "unavailable": "The model's host cannot be reached, or is loading the model.",
    "bad_output": "The model answered something that is no result.",
    "predictor_error": "The model failed.",
    "predict_timeout": "The model did not answer in time.",
    "secrets_unavailable": "The key that protects stored tokens is missing or another one.",
    "internal_error": "A defect of Hubbridge; its log says more.",
}
assert {code for _, _, code in PREDICTOR_STATUS} <= ERROR_CODES.keys()

CLIENT_GONE = 499  # in the log and the metrics alone, as nginx has it: nobody is there to be answered
REQUEST_ID = "X-Request-ID"
_HARMLESS_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_begun: ContextVar[web.StreamResponse | None] = ContextVar("begun")  # the request's answer, once that goes out
_HEADERS = {
    "Server": "hubbridge",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def as_response(error: BridgeError) -> web.Response:
    response = web.json_response(error.as_json(), status=error.status)
    if error.status in (429, 503) or error.code == "idempotency_in_progress":
        response.headers["Retry-After"] = str(getattr(error, "retry_after_s", 1))
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="hubbridge"'
    return response


def _of_http(error: web.HTTPException, request: web.Request) -> web.Response:
    """aiohttp's own refusals in our words."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        refusal = BridgeError(
            f"{request.path[:200]} does not take {request.method[:20]}.",
            hint=f"It takes {allowed}.",
            code="method_not_allowed",
        )
        refusal.status = 405
        response = as_response(refusal)
        response.headers["Allow"] = allowed
        return response
    known = {
        404: ("not_found", f"There is nothing at {request.path[:200]}.", "GET /v1/openapi.json lists every route."),
        413: ("too_large", "The body is larger than this route takes.", "JSON bodies may have 16 MB."),
    }
    code, message, hint = known.get(error.status, ("invalid_request", f"The request is wrong: {error.reason}.", ""))
    refusal = BridgeError(message, hint=hint, code=code)
    refusal.status = error.status
    return as_response(refusal)


def _of(error: Exception, request: web.Request) -> web.Response:
    """Any error as an answer; what went wrong here is logged."""
    if isinstance(error, BridgeError):
        if error.status >= 500:
            log.warning("request failed", path=request.path, code=error.code, error=error.message)
        return as_response(error)
    if isinstance(error, web.HTTPException):
        return _of_http(error, request)
    log.error("request failed unexpectedly", method=request.method, path=request.path, exc_info=error)
    hint = "This is a defect of Hubbridge; its log says more."
    return as_response(BridgeError("Something unexpected went wrong.", hint=hint))


def _has_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _broken_off(error: Exception, request: web.Request, begun: web.StreamResponse) -> web.StreamResponse:
    """An answer that failed after its first byte: a second one would stand in its middle, so the connection ends."""
    if isinstance(error, ConnectionError):
        log.info("the client left in the middle of its answer", path=request.path)
    else:
        log.error("an answer broke off", method=request.method, path=request.path, exc_info=error)
    if request.transport is not None:
        request.transport.abort()
    return begun


async def answer_expect(request: web.Request) -> web.StreamResponse | None:
    """What a client hears that asks before it sends its body: go on, or 417 for another question."""
    if request.headers["Expect"].lower() == "100-continue":
        if request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return None
    refusal = BridgeError(
        "The Expect header asks for something unknown.", hint="Only 100-continue is known.", code="expectation_failed"
    )
    refusal.status = 417
    return as_response(refusal)


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost layer: errors become JSON, and what happened is counted."""
    metrics = request.app[STATE].metrics
    started = time.perf_counter()
    _begun.set(None)  # a connection's requests share a context
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request=_request_id(request))
    try:
        response = await handler(request)
    except Exception as error:  # noqa: BLE001  (everything becomes an answer)
        begun = _begun.get()
        if begun is None and isinstance(error, ConnectionError) and _has_gone(request):
            log.info("the client left before its answer", path=request.path)
            response = web.Response(status=CLIENT_GONE)
        else:
            response = _of(error, request) if begun is None else _broken_off(error, request, begun)
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    known_method = request.method if resource is not None else "any"
    metrics.requests.labels(known_method, route, str(response.status)).inc()
    if response.content_type != "text/event-stream":
        metrics.seconds.labels(known_method, route).observe(time.perf_counter() - started)
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    log.info("request", method=known_method, route=route, status=response.status, ms=milliseconds)
    return response


def _request_id(request: web.Request) -> str:
    """What the client or a proxy calls the request, where that is harmless in a log; else a name of our own."""
    given = request.headers.get(REQUEST_ID, "")
    return given if _HARMLESS_ID.fullmatch(given) else uuid.uuid4().hex


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Before any answer goes out: it is not to be sniffed, embedded elsewhere or, unless it says so,
    kept by caches."""
    _begun.set(response)
    if (request_id := structlog.contextvars.get_contextvars().get("request")) is not None:
        response.headers[REQUEST_ID] = request_id
    for name, value in _HEADERS.items():
        if name != "Cache-Control" or name not in response.headers:
            response.headers[name] = value
