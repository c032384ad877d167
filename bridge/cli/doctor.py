"""`hubbridge doctor`: whether everything is well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.session import FAILED, Json, run

if TYPE_CHECKING:
    from bridge.app import App
    from bridge.doctor import Finding


def doctor(
    context: typer.Context,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what is safe to mend: sums, and files of nobody.")] = False,
    json: Json = False,
) -> None:
    """Check database, ledger, files, stored tokens and disk. Exit code 1 where something is wrong."""
    from bridge.cli.output import count, print_json, say, table  # noqa: PLC0415

    async def work(service: App) -> list[Finding]:
        from bridge.doctor import examine  # noqa: PLC0415

        return [finding async for finding in examine(service, fix=fix)]

    found = run(context, work)
    wrong = [finding for finding in found if not finding.well]
    if json:
        print_json({"well": not wrong, "findings": found})
    else:
        table(("check", "", "found"), [(each.check, _word(each), each.message) for each in found])
        if any(each.can_mend for each in wrong):
            say("Mend what can be mended: hubbridge doctor --fix")
        if wrong:
            say(f"{count(len(wrong), 'check')} found something wrong.", "red")
        else:
            say("Everything is well.", "green")
    if wrong:
        raise typer.Exit(FAILED)


def _word(finding: Finding) -> str:
    return "mended" if finding.mended else "ok" if finding.well else "WRONG"
