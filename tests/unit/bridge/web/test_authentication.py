"""Who may do what: every route is tried with no, wrong, expired, revoked and too weak credentials."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, FormData, web

from bridge.app import open_app
from bridge.domain import Scope
from bridge.errors import InvalidRequest
from bridge.tokens import csrf_token
from bridge.web.attempts import FailedAttempts
from bridge.web.authentication import COOKIE, scope_of
from bridge.web.routes import ROUTES
from bridge.web.server import make_web_app, serving
from bridge.web.state import STATE
from tests.unit.bridge.web.conftest import Api, settings_for

SCOPES = (Scope.READ, Scope.ANNOTATE, Scope.ADMIN)


@dataclass
class Locked:
    """A server that asks for tokens, and one of each kind."""

    api: Api
    texts: dict[Scope, str]
    wrong: dict[str, str]

    async def ask(self, method: str, path: str, token: str | None, **options: Any) -> tuple[int, Any]:
        self.api.server.state.auth.attempts = FailedAttempts()  # slowing down is tested elsewhere
        headers = {**({} if token is None else {"Authorization": f"Bearer {token}"}), **options.pop("headers", {})}
        status, body, response = await self.api.raw(method, path, headers=headers, allow_redirects=False, **options)
        return status, (await response.json() if response.content_type == "application/json" and body else body)


@pytest.fixture
async def locked(api: Api) -> AsyncIterator[Locked]:
    tokens = api.server.state.service.tokens
    texts = {scope: (await tokens.create(scope, scope))[1] for scope in SCOPES}
    revoked, revoked_text = await tokens.create("revoked", Scope.ADMIN)
    await tokens.revoke(revoked.id)
    _, expired_text = await tokens.create("expired", Scope.ADMIN, timedelta(microseconds=1))
    wrong = {
        "revoked": revoked_text,
        "expired": expired_text,
        "unknown": "hubbridge_" + "A" * 43,
        "cut": texts[Scope.ADMIN][:-1],
        "longer": texts[Scope.ADMIN] + "A",
        "long": "A" * 7000,
    }
    yield Locked(api, texts, wrong)


def paths() -> list[tuple[str, str, Scope]]:
    found = [(route.method, re.sub(r"{\w+}", "1", route.path), route.scope) for route in ROUTES]
    return [*found, ("POST", "/logout", Scope.OPEN), ("GET", "/login", Scope.OPEN)]


async def test_every_route_refuses_whoever_has_no_valid_token(locked: Locked) -> None:
    tried = 0
    for method, path, scope in paths():
        if scope is Scope.OPEN:
            continue
        for kind, token in [("none", None), *locked.wrong.items()]:
            status, body = await locked.ask(method, path, token)
            assert (status, body["error"]["code"]) == (401, "unauthorized"), (method, path, kind, body)
            tried += 1
    assert tried > 250


async def test_every_route_refuses_a_token_whose_scope_is_too_small_and_takes_one_that_is_not(locked: Locked) -> None:
    for method, path, scope in paths():
        for held in SCOPES:
            status, body = await locked.ask(method, path, locked.texts[held])
            if held.covers(scope):
                assert status not in (401, 500) and (status != 403), (method, path, held, body)
            else:
                assert (status, body["error"]["code"]) == (403, "forbidden"), (method, path, held, body)


async def test_what_anyone_may_ask_answers_without_a_token_and_with_a_wrong_one(locked: Locked) -> None:
    for token in (None, *locked.wrong.values()):
        assert (await locked.ask("GET", "/healthz", token))[0] == 200
        assert (await locked.ask("GET", "/login", token))[0] == 200
    assert {route.path for route in ROUTES if route.scope is Scope.OPEN} == {"/healthz", "/readyz"}


async def test_every_handler_declares_a_scope(tmp_path: Path) -> None:
    """A route that is added past the table without one fails here, and is for administrators until then."""
    async with open_app(settings_for(tmp_path)) as service:
        app = make_web_app(service)
        bare = [str(route) for route in app.router.routes() if scope_of(route.handler) is None]
        assert len(app.router.routes()) > len(ROUTES)
        assert bare == []


async def test_a_handler_without_a_scope_is_for_administrators(tmp_path: Path) -> None:
    async def bare(_: web.Request) -> web.StreamResponse:
        return web.Response(text="done")

    settings = settings_for(tmp_path)
    async with open_app(settings) as service:
        app = make_web_app(service)
        app.router.add_get("/bare", bare)
        _, weak = await service.tokens.create("weak", Scope.ANNOTATE)
        _, strong = await service.tokens.create("strong", Scope.ADMIN)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/bare"
        async with ClientSession() as session:
            for token, expected in ((weak, 403), (strong, 200)):
                async with session.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
                    assert response.status == expected
        await runner.cleanup()


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Basic", "Basic !!!", "Basic " + base64.b64encode(b"\xff:\xff").decode(), "Digest x", "x"],
)
async def test_a_strange_authorization_header_is_refused(locked: Locked, header: str) -> None:
    status, body = await locked.ask("GET", "/v1/tasks", None, headers={"Authorization": header})
    assert (status, body["error"]["code"]) == (401, "unauthorized")


async def test_two_authorization_headers_are_refused(locked: Locked) -> None:
    both = [("Authorization", f"Bearer {locked.texts[Scope.READ]}")] * 2
    status, _, response = await locked.api.raw("GET", "/v1/tasks", headers=both)
    assert status == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="hubbridge"'


@pytest.mark.parametrize("form", ["bearer {}", "Token {}", "Basic"])
async def test_the_same_token_is_taken_in_every_form(locked: Locked, form: str) -> None:
    text = locked.texts[Scope.READ]
    header = "Basic " + base64.b64encode(f"anybody:{text}".encode()).decode() if form == "Basic" else form.format(text)
    assert (await locked.ask("GET", "/v1/tasks", None, headers={"Authorization": header}))[0] == 200


async def test_revoking_holds_at_once_and_for_sessions_too(locked: Locked) -> None:
    tokens = locked.api.server.state.service.tokens
    token, text = await tokens.create("browser", Scope.READ)
    session = await tokens.open_session(token)
    cookie = {"Cookie": f"{COOKIE}={session}"}
    assert (await locked.ask("GET", "/v1/tasks", text))[0] == 200
    assert (await locked.ask("GET", "/v1/tasks", None, headers=cookie))[0] == 200
    await tokens.revoke(token.id)
    assert (await locked.ask("GET", "/v1/tasks", text))[0] == 401
    assert (await locked.ask("GET", "/v1/tasks", None, headers=cookie))[0] == 401


async def test_a_page_that_a_browser_opens_leads_to_the_login_and_a_program_hears_401(locked: Locked) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    _, _, response = await locked.api.raw("GET", "/v1/docs?x=1", headers=browser, allow_redirects=False)
    assert response.status == 303
    assert response.headers["Location"] == "/login?next=/v1/docs?x%3D1"
    assert (await locked.ask("POST", "/v1/tasks", None, headers=browser))[0] == 401
    assert (await locked.ask("GET", "/v1/docs", None))[0] == 401


async def log_in(locked: Locked, token: str, **fields: str) -> Any:
    form = FormData({"token": token, **fields})
    async with locked.api.session.post(f"{locked.api.server.url}/login", data=form, allow_redirects=False) as response:
        await response.read()
        return response


async def test_a_browser_logs_in_changes_something_and_logs_out(locked: Locked) -> None:
    response = await log_in(locked, f" {locked.texts[Scope.ANNOTATE]} ", next="/v1/docs")
    assert (response.status, response.headers["Location"]) == (303, "/v1/docs")
    cookie = response.cookies[COOKIE]
    assert cookie["httponly"] and cookie["samesite"] == "Lax" and cookie["path"] == "/" and not cookie["secure"]
    assert locked.texts[Scope.ANNOTATE] not in cookie.value
    sent = {"Cookie": f"{COOKIE}={cookie.value}"}
    body = {"name": "t", "labels": [{"name": "car"}]}

    status, answer = await locked.ask("POST", "/v1/tasks", None, headers=sent, json=body)
    assert (status, answer["error"]["code"]) == (403, "csrf")
    wrong = {**sent, "X-CSRF-Token": "0" * 64}
    assert (await locked.ask("POST", "/v1/tasks", None, headers=wrong, json=body))[0] == 403
    assert (await locked.ask("GET", "/v1/tasks", None, headers=sent))[1]["tasks"] == []

    right = {**sent, "X-CSRF-Token": csrf_token(cookie.value)}
    assert (await locked.ask("POST", "/v1/tasks", None, headers=right, json=body))[0] == 201
    assert (await locked.ask("POST", "/v1/connections", None, headers=right, json={}))[0] == 403  # needs admin

    assert (await locked.ask("POST", "/logout", None, headers=sent))[0] == 403
    form = FormData({"csrf_token": csrf_token(cookie.value)})
    assert (await locked.ask("POST", "/logout", None, headers=sent, data=form))[0] == 303
    assert (await locked.ask("GET", "/v1/tasks", None, headers=sent))[0] == 401


async def test_a_wrong_token_at_the_login_is_said_on_the_page_and_slowed_down(locked: Locked) -> None:
    for _ in range(10):
        response = await log_in(locked, locked.wrong["revoked"])
        assert response.status == 401
        assert COOKIE not in response.cookies
    response = await log_in(locked, locked.wrong["unknown"])
    assert response.status == 429
    assert int(response.headers["Retry-After"]) >= 1


async def test_a_known_token_still_works_while_wrong_ones_are_slowed_down(locked: Locked) -> None:
    api, good = locked.api, {"Authorization": f"Bearer {locked.texts[Scope.READ]}"}
    bad = {"Authorization": f"Bearer {locked.wrong['unknown']}"}
    assert (await api.raw("GET", "/v1/tasks", headers=good))[0] == 200
    for _ in range(10):
        assert (await api.raw("GET", "/v1/tasks", headers=bad))[0] == 401
    status, _, response = await api.raw("GET", "/v1/tasks", headers=bad)
    assert status == 429
    assert int(response.headers["Retry-After"]) >= 1
    assert (await api.raw("GET", "/v1/tasks", headers=good))[0] == 200


@pytest.mark.parametrize(
    "following",
    ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb", "", "/login?next=/"],
)
async def test_after_the_login_nobody_is_led_to_another_site(locked: Locked, following: str) -> None:
    response = await log_in(locked, locked.texts[Scope.READ], next=following)
    assert response.headers["Location"] == "/"


async def test_the_login_page_shows_what_was_asked_for_as_text(locked: Locked) -> None:
    _, body, response = await locked.api.raw("GET", "/login", params={"next": '/"><script>alert(1)</script>'})
    assert b"<script>" not in body
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


async def test_another_site_cannot_log_a_browser_in(locked: Locked) -> None:
    form = FormData({"token": locked.texts[Scope.READ]})
    headers = {"Origin": "https://evil.example"}
    status, body = await locked.ask("POST", "/login", None, data=form, headers=headers)
    assert (status, body["error"]["code"]) == (403, "foreign_origin")


@pytest.mark.parametrize("charset", ["nonsense", "utf-16"])
async def test_a_form_in_a_strange_encoding_is_refused(locked: Locked, charset: str) -> None:
    headers = {"Content-Type": f"application/x-www-form-urlencoded; charset={charset}"}
    status, _ = await locked.ask("POST", "/login", None, data=b"token=\xff\xfex", headers=headers)
    assert status in (400, 401)


@pytest.mark.parametrize("sections", [{"server": {"public_url": "https://hub.example.com/"}}])
async def test_behind_a_proxy_its_pages_are_ours_and_cookies_go_over_tls_only(locked: Locked) -> None:
    origin = {"Origin": "https://hub.example.com", "Sec-Fetch-Site": "same-origin"}
    body = {"name": "t", "labels": [{"name": "car"}]}
    assert (await locked.ask("POST", "/v1/tasks", locked.texts[Scope.ANNOTATE], headers=origin, json=body))[0] == 201
    assert (await log_in(locked, locked.texts[Scope.READ])).cookies[COOKIE]["secure"]


async def test_a_proxy_that_says_https_makes_the_cookie_stricter(locked: Locked) -> None:
    locked.api.server.state.auth.attempts = FailedAttempts()
    async with locked.api.session.post(
        f"{locked.api.server.url}/login",
        data=FormData({"token": locked.texts[Scope.READ]}),
        headers={"X-Forwarded-Proto": "https"},
        allow_redirects=False,
    ) as response:
        assert response.cookies[COOKIE]["secure"]


@pytest.mark.parametrize("sections", [{"server": {"trusted_proxies": ("127.0.0.0/8", "10.1.0.0/16")}}])
async def test_behind_a_trusted_proxy_each_client_is_slowed_down_by_itself(locked: Locked) -> None:
    async def wrong(forwarded: str) -> int:
        headers = {"Authorization": "Bearer wrong", "X-Forwarded-For": forwarded}
        return (await locked.api.raw("GET", "/v1/tasks", headers=headers))[0]

    for i in range(10):
        assert (
            await wrong(f"203.0.113.{i}, 198.51.100.7, 10.1.2.3") == 401
        )  # what a client wrote itself counts for nothing
    assert await wrong("198.51.100.7, 10.1.2.3") == 429
    assert await wrong("198.51.100.8") == 401


async def test_the_service_closes_with_the_first_token_and_does_not_open_with_the_last(api: Api) -> None:
    tokens = api.server.state.service.tokens
    assert (await api.call("GET", "/v1/tasks"))["tasks"] == []
    token, _ = await tokens.create("first", Scope.ADMIN)
    await api.error("GET", "/v1/tasks", 401, "unauthorized")
    await tokens.revoke(token.id)
    await api.error("GET", "/v1/tasks", 401, "unauthorized")


@pytest.mark.parametrize(
    ("sections", "status"), [({"auth": {"mode": "required"}}, 401), ({"auth": {"mode": "open"}}, 200)]
)
async def test_the_operator_can_ask_always_or_never(api: Api, status: int) -> None:
    assert (await api.raw("GET", "/v1/tasks"))[0] == status
    await api.server.state.service.tokens.create("one", Scope.ADMIN)
    assert (await api.raw("GET", "/v1/tasks"))[0] == status


async def test_beyond_this_machine_is_served_once_there_is_a_token_that_lives(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    async with open_app(settings) as service:
        authentication = make_web_app(service)[STATE].auth
        token, _ = await service.tokens.create("a", Scope.READ)
        await authentication.listen_at("0.0.0.0")
        assert not await authentication.stands_open()
        await service.tokens.revoke(token.id)
        with pytest.raises(InvalidRequest, match="without authentication"):
            await authentication.listen_at("0.0.0.0")


@pytest.mark.parametrize("mode", ["auto", "open"])
async def test_an_open_service_is_refused_beyond_this_machine(tmp_path: Path, mode: str) -> None:
    with pytest.raises(InvalidRequest, match="without authentication") as refused:
        async with serving(settings_for(tmp_path, auth={"mode": mode}), host="0.0.0.0"):
            pass
    assert refused.value.code == "needs_authentication"
