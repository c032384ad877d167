"""Options in groups: on the command line they are options like any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from bridge.cli.option_groups import grouped


@dataclass(frozen=True)
class Size:
    """A group."""

    width: Annotated[int, typer.Option("--wide", min=1)] = 2
    tall: bool = False


app = typer.Typer()


@app.command()
@grouped
def draw(context: typer.Context, name: str, *, colour: str = "red", size: Size) -> None:
    """Draw something."""
    typer.echo(f"{context.info_name} {name} {colour} {size}")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["box"], Size()),
        (["box", "--wide", "7", "--tall"], Size(7, True)),
        (["--tall", "--colour", "red", "box"], Size(2, True)),
    ],
)
def test_a_command_gets_its_groups_filled_in(arguments: list[str], expected: Size) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.output.strip() == f"draw box red {expected}"
    assert result.exit_code == 0


def test_what_an_option_of_a_group_refuses_is_refused() -> None:
    result = CliRunner().invoke(app, ["box", "--wide", "0"])
    assert result.exit_code == 2
    assert "--wide" in result.output


def test_the_help_of_a_command_shows_the_options_and_not_the_group() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "--wide" in shown
    assert "--tall" in shown
    assert "--size" not in shown
    assert "Draw something." in shown
