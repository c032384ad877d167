"""`hubbridge match`: which of a task's labels a model's labels could be."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.session import Json, run

if TYPE_CHECKING:
    from bridge.app import App
    from bridge.mapping import LabelMatch


def match(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(metavar="REF|FILE|a,b,c", help="A registered model, a reference, a file, or a list."),
    ],
    labels: Annotated[str, typer.Option(metavar="FILE|a,b,c", help="The task's labels: a file or a list.")],
    json: Json = False,
) -> None:
    """Suggest which task label each model label is, with score and reason."""
    from bridge.cli.output import matches_as_json, print_json, show_matches  # noqa: PLC0415
    from bridge.task_labels import parse_labels  # noqa: PLC0415

    task_labels = parse_labels(labels)

    async def work(service: App) -> list[LabelMatch]:
        names, shape_types = await _model_labels(service, model)
        return await service.jobs.match(names, task_labels, shape_types=shape_types)

    matches = run(context, work)
    if json:
        print_json({"matches": matches_as_json(matches)})
    else:
        show_matches(matches)


async def _model_labels(service: App, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(labels, shape types) of a list, a file, a registered model, or a reference that its host is asked about."""
    from bridge.errors import NotFound  # noqa: PLC0415
    from bridge.pinning import labels_of  # noqa: PLC0415
    from bridge.task_labels import parse_labels  # noqa: PLC0415

    if "," in text or await asyncio.to_thread(lambda: Path(text).expanduser().is_file()):
        return tuple(label.name for label in parse_labels(text)), ()
    try:
        card = (await service.registry.find(text)).card
    except NotFound:
        card = await service.registry.resolve(text)
    return tuple(labels_of(card)), card.shape_types
