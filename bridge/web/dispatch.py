"""From a row of the route table to a handler that aiohttp calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from pydantic import BaseModel

from bridge.web.authentication import needs
from bridge.web.idempotency import once
from bridge.web.reading import path_numbers, read_json, read_query
from bridge.web.route import Answer, AnyRoute, Call, Nothing, Reply
from bridge.web.state import STATE


def make_handler(route: AnyRoute) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Read and check what the route declares, call its handler, render what it says."""

    @needs(route.scope)
    async def handle(request: web.Request) -> web.StreamResponse:
        state = request.app[STATE]
        ids = path_numbers(request)
        query = read_query(request, route.query)
        takes_json = route.body is not Nothing and not route.uploads
        body = await read_json(request, route.body) if takes_json else Nothing()
        call = Call(request, state, ids, query, body)

        async def work() -> web.StreamResponse:
            return render(route, await route.handler(call))

        if route.idempotent:
            return await once(state.service.store, route.operation_id, request, work)
        return await work()

    return handle


def render(route: AnyRoute, answer: Answer) -> web.StreamResponse:
    status = next(iter(route.answers))
    if isinstance(answer, web.StreamResponse):
        return answer
    if isinstance(answer, Reply):
        status, answer = answer.status, answer.body
    if answer is None:
        return web.Response(status=status)
    assert isinstance(answer, BaseModel)
    return web.Response(status=status, body=answer.model_dump_json().encode(), content_type="application/json")
