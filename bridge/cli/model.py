"""`hubbridge model`: register models by URL, look at them, change and remove them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.cascade import cascade
from bridge.cli.catalogue import catalogue
from bridge.cli.job_options import Prompt, parse_prompts
from bridge.cli.session import OK, PARTLY, Json, run

if TYPE_CHECKING:
    from adapters.base import ModelCard
    from bridge.app import App
    from bridge.domain import Model

app = typer.Typer(help="Register models by URL, look at them, change and remove them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="MODEL", help="Name or id of a registered model.")]
Engine = Annotated[
    str | None,
    typer.Option(help="What runs it here: auto, onnxruntime, transformers or openvino. Default: the setting."),
]

app.command("catalogue")(catalogue)
app.command("cascade")(cascade)


class Place(StrEnum):
    """Where a model runs that could run in both places."""

    AUTO = "auto"
    LOCAL = "local"
    HOSTED = "hosted"


@app.command("add")
def add(
    context: typer.Context,
    reference: Annotated[
        str, typer.Argument(metavar="URL", help="A model's URL or id, a local folder, or a name of the catalogue.")
    ],
    name: Annotated[str | None, typer.Option(help="Name to register it under. Default: made from its own.")] = None,
    engine: Engine = None,
    run_at: Annotated[
        Place,
        typer.Option("--run", help="Here, at its host, or auto: at the host where it serves it and a token is there."),
    ] = Place.AUTO,
    fallback: Annotated[
        bool, typer.Option("--fallback", help="If it runs at its host and that fails, let the same commit run here.")
    ] = False,
    download: Annotated[bool, typer.Option(help="Download what it needs to run here at once.")] = True,
    json: Json = False,
) -> None:
    """Register a model; the same one a second time changes nothing but its engine, where one is named."""
    from bridge.cli.output import print_json, say, show_model  # noqa: PLC0415
    from bridge.cli.progress import DownloadBar  # noqa: PLC0415
    from bridge.cli.references import with_folder  # noqa: PLC0415
    from bridge.fallback import allow_fallback, fallback_of  # noqa: PLC0415

    async def work(service: App) -> tuple[Model, bool]:
        found = await with_folder(reference)
        model, new = await service.registry.add(found, name=name, engine=engine, run=run_at.value)
        if fallback:
            model = await allow_fallback(service.registry, model, engine=engine)
        spare = await fallback_of(service.registry, model.card)
        if download:
            with DownloadBar() as bar:
                model = model if model.fetched else await service.registry.fetch(model, bar)
                if spare is not None and not spare.fetched:
                    await service.registry.fetch(spare, bar)
        return model, new

    model, new = run(context, work)
    if json:
        print_json({"model": model, "new": new})
        return
    say(f"Registered {model.name}." if new else f"{model.name} is registered already, at the same revision.", "bold")
    if not new and engine is not None and model.card.engine != "hosted":
        say(_told(model.card), "yellow")
    if name is not None and name != model.name:
        say(f"It keeps its name; change it with: hubbridge model set {model.name} --name {name}", "yellow")
    show_model(model)


def _told(card: ModelCard) -> str:
    """What a named engine means for a model that is registered already."""
    if card.engine_chosen:
        return f"From now on {card.engine} runs it, and nothing in its place."
    return f"From now on {card.engine} runs it, or what is faster and answers alike."


@app.command("list")
def list_models(context: typer.Context, json: Json = False) -> None:
    """List the registered models."""
    from bridge.cli.output import print_json, say, shortened, table  # noqa: PLC0415

    models = run(context, lambda service: service.registry.page())
    if json:
        print_json({"models": models})
    elif not models:
        say("No model is registered. Register one: hubbridge model add URL")
    else:
        table(
            ("id", "name", "task type", "labels", "shapes", "runs on", "files"),
            [
                (
                    model.id,
                    model.name,
                    model.card.task_type,
                    "open" if model.card.labels is None else shortened(model.card.labels, 4),
                    ", ".join(model.card.shape_types),
                    model.card.engine,
                    "here" if model.fetched else "not yet",
                )
                for model in models
            ],
            right=(0,),
        )


@app.command("show")
def show(context: typer.Context, model: Name, json: Json = False) -> None:
    """Show what a model is: labels, revision, licence, where it runs."""
    from bridge.cli.output import print_json, show_model  # noqa: PLC0415

    found = run(context, lambda service: service.registry.find(model))
    if json:
        print_json({"model": found})
    else:
        show_model(found)


@app.command("set")
def set_model(
    context: typer.Context,
    model: Name,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Default threshold of its jobs.")] = None,
    name: Annotated[str | None, typer.Option(help="New name.")] = None,
    json: Json = False,
) -> None:
    """Change a model's default threshold or its name."""
    from bridge.cli.output import print_json, show_model  # noqa: PLC0415

    if threshold is None and name is None:
        raise typer.BadParameter("give --threshold or --name")

    async def work(service: App) -> Model:
        found = await service.registry.find(model)
        return await service.registry.set(found.id, name=name, threshold=threshold)

    changed = run(context, work)
    if json:
        print_json({"model": changed})
    else:
        show_model(changed)


@app.command("test")
def test(
    context: typer.Context,
    model: Name,
    images: Annotated[list[Path] | None, typer.Argument(help="Images or folders. Default: one grey image.")] = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Default: the model's own.")] = None,
    prompt: Prompt = None,
    json: Json = False,
) -> None:
    """Load a model, predict, and show what it finds and how fast it is. Stores nothing."""
    from bridge.cli.try_model import show_trial, try_model  # noqa: PLC0415

    prompts = parse_prompts(prompt)
    trial = run(context, lambda service: try_model(service, model, images or [], threshold, prompts))
    show_trial(trial, as_json=json)
    raise typer.Exit(PARTLY if trial.failures else OK)


@app.command("remove")
def remove(context: typer.Context, model: Name, json: Json = False) -> None:
    """Forget a model. Its downloaded files stay in the cache."""
    from bridge.cli.output import show_removed  # noqa: PLC0415

    async def work(service: App) -> Model:
        found = await service.registry.find(model)
        await service.registry.remove(found.id)
        return found

    gone = run(context, work)
    show_removed(gone.name, json=json)
