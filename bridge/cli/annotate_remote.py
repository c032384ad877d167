"""`hubbridge annotate https://cvat.example/tasks/42 --model ...`: straight on tasks of CVAT or Label Studio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from bridge.cli import job_options as o
from bridge.cli.job import announce, exit_code, report
from bridge.cli.session import run

if TYPE_CHECKING:
    from bridge.app import App
    from bridge.domain import Job, Task


@dataclass(frozen=True, slots=True)
class _Annotated:
    """A task and the job that ran on it."""

    task: Task
    job: Job
    counts: Mapping[str, int]


def is_address(images: Sequence[str]) -> bool:
    """Whether an address is meant and not images here."""
    return any(image.startswith(("http://", "https://")) for image in images)


def annotate_remote(
    context: typer.Context, address: str, model: str, wanted: dict[str, Any], *, json: bool, **spec: Any
) -> None:
    """One job after another on the task of an address, or on all tasks of a project; ends the program."""

    async def work(service: App) -> list[_Annotated]:
        from bridge.cli.output import say  # noqa: PLC0415
        from bridge.cli.progress import run_job  # noqa: PLC0415
        from bridge.cli.references import named_or_added  # noqa: PLC0415

        await service.jobs.remotes.reading_or_refused(address)  # before a model is fetched for it
        chosen = await named_or_added(service, model)
        done: list[_Annotated] = []
        for task in await service.jobs.remotes.find_or_add(address):
            job = await service.jobs.create(o.spec_for(service, task, chosen, wanted, **spec))
            if not json:
                say(f"Task {task.name}, {task.remote_ref}")
                announce(job)
            job = await run_job(service, job)
            done.append(_Annotated(task, job, await service.jobs.shapes_by_label(job)))
            if not json:
                report(job, dict(done[-1].counts), json=False)
            if job.state == "cancelled":
                break
        return done

    done = run(context, work)
    _finish(done, json=json)


def _finish(done: Sequence[_Annotated], *, json: bool) -> None:
    from bridge.cli.output import print_json, say  # noqa: PLC0415

    if json:
        print_json({"annotated": [{"task": one.task, "job": one.job, "shapes_by_label": one.counts} for one in done]})
    else:
        for one in done:
            if one.job.shapes_created:
                say(f"Its shapes are in {one.task.remote_ref}. To take them away: hubbridge job undo {one.job.id}")
    raise typer.Exit(max(exit_code(one.job) for one in done))
