"""Whatever is sent: an answer with a reason, never a silent 500, and the listener lives on."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servers.cvat_lambda_manager import LambdaManager
from tests.unit.bridge.nuclio.every_shape import Served, served
from tests.unit.bridge.nuclio.test_face import picture

CALLS = "/api/function_invocations"
QUIETLY = settings(max_examples=60)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
GOOD = base64.b64encode(picture()).decode()
images = st.sampled_from([GOOD, GOOD[:-7], GOOD[:100], GOOD[1:], "", "====", "data:image/png;base64," + GOOD])
bodies = st.one_of(
    st.binary(max_size=200),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {}, optional={"image": images | json_values, "threshold": json_values, "states": json_values}
    ).map(lambda value: json.dumps(value).encode()),
)
names = st.sampled_from(["rectangle", "mask", "tag", "skeleton", "open", "gone", "../x", ""]) | st.text(
    st.characters(min_codepoint=33, max_codepoint=126), max_size=30
)


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("fuzz")) as running:
        yield running


def place(face: Served) -> tuple[str, int]:
    url = urlsplit(face.url)
    assert url.hostname and url.port
    return url.hostname, url.port


def ask(face: Served, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(*place(face), timeout=60)
    try:
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        return reply.status, reply.reason, reply.read()
    finally:
        connection.close()


def check_alive(face: Served) -> None:
    assert len(LambdaManager(face.url).detect("rectangle", picture())) == 3


def check_told(status: int, reason: str, body: bytes) -> None:
    if status == 200:
        assert isinstance(json.loads(body), list)
        return
    assert 400 <= status < 500, (status, reason)
    assert len(reason) > 10 and reason.isascii() and reason.isprintable()


@QUIETLY
@given(name=names, body=bodies, wait=st.sampled_from(["120s", "", "1m", "-5s", "0s", "NaN", "x" * 50]))
def test_every_call_is_answered_or_refused_with_a_reason(face: Served, name: str, body: bytes, wait: str) -> None:
    headers = {"x-nuclio-function-name": name, "X-Nuclio-Invoke-Timeout": wait, "Content-Type": "application/json"}
    check_told(*ask(face, "POST", CALLS, body, headers))


@QUIETLY
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]),
    path=st.sampled_from(
        ["/", "/api/functions", "/api/functions/", "/api/functions/%00", "/api/functions/%ff%fe", "/x"]
    )
    | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40).map(lambda text: "/" + text),
)
def test_every_address_is_answered_or_refused_with_a_reason(face: Served, method: str, path: str) -> None:
    status, reason, _ = ask(face, method, path, None, {})
    assert status == 200 or (400 <= status < 500 and len(reason) > 2)


def test_a_listed_function_that_is_called_with_anything_still_works_afterwards(face: Served) -> None:
    check_alive(face)


def test_huge_pictures_are_refused_before_they_are_decoded(face: Served) -> None:
    def call(image: bytes | str) -> tuple[int, str, bytes]:
        text = image if isinstance(image, str) else base64.b64encode(image).decode()
        body = json.dumps({"image": text}).encode()
        return ask(face, "POST", CALLS, body, {"x-nuclio-function-name": "rectangle"})

    many_pixels = picture("1", size=(2000, 2000))
    status, reason, _ = call(many_pixels)
    assert (status, "2000 x 2000" in reason) == (413, True)
    status, reason, _ = call("A" * (2 * 2**20))
    assert (status, "larger" in reason) == (413, True)
    status, reason, _ = call("A" * (8 * 2**20))
    assert (status, "larger" in reason) == (413, True)
    check_alive(face)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x00\xff\x00",
        b"POST /api/function_invocations HTTP/1.1\r\n",
        b"POST /api/function_invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{",
        b"POST /api/function_invocations HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api/function_invocations HTTP/1.1\r\nHost: localhost\r\nx-nuclio-function-name: mask\r\n"
        b'Content-Length: 13\r\nExpect: 100-continue\r\n\r\n{"image": 1}\n',
        b"GET /api/functions HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
@pytest.mark.parametrize("how", ["half", "gone", "reset"])
def test_connections_that_end_in_the_middle_harm_nobody(face: Served, sent: bytes, how: str) -> None:
    with socket.create_connection(place(face), timeout=30) as connection:
        connection.sendall(sent)
        if how == "half":
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            try:
                while connection.recv(65_536):
                    pass
            except TimeoutError:
                pass
        if how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    check_alive(face)


def test_many_callers_at_once_all_get_their_answer(face: Served) -> None:
    answers: list[Any] = []

    def call() -> None:
        answers.append(len(LambdaManager(face.url).detect("rectangle", picture())))

    threads = [threading.Thread(target=call) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [3] * 12
