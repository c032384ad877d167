"""`hubbridge cvat`: whether a self-hosted CVAT and the models here find each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.findings import report
from bridge.cli.session import Json, run

if TYPE_CHECKING:
    from bridge.app import App
    from bridge.findings import Finding

app = typer.Typer(help="A self-hosted CVAT: find out what is missing.", no_args_is_help=True)


@app.callback()
def cvat() -> None:
    """A group even with a single command."""


@app.command("check")
def check(
    context: typer.Context,
    url: Annotated[str | None, typer.Argument(metavar="URL", help="Address of CVAT. Default: CVAT_URL.")] = None,
    json: Json = False,
) -> None:
    """Ask CVAT and the models' own listener, and say what is missing and how to mend it."""

    async def work(service: App) -> list[Finding]:
        from bridge.remotes.cvat.checking import Check  # noqa: PLC0415

        settings = service.settings.cvat
        address = (url or settings.base_url).rstrip("/")
        secret = settings.secret.get_secret_value()
        checked = Check(service.jobs.remotes.access, settings.listen, settings.user, secret, address)
        return [finding async for finding in checked.run()]

    report(run(context, work), json=json)
