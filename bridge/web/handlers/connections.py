"""Accounts: secrets go in and never come out."""

from __future__ import annotations

from bridge.connection_kinds import DEFAULT_HOSTS
from bridge.web.answers import ConnectionAnswer, ConnectionPage
from bridge.web.paging import Paging, cut
from bridge.web.requests import AddConnection
from bridge.web.route import Call, Nothing


async def list_connections(call: Call[Paging, Nothing]) -> ConnectionPage:
    query = call.query
    after = query.after("connections")
    found = [entry for entry in await call.service.registry.connections() if entry.id > after]
    page, following = cut(found, query.limit, "connections", lambda entry: entry.id)
    return ConnectionPage(connections=[ConnectionAnswer.of(entry) for entry in page], next_cursor=following)


async def add_connection(call: Call[Nothing, AddConnection]) -> ConnectionAnswer:
    body = call.body
    host = DEFAULT_HOSTS[body.kind] if body.host is None else body.host
    return ConnectionAnswer.of(await call.service.registry.connect(body.kind, host, body.secret))


async def remove_connection(call: Call[Nothing, Nothing]) -> None:
    await call.service.registry.disconnect(call.ids["connection_id"])
