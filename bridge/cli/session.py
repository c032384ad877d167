"""What every command shares: settings, the opened service, and errors as one line and a hint."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from bridge.app import App
    from bridge.settings import Settings

T = TypeVar("T")

OK, FAILED, USAGE, PARTLY, JOB_FAILED, CANCELLED = 0, 1, 2, 3, 4, 130

Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]


@dataclass(frozen=True, slots=True)
class Invocation:
    """The options that stand before the command."""

    config: Path | None = None
    data_dir: Path | None = None
    debug: bool = False

    def settings(self) -> Settings:
        from bridge.settings import load_settings  # noqa: PLC0415

        overrides = {} if self.data_dir is None else {"storage": {"data_dir": str(self.data_dir)}}
        return load_settings(self.config, **overrides)


def run(context: typer.Context, work: Callable[[App], Awaitable[T]]) -> T:
    """Open the service, do the work in it, close it again."""
    from bridge.app import open_app  # noqa: PLC0415
    from bridge.logs import configure_logging  # noqa: PLC0415

    invocation = context.ensure_object(Invocation)
    settings = invocation.settings()
    configure_logging("debug" if invocation.debug else settings.logging.level, settings.logging.format)

    async def inside() -> T:
        async with open_app(settings) as app:
            return await work(app)

    return asyncio.run(inside())


def report_error(error: Exception, arguments: Sequence[str]) -> int:
    """Say what went wrong on standard error; the exit code is returned. Raises it again under --debug."""
    from bridge.errors import BridgeError  # noqa: PLC0415

    if "--debug" in arguments:
        raise error
    if not isinstance(error, BridgeError):
        unexpected = f"Something unexpected went wrong: {type(error).__name__}: {error}"
        error = BridgeError(unexpected, hint="This is a defect of Hubbridge. --debug shows where it happened.")
    if "--json" in arguments:
        print(json.dumps(error.as_json()), file=sys.stderr)
        return FAILED
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(stderr=True, soft_wrap=True)
    console.print(Text.assemble(("Error: ", "bold red"), error.message))
    if error.hint:
        console.print(Text.assemble(("Hint:  ", "bold cyan"), error.hint))
    return FAILED
