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
    from labelmatch import Label


def match(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="REF|FILE|a,b,c",
            help="A registered model, a folder, a reference, a file of labels, or a list (of one: a,).",
        ),
    ],
    labels: Annotated[str, typer.Option(metavar="FILE|a,b,c", help="The task's labels: a file or a list.")],
    json: Json = False,
) -> None:
    """Suggest which task label each model label is, with score and reason."""
    from bridge.cli.output import print_json, show_matches  # noqa: PLC0415
    from bridge.task_labels import parse_labels  # noqa: PLC0415

    task_labels = parse_labels(labels)

    async def work(service: App) -> list[LabelMatch]:
        return await service.jobs.match(await _model_labels(service, model), task_labels)

    matches = run(context, work)
    if json:
        print_json({"matches": [match.as_json() for match in matches]})
    else:
        show_matches(matches)


async def _model_labels(service: App, text: str) -> list[Label]:
    """The labels of a list, a file, a registered model, or a reference that its host is asked about."""
    from bridge.cli.references import card_of  # noqa: PLC0415
    from bridge.errors import BridgeError  # noqa: PLC0415
    from bridge.model_labels import describe, of_task  # noqa: PLC0415
    from bridge.pinning import labels_of  # noqa: PLC0415
    from bridge.task_labels import parse_labels  # noqa: PLC0415

    if await asyncio.to_thread(_is_list, text):
        return [of_task(label) for label in parse_labels(text.strip().removesuffix(","))]
    try:
        card = await card_of(service, text)
    except BridgeError as error:
        if "/" not in text and text.isprintable():  # perhaps meant as a label
            error.hint = f"{error.hint} A list of a single label ends in a comma: {text.strip()[:64]},".strip()
        raise
    labels_of(card)  # an open vocabulary is refused
    return describe(card)


def _is_list(text: str) -> bool:
    """Whether labels are listed or lie in a file, instead of being a model's. Raises InvalidRequest for no file."""
    from bridge.errors import InvalidRequest  # noqa: PLC0415
    from bridge.task_labels import LABEL_FILES  # noqa: PLC0415

    if "://" in text:
        return False
    path, ending = Path(text.strip()), Path(text.strip()).suffix.lower()
    try:
        here, is_file = path.exists(), path.is_file()
    except (OSError, ValueError):
        here = is_file = False  # too long or otherwise impossible for a path
    if is_file:
        return ending not in (".onnx", ".xml")
    if here:
        return False
    if "," in text or text.lstrip().startswith(("[", "{")):
        return True
    if ending in LABEL_FILES or text.startswith(("./", "../", "/", "~")):
        raise InvalidRequest(
            f"There is no file or folder {text[:200]}.", hint="Check the path, or list the labels: a,b,c"
        )
    return False
