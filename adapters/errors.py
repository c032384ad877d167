"""What can go wrong between a model source and us. Adapters translate every vendor exception into one of these.

A message says what happened and what to do next, and never holds a secret. The runner reads only ``retryable``.
"""

from __future__ import annotations


class PredictorError(Exception):
    """Base of every error that an adapter or a predictor raises."""

    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidReference(PredictorError):
    """The pasted text names no model that we can use; the message says why and the hint what to paste instead."""


class ModelNotFound(PredictorError):
    """The host knows no such model, revision or file, or hides it from this account."""


class AccessDenied(PredictorError):
    """The model is gated, private or disabled, or the token is missing, wrong or too weak."""


class Unsupported(PredictorError):
    """The model exists, but is of a kind, format or layout that we do not run."""


class MustDownload(PredictorError):
    """What the model is stands in a large file alone, and the caller does not want it downloaded for a look."""


class BadFrame(PredictorError):
    """One frame cannot be read or predicted; ``frame_id`` names it. Its neighbours are not to blame."""

    def __init__(self, frame_id: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.frame_id = frame_id

    def __reduce__(self) -> tuple[type[BadFrame], tuple[str, str], dict[str, str]]:
        return type(self), (self.frame_id, self.message), {"hint": self.hint}


class BadOutput(PredictorError):
    """The model or its host answered something that is no result: NaN, wrong shapes, wrong count, not JSON."""


class OutOfMemory(PredictorError):
    """A batch did not fit into memory; a smaller one may."""


class ModelStuck(PredictorError):
    """A model in this process has hung too often: it answers nothing more until it is loaded anew."""


class Transient(PredictorError):
    """Nothing is wrong with what was asked; asking again later may succeed."""

    retryable = True


class RateLimited(Transient):
    """The host asks us to slow down; ``retry_after`` is in seconds, or None where it did not say."""

    def __init__(self, message: str, *, retry_after: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class Unavailable(Transient):
    """The host cannot be reached, is loading the model, or failed on its side; ``retry_after`` as in RateLimited."""

    def __init__(self, message: str, *, retry_after: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class GatewayTimeout(Unavailable):
    """The host, or what stands before it, gave the request up: it is busy, or what was asked takes too long there."""


class PredictTimeout(Transient):
    """No answer within the model's time limit."""
