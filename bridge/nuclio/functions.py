"""The table of functions: what CVAT can list, and call within the time that it waits."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog

from adapters.errors import PredictorError, PredictTimeout, RateLimited, Unavailable
from bridge.errors import BridgeError, NotFound, Overloaded, TooManyRequests, from_predictor
from bridge.nuclio.bodies import parse_body
from bridge.nuclio.entries import Entry, check_entry
from bridge.nuclio.function import Function, FunctionKind

log = structlog.get_logger(__name__)

T = TypeVar("T")

MARGIN_S = 2.0  # an answer leaves so long before CVAT stops waiting, or a tenth of its patience where that is less
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0


@dataclass(frozen=True, slots=True)
class Listed:
    """The list, and what was left out of it: function id -> why CVAT could not read it."""

    entries: dict[str, dict[str, Any]]
    broken: dict[str, str]


@dataclass(frozen=True, slots=True)
class Functions:
    """The functions of all kinds. Of two with one id the first one counts."""

    kinds: Sequence[FunctionKind]

    async def listed(self, port_of: Callable[[str], int]) -> Listed:
        """Every function that CVAT can read; one that it could not would take the whole list from it.

        ``port_of``: function id -> the port that answers for it alone, or the face's own.
        """
        found: dict[str, Entry] = {}
        broken: dict[str, str] = {}
        for kind in self.kinds:
            for function in await kind.functions():
                try:
                    found.setdefault(function.id, function.entry)
                except Exception as error:  # noqa: BLE001  (a broken card spoils its own entry only)
                    broken[function.id] = f"{type(error).__name__}: {error}"
        names = Counter(entry.name for entry in found.values())
        entries = {}
        for name, entry in found.items():
            shown = replace(entry, name=f"{entry.name} ({name})") if names[entry.name] > 1 else entry
            described = shown.as_json(port_of(name))
            try:
                check_entry(described)
            except (ValueError, RecursionError) as error:
                broken[name] = str(error)
                continue
            entries[name] = described
        for name, reason in broken.items():
            log.warning("a model is not shown in CVAT", function=name, reason=reason)
        return Listed(entries, broken)

    async def described(self, function_id: str, port: int) -> dict[str, Any]:
        """One entry. Raises NotFound, also for one that is left out of the list."""
        function = await self._find(function_id)
        try:
            entry = function.entry.as_json(port)
            check_entry(entry)
        except Exception as error:
            log.warning("a model is not shown in CVAT", function=function_id, reason=f"{type(error).__name__}: {error}")
            raise _missing(function_id) from error
        return entry

    async def invoke(self, function_id: str, data: bytes, within_s: float) -> bytes:
        """The answer's JSON to a call, within the seconds that CVAT waits. Raises BridgeError.

        What may pass (a host that is busy, slow or loading) is asked again as long as there is time.
        """
        deadline = asyncio.get_running_loop().time() + within_s - min(MARGIN_S, within_s / 10)
        try:
            async with asyncio.timeout_at(deadline):
                function = await self._find(function_id)
                body = await asyncio.to_thread(parse_body, data)
                return await patiently(lambda: function.answer(body, deadline), deadline)
        except TimeoutError as error:
            slow = PredictTimeout(f"{function_id} did not answer within {within_s:.0f} s.", hint="Run it again.")
            raise from_predictor(slow) from error
        except PredictorError as error:
            raise from_predictor(error) from error

    async def _find(self, function_id: str) -> Function:
        for kind in self.kinds:
            try:
                function = await kind.find(function_id)
            except (ValueError, TypeError, KeyError, AttributeError) as error:  # a card that cannot be read
                log.warning("a model cannot be read", function=function_id, reason=f"{type(error).__name__}: {error}")
                raise _missing(function_id) from error
            if function is not None:
                return function
        raise _missing(function_id)


async def patiently(ask: Callable[[], Awaitable[T]], deadline: float) -> T:
    """What ``ask`` gives, asked again after each error that may pass, until the deadline. Raises its last error."""
    loop = asyncio.get_running_loop()
    pause = FIRST_PAUSE_S
    while True:
        try:
            return await ask()
        except (BridgeError, PredictorError) as error:
            wanted = _pause_wanted(error)
            wait = pause * random.uniform(0.7, 1.3) if wanted is None else wanted  # noqa: S311
            if not _may_pass(error) or loop.time() + wait >= deadline:
                raise
            log.info("a call from CVAT is repeated", error=error.message, pause_s=round(wait, 2))
        await asyncio.sleep(wait)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def _may_pass(error: BridgeError | PredictorError) -> bool:
    source = error if isinstance(error, PredictorError) else error.__cause__
    if isinstance(source, PredictorError):
        return source.retryable
    return isinstance(error, Overloaded | TooManyRequests)


def _pause_wanted(error: BridgeError | PredictorError) -> float | None:
    """For how many seconds the host asks to be left alone; None where it does not say."""
    source = error if isinstance(error, PredictorError) else error.__cause__
    return source.retry_after if isinstance(source, RateLimited | Unavailable) else None


def _missing(function_id: str) -> NotFound:
    return NotFound(
        f"Hubbridge has no model {function_id[:100]!r}.",
        hint="It was removed or renamed; reload CVAT's Models page.",
        code="model_not_registered",
    )
