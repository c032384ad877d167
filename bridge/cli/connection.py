"""`hubbridge connection`: accounts at Hugging Face, Roboflow, CVAT and Label Studio."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.session import Json, run

if TYPE_CHECKING:
    from bridge.app import App
    from bridge.domain import Connection

app = typer.Typer(
    help="Accounts at model hubs and annotation tools; secrets go in and never come out.", no_args_is_help=True
)

KINDS = {
    "huggingface": ("huggingface.co", "HF_TOKEN"),
    "roboflow": ("roboflow.com", "ROBOFLOW_API_KEY"),
    "nuclio": ("", "NUCLIO_LOGIN"),
    "cvat": ("app.cvat.ai", "CVAT_ACCESS_TOKEN"),
    "label-studio": ("", "LABEL_STUDIO_API_KEY"),
    "https": ("", ""),
}


@app.command("add")
def add(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.")],
    host: Annotated[str, typer.Option(help="Which host the token is for. Default: the provider's own.")] = "",
    from_env: Annotated[
        str | None, typer.Option("--from-env", metavar="VARIABLE", help="Take the token from this variable.")
    ] = None,
    json: Json = False,
) -> None:
    """Store a token: asked for without echo, read from a pipe, or taken from the environment."""
    from bridge.cli.output import print_json, say  # noqa: PLC0415
    from bridge.errors import InvalidRequest  # noqa: PLC0415

    if kind not in KINDS:
        raise typer.BadParameter(f"{kind!r} is none of {', '.join(KINDS)}", param_hint="KIND")
    default_host, variable = KINDS[kind]
    if from_env is not None:
        secret = os.environ.get(from_env, "")
        if not secret:
            raise InvalidRequest(f"The variable {from_env} is not set.", hint=f"For example: export {variable}=...")
    elif sys.stdin.isatty():
        secret = typer.prompt("Token", hide_input=True)
    else:
        secret = sys.stdin.readline().strip()

    async def work(service: App) -> Connection:
        meant = host or (service.settings.huggingface.host if kind == "huggingface" else default_host)
        return await service.registry.connect(kind, meant, secret.strip())

    stored = run(context, work)
    if json:
        print_json({"connection": stored})
    else:
        where = stored.host or "the hosts that the settings name"
        say(f"Stored the token for {stored.kind} at {where} (connection {stored.id}).")


@app.command("list")
def list_connections(context: typer.Context, json: Json = False) -> None:
    """List the accounts; their secrets are not shown."""
    from bridge.cli.output import print_json, say, table  # noqa: PLC0415

    found = run(context, lambda service: service.registry.connections())
    if json:
        print_json({"connections": found})
    elif not found:
        say("No token is stored. Store one: hubbridge connection add huggingface")
    else:
        rows = [(c.id, c.kind, c.host or "any", f"{c.created_at:%Y-%m-%d %H:%M} UTC") for c in found]
        table(("id", "kind", "host", "stored"), rows, right=(0,))


@app.command("remove")
def remove(
    context: typer.Context, connection: Annotated[int, typer.Argument(help="Id of a connection.")], json: Json = False
) -> None:
    """Forget an account and its secret."""
    from bridge.cli.output import show_removed  # noqa: PLC0415

    async def work(service: App) -> None:
        await service.registry.disconnect(connection)

    run(context, work)
    show_removed(connection, json=json, kind="connection")


@app.command("rotate")
def rotate(context: typer.Context, json: Json = False) -> None:
    """Encrypt every stored secret anew, with the first of the keys; then the others can be dropped."""
    from bridge.cli.output import count, print_json, say  # noqa: PLC0415

    rotated = run(context, lambda service: service.registry.rotate_secrets())
    if json:
        print_json({"rotated": rotated})
    else:
        say(f"Encrypted {count(rotated, 'secret')} with the first key.")
