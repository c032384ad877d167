"""What every route refuses alike: wrong JSON, wrong types, unknown routes and ids, too much, foreign pages."""

from __future__ import annotations

import asyncio
import io
import re
import socket

import pytest
from yarl import URL

from bridge.errors import InvalidRequest
from bridge.web.guard import is_loopback
from bridge.web.routes import ROUTES
from bridge.web.server import serving
from tests.unit.bridge.web.conftest import Api

JSON = {"Content-Type": "application/json"}
TASK = '{"name": "t", "labels": [{"name": "car"}]'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe{}",
        b'{"name": "caf\xe9", "labels": [{"name": "a"}]}',
        TASK.encode() + b', "more": 1}',
        b'{"labels": [{"name": "car"}]}',
        b'{"name": 7, "labels": [{"name": "car"}]}',
        b'{"name": "t", "labels": "car"}',
        b'{"name": "t", "labels": []}',
        b'{"name": "t", "labels": [{"name": "car", "type": "blob"}]}',
        b'{"name": "t\\u0000", "labels": [{"name": "car"}]}',
        b'{"name": "\\ud800", "labels": [{"name": "car"}]}',
        b'{"name": "' + b"x" * 300 + b'", "labels": [{"name": "car"}]}',
        b"[" * 100_000,
        b'{"name": NaN, "labels": [{"name": "car"}]}',
    ],
)
async def test_a_wrong_body_is_refused_with_what_is_wrong(api: Api, body: bytes) -> None:
    await api.error("POST", "/v1/tasks", 400, "invalid_json", data=body, headers=JSON)
    assert (await api.call("GET", "/v1/tasks"))["tasks"] == []


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "1e999", "1.5", "-0.1", '"0.5"', "true", "9" * 5000, "[0.5]"]
)
async def test_a_threshold_is_a_number_between_0_and_1(api: Api, value: str) -> None:
    body = f'{{"threshold": {value}}}'
    await api.error("PATCH", "/v1/models/1", 400, "invalid_json", data=body, headers=JSON)


@pytest.mark.parametrize("field", ["target", "model_id"])
@pytest.mark.parametrize("value", ["0", "-1", "9223372036854775808", "1" * 4000, "1.5", "null", '"1"', "true", "{}"])
async def test_a_job_needs_whole_ids(api: Api, field: str, value: str) -> None:
    other = "model_id" if field == "target" else "target"
    body = f'{{"{field}": {value}, "{other}": 1}}'
    await api.error("POST", "/v1/jobs", 400, "invalid_json", data=body, headers=JSON)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
async def test_another_content_type_than_json_is_refused(api: Api, kind: str) -> None:
    headers = {"Content-Type": kind}
    await api.error("POST", "/v1/tasks", 415, "unsupported_media_type", data=TASK.encode() + b"}", headers=headers)


async def test_a_charset_other_than_utf_8_is_refused(api: Api) -> None:
    headers = {"Content-Type": "application/json; charset=utf-16"}
    await api.error("POST", "/v1/tasks", 415, "unsupported_media_type", data="{}".encode("utf-16"), headers=headers)


async def test_a_body_of_more_than_16_mb_is_refused(api: Api) -> None:
    body = b'{"name": "' + b"x" * (17 * 2**20) + b'"}'
    await api.error("POST", "/v1/tasks", 413, "too_large", data=io.BytesIO(body), headers=JSON)


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/no", "/v1/tasks/", "/v2/tasks", "/v1/tasks/1/frames/1/more"])
async def test_an_unknown_route_is_404(api: Api, path: str) -> None:
    await api.error("GET", path, 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/tasks", {"GET", "POST"}),
        ("PUT", "/v1/models/1", {"GET", "PATCH", "DELETE"}),
        ("GET", "/v1/jobs/1/cancel", {"POST"}),
        ("QUERY", "/v1/jobs", {"GET", "POST"}),
    ],
)
async def test_a_wrong_method_is_405_and_names_the_right_ones(
    api: Api, method: str, path: str, allowed: set[str]
) -> None:
    status, body, response = await api.raw(method, path)
    assert status == 405
    assert b"method_not_allowed" in body
    assert set(response.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize("text", ["abc", "-1", "1.0", "+1", "%201", "١", "null", "1%00"])
async def test_what_is_no_number_is_nothing(api: Api, text: str) -> None:
    await api.error("GET", f"/v1/tasks/{text}", 404, "not_found")


@pytest.mark.parametrize("text", ["0", "9223372036854775808", "1" * 400])
async def test_a_number_that_is_no_id_is_refused(api: Api, text: str) -> None:
    await api.error("GET", f"/v1/tasks/{text}", 400, "invalid_request")


WANTED = {"/v1/tasks/{task_id}/cleanable": "?model_id=77"}  # what a query has to hold
WITH_IDS = [
    (
        route.method,
        re.sub(r"{(\w+)}", lambda name: "0" if name[1] == "number" else "77", route.path) + WANTED.get(route.path, ""),
    )
    for route in ROUTES
    if "{" in route.path and route.method in ("GET", "DELETE")
]


@pytest.mark.parametrize(("method", "path"), WITH_IDS)
async def test_an_unknown_id_is_404(api: Api, method: str, path: str) -> None:
    await api.error(method, path, 404, "not_found")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=",
        "limit=1&limit=2",
        "wrong=1",
        "limit=1%00",
        "cursor=%FF",
        "limit=1e2",
    ],
)
async def test_a_wrong_query_is_refused(api: Api, query: str) -> None:
    status, body, _ = await api.raw("GET", str(URL(f"/v1/tasks?{query}", encoded=True)))
    assert status == 400, body


