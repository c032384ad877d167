"""`hubbridge annotate`: images + model URL + labels -> annotation file, in one line."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli import job_options as o
from bridge.cli.annotate_remote import annotate_remote, is_address
from bridge.cli.job import announce, exit_code, report
from bridge.cli.option_groups import grouped
from bridge.cli.session import OK, PARTLY, Json, run
from bridge.cli.task import Every, First, Stop, WithImages, export_task, show_rejected

if TYPE_CHECKING:
    from bridge.app import App
    from bridge.domain import Job, Model, Task
    from bridge.formats import ExportSummary
    from bridge.sources.files import Collected, VideoRange

CLEAN = ("none", "model", "automatic", "all")


def with_clean_values(arguments: Sequence[str]) -> list[str]:
    """``--clean`` alone means automatic shapes: the value that it may have is put in where it is missing."""
    if "annotate" not in arguments:
        return list(arguments)
    following = [*arguments[1:], ""]
    return [
        "--clean=automatic" if argument == "--clean" and after not in CLEAN else argument
        for argument, after in zip(arguments, following, strict=True)
    ]


@dataclass(slots=True)
class _Outcome:
    """What came of the one-liner."""

    task: Task
    found: Collected
    job: Job
    counts: dict[str, int]
    tracks: int
    exported: ExportSummary | None = None
    previews: Sequence[Path] = ()


@grouped
def annotate(
    context: typer.Context,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES|URL",
            help="Folders, image files, zips and videos; or the address of a task or project of CVAT or Label Studio.",
        ),
    ],
    model: Annotated[str, typer.Option(metavar="REF", help="A model's URL, id, folder or name, or a profile's name.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="File to write; needed for images, while a task's shapes go where it is.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="a,b,c|FILE",
            help="Your labels: a list, a file, CVAT's JSON. Default: the model's own.",
        ),
    ] = None,
    format_name: Annotated[str, typer.Option("--format", help="Format of the file.")] = "coco",
    with_images: WithImages = False,
    options: o.ModelOptions,
    tracking: o.TrackOptions,
    clean: Annotated[
        str, typer.Option(help="What goes where new shapes come: none, model, automatic, all; alone: automatic.")
    ] = "none",
    first: First = 0,
    stop: Stop = None,
    every: Every = 1,
    unannotated: o.Unannotated = False,
    task: Annotated[
        str | None, typer.Option(help="Name of the task; one that exists is gone on with. Default: a new one.")
    ] = None,
    previews: Annotated[Path | None, typer.Option(help="Folder for pictures with the shapes drawn.")] = None,
    json: Json = False,
) -> None:
    """Annotate images with a model in one go: register, match labels, predict, export."""
    if clean not in CLEAN:
        raise typer.BadParameter(f"{clean!r} is none of {', '.join(CLEAN)}", param_hint="--clean")
    wanted = options.as_spec() | tracking.as_spec()
    if is_address(images):
        if len(images) > 1 or with_images or any(value is not None for value in (out, labels, task, previews)):
            raise typer.BadParameter("an address stands alone: no --out, --images, --labels, --task or --previews")
        frames = o.FrameOptions(first, stop, every, unannotated).as_spec()
        annotate_remote(context, images[0], model, wanted, json=json, clean=clean, frames=frames)
    if unannotated:
        raise typer.BadParameter("is for tasks of CVAT or Label Studio; else: hubbridge job start --unannotated")
    if out is None:
        raise typer.BadParameter("is missing: which file is to be written?", param_hint="--out")
    paths = [Path(image) for image in images]

    async def work(service: App) -> _Outcome:
        from bridge.cli.previews import write_previews  # noqa: PLC0415
        from bridge.cli.progress import run_job  # noqa: PLC0415
        from bridge.cli.references import named_or_added  # noqa: PLC0415
        from bridge.errors import BridgeError  # noqa: PLC0415
        from bridge.sources.files import VideoRange  # noqa: PLC0415
        from bridge.task_labels import as_text  # noqa: PLC0415

        video = VideoRange(first, stop, every)
        await asyncio.to_thread(_check_file, format_name, out, with_images)  # before any work is done
        chosen = await named_or_added(service, model)
        words = labels if labels is not None or chosen.profile is None else as_text(chosen.profile.labels)
        target, found, is_new = await _task(service, task, paths, video, words, chosen.model, wanted["prompts"])
        show_rejected(found, json)
        try:
            job = await service.jobs.create(o.spec_for(service, target, chosen, wanted, clean=clean))
        except BridgeError:
            if is_new:  # nothing came of it, and the next try is not to find its name taken
                await service.tasks.remove(target.id)
            raise
        if not json:
            announce(job)
        job = await run_job(service, job)
        outcome = _Outcome(target, found, job, await service.jobs.shapes_by_label(job), await service.jobs.tracks(job))
        if job.state == "succeeded":
            outcome.exported = await export_task(service, target, out, format_name, images=with_images)
            if previews is not None:
                outcome.previews = await write_previews(service, target, previews, 12)
        return outcome

    outcome = run(context, work)
    _show(outcome, out, json=json)
    code = exit_code(outcome.job)
    partly = outcome.found.rejected or (outcome.exported is not None and outcome.exported.missing)
    raise typer.Exit(PARTLY if code == OK and partly else code)


def _check_file(format_name: str, out: Path, with_images: bool) -> None:
    """Raises InvalidRequest where the file could not be written in this format, or at this place."""
    from bridge import formats  # noqa: PLC0415
    from bridge.formats.writing import check_place  # noqa: PLC0415

    form = formats.find(format_name)
    if with_images:
        form.check_holds_images(out)
    check_place(out)


async def _task(
    service: App,
    name: str | None,
    images: Sequence[Path],
    video: VideoRange,
    labels: str | None,
    model: Model,
    prompts: Mapping[str, object],
) -> tuple[Task, Collected, bool]:
    """The task of that name with the images that it lacks added, or a new one; and whether it is new."""
    from bridge.errors import InvalidRequest, NotFound  # noqa: PLC0415
    from bridge.model_labels import own_labels  # noqa: PLC0415
    from bridge.pinning import labels_of  # noqa: PLC0415
    from bridge.prompting import prompted  # noqa: PLC0415
    from bridge.registry import free_name  # noqa: PLC0415
    from bridge.task_labels import labels_from_json, parse_labels  # noqa: PLC0415

    if name is not None:
        try:
            existing = await service.tasks.find(name)
        except NotFound:
            pass
        else:
            if labels is not None and [e.name for e in parse_labels(labels)] != [e.name for e in existing.labels]:
                raise InvalidRequest(
                    f"Task {existing.name} exists with other labels.", hint="Leave --labels out, or name another task."
                )
            found = await service.tasks.add_frames(existing.id, images, skip_known=True, video=video)
            return await service.tasks.get(existing.id), found, False
    if labels is not None:
        wanted = parse_labels(labels)
    else:
        card = prompted(model.card, dict.fromkeys(prompts, ()))
        labels_of(card)  # an open vocabulary that is told nothing is refused
        wanted = labels_from_json(own_labels(card))
    taken = {task.name for task in await service.tasks.page()}
    named = name or free_name(images[0].resolve().stem, taken)
    task, found = await service.tasks.create_with_frames(named, wanted, images, video)
    return task, found, True


def _show(outcome: _Outcome, out: Path, *, json: bool) -> None:
    from bridge.cli.output import count, print_json, say  # noqa: PLC0415
    from bridge.cli.task import show_export  # noqa: PLC0415

    if json:
        print_json(
            {
                "task": outcome.task,
                "job": outcome.job,
                "rejected": outcome.found.rejected,
                "shapes_by_label": outcome.counts,
                "tracks": outcome.tracks,
                "exported": outcome.exported,
                "file": out if outcome.exported else None,
                "previews": list(outcome.previews),
            }
        )
        return
    report(outcome.job, outcome.counts, outcome.tracks, json=False)
    if outcome.exported is not None:
        show_export(outcome.exported, out)
    else:
        say(
            f"Nothing was exported. The task is {outcome.task.name}; afterwards: "
            f"hubbridge task export {outcome.task.id} --out {out}"
        )
    if outcome.previews:
        say(f"Drew {count(len(outcome.previews), 'picture')}, {outcome.previews[-1]} shows them all.")
