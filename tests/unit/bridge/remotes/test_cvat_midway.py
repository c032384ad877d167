"""What may happen to CVAT in the middle of a job: after it is resumed every frame is there exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from pytest import MonkeyPatch

from bridge.domain import FrameState, JobState
from bridge.errors import BridgeError
from tests.servers.cvat import TOKEN, Json, images_task, label
from tests.servers.loopback import Fault
from tests.unit.bridge.remotes.cvat_world import CAR, LABELS, CvatWorld, cvat_world, manual
from tests.unit.bridge.world import OPTIONS

SHORT = replace(OPTIONS, commit_frames=4, patience_s=0.3)
LONG = replace(SHORT, patience_s=60)


def _at(made: CvatWorld, number: int, act: Callable[[], None]) -> None:
    """``act`` is called when the change of that number arrives."""
    seen = 0

    def look(body: Json) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            act()

    made.cvat.on_change = look


def _token_ends(made: CvatWorld) -> None:
    made.cvat.state.tokens.clear()


def _away(made: CvatWorld) -> None:
    made.cvat.faults = [Fault("502", "/api/")]


def _deleted(made: CvatWorld) -> None:
    made.remote.gone = 1


def _back(made: CvatWorld) -> None:
    made.cvat.state.tokens.add(TOKEN)
    made.cvat.faults, made.remote.gone = [], 0


@pytest.mark.parametrize("clean", ["none", "automatic"])
@pytest.mark.parametrize(
    ("happens", "says"), [(_token_ends, "refuses the key"), (_away, "HTTP 502"), (_deleted, "Was it deleted?")]
)
async def test_a_job_that_cvat_ended_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: MonkeyPatch, happens: Callable[[CvatWorld], None], says: str, clean: str
) -> None:
    remote = images_task(42, 40, LABELS, segments=[(0, 24), (20, 39)], chunk_size=8)
    for number in range(40):
        remote.jobs[number > 24].shapes.append({"id": number + 1, **manual(number, source="auto")})
    options = SHORT if happens is not _deleted else LONG  # a 500 comes before the 404, and is waited out
    async with cvat_world(tmp_path, monkeypatch, remote, options=options, settle_s=0.1) as made:
        job = await made.job(clean=clean)
        _at(made, 3, lambda: happens(made))
        job = await made.made.jobs.run(job.id)
        assert job.state is JobState.FAILED
        assert says in (job.error or "")
        assert job.frames_done < 40
        _back(made)
        made.cvat.on_change = lambda body: None
        job = await made.resumed(job)
        assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 40)
        old = [each for each in remote.annotations if each["id"] < 5000]
        assert len(old) == (40 if clean == "none" else 0)
        for part in remote.jobs:
            part.shapes = [each for each in part.shapes if each["id"] >= 5000]
        await made.check_exactly_once(job)


async def test_labels_that_changed_midway_end_the_job_and_what_it_wrote_stands_once(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async with cvat_world(tmp_path, monkeypatch, options=SHORT) as made:
        job = await made.job()
        _at(made, 3, lambda: setattr(made.remote, "labels", [label(99, "car")]))
        job = await made.made.jobs.run(job.id)
        assert job.state is JobState.FAILED
        assert "labels of the task were changed" in (job.error or "")
        await made.made.jobs.resume(job.id)
        with pytest.raises(BridgeError, match="no longer has the label"):
            await made.made.jobs.run(job.id)
        made.remote.labels = list(LABELS)
        made.cvat.on_change = lambda body: None
        job = await made.resumed(job)
        assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 20)
        await made.check_exactly_once(job)


def _cannot_serve(made: CvatWorld, monkeypatch: MonkeyPatch, broken: set[int], status: int) -> None:
    """As a CVAT one of whose pictures is gone: neither it nor its chunk can be had."""
    data = made.cvat._data

    async def serve(task: object, request: web.Request) -> web.Response:
        number, chunked = int(request.query["number"]), request.query["type"] == "chunk"
        size = made.remote.chunk_size
        asked = set(range(number * size, number * size + size)) if chunked else {number}
        if asked & broken:
            return web.json_response({"detail": "No such file"}, status=status)
        return await data(task, request)  # type: ignore[arg-type]

    monkeypatch.setattr(made.cvat, "_data", serve)


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("broken", [{3}, {16}])  # of a whole chunk, and alone in the last one
async def test_a_frame_that_cvat_cannot_serve_fails_alone_and_is_had_when_it_is_there_again(
    tmp_path: Path, monkeypatch: MonkeyPatch, status: int, broken: set[int]
) -> None:
    remote = images_task(42, 17, LABELS, chunk_size=8)
    async with cvat_world(tmp_path, monkeypatch, remote, options=LONG) as made:
        with monkeypatch.context() as patched:
            _cannot_serve(made, patched, broken, status)
            job = await made.run()
        assert (job.state, job.frames_done, job.frames_failed) == (JobState.SUCCEEDED, 16, 1)
        (failed,) = await made.made.jobs.ledger(job.id, state=FrameState.FAILED)
        assert ({failed.frame}, failed.error_code) == (broken, "bad_frame")
        await made.check_exactly_once(job)
        await made.made.jobs.retry(job.id)
        job = await made.made.jobs.run(job.id)
        assert (job.frames_done, job.frames_failed) == (17, 0)
        await made.check_exactly_once(job)


async def test_a_cvat_that_fails_at_everything_ends_the_job_and_no_frame(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    remote = images_task(42, 17, LABELS, chunk_size=8)
    async with cvat_world(tmp_path, monkeypatch, remote, options=replace(LONG, patience_s=2)) as made:
        with monkeypatch.context() as patched:
            _cannot_serve(made, patched, set(range(17)), 500)
            job = await made.run()
        assert (job.state, job.frames_failed) == (JobState.FAILED, 0)
        assert "HTTP 500" in (job.error or "")
        job = await made.resumed(job)
        assert job.frames_done == 17
        await made.check_exactly_once(job)


async def test_every_request_of_an_organizations_job_names_it(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    remote = images_task(42, 10, LABELS, organization="acme")
    remote.jobs[0].shapes.append({"id": 1, **manual(3, source="auto", label_id=CAR)})
    async with cvat_world(tmp_path, monkeypatch, remote, address="/tasks/42/jobs/4200?org=acme") as made:
        job = await made.run(clean="automatic")
        await made.check_exactly_once(job)
        await made.made.jobs.undo(job.id)
        assert {each.headers.get("X-Organization") for each in made.cvat.seen} == {"acme"}


@pytest.mark.parametrize(
    "form",
    ["/tasks/42", "/tasks/42/", "/tasks/42?page=2", "/tasks/42#frames", "/tasks/42/jobs/4200", "/tasks/42/jobs/4200/",
     "/tasks/42/jobs/4200?frame=7&type=shape&serverID=12", "/tasks/42/analytics", "/tasks/42/jobs/4200/analytics"],
)  # fmt: skip
async def test_any_page_of_a_task_or_job_is_its_address(tmp_path: Path, monkeypatch: MonkeyPatch, form: str) -> None:
    async with cvat_world(tmp_path, monkeypatch, address=form) as made:
        job = await made.run()
        assert job.frames_done == 20
        await made.check_exactly_once(job)


@pytest.mark.parametrize("chosen", [{"start": 0, "stop": 39, "step": 8}, {"start": 5, "stop": 29}, {}])
async def test_chunks_and_single_frames_are_the_same_pictures(
    tmp_path: Path, monkeypatch: MonkeyPatch, chosen: dict[str, int]
) -> None:
    remote = images_task(42, 40, LABELS, chunk_size=8)
    seen: dict[str, bytes] = {}

    async def look(predictor: object, frames: object) -> None:
        seen.update({frame.id: frame.encoded for frame in frames})  # type: ignore[attr-defined]

    async with cvat_world(tmp_path, monkeypatch, remote, behave=look) as made:
        job = await made.job(**({"frames": chosen} if chosen else {}))
        running = asyncio.create_task(made.made.jobs.run(job.id))
        made.cvat.on_change = lambda body: running.get_loop().call_soon_threadsafe(running.cancel)
        await asyncio.wait((running,))
        made.cvat.on_change = lambda body: None
        job = await made.made.jobs.get(job.id)
        job = await made.made.jobs.run(job.id) if job.state is JobState.QUEUED else job
        await made.check_exactly_once(job)
        numbers = [row.frame for row in await made.made.jobs.ledger(job.id)]
        assert len(numbers) == job.frames_done
        assert seen == {remote.names[number]: remote.pictures[number] for number in numbers}
