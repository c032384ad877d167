"""`hubbridge task`: labels, frames and annotations of a task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bridge.cli.session import OK, PARTLY, Json, run

if TYPE_CHECKING:
    from bridge.app import App
    from bridge.domain import Task
    from bridge.formats import ExportSummary
    from bridge.sources.files import Collected
    from bridge.tasks import ImportSummary

app = typer.Typer(help="Create tasks from images, import and export their annotations.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="TASK", help="Name or id of a task.")]
Images = Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Folders, image files, zips and videos.")]
WithImages = Annotated[
    bool, typer.Option("--images", help="With the images, in a folder or .zip as the format has them.")
]
Format = Annotated[str, typer.Option("--format", help="Format of the file, such as coco.")]

# Of videos and of images; named as the frames of a job are.
First = Annotated[
    int,
    typer.Option(
        "--from", min=0, help="Number of the first frame, from 0: of a video, or of the images in their order."
    ),
]
Stop = Annotated[int | None, typer.Option("--to", min=1, help="Frame number to stop before, likewise.")]
Every = Annotated[int, typer.Option("--every", min=1, help="Take every Nth frame, likewise.")]


def show_rejected(found: Collected, json: bool) -> None:
    """Name the files that are no images, on standard error."""
    from bridge.cli.output import count  # noqa: PLC0415

    if json:
        return
    for rejected in found.rejected:
        typer.echo(f"Left out: {rejected.reason}", err=True)
    if found.skipped:
        typer.echo(f"Passed over {count(found.skipped, 'file')} that no image's ending marks.", err=True)


@app.command("create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the new task.")],
    images: Images,
    labels: Annotated[str, typer.Option(help="A list a,b,c, a file with a label a line, or CVAT's label JSON.")],
    first: First = 0,
    stop: Stop = None,
    every: Every = 1,
    json: Json = False,
) -> None:
    """Create a task from images or videos, which stay where they are."""
    from bridge.cli.output import plain, print_json, show_task  # noqa: PLC0415
    from bridge.sources.files import VideoRange  # noqa: PLC0415
    from bridge.task_labels import parse_labels  # noqa: PLC0415

    async def work(service: App) -> tuple[Task, Collected]:
        video = VideoRange(first, stop, every)
        return await service.tasks.create_with_frames(name, parse_labels(labels), images, video)

    task, found = run(context, work)
    show_rejected(found, json)
    if json:
        print_json({"task": task, "rejected": plain(found.rejected), "skipped": found.skipped})
    else:
        show_task(task)
    raise typer.Exit(PARTLY if found.rejected else OK)


@app.command("add")
def add(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of a task or project of CVAT or Label Studio.")],
    json: Json = False,
) -> None:
    """Add a task that lives in CVAT or Label Studio; its frames and annotations stay there."""
    from bridge.cli.output import print_json, show_task  # noqa: PLC0415

    tasks = run(context, lambda service: service.jobs.remotes.find_or_add(url))
    if json:
        print_json({"tasks": tasks})
    else:
        for task in tasks:
            show_task(task)


@app.command("list")
def list_tasks(context: typer.Context, json: Json = False) -> None:
    """List all tasks."""
    from bridge.cli.output import print_json, say, shortened, table  # noqa: PLC0415

    tasks = run(context, lambda service: service.tasks.page())
    if json:
        print_json({"tasks": tasks})
    elif not tasks:
        say("There is no task. Create one: hubbridge task create NAME IMAGES --labels a,b,c")
    else:
        rows = [
            (
                task.id,
                task.name,
                f"{task.frame_count:,}",
                f"{task.shape_count:,}",
                shortened([label.name for label in task.labels], 6),
            )
            for task in tasks
        ]
        table(("id", "name", "frames", "shapes", "labels"), rows, right=(0, 2, 3))


@app.command("show")
def show(context: typer.Context, task: Name, json: Json = False) -> None:
    """Show a task: its labels, frames and how many shapes each label has."""
    from bridge.cli.output import print_json, show_task, table  # noqa: PLC0415

    async def work(service: App) -> tuple[Task, dict[str, int]]:
        found = await service.tasks.find(task)
        return found, await service.tasks.shapes_by_label(found.id)

    found, counts = run(context, work)
    if json:
        print_json({"task": found, "shapes_by_label": counts})
        return
    show_task(found)
    if counts:
        table(("label", "shapes"), list(counts.items()), right=(1,))


@app.command("import")
def import_annotations(
    context: typer.Context,
    task: Name,
    file: Annotated[Path, typer.Argument(help="Annotations to add.")],
    format_name: Format = "coco",
    source: Annotated[
        Literal["manual", "automatic"], typer.Option(help="Whether people or a model made them.")
    ] = "manual",
    json: Json = False,
) -> None:
    """Add the annotations of a file to the frames of the same names."""
    from bridge.cli.output import count, print_json, say, shortened  # noqa: PLC0415
    from bridge.domain import Source  # noqa: PLC0415

    async def work(service: App) -> ImportSummary:
        found = await service.tasks.find(task)
        return await service.tasks.import_annotations(found, file, format_name, Source(source))

    summary = run(context, work)
    left_out = bool(summary.unknown_files or summary.unknown_labels or summary.wrong_size or summary.outside)
    if json:
        print_json({"imported": summary})
    else:
        say(f"Imported {count(summary.shapes, 'shape')} on {count(summary.frames, 'frame')}.")
        if summary.unknown_files:
            say(f"Not in the task, left out: files {shortened(summary.unknown_files)}.", "yellow")
        if summary.unknown_labels:
            say(f"Not in the task, left out: labels {shortened(summary.unknown_labels)}.", "yellow")
        if summary.wrong_size:
            say(f"Of another size than the frame, left out: {shortened(summary.wrong_size)}.", "yellow")
        if summary.outside:
            say(f"Outside of the frame, left out: {count(summary.outside, 'shape')}.", "yellow")
    raise typer.Exit(PARTLY if left_out else OK)


@app.command("export")
def export(
    context: typer.Context,
    task: Name,
    out: Annotated[Path, typer.Option(help="File to write.")],
    format_name: Format = "coco",
    images: WithImages = False,
    json: Json = False,
) -> None:
    """Write a task's annotations to a file, which appears whole or not at all."""
    from bridge.cli.output import print_json  # noqa: PLC0415

    async def work(service: App) -> ExportSummary:
        return await export_task(service, await service.tasks.find(task), out, format_name, images=images)

    summary = run(context, work)
    if json:
        print_json({"exported": summary, "file": out})
    else:
        show_export(summary, out)
    raise typer.Exit(PARTLY if summary.missing else OK)


