"""`hubbridge job preview` and `job apply`: a job tried before it runs, and its results used again after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli import job_options as o
from bridge.cli.job import Id, run_and_report
from bridge.cli.option_groups import grouped
from bridge.cli.session import PARTLY, Json, run

if TYPE_CHECKING:
    from bridge.app import App
    from bridge.domain import Job, Shape, StoredFrame
    from bridge.dry_run import Preview


@grouped
def preview(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name or id of a task.")],
    model: Annotated[str, typer.Option(help="Name or id of a registered model, or a profile's name.")],
    options: o.ModelOptions,
    selection: o.FrameOptions,
    frames: Annotated[int, typer.Option(min=1, max=20, help="How many frames to try, spread over the job's.")] = 3,
    previews: Annotated[Path | None, typer.Option(help="Folder for pictures with the shapes drawn.")] = None,
    json: Json = False,
) -> None:
    """Try a job on some of its frames: shapes, time and calls, before anything is written."""
    wanted = options.as_spec()

    async def work(service: App) -> tuple[Preview, list[Path]]:
        from bridge.cli.previews import write_pictures  # noqa: PLC0415
        from bridge.cli.progress import DownloadBar  # noqa: PLC0415
        from bridge.cli.references import named  # noqa: PLC0415

        found, chosen = await service.tasks.find(task), await named(service, model)
        spec = o.spec_for(service, found, chosen, wanted, frames=selection.as_spec())
        with DownloadBar() as downloads:
            tried = await service.jobs.preview(spec, frames=frames, on_download=downloads)
        if previews is None:
            return tried, []
        return tried, await write_pictures(service, _pictures(tried), found, previews, frames)

    tried, written = run(context, work)
    _show(tried, written, json=json)
    if any(one.error for one in tried.frames):
        raise typer.Exit(PARTLY)


async def _pictures(tried: Preview) -> AsyncIterator[tuple[StoredFrame, Sequence[Shape]]]:
    for one in tried.frames:
        if one.error is None:
            yield one.frame, one.shapes


def _show(tried: Preview, written: Sequence[Path], *, json: bool) -> None:
    from bridge.cli.output import count, print_json, say, shortened, table  # noqa: PLC0415

    if json:
        shown = {name: getattr(tried, name) for name in tried.__dataclass_fields__ if name != "frames"}
        print_json({**shown, "frames": [_frame_as_json(one) for one in tried.frames], "previews": list(written)})
        return
    rows = [
        (one.frame.number, one.frame.name, len(one.shapes), f"{one.seconds:.2f}", one.error or "")
        for one in tried.frames
    ]
    table(("frame", "name", "shapes", "seconds", ""), rows, right=(0, 2, 3))
    if tried.counts:
        table(("label", "shapes"), list(tried.counts.items()), right=(1,))
    if tried.unmapped:
        say(f"Without a task label, left out: {shortened(tried.unmapped, 20)}.", "yellow")
    asked = f" and {count(tried.calls, 'call')} of the model's host" if tried.calls is not None else ""
    if tried.seconds_estimated is not None:
        say(f"All {count(tried.frames_total, 'frame')} need at most about {_duration(tried.seconds_estimated)}{asked}.")
    say("Nothing was written.")
    if written:
        say(f"Drew {count(len(written), 'picture')}, {written[-1]} shows them all.")


def _frame_as_json(one: Any) -> dict[str, Any]:
    shapes = [
        {
            "label": shape.label,
            "type": shape.type,
            "points": list(shape.points),
            "rle": None
            if shape.rle is None
            else {"size": [one.frame.height, one.frame.width], "counts": shape.rle.decode("ascii")},
            "rotation": shape.rotation,
            "score": shape.score,
            "attributes": dict(shape.attributes),
            "group": shape.group,
        }
        for shape in one.shapes
    ]
    frame = {key: getattr(one.frame, key) for key in ("number", "name", "width", "height")}
    return {**frame, "seconds": one.seconds, "error": one.error, "shapes": shapes}


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def apply(
    context: typer.Context,
    job: Id,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Least score. Default: as it was.")] = None,
    label_threshold: o.LabelThreshold = None,
    pairs: o.Map = None,
    nms: o.NmsIou = None,
    class_agnostic: o.ClassAgnostic = False,
    no_nms: Annotated[bool, typer.Option("--no-nms", help="Keep all shapes that overlap.")] = False,
    min_size: o.MinSize = None,
    top_k: o.TopK = None,
    no_top_k: Annotated[bool, typer.Option("--no-top-k", help="Keep all tags.")] = False,
    masks_as_polygons: Annotated[
        bool | None, typer.Option("--masks-as-polygons/--masks-as-masks", help="Default: as it was.")
    ] = None,
    clean: o.Clean = "model",
    keep_manual: o.KeepManual = None,
    no_keep_manual: Annotated[
        bool, typer.Option("--no-keep-manual", help="Add shapes that overlap manual ones as well.")
    ] = False,
    track: Annotated[
        bool | None,
        typer.Option("--track/--no-track", help="Link shapes of consecutive frames into tracks. Default: as it was."),
    ] = None,
    track_iou: o.TrackIou = None,
    track_gap: o.TrackGap = None,
    queue: Annotated[bool, typer.Option("--queue", help="Only queue it; `job resume` or a server runs it.")] = False,
    json: Json = False,
) -> None:
    """Make shapes anew from a job's stored raw results, as a job of its own; the model is not asked again."""
    removed = {"nms": no_nms, "top_k": no_top_k, "keep_manual_iou": no_keep_manual, "track": track is False}
    wanted: dict[str, Any] = {
        "threshold": threshold,
        "label_thresholds": o.parse_scores(label_threshold) if label_threshold else None,
        "nms": o.parse_nms(nms, class_agnostic),
        "min_size": min_size,
        "top_k": top_k,
        "masks_as_polygons": masks_as_polygons,
        "keep_manual_iou": keep_manual,
        "track": o.parse_tracking(bool(track), track_iou, track_gap),
    }
    given = {key: value for key, value in wanted.items() if value is not None}
    for key in (key for key, gone in removed.items() if gone):
        if key in given:
            option = {"keep_manual_iou": "keep-manual"}.get(key, key.replace("_", "-"))
            raise typer.BadParameter(f"contradicts --{option}", param_hint=f"--no-{option}")
        given[key] = None

    async def work(service: App) -> Job:
        from bridge.applying import ApplySpec  # noqa: PLC0415

        spec = o.checked(ApplySpec, **given, mapping=o.parse_pairs(pairs, "--map"), clean=clean)
        return await service.jobs.apply(job, spec)

    run_and_report(context, work, json=json, queue=queue)
