"""`hubbridge model cascade`: several registered models as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.job_options import parse_pairs, parse_scores
from bridge.cli.session import Json, run

if TYPE_CHECKING:
    from bridge.app import App
    from bridge.domain import Model

INPUT_TYPES = ("select", "radio", "number", "text")


def cascade(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new model.")],
    detector: Annotated[str, typer.Option(metavar="REF", help="What finds the shapes: a registered model, a URL.")],
    classifier: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ATTRIBUTE[:TYPE]=REF",
            help="What says an attribute of each shape, from its crop; TYPE is select (the default), radio, number or "
            "text.",
        ),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(metavar="ATTRIBUTE=LABEL,...", help="Only shapes of these labels of the detector have it."),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(metavar="ATTRIBUTE=A,B,...", help="What a classifier with an open vocabulary chooses from."),
    ] = None,
    least: Annotated[
        list[str] | None,
        typer.Option(metavar="ATTRIBUTE=SCORE", help="Least score of an answer; below it the attribute is left out."),
    ] = None,
    pose: Annotated[str, typer.Option(metavar="REF", help="What makes a skeleton of each box, such as ViTPose.")] = "",
    pose_on: Annotated[str, typer.Option(metavar="LABEL,...", help="Of which labels; default: of all.")] = "",
    margin: Annotated[
        float, typer.Option(min=0, max=2, help="Share of its sides by which a crop is larger all around.")
    ] = 0.0,
    download: Annotated[bool, typer.Option(help="Download what it needs to run here at once.")] = True,
    json: Json = False,
) -> None:
    """Register a detector and models that look at what it finds, as one model: attributes, or poses."""
    from bridge.cli.output import print_json, say, show_model  # noqa: PLC0415

    written = _written(classifier, on, values, least)

    async def work(service: App) -> tuple[Model, bool]:
        from bridge.cli.progress import DownloadBar  # noqa: PLC0415

        for each in written:
            each["model"] = await _part(service, each["model"])
        whole: dict[str, Any] = {"detector": await _part(service, detector), "attributes": written, "margin": margin}
        if pose:
            whole |= {"pose": await _part(service, pose), "pose_labels": _listed(pose_on)}
        model, new = await service.registry.add(as_reference(whole), name=name)
        if download and not model.fetched:
            with DownloadBar() as bar:
                model = await service.registry.fetch(model, bar)
        return model, new

    model, new = run(context, work)
    if json:
        print_json({"model": model, "new": new})
        return
    say(f"Registered {model.name}." if new else f"{model.name} is registered already, of the same models.", "bold")
    show_model(model)


def as_reference(whole: dict[str, Any]) -> str:
    """The text that the registry reads as a cascade."""
    import json  # noqa: PLC0415

    from adapters.references.cascade import SCHEME  # noqa: PLC0415

    return SCHEME + json.dumps(whole)


async def _part(service: App, text: str) -> str:
    """A registered name as such; else a reference."""
    from adapters.references.cascade import REGISTERED  # noqa: PLC0415
    from bridge.cli.references import registered, with_folder  # noqa: PLC0415

    model = await registered(service, text)
    return f"{REGISTERED}{model.name}" if model is not None else await with_folder(text)


def _written(
    classifiers: list[str] | None, on: list[str] | None, values: list[str] | None, least: list[str] | None
) -> list[dict[str, Any]]:
    """The classifiers as a cascade writes them. Raises BadParameter for an attribute that no classifier says."""
    found: dict[str, dict[str, Any]] = {}
    for text in classifiers or []:
        said, equals, model = text.partition("=")  # addresses hold = themselves
        attribute, _, kind = said.strip().partition(":")
        if not equals or not attribute or not model or kind not in ("", *INPUT_TYPES):
            raise typer.BadParameter(f"{text!r} is not of the form ATTRIBUTE[:TYPE]=MODEL", param_hint="--classifier")
        found[attribute] = {"attribute": attribute, "type": kind or "select", "model": model.strip()}
    further: list[tuple[str, str, dict[str, Any]]] = [
        ("--on", "labels", {name: _listed(text) for name, text in parse_pairs(on, "--on").items()}),
        ("--values", "values", {name: _listed(text) for name, text in parse_pairs(values, "--values").items()}),
        ("--least", "threshold", dict(parse_scores(least, "--least"))),
    ]
    for option, key, said_of in further:
        for attribute, value in said_of.items():
            if attribute not in found:
                raise typer.BadParameter(f"no classifier says {attribute!r}", param_hint=option)
            found[attribute][key] = value
    return list(found.values())


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
