"""No handler runs before its caller was let through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from bridge.domain import Scope
from bridge.errors import Unauthorized
from bridge.web.authentication import scope_of
from bridge.web.login import to_login, wants_login
from bridge.web.slow_clients import ALIVE
from bridge.web.state import STATE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What declares no scope is for administrators; a path that leads nowhere says so to everybody.
    No client takes every place."""
    exists = request.match_info.route.resource is not None
    scope = (scope_of(request.match_info.handler) or Scope.ADMIN) if exists else Scope.OPEN
    state = request.app[STATE]
    try:
        principal = await state.auth.authorize(request, scope)
    except Unauthorized as error:
        if wants_login(request, error):
            return to_login(request)
        raise
    if request.path == ALIVE:
        return await handler(request)
    with state.shares.request(state.auth.client_key(request, principal)):
        return await handler(request)
