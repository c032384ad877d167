"""What a caller of the service can be told, and how predictor errors look from outside.

One shape everywhere: ``{"error": {"code", "message", "hint"}}``. A message says what is wrong, the hint what to do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from adapters import errors as predictor


class BridgeError(Exception):
    """Base of every error of the service; ``status`` is its HTTP status, ``code`` its stable name."""

    status = 500
    code = "internal_error"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code

    def as_json(self) -> dict[str, dict[str, str]]:
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


class InvalidRequest(BridgeError):
    status, code = 400, "invalid_request"


class Unauthorized(BridgeError):
    status, code = 401, "unauthorized"


class Forbidden(BridgeError):
    status, code = 403, "forbidden"


class NotFound(BridgeError):
    status, code = 404, "not_found"


class Conflict(BridgeError):
    status, code = 409, "conflict"


class TooLarge(BridgeError):
    status, code = 413, "too_large"


def too_many_frames(what: str, frames: int, most: int) -> TooLarge:
    """What a task of another tool is refused with that has more frames than ``[images] max_task_frames``."""
    return TooLarge(
        f"{what} has {frames:,} frames; a task takes at most {most:,}.",
        hint="Choose a part of it, such as one job of CVAT, or raise max_task_frames in [images] of config.toml.",
    )


class UnsupportedMediaType(BridgeError):
    status, code = 415, "unsupported_media_type"


class TooManyRequests(BridgeError):
    """``retry_after``: seconds until it is worth asking again."""

    status, code = 429, "too_many_requests"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None, retry_after: float = 1.0) -> None:
        super().__init__(message, hint=hint, code=code)
        self.retry_after_s = max(1, math.ceil(retry_after))


class Overloaded(BridgeError):
    status, code = 503, "overloaded"


class NotReady(BridgeError):
    status, code = 503, "not_ready"


class UpstreamError(BridgeError):
    """A predictor error on its way out; status and code come from ``PREDICTOR_STATUS``."""


class RemoteGone(predictor.PredictorError):
    """The tool that a task lives in has no such task, job or project, or hides it from this account."""


class RemoteRefused(predictor.PredictorError):
    """The tool that a task lives in does not take what it was sent, and has changed nothing."""

    def __init__(self, http_status: int, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.http_status = http_status


class TargetLost(predictor.PredictorError):
    """Another job has taken over writing to the same target, because this one gave no sign for too long."""


# First match counts, so the narrow classes stand before the wide ones.
PREDICTOR_STATUS: tuple[tuple[type[predictor.PredictorError], int, str], ...] = (
    (predictor.InvalidReference, 400, "invalid_reference"),
    (RemoteGone, 404, "remote_not_found"),
    (RemoteRefused, 422, "remote_refused"),
    (TargetLost, 409, "target_lost"),
    (predictor.ModelNotFound, 404, "model_not_found"),
    (predictor.AccessDenied, 403, "access_denied"),
    (predictor.Unsupported, 422, "unsupported_model"),
    (predictor.MustDownload, 400, "must_be_downloaded"),
    (predictor.BadFrame, 422, "bad_frame"),
    (predictor.BadOutput, 502, "bad_output"),
    (predictor.OutOfMemory, 503, "out_of_memory"),
    (predictor.ModelStuck, 503, "model_stuck"),
    (predictor.RateLimited, 429, "rate_limited"),
    (predictor.PredictTimeout, 504, "predict_timeout"),
    (predictor.GatewayTimeout, 504, "predict_timeout"),
    (predictor.Unavailable, 503, "unavailable"),
    (predictor.PredictorError, 502, "predictor_error"),
)


def predictor_code(error: predictor.PredictorError) -> str:
    return next(code for kind, _, code in PREDICTOR_STATUS if isinstance(error, kind))


def from_predictor(error: predictor.PredictorError) -> BridgeError:
    """The service's form of a predictor error."""
    _, status, code = next(row for row in PREDICTOR_STATUS if isinstance(error, row[0]))
    outer = UpstreamError(error.message, hint=error.hint, code=code)
    outer.status = status
    return outer


@contextmanager
def translated() -> Iterator[None]:
    """Predictor errors leave the block as errors of the service."""
    try:
        yield
    except predictor.PredictorError as error:
        raise from_predictor(error) from error
