"""Pasted URLs that want to lead the service somewhere: each is refused, and nothing is ever connected to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from adapters.errors import BadFrame
from bridge.app import App, open_app
from bridge.errors import BridgeError
from bridge.remotes.label_studio.images import Images
from bridge.settings import load_settings

SHA = "0" * 64

# Addresses in every spelling that some resolver or library understands.
ADDRESSES = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "0",
    "0.0.0.0", "127.127.127.127", "10.0.0.1", "10.1", "172.16.5.4", "172.31.255.255", "192.168.0.1", "192.168.257",
    "100.64.0.1", "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518",
    "224.0.0.251", "255.255.255.255", "198.18.0.1", "192.0.2.1", "[::]", "[::1]", "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "168.63.129.16", "0xa83f8110", "[::127.0.0.1]", "[::a9fe:a9fe]", "[::ffff:0:127.0.0.1]", "[64:ff9b:1::7f00:1]",
    "[::ffff:168.63.129.16]", "[2002:a83f:8110::]", "[fec0::1]",
    "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "localhost", "LOCALHOST", "localhost.", "foo.localhost",
    "metadata.google.internal", "metadata", "kubernetes.default.svc", "127.0.0.1.nip.io", "localtest.me",
    "rebind.example.com", "127.0.0.1:22", "127.0.0.1.", "0x7F.1", "00000177.1", "[::1%25lo]", "[::ffff:0:0]", "[0::1]",
    "[::ffff:0a00:0001]", "[2001:db8::1]", "[100::1]", "[2001::1]", "198.51.100.7", "203.0.113.9", "240.0.0.1",
    "0.0.0.1", "100.100.100.200", "192.0.0.192", "ip6-localhost", "127.0.0.1%00.huggingface.co", "⑯⑨.254.169.254",
]  # fmt: skip

# Whole texts: user names that look like hosts, odd dots and letters, other schemes, line breaks, broken authorities.
TEXTS = [
    "https://huggingface.co@127.0.0.1/project/3", "https://huggingface.co:x@10.0.0.1/project/3",
    "https://huggingface.co%40127.0.0.1/project/3", "https://127.0.0.1#@huggingface.co/org/name",
    "https://127.0.0.1\\@huggingface.co/org/name", "https://huggingface.co\\.evil.example/org/name",
    "https://127。0。0。1/project/3", "https://①②⑦.0.0.1/project/3", "https://hugginɡface.co/org/name",
    "https://huggingface.co\u200b.evil.example/org/name", "https://ⓛocalhost/project/3",
    "https://huggingface.co\r\nHost:127.0.0.1/project/3", "https://huggingface.co\x00.evil.example/org/name",
    "http://127.0.0.1:8070/api/functions/f", "nuclio+http://169.254.169.254", "nuclio+https://127.0.0.1:1",
    "hf-endpoint+http://127.0.0.1:1#model=org/name", "hf-endpoint+https://[::1]#task=object-detection&labels=a",
    "hf-endpoint+https://169.254.169.254/latest/meta-data#task=object-detection&labels=a",
    f"https://127.0.0.1/model.onnx#sha256={SHA}", f"https://[::ffff:10.0.0.1]/model.onnx#sha256={SHA}",
    f"http://example.com/model.onnx#sha256={SHA}", f"https://rebind.example.com/model.onnx#sha256={SHA}",
    "gopher://127.0.0.1:6379/_SET", "ftp://127.0.0.1/model.onnx", "dict://127.0.0.1:11211/stat",
    "file://evil.example/etc/passwd", "jar:http://127.0.0.1!/x", "javascript:alert(1)", "data:text/html,x",
    "ldap://127.0.0.1", "unix:/var/run/docker.sock", "https://:443/project/3", "https:///127.0.0.1/project/3",
    "https://127.0.0.1:0/project/3", "https://127.0.0.1:99999/project/3", "https://[::1/project/3",
    "https://a..b/project/3", "https://-/project/3", "https://0x/project/3", "https:127.0.0.1/project/3",
    "http://example.com/project/3", "https://huggingface.co/org/../../name", "https://huggingface.co/org/%2e%2e/name",
    "https://serverless.roboflow.com.evil.example/project/3", "http://serverless.roboflow.com@127.0.0.1/project/3",
]  # fmt: skip
URLS = [*(f"https://{address}/project/3" for address in ADDRESSES), *TEXTS]


class _Rebinding(AbstractResolver):
    """Every name leads to this machine, as a hostile name server says after the first look."""

    def __init__(self, **_: object) -> None:
        return

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        return


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every address that anything tried to connect to."""
    seen: list[Any] = []

    def connect(_: socket.socket, address: Any) -> None:
        seen.append(address)
        raise ConnectionRefusedError

    async def sock_connect(_: Any, __: socket.socket, address: Any) -> None:
        seen.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr("aiohttp.connector.DefaultResolver", _Rebinding)
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, *_, **__: [(2, 1, 6, "", ("127.0.0.1", port))])
    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", sock_connect)
    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", _start_connection(seen))
    return seen


