"""`hubbridge learned`: pairs of labels that people accepted or refused."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.session import Json, run

if TYPE_CHECKING:
    from bridge.app import App
    from bridge.learning import LearnedDocument
    from bridge.store.learned import LearnedRow

app = typer.Typer(
    help="Pairs of labels that you accepted or refused; suggestions begin with them.", no_args_is_help=True
)


@app.command("list")
def list_learned(context: typer.Context, json: Json = False) -> None:
    """List the learned pairs, oldest first; one that a later pair has replaced does not count."""
    from bridge.cli.output import plain, print_json, say, table  # noqa: PLC0415

    async def work(service: App) -> tuple[list[LearnedRow], set[tuple[str, str]]]:
        return await service.learning.pairs(), await service.learning.replaced()

    pairs, replaced = run(context, work)
    if json:
        told = [{**plain(pair), "replaced": (pair.model_label, pair.task_label) in replaced} for pair in pairs]
        print_json({"pairs": told})
    elif not pairs:
        say("Nothing was learned yet. Choosing pairs with --map teaches the matcher.")
    else:
        rows = [
            (
                pair.model_label,
                pair.task_label,
                _state(pair, replaced),
                "" if pair.mapping_id is None else f"{pair.mapping_id}, version {pair.mapping_version}",
            )
            for pair in pairs
        ]
        table(("model label", "task label", "", "by mapping"), rows)


def _state(pair: LearnedRow, replaced: set[tuple[str, str]]) -> str:
    if (pair.model_label, pair.task_label) in replaced:
        return "replaced"
    return "accepted" if pair.accepted else "refused"


@app.command("export")
def export(
    context: typer.Context, out: Annotated[Path | None, typer.Option(help="File to write. Default: the screen.")] = None
) -> None:
    """Write the learned pairs as JSON."""
    from bridge.cli.output import count, say  # noqa: PLC0415
    from bridge.errors import BridgeError  # noqa: PLC0415

    async def work(service: App) -> LearnedDocument:
        return await service.learning.export()

    document = run(context, work)
    text = document.model_dump_json(indent=2) + "\n"
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise BridgeError(f"{out} cannot be written: {error.strerror}.", hint="Choose another place.") from error
    say(f"Wrote {count(len(document.pairs), 'pair')} to {out}.")


@app.command("import")
def import_learned(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `learned export` wrote.")],
    json: Json = False,
) -> None:
    """Add learned pairs from JSON."""
    from bridge.cli.output import count, print_json, say  # noqa: PLC0415
    from bridge.errors import InvalidRequest  # noqa: PLC0415

    try:
        data = json_module.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(
            f"{file} is not JSON.", hint="Give a file that `hubbridge learned export` wrote."
        ) from error
    added = run(context, lambda service: service.learning.import_(data))
    if json:
        print_json({"imported": added})
    else:
        say(f"Imported {count(added, 'pair')}.")


@app.command("forget")
def forget(
    context: typer.Context,
    model_label: Annotated[str | None, typer.Option(help="Only pairs with this model label.")] = None,
    task_label: Annotated[str | None, typer.Option(help="Only pairs with this task label.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All pairs.")] = False,
    json: Json = False,
) -> None:
    """Forget learned pairs."""
    from bridge.cli.output import count, print_json, say  # noqa: PLC0415

    if everything == (model_label is not None or task_label is not None):
        raise typer.BadParameter("give --model-label or --task-label, or --all")
    gone = run(context, lambda service: service.learning.forget(model_label, task_label))
    if json:
        print_json({"forgotten": gone})
    else:
        say(f"Forgot {count(gone, 'pair')}.")
