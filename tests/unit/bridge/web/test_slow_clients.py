"""Clients that send slowly, half or nothing are let go; who sends is served; too many at once hear 503."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from bridge.errors import Overloaded
from bridge.web import slow_clients
from bridge.web.errors import as_response
from tests.unit.bridge.web.conftest import Api, picture


class Clock:
    """The time by which clients are slow: it stands still where the test does not let it pass."""

    now = 1000.0
    looks = 0

    async def passes(self, seconds: float) -> None:
        """... and the watch has looked at everything since; what was sent before has arrived."""
        for step in (0.0, seconds):
            self.now += step
            before = self.looks
            async with asyncio.timeout(60):
                while self.looks < before + 2:
                    await asyncio.sleep(0.002)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made, look = Clock(), slow_clients.SlowClients.look

    def counted(slow: slow_clients.SlowClients, server: web.Server) -> None:
        look(slow, server)
        made.looks += 1

    monkeypatch.setattr(slow_clients, "_now", lambda: made.now)
    monkeypatch.setattr(slow_clients, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(slow_clients.SlowClients, "look", counted)
    return made


async def connect(api: Api) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = URL(api.server.url)
    return await asyncio.open_connection(url.host, url.port)


async def dropped(reader: asyncio.StreamReader, timeout_s: float = 60) -> bytes:
    """What came before the server let the connection go."""
    async with asyncio.timeout(timeout_s):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: "])
async def test_a_head_without_an_end_is_not_waited_for(api: Api, clock: Clock, sent: bytes) -> None:
    reader, writer = await connect(api)
    waiting = asyncio.create_task(dropped(reader))
    writer.write(sent)
    await clock.passes(29)
    assert not waiting.done()
    await clock.passes(2)
    assert await waiting == b""
    writer.close()


async def test_a_head_that_drips_is_not_waited_for(api: Api, clock: Clock) -> None:
    reader, writer = await connect(api)
    waiting = asyncio.create_task(dropped(reader))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    for _ in range(7):
        assert not waiting.done()
        writer.write(b"X-A: b\r\n")
        await clock.passes(5)
    assert await waiting == b""
    writer.close()


@pytest.mark.parametrize("path", ["/v1/tasks", "/login"])
async def test_who_hangs_up_in_the_middle_of_a_body_leaves_no_traceback(
    api: Api, clock: Clock, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    _, writer = await connect(api)
    kind = "application/json" if path != "/login" else "application/x-www-form-urlencoded"
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: 100\r\n\r\n{{"
    writer.write(head.encode())
    await writer.drain()
    await clock.passes(0)
    writer.transport.abort()
    async with asyncio.timeout(60):
        while f'route="{path}",status="499"' not in (await api.raw("GET", "/metrics"))[1].decode():
            await asyncio.sleep(0.05)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/tasks/1/frames?filename=a.png"])
async def test_a_body_that_stops_is_not_waited_for_and_leaves_nothing(api: Api, clock: Clock, path: str) -> None:
    await api.task()
    reader, writer = await connect(api)
    kind = "application/json" if path == "/v1/tasks" else "image/png"
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n"
    writer.write(head.encode() + b"{")
    waiting = asyncio.create_task(dropped(reader))
    await clock.passes(59)
    assert not waiting.done()
    await clock.passes(2)
    await waiting
    writer.close()
    async with asyncio.timeout(60):
        while list((api.folder / "data" / "incoming").glob("*")):
            await asyncio.sleep(0.05)
    assert (await api.call("GET", "/v1/tasks/1/frames"))["frames"] == []


async def test_a_body_that_comes_slowly_but_comes_is_taken(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_clients, "LEAST_BYTES_PER_S", 0.1)
    await api.task()
    body = picture(1)
    reader, writer = await connect(api)
    head = "POST /v1/tasks/1/frames?filename=a.png HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    step = len(body) // 8 + 1
    for start in range(0, len(body), step):
        writer.write(body[start : start + step])
        await clock.passes(20)
    assert (await dropped(reader)).startswith(b"HTTP/1.1 201")
    writer.close()


async def test_a_body_that_drips_for_ever_is_not_waited_for(api: Api, clock: Clock) -> None:
    reader, writer = await connect(api)
    waiting = asyncio.create_task(dropped(reader))
    head = "POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    writer.write(f"{head}Content-Length: 100000\r\n\r\n".encode())
    for _ in range(7):
        assert not waiting.done()
        writer.write(b"a")
        await clock.passes(10)
    await waiting
    writer.close()


async def test_half_closed_connections_leave_nothing_behind(api: Api) -> None:
    for _ in range(20):
        reader, writer = await connect(api)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        writer.write_eof()
        await dropped(reader)
        writer.close()
    assert await api.call("GET", "/healthz") == {"status": "ok"}


async def test_an_answer_that_takes_long_is_waited_for(api: Api, clock: Clock, slow: asyncio.Event) -> None:
    """It is our turn to send: such a client is not slow."""
    model = await api.model()
    asking = asyncio.create_task(api.raw("POST", f"/v1/models/{model['id']}/predict", data=picture(1), headers=PNG))
    await clock.passes(1000)
    assert not asking.done()
    slow.set()
    assert (await asking)[0] == 200


PNG = {"Content-Type": "image/png"}


async def test_a_connection_that_is_kept_for_nothing_is_let_go(api: Api, clock: Clock) -> None:
    reader, writer = await connect(api)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    waiting = asyncio.create_task(dropped(reader))
    await clock.passes(74)
    assert not waiting.done()
    await clock.passes(2)
    await waiting
    writer.close()


async def test_too_many_requests_at_once_are_turned_away_and_room_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "MOST_REQUESTS", 3)
    layer, go, begun = slow_clients.SlowClients().middleware, asyncio.Event(), 0

    async def handler(_: web.Request) -> web.StreamResponse:
        nonlocal begun
        begun += 1
        await go.wait()
        return web.Response()

    def ask() -> asyncio.Task[web.StreamResponse]:
        return asyncio.ensure_future(layer(make_mocked_request("GET", "/"), handler))

    asking = [ask() for _ in range(3)]
    while begun < 3:
        await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="3 requests") as refused:
        await ask()
    assert as_response(refused.value).headers["Retry-After"] == "1"
    go.set()
    await asyncio.gather(*asking)
    assert (await ask()).status == 200


async def test_logins_without_an_end_take_no_place_of_others(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "MOST_UNKNOWN", 2)
    monkeypatch.setattr(slow_clients, "MOST_REQUESTS", 4)
    head = "POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    stuck = [await connect(api) for _ in range(8)]
    for _, writer in stuck:
        writer.write(f"{head}Content-Length: 100\r\n\r\n".encode())
    turned_away = [asyncio.create_task(reader.readuntil(b"\r\n")) for reader, _ in stuck]
    async with asyncio.timeout(60):
        while sum(task.done() for task in turned_away) < 6:
            await asyncio.sleep(0.05)
    assert {task.result().split()[1] for task in turned_away if task.done()} == {b"503"}
    assert (await api.raw("GET", "/v1/tasks"))[0] == 200
    for (_, writer), task in zip(stuck, turned_away, strict=True):
        task.cancel()
        writer.close()


async def test_whether_the_process_lives_is_answered_when_nothing_else_is(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_clients, "MOST_REQUESTS", 0)
    assert (await api.raw("GET", "/v1/tasks"))[0] == 503
    assert (await api.raw("GET", "/healthz"))[0] == 200


async def test_of_too_many_connections_those_without_a_request_go(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_clients, "MOST_CONNECTIONS", 5)
    idle = [await connect(api) for _ in range(12)]
    gone = [asyncio.create_task(dropped(reader)) for reader, _ in idle]
    await clock.passes(1)
    async with asyncio.timeout(60):
        while sum(task.done() for task in gone) < 7:
            await asyncio.sleep(0.05)
    assert await api.call("GET", "/healthz") == {"status": "ok"}
    for (_, writer), task in zip(idle, gone, strict=True):
        writer.close()
        await task


ANSWER = b"x" * (64 << 20)  # more than the buffers of both sides take


@asynccontextmanager
async def served(slow: slow_clients.SlowClients) -> AsyncIterator[tuple[web.AppRunner, int]]:
    """A server that answers much; the runner, and its port."""

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        return web.Response(body=ANSWER)

    app = web.Application(middlewares=[slow.middleware])
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    assert runner.server is not None
    watch = asyncio.create_task(slow.watch(runner.server))
    try:
        yield runner, runner.addresses[0][1]
    finally:
        watch.cancel()
        await runner.cleanup()


async def test_who_takes_nothing_of_an_answer_is_let_go(clock: Clock) -> None:
    async with served(slow_clients.SlowClients()) as (runner, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await reader.readexactly(1000)
        async with asyncio.timeout(60):
            while runner.server is not None and runner.server.connections:
                await clock.passes(10)
        writer.close()


async def test_who_takes_an_answer_slowly_has_it_whole(clock: Clock) -> None:
    """It takes longer than a kept connection may wait, and longer than one may take nothing."""
    async with served(slow_clients.SlowClients()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert f"Content-Length: {len(ANSWER)}".encode() in head
        for _ in range(16):
            assert len(await reader.readexactly(len(ANSWER) // 16)) == len(ANSWER) // 16
            await clock.passes(20)
        writer.close()


async def test_who_takes_little_at_a_time_is_not_taken_for_one_who_takes_nothing(clock: Clock) -> None:
    """The system's own buffer of some MB empties before it takes any more of the answer."""
    async with served(slow_clients.SlowClients()) as (runner, port):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            for _ in range(45):
                assert await loop.sock_recv(client, 2000)
                await clock.passes(2)
            assert runner.server is not None
            assert runner.server.connections  # what the system holds comes in any case
