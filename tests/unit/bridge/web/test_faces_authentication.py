"""The faces of CVAT and Label Studio, and the ports of single models, with each kind of credential that is none."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta

import pytest
import requests

from bridge.domain import Scope
from tests.servers.cvat_lambda_manager import LambdaManager
from tests.unit.bridge.nuclio.every_shape import Served, served
from tests.unit.bridge.nuclio.test_face import _free_ports, picture

CVAT_ROUTES = (
    ("GET", "/api/functions", Scope.READ),
    ("GET", "/api/functions/rectangle", Scope.READ),
    ("POST", "/api/function_invocations", Scope.ANNOTATE),
)
LABEL_STUDIO_ROUTES = (
    ("GET", ""),
    ("GET", "/health"),
    ("POST", "/setup"),
    ("POST", "/predict"),
    ("GET", "/versions"),
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    port = _free_ports(12)
    folder = tmp_path_factory.mktemp("faces")
    with served(folder, models=["rectangle"], secret="s3cret", direct_ports=f"{port}-{port}") as made:
        yield made


@pytest.fixture(scope="module")
def tokens(running: Served) -> dict[str, str]:
    def make(name: str, scope: Scope, lives: timedelta | None = None) -> str:
        made, text = running.run(lambda service: service.tokens.create(name, scope, lives))
        if name == "revoked":
            running.run(lambda service: service.tokens.revoke(made.id))
        return str(text)

    good = make("good", Scope.ANNOTATE)
    return {
        "good": good,
        "weak": make("weak", Scope.READ),
        "expired": make("expired", Scope.ADMIN, timedelta(microseconds=1)),
        "revoked": make("revoked", Scope.ADMIN),
        "unknown": "hubbridge_" + "A" * 43,
        "cut": good[:-1],
        "longer": good + "A",
        "empty": "",
    }


def ask(running: Served, method: str, url: str, authorization: str | None) -> requests.Response:
    running.server.state.auth.attempts.__init__()  # type: ignore[misc]  # slowing down is tested elsewhere
    headers = {"x-nuclio-function-name": "rectangle", "Content-Type": "application/json"}
    if authorization is not None:
        headers["Authorization"] = authorization
    body = {"image": base64.b64encode(picture()).decode()} if method == "POST" else None
    return requests.request(method, url, json=body, headers=headers, timeout=60)


def forms(token: str) -> list[str]:
    """As CVAT and Label Studio send it, and as programs do."""
    return ["Basic " + base64.b64encode(f"anybody:{token}".encode()).decode(), f"Bearer {token}", f"Token {token}"]


WRONG = ("expired", "revoked", "unknown", "cut", "longer", "empty")


def test_cvat_is_let_in_with_what_is_valid_alone(running: Served, tokens: dict[str, str]) -> None:
    for method, path, scope in CVAT_ROUTES:
        url = running.url + path
        assert ask(running, method, url, None).status_code == 401
        for kind in WRONG:
            for form in forms(tokens[kind]):
                reply = ask(running, method, url, form)
                assert reply.status_code == 401, (method, path, kind, form)
                assert "Basic" in reply.headers["WWW-Authenticate"]
        for form in forms(tokens["weak"]):
            assert ask(running, method, url, form).status_code == (200 if scope is Scope.READ else 403)
        for form in [*forms(tokens["good"]), "Basic " + base64.b64encode(b"cvat:s3cret").decode()]:
            assert ask(running, method, url, form).status_code == 200


def test_label_studio_is_let_in_with_what_is_valid_alone(running: Served, tokens: dict[str, str]) -> None:
    for method, path in LABEL_STUDIO_ROUTES:
        url = f"{running.server.url}/label-studio/rectangle{path}"
        assert ask(running, method, url, None).status_code == 401
        for kind in WRONG:
            for form in forms(tokens[kind]):
                assert ask(running, method, url, form).status_code == 401, (method, path, kind, form)
        for form in forms(tokens["weak"]):
            assert ask(running, method, url, form).status_code == 403, (method, path)
        for form in forms(tokens["good"]):
            assert ask(running, method, url, form).status_code not in (401, 403, 429, 500), (method, path)


def test_the_secret_of_cvat_opens_nothing_else(running: Served) -> None:
    secret = "Basic " + base64.b64encode(b"cvat:s3cret").decode()
    for path in ("/v1/models", "/label-studio/rectangle/health"):
        assert ask(running, "GET", running.server.url + path, secret).status_code == 401


def test_on_a_direct_port_who_calls_decides_and_no_token(running: Served, tokens: dict[str, str]) -> None:
    """CVAT sends none there: a bad one shuts nobody out, and a good one lets nobody in."""
    (function,) = LambdaManager(running.url.replace("//", "//cvat:s3cret@")).list()
    url = f"http://127.0.0.1:{function.port}"
    for authorization in (None, *forms(tokens["expired"]), *forms(tokens["weak"])):
        assert ask(running, "POST", url, authorization).status_code == 200
    for token in ("good", "expired"):
        headers = {"Host": "models.example", "Authorization": f"Bearer {tokens[token]}"}
        assert requests.post(url, headers=headers, data=b"{}", timeout=60).status_code == 403
    for path in ("/api/functions", "/v1/models"):  # nothing else is there
        assert requests.get(url + path, timeout=60).status_code == 404
