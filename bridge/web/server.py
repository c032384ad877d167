"""The server's life: opening the service, listening, running jobs beside it, and shutting down cleanly."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog
from aiohttp import web
from yarl import URL

from bridge.app import App, open_app
from bridge.errors import InvalidRequest
from bridge.live_server import announce_server, keep_announced, withdraw_server
from bridge.settings import Settings
from bridge.web.authentication import Authentication
from bridge.web.authorization import authorize
from bridge.web.client_shares import ClientShares
from bridge.web.dispatch import make_handler
from bridge.web.errors import add_headers, answer_errors, answer_expect
from bridge.web.label_studio_face import add_face, warm_up
from bridge.web.login import log_in, log_out, show_login
from bridge.web.metrics import Metrics
from bridge.web.nuclio_server import nuclio_serving
from bridge.web.openapi import make_document
from bridge.web.pages.table import add_pages, errors_as_pages
from bridge.web.reading import MAX_JSON_BYTES
from bridge.web.routes import ROUTES
from bridge.web.slow_clients import SlowClients
from bridge.web.state import STATE, State
from bridge.web.uploads import remove_abandoned
from bridge.worker import Worker

log = structlog.get_logger(__name__)

PATIENCE_S = 10.0  # for answers in flight, at the end
ANNOUNCE_EVERY_S = 2.0
MAX_LINE = 2**18  # bytes of a request's first line: a polygon or prompts in a query are long
LINGER_S = 2.0  # for the rest of a body that was refused, so that the client reads the refusal

SLOW = web.AppKey("slow", SlowClients)


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that listens. The URLs have the real ports; ``cvat_url`` is the Nuclio face's, None without one."""

    url: str
    state: State
    cvat_url: str | None = None


def make_web_app(service: App) -> web.Application:
    """The routes over an opened service; its worker is made, and runs when somebody runs it."""
    metrics = Metrics()
    metrics.observe(service.registry)
    frames = metrics.frames.labels("job")
    worker = Worker(service.jobs, service.settings.server.jobs_at_once, on_frames=frames.inc)
    slow = SlowClients()
    app = web.Application(
        middlewares=[answer_errors, slow.middleware, errors_as_pages, authorize], client_max_size=MAX_JSON_BYTES
    )
    auth = Authentication(service.tokens, service.settings)
    settings = service.settings
    shares = ClientShares(settings.server.requests_per_client, settings.jobs.queued_per_client)
    app[STATE] = State(service, worker, metrics, auth, shares, document=make_document())
    app[SLOW] = slow
    app.on_response_prepare.append(add_headers)
    for route in ROUTES:
        # Numbers only, so that /v1/models/resolve is never taken for a model.
        path = re.sub(r"{(\w+)}", r"{\1:[0-9]+}", route.path)
        app.router.add_route(route.method, path, make_handler(route), expect_handler=answer_expect)
    add_face(app)
    app.router.add_get("/login", show_login)
    app.router.add_post("/login", log_in)
    app.router.add_post("/logout", log_out)
    add_pages(app)
    return app


@asynccontextmanager
async def serving(settings: Settings, *, host: str | None = None, port: int | None = None) -> AsyncIterator[Serving]:
    """Serve until the block ends: requests in flight are answered, running jobs are given back as queued.

    Raises InvalidRequest where the address is taken, or reaches beyond this machine.
    """
    address = settings.server.host if host is None else host
    async with open_app(settings) as service:
        await asyncio.to_thread(remove_abandoned, settings.storage.folder)
        app = make_web_app(service)
        state = app[STATE]
        await state.auth.listen_at(address)
        runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=PATIENCE_S,
            lingering_time=LINGER_S,
            auto_decompress=False,
            max_line_size=MAX_LINE,
        )
        await runner.setup()
        worker = asyncio.create_task(state.worker.run())
        assert runner.server is not None
        background = [worker, asyncio.create_task(app[SLOW].watch(runner.server))]
        try:
            url = await _listen(runner, address, settings.server.port if port is None else port)
            announce_server(settings, url)
            background.append(asyncio.create_task(_keep_announced(settings, url)))
            async with nuclio_serving(service, state.metrics, state.auth.attempts) as cvat_url:
                asyncio.get_running_loop().call_soon(warm_up, app)  # others may know of the server by now
                yield Serving(url, state, cvat_url)
        finally:
            withdraw_server(settings)
            state.closing.set()  # event streams end
            for task in background:
                task.cancel()
            for outcome in await asyncio.gather(*background, return_exceptions=True):
                if isinstance(outcome, Exception):
                    log.error("a background task had failed", exc_info=outcome)
            await runner.cleanup()


async def _keep_announced(settings: Settings, url: str) -> None:
    """Another server on the same data writes its own note; when that one has ended, ours has to stand there again."""
    while True:
        await asyncio.sleep(ANNOUNCE_EVERY_S)
        with suppress(OSError):  # a full disk, for one; the next time it may be better
            await asyncio.to_thread(keep_announced, settings, url)


async def _listen(runner: web.AppRunner, host: str, port: int) -> str:
    site = web.TCPSite(runner, host.strip("[]"), port)
    try:
        await site.start()
    except OSError as error:
        raise InvalidRequest(
            f"Port {port} of {host} cannot be listened at: {error.strerror or error}.",
            hint="Another server may have it; choose one with --port.",
        ) from error
    real_port: int = runner.addresses[0][1]
    return str(URL.build(scheme="http", host=host.strip("[]"), port=real_port)).rstrip("/")


async def serve(
    settings: Settings, *, host: str | None = None, port: int | None = None, on_start: Callable[[Serving, bool], None]
) -> None:
    """Serve until SIGTERM or SIGINT. ``on_start`` is told where, and whether everybody there may do everything."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with serving(settings, host=host, port=port) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, stop.set)
        on_start(server, await server.state.auth.stands_open())
        await stop.wait()
        log.info("closing")
