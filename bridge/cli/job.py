"""`hubbridge job`: annotation jobs from start to undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli import job_options as o
from bridge.cli.option_groups import grouped
from bridge.cli.session import CANCELLED, JOB_FAILED, OK, PARTLY, Json, run

if TYPE_CHECKING:
    from bridge.app import App
    from bridge.domain import Job, LedgerRow, Undone

app = typer.Typer(
    help="Try, start, watch, cancel, resume, retry, apply anew and undo annotation jobs.", no_args_is_help=True
)

Id = Annotated[int, typer.Argument(metavar="JOB", help="Id of an annotation job.")]


@app.command("start")
@grouped
def start(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name or id of a task.")],
    model: Annotated[str, typer.Option(help="Name or id of a registered model, or a profile's name.")],
    options: o.ModelOptions,
    tracking: o.TrackOptions,
    frames: o.FrameOptions,
    clean: o.Clean = "none",
    max_failure_rate: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of frames that may fail. Default: the setting.")
    ] = None,
    queue: Annotated[bool, typer.Option("--queue", help="Only queue it; `job resume` or a server runs it.")] = False,
    json: Json = False,
) -> None:
    """Annotate a task's frames with a model; Ctrl-C cancels, and `job resume` goes on."""
    wanted = options.as_spec() | tracking.as_spec()

    async def work(service: App) -> Job:
        from bridge.cli.references import named  # noqa: PLC0415

        found, chosen = await service.tasks.find(task), await named(service, model)
        given: dict[str, Any] = {} if max_failure_rate is None else {"max_failure_rate": max_failure_rate}
        spec = o.spec_for(service, found, chosen, wanted, clean=clean, frames=frames.as_spec(), **given)
        return await service.jobs.create(spec)

    run_and_report(context, work, json=json, queue=queue)


def run_and_report(context: typer.Context, prepare: Any, *, json: bool, queue: bool = False) -> None:
    """Make or requeue a job, run it here, say how it ended, and exit with its code."""

    async def work(service: App) -> tuple[Job, dict[str, int], int]:
        from bridge.cli.progress import run_job  # noqa: PLC0415

        job: Job = await prepare(service)
        if not queue:
            if not json:
                announce(job)
            job = await run_job(service, job)
        return job, await service.jobs.shapes_by_label(job), await service.jobs.tracks(job)

    job, counts, tracks = run(context, work)
    report(job, counts, tracks, json=json)
    raise typer.Exit(exit_code(job))


def announce(job: Job) -> None:
    """What the job is about to do with the labels, before it does it."""
    from bridge.cli.output import say, shortened  # noqa: PLC0415

    prompts = job.resolved.get("prompts")
    if prompts:
        asked = [f"{m} ({' or '.join(prompts[m])})" if prompts.get(m) else m for m in job.resolved["pairs"]]
        say(f"Annotation job {job.id}: {job.resolved['model']} looks for {shortened(asked, 20)}.")
    else:
        pairs = [m if m == t else f"{m} -> {t}" for m, t in job.resolved["pairs"].items()]
        say(f"Annotation job {job.id}: {job.resolved['model']}, labels {shortened(pairs, 20)}.")
    if job.resolved["unmapped"]:
        say(f"Without a task label, left out: {shortened(job.resolved['unmapped'], 20)}.", "yellow")


