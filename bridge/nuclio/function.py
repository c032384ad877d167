"""What a CVAT function is to the face: an entry in the list, and an answer to a body.

A new kind (interactors, trackers, reid) is a class with the two methods of ``FunctionKind``, and an entry of the list
in ``table.py``. Time-outs, retries, parsing of the body and everything that CVAT is told of an error are the
table's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bridge.nuclio.bodies import Body
from bridge.nuclio.entries import Entry


class Function(Protocol):
    """One function of CVAT's list."""

    @property
    def id(self) -> str:
        """The slug in CVAT's URLs, also where no entry can be made."""
        ...

    @property
    def entry(self) -> Entry: ...

    async def answer(self, body: Body, deadline: float) -> bytes:
        """The answer's JSON to a call.

        ``deadline`` is a moment of the event loop's clock: what cannot be ready by then is better refused at once.
        Raises BridgeError and PredictorError; it is called again while those are retryable and there is time.
        """
        ...


class FunctionKind(Protocol):
    """A source of functions."""

    async def functions(self) -> Sequence[Function]:
        """All of them, in a stable order."""
        ...

    async def find(self, function_id: str) -> Function | None:
        """The one of that id, without looking at the others; None where it is of another kind, or nowhere."""
        ...
