"""`hubbridge label-studio`: the projects that use our backends, their labels, and what is wrong with a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.findings import report
from bridge.cli.session import Json, run

if TYPE_CHECKING:
    from bridge.app import App
    from bridge.findings import Finding
    from bridge.ml_backend.connected import Connected

app = typer.Typer(help="Label Studio: connected projects, their labels, checks.", no_args_is_help=True)

NAME = Annotated[str, typer.Argument(metavar="MODEL", help="Name of a model or profile, as in the backend's URL.")]


@app.command("list")
def list_projects(context: typer.Context, json: Json = False) -> None:
    """The projects that have asked our ML backends, and what came of it."""

    async def work(service: App) -> list[Connected]:
        from bridge.ml_backend.connected import connected  # noqa: PLC0415

        return await connected(service.store, service.profiles)

    from bridge.cli.output import print_json, say, table  # noqa: PLC0415

    found = run(context, work)
    if json:
        print_json({"backends": found})
        return
    if not found:
        say("No project has asked yet. In Label Studio: Settings, Model, Connect Model, with a URL such as")
        say("http://localhost:8090/label-studio/MODEL (`hubbridge model list` shows the names).")
        return
    table(
        ("task", "project", "model", "matched", "last request"),
        ((each.task.id, each.task.remote_ref, each.name, len(each.pairs), each.told) for each in found),
        right=(0, 3),
    )


@app.command("labels")
def labels(
    context: typer.Context,
    name: NAME,
    task: Annotated[int | None, typer.Option(help="Number of the project's task. Default: what asked last.")] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="MODEL=PROJECT", help="Map a model label to a label of the project."),
    ] = None,
    accept: Annotated[
        float | None,
        typer.Option(
            "--accept-suggestions", min=0, max=1, metavar="SCORE", help="Accept those of at least this score."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """How a model's labels are matched to a project's; accept suggestions, or choose."""
    from bridge.cli.job_options import parse_pairs  # noqa: PLC0415

    chosen = parse_pairs(pairs or [], "--map")

    async def work(service: App) -> Connected:
        from bridge.ml_backend import connected as projects  # noqa: PLC0415

        found, plan = await projects.one_connected(service.store, service.profiles, name, task)
        if chosen or accept is not None:
            await projects.accept(service.store, plan, found.task, chosen, accept)
            found, _ = await projects.one_connected(service.store, service.profiles, name, found.task.id)
        return found

    found = run(context, work)
    _show_labels(found, json=json)


def _show_labels(found: Connected, *, json: bool) -> None:
    from bridge.cli.output import print_json, say, table  # noqa: PLC0415

    if json:
        print_json(
            {
                "task_id": found.task.id,
                "name": found.name,
                "model_version": found.model_version,
                "pairs": found.pairs,
                "suggestions": [match.as_json() for match in found.suggestions],
                "left_out": found.left_out,
                "problem": found.problem,
            }
        )
        return
    say(f"{found.name} for {found.task.remote_ref}", "bold")
    if found.problem:
        say(found.problem)
    if found.pairs:
        table(("model", "project"), found.pairs.items())
    else:
        say("Nothing is matched: Label Studio is refused until something is.")
    if found.suggestions:
        say("Suggested, but not accepted:")
        rows = [
            (m.model_label, m.best.task_label, f"{m.best.score:.2f}", m.best.reason)
            for m in found.suggestions
            if m.best
        ]
        table(("model", "project", "score", "reason"), rows, right=(2,))
        say(f"Accept: {found.accepting(found.suggestions[0])}")
    for text in found.left_out:
        say(f"Left out: {text}")


@app.command("check")
def check(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Argument(metavar="URL", help="A project's address, or that of the server. Default: LABEL_STUDIO_URL."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="The model or profile that is to answer.")
    ] = None,
    json: Json = False,
) -> None:
    """Find out what is wrong with a connection to Label Studio."""

    async def work(service: App) -> list[Finding]:
        from bridge.ml_backend.checking import Check  # noqa: PLC0415
        from bridge.remotes.label_studio.address import is_project, parse_project, parse_server  # noqa: PLC0415

        text = url or service.settings.label_studio.base_url
        base = parse_server(text) if text else ""
        project = parse_project(text).project if is_project(text) else None
        named = None if model is None else await service.ml_backend.find(model)
        checked = Check(service.jobs.remotes.access, base, project, named)
        return [finding async for finding in checked.run()]

    report(run(context, work), json=json)
