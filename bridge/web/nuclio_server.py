"""Listening for CVAT: the face on a port of its own, and where wanted a port for each model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from aiohttp import web
from yarl import URL

from bridge.app import App
from bridge.errors import InvalidRequest
from bridge.nuclio.loading import Loading
from bridge.nuclio.table import make_functions
from bridge.settings_sections import CvatSettings
from bridge.web.attempts import FailedAttempts
from bridge.web.client_shares import ClientShares
from bridge.web.errors import add_headers
from bridge.web.metrics import Metrics
from bridge.web.nuclio_access import FaceAccess
from bridge.web.nuclio_face import Face, assign_ports, make_dashboard, make_direct
from bridge.web.slow_clients import SlowClients

log = structlog.get_logger(__name__)

PATIENCE_S = 10.0  # for answers in flight, at the end
OVERHEAD_BYTES = 2**20  # of a call's body beside its image


@asynccontextmanager
async def nuclio_serving(service: App, metrics: Metrics, attempts: FailedAttempts) -> AsyncIterator[str | None]:
    """Serve CVAT until the block ends, where the settings say so; gives the URL, or None.

    Raises InvalidRequest where the address is taken, or reaches beyond this machine without a secret.
    """
    settings = service.settings.cvat
    if not settings.listen:
        yield None
        return
    host, port = _address(settings)
    loading = Loading(service.registry)
    face = Face(
        make_functions(service, loading),
        metrics,
        await FaceAccess.of(service, host, attempts),
        ClientShares(service.settings.server.requests_per_client),
        settings.timeout_seconds,
    )
    most = service.settings.images.max_file_mb * 2**20 * 4 // 3 + OVERHEAD_BYTES
    slow = SlowClients()
    dashboard, direct = _runner(make_dashboard(face, slow, most)), _runner(make_direct(face, slow, most))
    background = [asyncio.create_task(loading.download())]
    for runner in (dashboard, direct):
        await runner.setup()
        assert runner.server is not None
        background.append(asyncio.create_task(slow.watch(runner.server)))
    try:
        await _listen(dashboard, host, port)
        face.port = dashboard.addresses[0][1]
        if settings.direct_ports:
            face.on_listed = DirectPorts(face, direct, host, _ports(settings)).open
            await face.on_listed([function.id for kind in face.functions.kinds for function in await kind.functions()])
        yield str(URL.build(scheme="http", host=host, port=face.port)).rstrip("/")
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await dashboard.cleanup()
        await direct.cleanup()
        await loading.close()


class DirectPorts:
    """Opens a port for each function as functions come, and closes those whose function has gone."""

    def __init__(self, face: Face, runner: web.AppRunner, host: str, ports: range) -> None:
        self._face, self._runner, self._host, self._ports = face, runner, host, ports
        self._sites: dict[int, web.TCPSite] = {}
        self._lock = asyncio.Lock()

    async def open(self, function_ids: Sequence[str]) -> None:
        async with self._lock:
            assigned = assign_ports(self._face.direct, self._ports, function_ids)
            for port in self._sites.keys() - assigned.keys():
                await self._sites.pop(port).stop()
            for port in assigned.keys() - self._sites.keys():
                site = web.TCPSite(self._runner, self._host, port)
                try:
                    await site.start()
                except OSError as error:
                    log.warning("a port for a model cannot be listened at", port=port, error=error.strerror)
                    continue
                self._sites[port] = site
            self._face.direct = {port: name for port, name in assigned.items() if port in self._sites}
            if len(assigned) < len(function_ids):
                log.warning("[cvat] direct_ports has fewer ports than there are models", ports=len(self._ports))


def _runner(app: web.Application) -> web.AppRunner:
    app.on_response_prepare.append(add_headers)
    return web.AppRunner(
        app, access_log=None, shutdown_timeout=PATIENCE_S, auto_decompress=False, handler_cancellation=True
    )


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise InvalidRequest(
            f"Port {port} of {host} cannot be listened at for CVAT: {error.strerror or error}.",
            hint="Another program may have it; choose another one in [cvat] listen.",
        ) from error


def _address(settings: CvatSettings) -> tuple[str, int]:
    """Host and port of ``listen``."""
    host, _, port = settings.listen.rpartition(":")
    host = host.strip("[]")
    if int(port) > 65_535:
        raise InvalidRequest(f"[cvat] listen names port {port}; the last one is 65535.")
    return host, int(port)


def _ports(settings: CvatSettings) -> range:
    first, _, last = settings.direct_ports.partition("-")
    ports = range(int(first), int(last) + 1)
    if not ports or ports[0] < 1 or ports[-1] > 65_535:
        raise InvalidRequest("[cvat] direct_ports is no range of ports.", hint="For example: 8100-8199")
    return ports
