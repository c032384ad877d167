"""Who is told about every call of a model and every loading; without a listener, nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from adapters.base import ModelCard
from adapters.errors import PredictorError
from bridge.errors import BridgeError, predictor_code


@dataclass(slots=True)
class Observer:
    """A server puts its metrics here.

    called   card, frames in the call, seconds, and how it ended: ``ok``, an error code, or ``cancelled``
    loaded   card, seconds, and the same
    """

    called: Callable[[ModelCard, int, float, str], None] = lambda card, frames, seconds, outcome: None
    loaded: Callable[[ModelCard, float, str], None] = lambda card, seconds, outcome: None


@contextmanager
def timed(tell: Callable[[float, str], None]) -> Iterator[None]:
    """Tell how long the block took and how it ended."""
    started, outcome = perf_counter(), "ok"
    try:
        yield
    except PredictorError as error:
        outcome = predictor_code(error)
        raise
    except BridgeError as error:
        outcome = error.code
        raise
    except BaseException as error:
        outcome = "internal_error" if isinstance(error, Exception) else "cancelled"
        raise
    finally:
        tell(perf_counter() - started, outcome)
