"""`hubbridge serve`: the REST API, and the jobs that are queued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.session import Invocation

if TYPE_CHECKING:
    from bridge.web.server import Serving

CVAT_LISTEN = "127.0.0.1:8070"


def serve(
    context: typer.Context,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen at. Default: the setting, 127.0.0.1; others need a token first."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port; 0 for any free one. Default: the setting, 8090.")
    ] = None,
    cvat: Annotated[
        bool, typer.Option("--cvat", help="Offer the models to a self-hosted CVAT, at 127.0.0.1:8070 or as set.")
    ] = False,
) -> None:
    """Serve the REST API and run queued jobs, until Ctrl-C; jobs that run then go on at the next start."""
    import asyncio  # noqa: PLC0415

    from bridge.logs import configure_logging  # noqa: PLC0415
    from bridge.web.server import serve as run_server  # noqa: PLC0415

    invocation = context.ensure_object(Invocation)
    settings = invocation.settings()
    if cvat and not settings.cvat.listen:
        settings = settings.model_copy(update={"cvat": settings.cvat.model_copy(update={"listen": CVAT_LISTEN})})
    configure_logging("debug" if invocation.debug else settings.logging.level, settings.logging.format)

    def announce(server: Serving, is_open: bool) -> None:
        who = "open to every program on this machine" if is_open else "for callers that show a token"
        typer.echo(f"Hubbridge serves {server.url}, {who}. Routes: {server.url}/v1/docs")
        if server.cvat_url is not None:
            typer.echo(f"CVAT finds the models at {server.cvat_url}; its settings: docs/how-to/cvat-models-page.md")

    asyncio.run(run_server(settings, host=host, port=port, on_start=announce))
