"""What a route is: everything that dispatching, authorisation and the OpenAPI document need to know of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from bridge.app import App
from bridge.domain import Scope
from bridge.web.state import State


class Nothing(BaseModel):
    """No query parameters, or no body."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Media:
    """Content that is no JSON. ``binary``: bytes; otherwise text. ``fields``: the parts of a multipart form."""

    content_type: str
    description: str
    binary: bool = True
    fields: Mapping[str, str] | None = None


Q = TypeVar("Q", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """One request, read and checked. ``ids`` are the numbers in its path, by name."""

    request: web.Request
    state: State
    ids: Mapping[str, int]
    query: Q
    body: B

    @property
    def service(self) -> App:
        return self.state.service


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with another status than the route's first one."""

    status: int
    body: BaseModel | None = None


Answer = BaseModel | Reply | web.StreamResponse | None  # None: 204


@dataclass(frozen=True, slots=True)
class Route(Generic[Q, B]):
    """One operation. ``scope`` has no default on purpose: a route that nobody decided about cannot be written.

    query, body   ``Nothing`` where there are none
    answers       status -> model, media, or None for no content; the first is the usual one
    errors        statuses of errors that are this route's own; those that all routes share are added
    uploads       what else than a JSON ``body`` is taken; the handler reads it itself
    idempotent    takes an Idempotency-Key
    """

    method: str
    path: str
    operation_id: str
    scope: Scope
    tag: str
    summary: str
    handler: Callable[[Call[Q, B]], Awaitable[Answer]]
    query: type[Q]
    body: type[B]
    answers: Mapping[int, type[BaseModel] | Media | None]
    errors: Sequence[int] = ()
    uploads: Sequence[Media] = ()
    idempotent: bool = False
    description: str = ""
    example: Any = None


AnyRoute = Route[Any, Any]
