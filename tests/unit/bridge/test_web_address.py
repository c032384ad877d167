"""Pasted and configured addresses of servers: what is none is refused in words, wherever it comes in."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest import MonkeyPatch

from bridge.errors import BridgeError, InvalidRequest
from bridge.net import http_policy
from bridge.remotes.cvat.addresses import parse_address, parse_base
from bridge.remotes.label_studio.address import is_project, parse_server
from bridge.settings import Settings
from bridge.web_address import account_host, web_address
from tests.unit.bridge.world import world

NONE = (
    "http://[::1",
    "http://",
    "https://:99",
    "http://a:99999",
    "http://a:b",
    "http://a:0",
    "ftp://x",
    "http://ex ample",
    "http://[fe80::1%eth0]",
    "http://[v1.x]",
    "://x",
    "http:///tasks/1",
    "http://h\x01",
    "http://a..b",
    f"http://{'a' * 300}",
    "http://a<b",
)


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_address_is_refused_everywhere(text: str, monkeypatch: MonkeyPatch) -> None:
    assert web_address(text) is None
    assert parse_address(f"{text}/tasks/1") is None
    assert not is_project(f"{text}/projects/1")
    for read in (parse_base, parse_server, account_host):
        with pytest.raises(InvalidRequest, match="is no "):
            read(text)
    for variable in ("CVAT_URL", "LABEL_STUDIO_URL"):
        with monkeypatch.context() as patched:
            patched.setenv(variable, text)
            with pytest.raises(InvalidRequest, match=f"{variable}, is no address"):
                http_policy(Settings())


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("cvat.example", "cvat.example"),
        (" CVAT.example:8080 ", "cvat.example:8080"),
        ("https://cvat.example/tasks/42?org=acme", "cvat.example"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("cvat.example/", "cvat.example"),
        ("bücher.example", "bücher.example"),
        ("", ""),
    ],
)
def test_an_accounts_host_is_read_from_what_people_paste(text: str, host: str) -> None:
    assert account_host(text) == host


@pytest.mark.parametrize("text", ["https://ann:secret@cvat.example", "ann:secret@cvat.example"])
def test_a_password_in_an_address_is_refused_and_not_repeated(text: str) -> None:
    for read in (account_host, parse_base, parse_server):
        with pytest.raises(BridgeError) as caught:
            read(text)
        assert "secret" not in f"{caught.value.message} {caught.value.hint}"


async def test_an_account_stored_by_an_address_is_found_by_its_host(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch) as made:
        stored = await made.registry.connect("cvat", "https://CVAT.example:8443/tasks/42", "token")
        assert stored.host == "cvat.example:8443"
        assert await made.registry.secret("cvat", "cvat.example:8443") == "token"
        with pytest.raises(InvalidRequest, match="is no host"):
            await made.registry.connect("cvat", "http://[::1", "token")
