"""One host asked over HTTP: what each failure becomes, and that no key gets out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import (
    AccessDenied,
    BadFrame,
    BadOutput,
    GatewayTimeout,
    ModelNotFound,
    PredictorError,
    PredictTimeout,
    RateLimited,
    Unavailable,
)
from adapters.http_caller import Answer, Host, HttpCaller, Request, _error_text, read_json, retry_after_seconds
from adapters.network import HttpPolicy
from tests.servers.loopback import Loopback

KEY = "c4n4ry/Key+That=Nobody&MaySee"
HERE = HttpPolicy(frozenset({"127.0.0.1"}))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Echo(Loopback):
    key = KEY

    def given_key(self, request: web.Request) -> str:
        return request.query.get("api_key", "")

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        return web.json_response({"length": len(body)})


@pytest.fixture
def server() -> Iterator[Echo]:
    with Echo() as running:
        yield running


@pytest.fixture
async def caller(server: Echo, request: pytest.FixtureRequest) -> AsyncIterator[HttpCaller]:
    timeout_s = 1.0 if "slow" in request.node.name else 120.0  # of this machine, which may be busy, there is no telling
    host = Host("Roboflow", "Add a key.")
    made = HttpCaller(server.url, HERE, host, secrets=(KEY,), timeout_s=timeout_s, max_answer_bytes=2**20)
    yield made
    await made.close()


REQUEST = Request("/proj/3", query={"api_key": KEY}, body=b"12345", subject="proj/3")


async def test_answers_come_back_and_the_connection_is_kept(caller: HttpCaller, server: Echo) -> None:
    for _ in range(5):
        assert await caller.json(REQUEST) == {"length": 5}
    assert server.connections == 1


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("400", PredictorError, "HTTP 400"),
        ("401", AccessDenied, "refuses the key"),
        ("402", AccessDenied, "out of credit"),
        ("403", AccessDenied, "does not let this account use proj/3"),
        ("404", ModelNotFound, "does not serve proj/3"),
        ("413", PredictorError, "413"),
        ("423", AccessDenied, "oops"),
        ("429", RateLimited, "slow down"),
        ("500", Unavailable, "HTTP 500"),
        ("502", Unavailable, "HTTP 502"),
        ("503", Unavailable, "HTTP 503"),
        ("503-loading", Unavailable, "The model is loading at Roboflow; it takes about 20 s"),
        ("408", GatewayTimeout, "HTTP 408"),
        ("504", GatewayTimeout, "HTTP 504"),
        ("cut", Unavailable, "cannot be reached"),
        ("slow", PredictTimeout, "did not answer in 1 s"),
        ("huge", BadOutput, "more than 1 MB"),
        ("garbage", BadOutput, "JSON"),
        ("redirect", PredictorError, "redirects"),
    ],
)
async def test_each_failure_is_told_apart(
    caller: HttpCaller, server: Echo, fault: str, error: type[PredictorError], words: str
) -> None:
    server.fail(fault)
    with pytest.raises(PredictorError, match=words) as caught:
        await caller.json(REQUEST)
    assert type(caught.value) is error
    assert "\n" not in caught.value.message
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize("status", ["400", "413", "415", "422"])
async def test_a_refused_frame_is_named(caller: HttpCaller, server: Echo, status: str) -> None:
    server.fail(status)
    with pytest.raises(BadFrame, match=r"street\.jpg") as caught:
        await caller.send(REQUEST, frame_id="street.jpg")
    assert caught.value.frame_id == "street.jpg"


async def test_what_the_host_asks_to_wait_is_carried(caller: HttpCaller, server: Echo) -> None:
    waits, began = {}, time.time()
    for fault in ("429", "429-date", "503-loading"):
        server.fail(fault)
        with pytest.raises((RateLimited, Unavailable)) as caught:
            await caller.send(REQUEST)
        waits[fault] = caught.value.retry_after
    assert waits["429"] == 7
    assert 28 - (time.time() - began) <= (waits["429-date"] or 0) <= 30
    assert waits["503-loading"] == 20


@pytest.mark.parametrize("fault", ["leak", "cut", "slow", "401", "redirect", "garbage", "huge", "500"])
async def test_no_key_stands_in_any_error(caller: HttpCaller, server: Echo, fault: str) -> None:
    server.fail(fault)
    with pytest.raises(PredictorError) as caught:
        await caller.json(REQUEST)
    shown = "".join(traceback.format_exception(caught.value)) + caught.value.hint + repr(caught.value)
    for form in (KEY, "c4n4ry", "c4n4ry%2FKey"):
        assert form not in shown


async def test_a_key_is_refused_without_being_repeated(server: Echo) -> None:
    wrong = HttpCaller(server.url, HERE, Host("Roboflow"), secrets=("wr0ngKeyOfSomebody",))
    with pytest.raises(AccessDenied, match=r"\*\*\*") as caught:
        await wrong.send(Request("/", query={"api_key": "wr0ngKeyOfSomebody"}))
    assert "wr0ng" not in str(caught.value)
    await wrong.close()


async def test_a_redirect_carries_the_key_nowhere(caller: HttpCaller, server: Echo) -> None:
    server.fail("redirect")
    with pytest.raises(PredictorError):
        await caller.send(REQUEST)
    assert server.stolen == []


async def test_an_unreachable_host_is_unavailable() -> None:
    with Echo() as gone:
        url = gone.url
    caller = HttpCaller(url, HERE, Host("Roboflow"), secrets=(KEY,))
    with pytest.raises(Unavailable, match="cannot be reached"):
        await caller.send(REQUEST)
    await caller.close()


async def test_requests_are_spaced_where_the_host_allows_so_many_a_second(server: Echo) -> None:
    caller = HttpCaller(server.url, HERE, Host("Roboflow"), secrets=(KEY,), requests_per_second=50)
    started = asyncio.get_running_loop().time()
    await asyncio.gather(*(caller.send(REQUEST) for _ in range(10)))
    assert asyncio.get_running_loop().time() - started >= 9 / 50
    await caller.close()


async def test_closing_ends_what_is_under_way_and_may_be_done_twice(caller: HttpCaller, server: Echo) -> None:
    server.fail("slow")
    call = asyncio.create_task(caller.send(REQUEST))
    await asyncio.sleep(0.2)
    await caller.close()
    await caller.close()
    with pytest.raises(PredictorError, match="closed"):
        await call
    with pytest.raises(PredictorError, match="closed"):
        await caller.send(REQUEST)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0), ("0", 0.0), (" 1.5 ", 1.5), ("-3", None), ("nan", None), ("soon", None), ("", None),
        ("99999999", 3600.0), ("inf", 3600.0), ("Thu, 01 Jan 2026 00:00:20 GMT", 20.0),
        ("Thu, 01 Jan 2026 00:00:20", 20.0), ("Wed, 31 Dec 2025 23:59:00 GMT", 0.0),
    ],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_date(value: str, seconds: float | None) -> None:
    assert retry_after_seconds(value, NOW) == seconds


@given(st.text())
def test_no_retry_after_raises(value: str) -> None:
    seconds = retry_after_seconds(value, NOW)
    assert seconds is None or 0 <= seconds <= timedelta(hours=1).total_seconds()


@given(st.binary() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(lambda x: json.dumps(x).encode()))
def test_no_body_of_a_refusal_raises_anything_but_ours(body: bytes) -> None:
    caller = HttpCaller("https://example.com", HERE, Host("Roboflow"), secrets=(KEY,))
    for status in (400, 401, 422, 429, 500, 503):
        error = caller._refused(REQUEST, Answer(status, {}, body), "frame")
        assert isinstance(error, PredictorError)
        assert error.message.isprintable()
    with contextlib.suppress(BadOutput):
        read_json(body, "Roboflow")


def test_deeply_nested_json_is_bad_output() -> None:
    with pytest.raises(BadOutput):
        read_json(b"[" * 200_000, "Roboflow")


def test_keys_of_others_in_an_error_text_are_blotted_out() -> None:
    caller = HttpCaller("https://example.com", HERE, Host("Roboflow"), secrets=(KEY,))
    text = caller.redact(
        "GET /x?api_key=AnotherKey0123456 Authorization: Bearer hf_abcdefghijklmnop, invalid token: none"
    )
    assert text == "GET /x?api_key=*** Authorization: Bearer ***, invalid token: none"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            {"detail": "Validation error", "validation_errors": {"result": ["is no list"]}},
            "Validation error: result is no list",
        ),
        (
            {"detail": "Validation error", "validation_errors": {"a": "x", "b": ["y", "z"]}},
            "Validation error: a x; b y",
        ),
        ({"detail": "Not found.", "validation_errors": None}, "Not found."),
        ({"detail": "Not found.", "validation_errors": {}}, "Not found."),
        ({"message": "m", "validation_errors": {"a": []}}, "m: a []"),
    ],
)
def test_the_fields_that_are_wrong_are_named(body: object, says: str) -> None:
    assert _error_text(json.dumps(body).encode()) == says
