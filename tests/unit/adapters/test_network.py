"""Which hosts may be asked."""

from __future__ import annotations

import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from adapters import network
from adapters.errors import AccessDenied
from adapters.http_caller import Host, HttpCaller, Request
from adapters.network import HttpPolicy, is_public
from tests.servers.hugging_face_inference import HuggingFaceInference

NOBODY = HttpPolicy()


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::808:808"])
def test_addresses_of_the_open_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1", "2002:7f00:1::",
    ],
)  # fmt: skip
def test_private_loopback_metadata_and_multicast_addresses_are_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/x", "https://[::1]:8443", "https://169.254.169.254", "https://10.0.0.1", "http://example.com"],
)
def test_plain_http_and_private_addresses_are_refused_unless_allowed(url: str) -> None:
    with pytest.raises(AccessDenied) as caught:
        NOBODY.check(url)
    assert "allowed_hosts" in caught.value.hint


@pytest.mark.parametrize(
    ("allowed", "url", "trusted"),
    [
        ("10.0.0.1", "http://10.0.0.1:9001", True),
        ("10.0.0.1:9001", "http://10.0.0.1:9001", True),
        ("10.0.0.1:9001", "http://10.0.0.1:8070", False),
        ("nuclio", "http://Nuclio:8070", True),
        ("nuclio:80", "http://nuclio", True),
        ("nuclio", "http://nuclio.example.com", False),
        ("example.com", "http://evil-example.com", False),
        ("[::1]:9001", "http://[::1]:9001", True),
        ("::1", "http://[::1]:9001", True),
    ],
)
def test_allowed_hosts_are_trusted_by_their_exact_name(allowed: str, url: str, trusted: bool) -> None:
    assert HttpPolicy(frozenset({allowed})).trusts(url) is trusted


class _Liar(AbstractResolver):
    """Says that every name is this machine, as a hostile name server may after the first look."""

    def __init__(self, **_: object) -> None:
        return

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        return


async def test_a_public_name_that_leads_to_a_private_address_is_refused_when_the_socket_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aiohttp.connector.DefaultResolver", _Liar)
    with HuggingFaceInference(("a",)) as server:
        caller = HttpCaller(f"https://models.example.com:{server.port}", NOBODY, Host("The host"))
        with pytest.raises(AccessDenied, match="private address"):
            await caller.send(Request("/", body=b"x"))
        await caller.close()
        assert not server.seen


async def test_the_operators_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.lan:3128")
    monkeypatch.setenv("no_proxy", "inside.example.com")
    assert network._proxy("https://models.example.com/x") == "http://proxy.lan:3128"
    assert network._proxy("https://inside.example.com/x") is None
