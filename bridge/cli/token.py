"""`hubbridge token`: who may call the service."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.session import Json, run

if TYPE_CHECKING:
    from bridge.app import App
    from bridge.domain import ApiToken

app = typer.Typer(help="Tokens that callers of the service show; their text is shown once.", no_args_is_help=True)
SCOPES = ("read", "annotate", "admin")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def lifetime(text: str) -> timedelta | None:
    """``12h``, ``90d`` or ``8w``; None for ``never``. Raises BadParameter."""
    if text == "never":
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no time such as 12h, 90d or 8w, and not never", param_hint="--expires")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@app.command("create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    scope: Annotated[str, typer.Option(help=f"What it may do: {', '.join(SCOPES)}; each includes those before it.")],
    expires: Annotated[str, typer.Option(help="When it ends: 12h, 90d, 8w, never.")] = "never",
    json: Json = False,
) -> None:
    """Make a token and show it, this once. From the first one on, every caller has to show one."""
    from bridge.cli.output import print_json, say  # noqa: PLC0415
    from bridge.domain import Scope  # noqa: PLC0415

    if scope not in SCOPES:
        raise typer.BadParameter(f"{scope!r} is none of {', '.join(SCOPES)}", param_hint="--scope")
    until = lifetime(expires)

    async def work(service: App) -> tuple[ApiToken, str, bool]:
        first = not await service.tokens.any_made()
        return *await service.tokens.create(name, Scope(scope), until), first

    token, text, first = run(context, work)
    if json:
        print_json({"token": token, "text": text})
        return
    ends = f"until {token.expires_at:%Y-%m-%d %H:%M} UTC" if token.expires_at else "without an end"
    say(f"Token {token.id} for {token.name}, scope {token.scope}, {ends}. It is not shown again:")
    typer.echo(text)
    if first:
        say("This is the first token: from now on every caller has to show one, on this machine too.", "yellow")


@app.command("list")
def list_tokens(context: typer.Context, json: Json = False) -> None:
    """List the tokens, without their texts."""
    from bridge.cli.output import print_json, say, table  # noqa: PLC0415

    found = run(context, lambda service: service.tokens.list())
    if json:
        print_json({"tokens": found})
        return
    if not found:
        say("There is no token; the service is open, on this machine only.")
        say("Make one: hubbridge token create NAME --scope admin")
        return
    rows = [
        (
            token.id,
            token.name,
            token.scope,
            _state(token),
            f"{token.expires_at:%Y-%m-%d %H:%M}" if token.expires_at else "never",
            f"{token.last_used_at:%Y-%m-%d %H:%M}" if token.last_used_at else "never",
        )
        for token in found
    ]
    table(("id", "name", "scope", "state", "expires", "last used"), rows, right=(0,))


@app.command("revoke")
def revoke(
    context: typer.Context, token: Annotated[int, typer.Argument(help="Id of a token.")], json: Json = False
) -> None:
    """End a token, and every browser session that was opened with it, at once."""
    from bridge.cli.output import print_json, say  # noqa: PLC0415

    async def work(service: App) -> None:
        await service.tokens.revoke(token)

    run(context, work)
    if json:
        print_json({"revoked": token})
    else:
        say(f"Revoked token {token}.")


def _state(token: ApiToken) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "valid" if token.lives_at(time.time()) else "expired"
