"""`hubbridge model catalogue`: ready models, to be added by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.session import Json, run

if TYPE_CHECKING:
    from bridge.app import App
    from bridge.catalogue import CatalogueEntry
    from bridge.domain import Model


def catalogue(
    context: typer.Context,
    task_type: Annotated[
        str | None, typer.Option("--task-type", metavar="TYPE", help="Only those, such as image-segmentation.")
    ] = None,
    json: Json = False,
) -> None:
    """List ready models for each task type, CVAT's own among them; `model add NAME` takes one."""
    from bridge.cli.output import print_json, say, table  # noqa: PLC0415

    async def work(service: App) -> list[tuple[CatalogueEntry, Model | None]]:
        from bridge.registry import with_models  # noqa: PLC0415

        return await with_models(service.registry)

    found = [each for each in run(context, work) if task_type in (None, each[0].task_type)]
    if json:
        print_json({"models": [_as_json(entry, model) for entry, model in found]})
        return
    if not found:
        say(f"The catalogue has no model for {task_type}. Any other can be added by its URL.")
        return
    rows = [
        (entry.name, entry.task_type, entry.title, entry.finds, "" if entry.verified else "unverified", _known(model))
        for entry, model in found
    ]
    table(("name", "task type", "what it is", "finds", "", "here"), rows)
    say("Add one: hubbridge model add NAME. Its licence, labels and size are then asked for and shown.")
    if any(not entry.verified for entry, _ in found):
        say("Unverified: how such a model answers is known from documentation only; no test here runs one.")


def _known(model: Model | None) -> str:
    return "" if model is None else f"{model.name}, {model.card.licence or 'licence not stated'}"


def _as_json(entry: CatalogueEntry, model: Model | None) -> dict[str, object]:
    written = {name: getattr(entry, name) for name in entry.__slots__}
    return {**written, "verified": entry.verified, "model_id": model.id if model else None}