def report(job: Job, counts: dict[str, int], tracks: int = 0, *, json: bool) -> None:
    from bridge.cli.output import count, print_json, say, table  # noqa: PLC0415

    if json:
        print_json({"job": job, "shapes_by_label": counts, "tracks": tracks})
        return
    if counts:
        table(("label", "shapes"), list(counts.items()), right=(1,))
    seconds = (job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else 0
    speed = f", {job.frames_done / seconds:,.1f} frames/s, loading included" if seconds > 0 and job.frames_done else ""
    failed = f", {job.frames_failed:,} failed" if job.frames_failed else ""
    say(f"Job {job.id} {job.state}: {count(job.frames_done, 'frame')} done{failed}{speed}.", "bold")
    if job.resolved.get("fell_back"):
        say(job.resolved["fell_back"], "yellow")
    if tracks:
        say(f"Linked into {count(tracks, 'track')}.")
    if job.error:
        say(job.error, "red")
    left = job.frames_total - job.frames_done - job.frames_failed
    if left and job.state != "running":
        say(f"{count(left, 'frame')} left; go on with: hubbridge job resume {job.id}")
    if job.frames_failed:
        say(f"What failed: hubbridge job show {job.id} --failed. Try again: hubbridge job retry {job.id}")


def exit_code(job: Job) -> int:
    if job.state == "cancelled":
        return CANCELLED
    if job.state == "failed":
        return JOB_FAILED
    return PARTLY if job.frames_failed else OK


@app.command("list")
def list_jobs(
    context: typer.Context,
    task: Annotated[str | None, typer.Option(help="Only those of this task.")] = None,
    json: Json = False,
) -> None:
    """List annotation jobs."""
    from bridge.cli.output import print_json, say, table  # noqa: PLC0415

    async def work(service: App) -> tuple[list[Job], dict[int, str]]:
        task_id = (await service.tasks.find(task)).id if task else None
        names = {found.id: found.name for found in await service.tasks.page()}
        return await service.jobs.page(task_id=task_id), names

    jobs, names = run(context, work)
    if json:
        print_json({"jobs": jobs})
    elif not jobs:
        say("There is no annotation job. Start one: hubbridge job start TASK --model MODEL")
    else:
        rows = [
            (
                job.id,
                f"{job.state}, undone" if job.undone_at else job.state,
                names.get(job.spec.target, ""),
                job.resolved["model"],
                f"{job.frames_done:,}/{job.frames_total:,}",
                job.frames_failed,
                f"{job.shapes_created:,}",
            )
            for job in jobs
        ]
        table(("id", "state", "task", "model", "frames", "failed", "shapes"), rows, right=(0, 4, 5, 6))


@app.command("show")
def show(
    context: typer.Context,
    job: Id,
    failed: Annotated[bool, typer.Option("--failed", help="List the frames that failed, and why.")] = False,
    json: Json = False,
) -> None:
    """Show what a job does or did."""
    from bridge.cli.output import print_json, show_job, table  # noqa: PLC0415

    async def work(service: App) -> tuple[Job, str, list[LedgerRow]]:
        from bridge.domain import FrameState  # noqa: PLC0415

        found = await service.jobs.get(job)
        task = await service.tasks.get(found.spec.target)
        rows = await service.jobs.ledger(job, state=FrameState.FAILED, most=10_000) if failed else []
        return found, task.name, rows

    found, task_name, rows = run(context, work)
    if json:
        print_json({"job": found, **({"failed": rows} if failed else {})})
        return
    show_job(found, task_name)
    if rows:
        table(
            ("frame", "name", "attempts", "error"), [(r.frame, r.name, r.attempts, r.error) for r in rows], right=(0, 2)
        )


@app.command("watch")
def watch(context: typer.Context, job: Id, json: Json = False) -> None:
    """Follow a job that runs elsewhere until it ends. Ctrl-C stops watching, not the job."""

    async def work(service: App) -> tuple[Job, dict[str, int], int]:
        from bridge.cli.progress import watch_job  # noqa: PLC0415

        found = await watch_job(service, job)
        return found, await service.jobs.shapes_by_label(found), await service.jobs.tracks(found)

    try:
        found, counts, tracks = run(context, work)
    except KeyboardInterrupt:
        raise typer.Exit(CANCELLED) from None
    report(found, counts, tracks, json=json)
    raise typer.Exit(exit_code(found))


@app.command("cancel")
def cancel(context: typer.Context, job: Id, json: Json = False) -> None:
    """Cancel a job; what it has done stays, and it can be resumed or undone."""
    from bridge.cli.output import print_json, say  # noqa: PLC0415

    found = run(context, lambda service: service.jobs.cancel(job))
    if json:
        print_json({"job": found})
    else:
        say(f"Job {job} is cancelled." if found.state == "cancelled" else f"Job {job} ends after its present batches.")


@app.command("resume")
def resume(context: typer.Context, job: Id, json: Json = False) -> None:
    """Go on with a cancelled, failed or crashed job where it stopped."""
    run_and_report(context, lambda service: service.jobs.resume(job), json=json)


@app.command("retry")
def retry(context: typer.Context, job: Id, json: Json = False) -> None:
    """Try the frames of a job that failed once more."""
    run_and_report(context, lambda service: service.jobs.retry(job), json=json)


@app.command("undo")
def undo(context: typer.Context, job: Id, json: Json = False) -> None:
    """Take away what a job wrote and bring back what it replaced."""
    from bridge.cli.output import count, print_json, say  # noqa: PLC0415

    async def work(service: App) -> Undone:
        return await service.jobs.undo(job)

    undone = run(context, work)
    if json:
        print_json({"undone": undone})
    else:
        say(f"Removed {count(undone.removed, 'shape')}, brought back {count(undone.restored, 'shape')}.")
        if undone.kept:
            say(f"People have changed {count(undone.kept, 'shape')} since; these stay.")
