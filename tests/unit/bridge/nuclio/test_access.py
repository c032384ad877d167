"""Who is let in: on which addresses a face may listen, tokens as passwords, and peers of the direct ports."""

from __future__ import annotations

import base64
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import requests
from aiohttp import web

from bridge.app import App, open_app
from bridge.domain import Scope
from bridge.errors import Forbidden, InvalidRequest
from bridge.settings import load_settings
from bridge.web.attempts import FailedAttempts
from bridge.web.nuclio_access import FaceAccess
from tests.servers.cvat_lambda_manager import CvatFails, LambdaManager
from tests.unit.bridge.nuclio.every_shape import served
from tests.unit.bridge.nuclio.test_face import picture


@asynccontextmanager
async def service(folder: Path, **cvat: Any) -> AsyncIterator[App]:
    (folder / "config.toml").touch()
    async with open_app(load_settings(folder / "config.toml", storage={"data_dir": str(folder)}, cvat=cvat)) as opened:
        yield opened


async def access(opened: App, host: str) -> FaceAccess:
    return await FaceAccess.of(opened, host, FailedAttempts())


async def test_other_machines_are_let_in_with_a_secret_or_a_token_only(tmp_path: Path) -> None:
    async with service(tmp_path) as opened:
        await access(opened, "127.0.0.1")
        with pytest.raises(InvalidRequest, match="needs a password there"):
            await access(opened, "0.0.0.0")
        await opened.tokens.create("cvat", Scope.ANNOTATE)
        await access(opened, "0.0.0.0")
    async with service(tmp_path, secret="s3cret") as opened:
        await access(opened, "0.0.0.0")


async def test_direct_ports_beyond_this_machine_want_peers(tmp_path: Path) -> None:
    async with service(tmp_path, secret="s3cret", direct_ports="8100-8110") as opened:
        await access(opened, "127.0.0.1")
        with pytest.raises(InvalidRequest, match="every machine"):
            await access(opened, "0.0.0.0")
    async with service(tmp_path, secret="s3cret", direct_ports="8100-8110", direct_peers="172.16.0.0/12,::1") as opened:
        guard = await access(opened, "0.0.0.0")
    async with service(tmp_path, direct_peers="somewhere") as opened:
        with pytest.raises(InvalidRequest, match="no address and no network"):
            await access(opened, "127.0.0.1")

    class Call:
        method = "POST"

        def __init__(self, remote: str) -> None:
            self.remote = remote

    for peer in ("172.17.0.3", "::ffff:172.17.0.3"):
        guard.check_peer(cast(web.Request, Call(peer)))
    for stranger in ("10.0.0.5", "::ffff:10.0.0.5", "fe80::1%eth0", ""):
        with pytest.raises(Forbidden, match="may not call"):
            guard.check_peer(cast(web.Request, Call(stranger)))


def test_a_direct_call_from_a_container_may_come_through_loopback(tmp_path: Path) -> None:
    """As Docker Desktop lets it in: from 127.0.0.1, under the name that CVAT calls."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with served(tmp_path, models=["rectangle"], direct_ports=f"{port}-{port}") as running:
        LambdaManager(running.url).list()
        body = {"image": base64.b64encode(picture()).decode()}
        for host, status in (("localhost", 200), ("host.docker.internal", 200), ("models.example", 403)):
            headers = {"Host": f"{host}:{port}"}
            reply = requests.post(f"http://127.0.0.1:{port}", json=body, headers=headers, timeout=60)
            assert reply.status_code == status, (host, reply.reason)


def test_a_token_is_a_password_as_far_as_its_scope_goes(tmp_path: Path) -> None:
    with served(tmp_path, models=["rectangle"]) as running:
        _, may = running.run(lambda opened: opened.tokens.create("cvat", Scope.ANNOTATE))
        _, reads = running.run(lambda opened: opened.tokens.create("reader", Scope.READ))
        with pytest.raises(CvatFails, match=r"401 .*wants a user and a password"):
            LambdaManager(running.url).list()
        with pytest.raises(CvatFails, match=r"401 .*did not accept"):
            LambdaManager(running.url.replace("//", "//cvat:wrong@")).list()
        for token in (may, reads):
            assert len(LambdaManager(running.url.replace("//", f"//cvat:{token}@")).list()) == 1
        with pytest.raises(CvatFails, match=r"403 .*scope annotate"):
            LambdaManager(running.url.replace("//", f"//cvat:{reads}@")).detect("rectangle", b"")
        with pytest.raises(CvatFails, match=r"400 .*holds no image"):
            LambdaManager(running.url.replace("//", f"//cvat:{may}@")).detect("rectangle", b"")


def test_wrong_secrets_are_slowed_down_and_the_right_one_is_not(tmp_path: Path) -> None:
    with served(tmp_path, models=["rectangle"], secret="s3cret") as running:
        right = LambdaManager(running.url.replace("//", "//cvat:s3cret@"))
        assert len(right.list()) == 1
        told = set()
        for attempt in range(14):
            with pytest.raises(CvatFails) as failure:
                LambdaManager(running.url.replace("//", f"//cvat:wrong{attempt}@")).list()
            told.add(str(failure.value)[:3])
        assert told == {"401", "429"}
        assert len(right.list()) == 1
