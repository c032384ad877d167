"""Which errors end a run, and which of several that came together was the first cause."""

from __future__ import annotations

from adapters.errors import (
    AccessDenied,
    ModelNotFound,
    ModelStuck,
    PredictorError,
    PredictTimeout,
    Transient,
    Unsupported,
)
from bridge.store.leases import LeaseLost

# What every further frame would meet as well: the job stops, and its frames stay pending.
FATAL = (AccessDenied, ModelNotFound, Unsupported)


def why_the_run_ends(error: PredictorError) -> str | None:
    """What every further frame would meet as well, in a sentence for the job; None where only these frames fail."""
    if isinstance(error, FATAL):
        return f"{error.message} {error.hint}".strip()
    if isinstance(error, ModelStuck):
        return f"{error.message} Its frames stay pending; resume the job, and the model is loaded anew."
    if isinstance(error, Transient) and not isinstance(error, PredictTimeout):
        return f"{error.message} Its frames stay pending; resume the job when the host answers."
    return None


def first_error(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended a task group; the ones that followed from it are of no interest."""
    ranked = (LeaseLost, BaseException)
    flat = list(_flatten(errors))
    return next(error for kind in ranked for error in flat if isinstance(error, kind))


def _flatten(errors: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    flat: list[BaseException] = []
    for error in errors.exceptions:
        flat += _flatten(error) if isinstance(error, BaseExceptionGroup) else [error]
    return flat