async def export_task(service: App, task: Task, out: Path, format_name: str, *, images: bool) -> ExportSummary:
    if not images:
        return await service.tasks.export(task, out, format_name)
    async with service.jobs.remotes.source(task) as source:
        return await service.tasks.export(task, out, format_name, source)


def show_export(summary: ExportSummary, out: Path) -> None:
    from bridge.cli.output import count, say  # noqa: PLC0415

    images = f" and {count(summary.images, 'image')}" if summary.images else ""
    say(f"Wrote {count(summary.shapes, 'shape')} on {count(summary.frames, 'frame')}{images} to {out}.")
    if summary.missing:
        say(
            f"Left out, for they cannot be had: {count(summary.missing, 'image')}; see missing-images.txt there.",
            "yellow",
        )
    for what, number in summary.left_out.items():
        say(f"The format cannot hold {what}: left out {number:,}.", "yellow")


@app.command("preview")
def preview(
    context: typer.Context,
    task: Name,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    frames: Annotated[int, typer.Option(min=1, help="How many frames, from the first.")] = 12,
    json: Json = False,
) -> None:
    """Draw shapes on frames, and an overview of them all."""
    from bridge.cli.output import count, print_json, say  # noqa: PLC0415
    from bridge.cli.previews import write_previews  # noqa: PLC0415

    async def work(service: App) -> list[Path]:
        return await write_previews(service, await service.tasks.find(task), out, frames)

    written = run(context, work)
    if json:
        print_json({"previews": written})
    else:
        say(f"Wrote {count(len(written), 'picture')} to {out}.")


@app.command("remove")
def remove(
    context: typer.Context,
    task: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove a task with its annotations and jobs. The images stay, unless they came in a zip."""
    from bridge.cli.output import count, show_removed  # noqa: PLC0415

    async def find(service: App) -> Task:
        return await service.tasks.find(task)

    found = run(context, find)
    if json and not yes:
        raise typer.BadParameter("--json asks nothing, so it needs --yes here", param_hint="--yes")
    if not yes:
        typer.confirm(
            f"Remove {found.name} with {count(found.shape_count, 'shape')}? This cannot be undone", abort=True
        )

    async def work(service: App) -> Any:
        await service.tasks.remove(found.id)

    run(context, work)
    show_removed(found.name, json=json)
