"""Connections over HTTP: secrets go in and never come out."""

from __future__ import annotations

import pytest

from tests.unit.bridge.web.conftest import Api

SECRET = "hf_aVerySecretToken"


async def test_a_secret_goes_in_and_never_comes_out(api: Api) -> None:
    made = await api.call("POST", "/v1/connections", {"kind": "huggingface", "secret": SECRET}, 201)
    assert made["host"] == "huggingface.co"
    assert made.keys() == {"id", "kind", "host", "created_at"}
    assert SECRET not in str(await api.call("GET", "/v1/connections"))
    for file in (api.folder / "data").rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file
    await api.call("DELETE", f"/v1/connections/{made['id']}", expect=204)
    assert await api.call("GET", "/v1/connections") == {"connections": [], "next_cursor": None}


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "ftp", "secret": SECRET},
        {"kind": "cvat", "secret": ""},
        {"kind": "cvat", "secret": SECRET + "\n"},
        {"kind": "cvat", "secret": SECRET + " x"},
        {"kind": "cvat", "secret": SECRET, "host": "a b"},
        {"kind": "cvat", "secret": SECRET, "hots": "a"},
        {"kind": "cvat", "secret": SECRET * 1000},
    ],
)
async def test_a_wrong_connection_is_refused_without_saying_the_secret(api: Api, body: dict[str, str]) -> None:
    message = await api.error("POST", "/v1/connections", 400, "invalid_json", body)
    assert SECRET not in message
