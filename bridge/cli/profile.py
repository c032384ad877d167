"""`hubbridge profile`: models under a task's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli import job_options as o
from bridge.cli.session import Json, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.app import App
    from bridge.domain import Model, Profile, TaskLabel
    from bridge.profiles import Made

app = typer.Typer(
    help="Put models under a task's own words, for CVAT's Models page and wherever a model is named.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="PROFILE", help="Name or id of a profile.")]


@app.command("add")
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name to use it by; no model may have it.")],
    model: Annotated[str, typer.Option(metavar="REF", help="A model's URL, id, folder or registered name.")],
    labels: Annotated[
        str | None, typer.Option(metavar="a,b,c|FILE", help="The labels: a list, a file, CVAT's raw label JSON.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="TASK|URL", help="A task whose labels are meant: name, id, or its or its project's URL."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="What people read in CVAT. Default: made of both names.")] = None,
    pairs: o.Map = None,
    accept: o.Accept = None,
    prompt: o.Prompt = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Default threshold. Default: the model's.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a profile: match a model's labels to a task's once, and keep the result under a name."""
    from bridge.cli.output import print_json, say, show_matches  # noqa: PLC0415
    from bridge.cli.references import find_or_add  # noqa: PLC0415
    from bridge.mapping import some  # noqa: PLC0415
    from bridge.task_labels import parse_labels  # noqa: PLC0415

    if (labels is None) == (task is None):
        raise typer.BadParameter("give one of --labels and --task")
    given = parse_labels(labels) if labels is not None else ()
    chosen, prompts = o.parse_pairs(pairs, "--map"), o.parse_prompts(prompt)

    async def work(service: App) -> tuple[Made, Model, Sequence[TaskLabel]]:
        target = given if task is None else await _labels_of(service, task)
        found = await find_or_add(service, model)
        made = await service.profiles.add(
            name,
            found,
            target,
            title=title or "",
            chosen=chosen,
            accept_suggestions=accept,
            prompts=prompts,
            threshold=threshold,
        )
        return made, found, target

    made, found, target = run(context, work)
    if json:
        matches = [match.as_json() for match in made.matches]
        print_json({"profile": made.profile, "model": found.name, "matches": matches})
        return
    say(f"Made the profile {made.profile.name}.", "bold")
    show_profile(made.profile, found)
    left_out = [match for match in made.matches if match.model_label not in made.profile.pairs]
    if likely := [match for match in left_out if match.best is not None]:
        say("Left out, but likely (--map MODEL=LABEL or --accept-suggestions SCORE takes them):", "yellow")
        show_matches(likely)
    if unfilled := [label.name for label in target if label.name not in {one.name for one in made.profile.labels}]:
        say(f"No label of {found.name} becomes {some(unfilled)}: --map MODEL=LABEL pairs by hand.", "yellow")


async def _labels_of(service: App, task: str) -> Sequence[TaskLabel]:
    """Those of a task, or of all tasks of a project, each once."""
    found = await service.jobs.remotes.find_or_add(task) if "://" in task else [await service.tasks.find(task)]
    return list({label.name: label for one in reversed(found) for label in one.labels}.values())


@app.command("list")
def list_profiles(context: typer.Context, json: Json = False) -> None:
    """List the profiles."""
    from bridge.cli.output import print_json, say, shortened, table  # noqa: PLC0415

    async def work(service: App) -> tuple[list[Profile], dict[int, str]]:
        models = {model.id: model.name for model in await service.registry.page()}
        return await service.profiles.page(), models

    found, models = run(context, work)
    if json:
        print_json({"profiles": found})
    elif not found:
        say("There is no profile. Make one: hubbridge profile add NAME --model REF --labels a,b,c")
    else:
        rows = [
            (p.id, p.name, models[p.model_id], shortened([label.name for label in p.labels], 6), p.title) for p in found
        ]
        table(("id", "name", "model", "labels", "title"), rows, right=(0,))


@app.command("show")
def show(context: typer.Context, profile: Name, json: Json = False) -> None:
    """Show a profile: its model, its labels, and what becomes of what."""
    from bridge.cli.output import print_json  # noqa: PLC0415

    async def work(service: App) -> tuple[Profile, Model]:
        found = await service.profiles.find(profile)
        return found, await service.registry.get(found.model_id)

    found, model = run(context, work)
    if json:
        print_json({"profile": found, "model": model.name})
    else:
        show_profile(found, model)


@app.command("remove")
def remove(context: typer.Context, profile: Name, json: Json = False) -> None:
    """Forget a profile; its model stays."""
    from bridge.cli.output import show_removed  # noqa: PLC0415

    async def work(service: App) -> Profile:
        found = await service.profiles.find(profile)
        await service.profiles.remove(found.id)
        return found

    gone = run(context, work)
    show_removed(gone.name, json=json)


def show_profile(profile: Profile, model: Model) -> None:
    from bridge.cli.output import facts, shortened  # noqa: PLC0415

    pairs = [mine if mine == ours else f"{mine} -> {ours}" for mine, ours in profile.pairs.items()]
    prompts = [f"{label}: {' or '.join(texts)}" if texts else label for label, texts in profile.prompts.items()]
    facts(
        [
            ("name", profile.name),
            ("id", profile.id),
            ("title", profile.title),
            ("model", model.name),
            ("labels", shortened([f"{label.name} ({label.type})" for label in profile.labels], 30)),
            ("mapping", shortened(pairs, 30)),
            ("looks for", shortened(prompts, 30)),
            ("threshold", f"{model.threshold} (the model's)" if profile.threshold is None else profile.threshold),
        ]
    )
