"""`hubbridge token`: shown once, listed without its text, revoked."""

from __future__ import annotations

import pytest

from tests.unit.bridge.cli.conftest import Terminal


def test_a_token_is_shown_once_listed_and_revoked(run: Terminal) -> None:
    made = run("token", "create", "cvat", "--scope", "annotate", "--expires", "90d")
    assert made.code == 0
    (text,) = [line for line in made.out.splitlines() if line.startswith("hubbridge_")]
    assert "first token" in made.out
    assert "first token" not in run("token", "create", "other", "--scope", "read").out
    listed = run("token", "list")
    assert text not in listed.out
    assert "cvat" in listed.out and "valid" in listed.out
    assert run("token", "revoke", 1, "--json").json == {"revoked": 1}
    first, second = run("token", "list", "--json").json["tokens"]
    assert first["revoked_at"] and first["expires_at"]
    assert second["revoked_at"] is None and second["expires_at"] is None
    assert "revoked" in run("token", "list").out


def test_json_has_the_text_too(run: Terminal) -> None:
    made = run("token", "create", "ci", "--scope", "admin", "--json").json
    assert made["text"].startswith("hubbridge_")
    assert made["token"]["scope"] == "admin"


def test_without_tokens_the_list_says_that_the_service_is_open(run: Terminal) -> None:
    assert "open" in run("token", "list").out


@pytest.mark.parametrize(
    "arguments", [("--scope", "root"), ("--scope", "open"), ("--scope", "read", "--expires", "soon"), ()]
)
def test_wrong_usage_is_refused(run: Terminal, arguments: tuple[str, ...]) -> None:
    assert run("token", "create", "x", *arguments).code == 2


def test_an_unknown_token_cannot_be_revoked(run: Terminal) -> None:
    ended = run("token", "revoke", 7)
    assert ended.code == 1
    assert "no token 7" in ended.err
