"""What a check of a connection found, shown; the exit code says whether something is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from bridge.cli.session import FAILED

if TYPE_CHECKING:
    from bridge.findings import Finding

_WORDS = {"ok": "ok   ", "wrong": "WRONG", "note": "note "}


def report(found: Sequence[Finding], *, json: bool) -> None:
    from bridge.cli.output import print_json, say  # noqa: PLC0415

    if json:
        print_json({"findings": found})
    else:
        for each in found:
            say(f"{_WORDS[each.state]}  {each.text}", "bold red" if each.state == "wrong" else "")
            if each.hint:
                say(f"       {each.hint}")
    if any(each.state == "wrong" for each in found):
        raise typer.Exit(FAILED)