@pytest.mark.parametrize("cursor", ["x", "dGFza3M6eA==", "am9iczox", "dGFza3M6LTU=", "%00", "é", "dGFza3M6" + "9" * 80])
async def test_a_cursor_of_another_list_or_none_is_refused(api: Api, cursor: str) -> None:
    await api.error("GET", "/v1/tasks", 400, "invalid_cursor", params={"cursor": cursor})


async def test_lists_go_page_by_page_to_their_end(api: Api) -> None:
    for number in range(5):
        await api.task(f"task {number}")
    names, cursor, pages = [], None, 0
    while True:
        answer = await api.call("GET", "/v1/tasks", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        names += [task["name"] for task in answer["tasks"]]
        cursor, pages = answer["next_cursor"], pages + 1
        if cursor is None:
            break
    assert names == [f"task {number}" for number in range(5)]
    assert pages == 3


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8090", "127.0.0.1.evil.example", "10.0.0.1", "", "[::", "a@b"]
)
async def test_a_host_header_of_another_name_is_refused(api: Api, host: str) -> None:
    """A page whose name was made to resolve to 127.0.0.1 sends its own name."""
    url = URL(api.server.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"GET /v1/tasks HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400")), answer
    assert b"foreign_host" in answer or answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_page_of_another_site_changes_nothing(api: Api, headers: dict[str, str]) -> None:
    body = {"name": "t", "labels": [{"name": "car"}]}
    await api.error("POST", "/v1/tasks", 403, "foreign_origin", body, headers=headers)
    assert (await api.call("GET", "/v1/tasks", headers=headers))["tasks"] == []


async def test_our_own_pages_may_change_things(api: Api) -> None:
    headers = {"Origin": api.server.url, "Sec-Fetch-Site": "same-origin"}
    await api.call("POST", "/v1/tasks", {"name": "t", "labels": [{"name": "car"}]}, 201, headers=headers)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", "128.0.0.1"])
async def test_serving_beyond_this_machine_is_refused_without_authentication(api: Api, host: str) -> None:
    with pytest.raises(InvalidRequest, match="authentication") as refused:
        async with serving(api.settings, host=host):
            pytest.fail("it serves")
    assert refused.value.code == "needs_authentication"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST.", "a.localhost"])
def test_loopback_names(host: str) -> None:
    assert is_loopback(host)


async def test_a_port_that_is_taken_is_named(api: Api) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InvalidRequest, match="cannot be listened at"):
            async with serving(api.settings, port=taken.getsockname()[1]):
                pytest.fail("it serves")


async def test_an_unexpected_error_is_500_in_the_one_shape_and_says_nothing_of_the_inside(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the inside")

    monkeypatch.setattr(type(api.server.state.service.tasks), "page", broken)
    message = await api.error("GET", "/v1/tasks", 500, "internal_error")
    assert "inside" not in message


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "nonsense"])
async def test_a_packed_body_is_refused_whatever_is_in_it(api: Api, encoding: str) -> None:
    headers = {**JSON, "Content-Encoding": encoding}
    await api.error("POST", "/v1/tasks", 415, "unsupported_media_type", data=b"{}", headers=headers, compress=None)


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (b"Transfer-Encoding: chunked", b"zz\r\n{}\r\n0\r\n\r\n", b"400"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 2", b"{}", b"400"),
        (b"Content-Length: -1", b"", b"400"),
        (b"Content-Length: 2\r\nExpect: nothing", b"{}", b"417"),
        (b"X-Long: " + b"x" * 20_000, b"", b"400"),
    ],
)
async def test_what_is_no_http_is_a_4xx(api: Api, head: bytes, body: bytes, status: bytes) -> None:
    url = URL(api.server.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    host = f"Host: {url.host}:{url.port}\r\nConnection: close\r\nContent-Type: application/json\r\n".encode()
    writer.write(b"POST /v1/tasks HTTP/1.1\r\n" + host + head + b"\r\n\r\n" + body)
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    assert answer.split(b" ", 2)[1] == status, answer
    assert status != b"417" or b"expectation_failed" in answer


async def test_a_client_that_asks_before_it_sends_is_told_to_go_on(api: Api) -> None:
    url = URL(api.server.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    body = TASK.encode() + b"}"
    writer.write(
        f"POST /v1/tasks HTTP/1.1\r\nHost: {url.host}:{url.port}\r\nConnection: close\r\nExpect: 100-continue\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    async with asyncio.timeout(60):
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        writer.write(body)
        assert b"HTTP/1.1 201" in await reader.read()
    writer.close()
