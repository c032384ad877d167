"""How answers look: tables for people, JSON for programs, previews of numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from pydantic import BaseModel

if TYPE_CHECKING:
    from rich.console import Console

    from adapters.base import ModelCard
    from bridge.domain import Job, Model, Task
    from bridge.mapping import LabelMatch


def console() -> Console:
    from rich.console import Console  # noqa: PLC0415

    return Console(highlight=False)


def plain(value: Any) -> Any:
    """A value as JSON knows it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return {key: plain(entry) for key, entry in asdict(value).items()}
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(entry) for entry in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value


def print_json(value: Any) -> None:
    typer.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def show_removed(what: str | int, *, json: bool, kind: str = "") -> None:
    if json:
        print_json({"removed": what})
    else:
        say(f"Removed {kind} {what}." if kind else f"Removed {what}.")


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[int] = ()) -> None:
    """Print rows under headers; columns in ``right`` hold numbers."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for index, header in enumerate(headers):
        drawn.add_column(header, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    console().print(drawn)


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print names and values below each other; empty values are left out."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    drawn.add_column(style="bold")
    drawn.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", ()):
            drawn.add_row(name, Text(str(value)))
    console().print(drawn)


def say(text: str, style: str = "") -> None:
    from rich.text import Text  # noqa: PLC0415

    console().print(Text(text, style), soft_wrap=True)


def count(number: int, noun: str) -> str:
    """1 frame, 2 frames, 1,200 frames."""
    plural = noun + ("es" if noun.endswith(("x", "ch")) else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.1f} MB"


def shortened(names: Sequence[str], most: int = 8) -> str:
    rest = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def show_model(model: Model) -> None:
    card = model.card
    facts(
        [
            ("name", model.name),
            ("id", model.id),
            ("from", card.reference),
            ("revision", card.revision),
            ("task type", card.task_type),
            ("labels", "open vocabulary" if card.labels is None else shortened(card.labels, 30)),
            ("shapes", ", ".join(card.shape_types)),
            ("runs", _place(card)),
            ("licence", card.licence or "not stated"),
            ("gated", "yes: its terms were accepted with an account" if card.gated else ""),
            ("weights", megabytes(card.weights_bytes)),
            ("threshold", model.threshold),
            ("files", "here" if model.fetched else "not downloaded yet"),
            *(("note", note) for note in card.notes),
        ]
    )


def _place(card: ModelCard) -> str:
    if card.engine == "hosted":
        return "at its host"
    return f"here, on {card.engine}{', as was chosen' if card.engine_chosen else ''}"


def show_matches(matches: Sequence[LabelMatch]) -> None:
    """A row per model label that has a suggestion, with two alternatives at most; then those that have none."""
    from rich.text import Text  # noqa: PLC0415

    rows: list[Sequence[Any]] = []
    for match in matches:
        if (best := match.best) is not None:
            state = Text("accepted", "green") if best.accepted else Text("suggested", "yellow")
            others = ", ".join(f"{other.task_label} {other.score:.2f}" for other in match.alternatives[:2])
            rows.append((match.model_label, best.task_label, f"{best.score:.2f}", state, best.reason, others))
    if rows:
        headers = ("model label", "task label", "score", "", "reason", "or")
        columns = len(headers) if any(row[-1] for row in rows) else len(headers) - 1
        table(headers[:columns], [row[:columns] for row in rows], right=(2,))
    unmatched = [match.model_label for match in matches if match.best is None]
    if unmatched:
        say(f"no match: {', '.join(unmatched)}")


def show_task(task: Task) -> None:
    facts(
        [
            ("name", task.name),
            ("id", task.id),
            ("frames", f"{task.frame_count:,}"),
            ("shapes", f"{task.shape_count:,}"),
            ("labels", shortened([f"{label.name} ({label.type})" for label in task.labels], 30)),
            ("created", f"{task.created_at:%Y-%m-%d %H:%M} UTC"),
        ]
    )


def show_job(job: Job, task_name: str) -> None:
    resolved = job.resolved
    pairs = [f"{m} -> {t}" for m, t in resolved["pairs"].items()]
    prompts = resolved.get("prompts") or {}
    facts(
        [
            ("job", job.id),
            ("state", f"{job.state}, undone" if job.undone_at else job.state),
            ("task", task_name),
            ("model", f"{resolved['model']} ({resolved['revision'][:12]})"),
            ("made from", f"the stored results of job {job.source_job_id}" if job.source_job_id else ""),
            ("frames", f"{job.frames_total:,}, {job.frames_done:,} done, {job.frames_failed:,} failed"),
            ("shapes", f"{job.shapes_created:,}"),
            ("threshold", resolved["threshold"]),
            ("mapping", "" if prompts else shortened(pairs, 30)),
            ("looks for", shortened([f"{m}: {', '.join(texts or [m])}" for m, texts in prompts.items()], 30)),
            ("left out", shortened(resolved["unmapped"], 30)),
            ("runs on", str(job.runs_on)),
            ("host given up", resolved.get("fell_back", "")),
            ("error", job.error),
        ]
    )