def _start_connection(seen: list[Any]) -> Any:
    async def start(addr_infos: list[Any], *, socket_factory: Any = None, **_: Any) -> socket.socket:
        for info in addr_infos:
            if socket_factory is not None:
                socket_factory(info).close()  # the guard refuses here
            seen.append(info[4])
        raise ConnectionRefusedError

    return start


@pytest.fixture
async def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "config.toml").touch()
    async with open_app(
        load_settings(tmp_path / "config.toml", storage={"data_dir": str(tmp_path / "data")})
    ) as opened:
        yield opened


def test_the_table_is_long_and_names_each_url_once() -> None:
    assert len(URLS) == len(set(URLS)) >= 90


async def test_every_hostile_url_is_refused_and_nothing_is_connected_to(app: App, connections: list[Any]) -> None:
    answered = {}
    for url in URLS:
        try:
            await app.registry.resolve(url)
            answered[url] = "resolved"
        except BridgeError as error:
            if error.code not in ("invalid_reference", "access_denied", "unsupported_model") or not error.hint:
                answered[url] = f"{error.code}: {error.message}"
    assert answered == {}
    assert connections == []


async def test_no_image_of_a_task_and_no_task_elsewhere_leads_there_either(app: App, connections: list[Any]) -> None:
    """What a Label Studio task names as its image, and what is pasted as a task of CVAT or a project."""
    images = Images(None, app.registry.http, 1000)
    answered = {}
    try:
        for url in URLS:
            if url.startswith("https://huggingface.co/org/"):
                continue  # the hub's own paths; its host is trusted
            try:
                await images.fetch("a.jpg", 1, url)
                answered[url] = "fetched"
            except BadFrame:
                pass
    finally:
        await images.close()
    for address in (*ADDRESSES, "[::1", "[x]", "a:x", "a:99999"):
        for url in (f"https://{address}/tasks/1", f"http://{address}/tasks/1/jobs/2", f"https://{address}/projects/7"):
            try:
                await app.jobs.remotes.find_or_add(url)
                answered[url] = "found"
            except BridgeError as error:
                if error.code not in ("no_account", "access_denied", "invalid_request"):
                    answered[url] = f"{error.code}: {error.message}"
    assert answered == {}
    assert connections == []


async def test_a_host_that_the_operator_allowed_is_asked(tmp_path: Path, connections: list[Any]) -> None:
    """The table would prove nothing if no address were ever connected to."""
    (tmp_path / "config.toml").touch()
    settings = load_settings(
        tmp_path / "config.toml",
        storage={"data_dir": str(tmp_path / "data")},
        network={"allowed_hosts": ("127.0.0.1",)},
    )
    async with open_app(settings) as app:
        with pytest.raises(BridgeError, match="cannot be reached"):
            await app.registry.resolve("https://127.0.0.1/project/3")
    assert connections
