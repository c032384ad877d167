"""The command `hubbridge`: its groups, its global options, and how it ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli import (
    annotate,
    backup,
    connection,
    cvat,
    doctor,
    job,
    job_trying,
    label_studio,
    learned,
    match,
    model,
    profile,
    serve,
    task,
    token,
)
from bridge.cli.session import Invocation, report_error

app = typer.Typer(
    name="hubbridge",
    help="Annotate images with models from Hugging Face and elsewhere.\n\n"
    "Register a model by its URL, match its labels to yours, annotate, export.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done except for some images or frames, "
    "4 the annotation job failed, 130 cancelled. Documentation: docs/ in the repository.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415  (slow, and rarely asked for)

        typer.echo(f"hubbridge {version('hubbridge')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="Settings file.", envvar="HUBBRIDGE_CONFIG")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of database, frames, models and key.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log everything.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    context.obj = Invocation(config=config, data_dir=data_dir, debug=debug)


app.command("annotate")(annotate.annotate)
app.command("match")(match.match)
app.command("serve")(serve.serve)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("doctor")(doctor.doctor)
app.add_typer(model.app, name="model")
app.add_typer(profile.app, name="profile")
app.add_typer(task.app, name="task")
job.app.command("preview")(job_trying.preview)
job.app.command("apply")(job_trying.apply)
app.add_typer(job.app, name="job")
app.add_typer(connection.app, name="connection")
app.add_typer(learned.app, name="learned")
app.add_typer(token.app, name="token")
app.add_typer(cvat.app, name="cvat")
app.add_typer(label_studio.app, name="label-studio")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        app(args=annotate.with_clean_values(given), prog_name="hubbridge")
    except BrokenPipeError:
        sys.exit(0)  # the reader has seen enough
    except Exception as error:  # noqa: BLE001  (the last place: a person sees a line, not a traceback)
        sys.exit(report_error(error, given))
