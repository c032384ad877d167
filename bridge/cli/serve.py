"""`hubbridge serve`: the REST API, and the jobs that are queued."""

from __future__ import annotations

from typing import Annotated

import typer

from bridge.cli.session import Invocation


def serve(
    context: typer.Context,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen at. Default: the setting, 127.0.0.1; others need a token first."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port; 0 for any free one. Default: the setting, 8090.")
    ] = None,
) -> None:
    """Serve the REST API and run queued jobs, until Ctrl-C; jobs that run then go on at the next start."""
    import asyncio  # noqa: PLC0415

    from bridge.logs import configure_logging  # noqa: PLC0415
    from bridge.web.server import serve as run_server  # noqa: PLC0415

    invocation = context.ensure_object(Invocation)
    settings = invocation.settings()
    configure_logging("debug" if invocation.debug else settings.logging.level, settings.logging.format)

    def announce(url: str, is_open: bool) -> None:
        who = "open to every program on this machine" if is_open else "for callers that show a token"
        typer.echo(f"Hubbridge serves {url}, {who}. Routes: {url}/v1/docs")

    asyncio.run(run_server(settings, host=host, port=port, on_start=announce))
