"""`hubbridge backup` and `hubbridge restore`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.session import Invocation, Json


def backup(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="File to write, such as hubbridge-monday.tar.")],
    with_key: Annotated[
        bool, typer.Option("--with-key", help="Put secret.key in it: whoever has the file can read stored tokens.")
    ] = False,
    json: Json = False,
) -> None:
    """Save database and uploaded frames as one file, also while a server runs. Models are downloaded again."""
    from bridge.backup import write_backup  # noqa: PLC0415
    from bridge.cli.output import count, print_json, say  # noqa: PLC0415
    from bridge.restore import finish_restore  # noqa: PLC0415

    settings = context.ensure_object(Invocation).settings()
    finish_restore(settings)
    summary = write_backup(settings, out, with_key=with_key)
    if json:
        print_json({"backup": asdict(summary), "file": out})
        return
    say(f"Wrote {out}: the database and {count(summary.files, 'frame file')}, {summary.bytes / 2**20:.1f} MB.")
    if summary.elsewhere:
        say(f"Not in it, as they lie elsewhere on this machine: {count(summary.elsewhere, 'frame')}.", "yellow")
    if not summary.key:
        say("The key of stored tokens is not in it: keep secret.key (or HUBBRIDGE_SECRETS__KEY) elsewhere.", "yellow")


def restore(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="FILE", help="What `hubbridge backup` wrote.")],
    json: Json = False,
) -> None:
    """Put a backup in place of the data folder's contents, which are moved aside. Nothing else may use it."""
    from bridge.cli.output import count, print_json, say  # noqa: PLC0415
    from bridge.restore import restore_backup  # noqa: PLC0415

    settings = context.ensure_object(Invocation).settings()
    summary, aside = restore_backup(settings, source)
    if json:
        print_json({"restored": asdict(summary), "moved_aside": aside})
        return
    say(f"Restored {count(summary.files, 'frame file')} and the database into {settings.storage.folder}.")
    if aside is not None:
        say(f"What was there lies in {aside}.")
    say("Tokens that were revoked since the backup work again; check `hubbridge token list`. Then: hubbridge doctor")
