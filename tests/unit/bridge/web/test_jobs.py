"""Jobs over HTTP: their life, their refusals, their ledger, their events; and idempotency keys."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from typing import Any
from unittest.mock import AsyncMock

import pytest
from aiohttp import FormData

from bridge.domain import Scope
from bridge.errors import NotFound
from bridge.jobs import Jobs
from bridge.web import events
from tests.unit.bridge.web.conftest import Api


async def running(api: Api, job_id: int) -> None:
    async with asyncio.timeout(60):
        while (await api.call("GET", f"/v1/jobs/{job_id}"))["state"] != "running":
            await asyncio.sleep(0.02)


async def stream(
    api: Api, job_id: int, last: str | None = None, begun: asyncio.Event | None = None
) -> list[tuple[str, str, dict[str, Any]]]:
    """(id, event, data) of every event until the stream ends; ``begun`` is set when the first has come."""
    found = []
    headers = {"Last-Event-ID": last} if last is not None else {}
    async with api.session.get(f"{api.server.url}/v1/jobs/{job_id}/events", headers=headers) as response:
        if response.status == 204:
            return []
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        came = b""
        async for chunk in response.content.iter_any():
            came += chunk
            if begun is not None and b"\nevent: " in came:
                begun.set()
        text = came.decode()
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            found.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return found


async def test_cancel_resume_and_undo(api: Api, slow: asyncio.Event) -> None:
    model, task = await api.model(), await api.task(pictures=30)
    job = await api.job(task["id"], model["id"])
    await running(api, job["id"])
    for path in ("resume", "undo", "retry"):
        await api.error("POST", f"/v1/jobs/{job['id']}/{path}", 409, "conflict")
    await api.error("DELETE", f"/v1/tasks/{task['id']}", 409, "conflict")
    cancelled = await api.call("POST", f"/v1/jobs/{job['id']}/cancel")
    assert cancelled["abort_requested"]
    slow.set()
    ended = await api.ended(job["id"])
    assert ended["state"] == "cancelled"
    assert ended["frames_done"] < 30
    await api.error("POST", f"/v1/jobs/{job['id']}/cancel", 409, "conflict")
    assert (await api.call("POST", f"/v1/jobs/{job['id']}/resume"))["state"] == "queued"
    ended = await api.ended(job["id"])
    assert (ended["state"], ended["frames_done"]) == ("succeeded", 30)
    await api.error("POST", f"/v1/jobs/{job['id']}/resume", 409, "conflict")
    await api.call("POST", f"/v1/jobs/{job['id']}/undo")
    await api.error("POST", f"/v1/jobs/{job['id']}/undo", 409, "conflict")
    assert (await api.call("GET", f"/v1/jobs/{job['id']}"))["undone_at"] is not None


async def test_a_job_that_a_later_one_replaced_is_undone_after_it(api: Api) -> None:
    model, task = await api.model(), await api.task(pictures=2)
    first = await api.ended((await api.job(task["id"], model["id"]))["id"])
    second = await api.ended((await api.job(task["id"], model["id"], clean="automatic"))["id"])
    message = await api.error("POST", f"/v1/jobs/{first['id']}/undo", 409, "later_job")
    assert str(second["id"]) in message
    answer = await api.call("POST", f"/v1/jobs/{second['id']}/undo")
    assert answer == {"removed": second["shapes_created"], "restored": first["shapes_created"], "kept": 0}


async def test_failed_frames_stand_in_the_ledger_and_can_be_retried(api: Api) -> None:
    model, task = await api.model(), await api.task(pictures=4)
    broken = next((api.folder / "data" / "tasks").rglob("002.png"))
    good = broken.read_bytes()
    broken.write_bytes(good[:50])
    job = await api.ended((await api.job(task["id"], model["id"]))["id"])
    assert (job["state"], job["frames_done"], job["frames_failed"]) == ("succeeded", 3, 1)
    rows = (await api.call("GET", f"/v1/jobs/{job['id']}/frames?state=failed"))["frames"]
    assert [(row["frame"], row["name"], row["error_code"]) for row in rows] == [(2, "002.png", "bad_frame")]
    page = await api.call("GET", f"/v1/jobs/{job['id']}/frames?limit=3")
    rest = await api.call("GET", f"/v1/jobs/{job['id']}/frames", params={"cursor": page["next_cursor"]})
    assert [row["frame"] for row in page["frames"] + rest["frames"]] == [0, 1, 2, 3]
    broken.write_bytes(good)
    await api.call("POST", f"/v1/jobs/{job['id']}/retry")
    job = await api.ended(job["id"])
    assert (job["frames_done"], job["frames_failed"]) == (4, 0)


@pytest.mark.parametrize(
    ("values", "status", "code"),
    [
        ({"target": 99}, 404, "not_found"),
        ({"model_id": 99}, 404, "not_found"),
        ({"mapping": {"car": "cat"}}, 400, "unknown_label"),
        ({"mapping": {"dog": "car"}}, 400, "unknown_label"),
        ({"mapping": {"car": "", "person": ""}}, 400, "nothing_matched"),
        ({"mapping_id": 99}, 404, "not_found"),
        ({"frames": {"start": 50}}, 400, "no_frames"),
        ({"frames": {"start": 5, "stop": 5}}, 400, "invalid_json"),
        ({"frames": {"first": 5}}, 400, "invalid_json"),
        ({"clean": "everything"}, 400, "invalid_json"),
        ({"threshold": 1.01}, 400, "invalid_json"),
        ({"label_thresholds": {"cow": 0.5}}, 400, "unknown_label"),
        ({"roi": [0, 0, 1, 1]}, 400, "invalid_json"),
    ],
)
async def test_a_job_that_cannot_be_is_refused_and_not_stored(
    api: Api, values: dict[str, Any], status: int, code: str
) -> None:
    model, task = await api.model(), await api.task(pictures=1)
    await api.error("POST", "/v1/jobs", status, code, {"target": task["id"], "model_id": model["id"], **values})
    assert (await api.call("GET", "/v1/jobs"))["jobs"] == []


async def test_jobs_are_listed_by_task_and_state(api: Api) -> None:
    model = await api.model()
    tasks = [await api.task(f"t{i}", pictures=1) for i in range(2)]
    made = [await api.ended((await api.job(task["id"], model["id"]))["id"]) for task in tasks]
    assert (await api.call("GET", f"/v1/jobs?task_id={tasks[1]['id']}"))["jobs"] == [made[1]]
    assert (await api.call("GET", "/v1/jobs?state=succeeded"))["jobs"] == made
    assert (await api.call("GET", "/v1/jobs?state=queued"))["jobs"] == []
    await api.error("GET", "/v1/jobs?state=lost", 400, "invalid_request")


@pytest.mark.parametrize("sections", [{"server": {"jobs_at_once": 2}}])
async def test_as_many_jobs_run_at_once_as_the_setting_says(api: Api, slow: asyncio.Event) -> None:
    model, task = await api.model(), await api.task(pictures=1)
    jobs = [await api.job(task["id"], model["id"]) for _ in range(3)]
    await running(api, jobs[0]["id"])
    await running(api, jobs[1]["id"])
    await asyncio.sleep(0.7)
    assert (await api.call("GET", f"/v1/jobs/{jobs[2]['id']}"))["state"] == "queued"
    slow.set()
    for job in jobs:
        assert (await api.ended(job["id"]))["state"] == "succeeded"


async def test_a_job_on_a_task_that_is_being_removed_is_either_whole_or_not_there(api: Api) -> None:
    model = await api.model()
    for number in range(6):
        task = await api.task(f"t{number}", pictures=1)
        body = {"target": task["id"], "model_id": model["id"]}
        job, removal = await asyncio.gather(
            api.raw("POST", "/v1/jobs", json=body), api.raw("DELETE", f"/v1/tasks/{task['id']}")
        )
        assert (job[0], removal[0]) in [(201, 409), (404, 204), (201, 204)]
        if job[0] == 404:
            assert (await api.call("GET", f"/v1/jobs?task_id={task['id']}"))["jobs"] == []


async def test_of_two_creations_of_one_name_one_wins(api: Api) -> None:
    body = {"name": "t", "labels": [{"name": "car"}]}
    answers = await asyncio.gather(*(api.raw("POST", "/v1/tasks", json=body) for _ in range(5)))
    assert sorted(status for status, _, _ in answers) == [201, 409, 409, 409, 409]
    assert len((await api.call("GET", "/v1/tasks"))["tasks"]) == 1


async def test_events_tell_states_and_progress_until_the_end(api: Api, slow: asyncio.Event) -> None:
    model, task = await api.model(), await api.task(pictures=30)
    job = await api.job(task["id"], model["id"])
    await running(api, job["id"])
    begun = asyncio.Event()
    following = asyncio.create_task(stream(api, job["id"], begun=begun))
    await begun.wait()
    slow.set()
    told = await following
    assert told[0][1] == "state"
    states = [data["state"] for _, kind, data in told if kind == "state"]
    assert states == ["running", "succeeded"]
    last_id, _, last = told[-1]
    assert (last["frames_done"], last["frames_total"], last["seconds_left"]) == (30, 30, 0.0)
    done = [data["frames_done"] for _, _, data in told]
    assert done == sorted(done)
    assert await stream(api, job["id"], last_id) == []
    assert await stream(api, job["id"], told[0][0]) == [told[-1][:2] + (await stream(api, job["id"]))[-1][2:]]
    assert len(await stream(api, job["id"], "nonsense")) == 1


async def test_a_quiet_stream_shows_that_it_lives(
    api: Api, slow: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.1)
    model, task = await api.model(), await api.task(pictures=1)
    job = await api.job(task["id"], model["id"])
    await running(api, job["id"])
    async with api.session.get(f"{api.server.url}/v1/jobs/{job['id']}/events") as response, asyncio.timeout(60):
        async for line in response.content:
            if line.startswith(b":"):
                break
    slow.set()


async def test_a_client_that_leaves_the_stream_harms_nothing(api: Api, slow: asyncio.Event) -> None:
    model, task = await api.model(), await api.task(pictures=3)
    job = await api.job(task["id"], model["id"])
    await running(api, job["id"])
    for _ in range(5):
        response = await api.session.get(f"{api.server.url}/v1/jobs/{job['id']}/events")
        await response.content.readline()
        response.close()
    slow.set()
    assert (await api.ended(job["id"]))["state"] == "succeeded"
    assert await api.call("GET", "/healthz") == {"status": "ok"}


async def test_a_stream_ends_when_its_token_is_revoked(
    api: Api, slow: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "ASK_AGAIN_S", 0.1)
    model, task = await api.model(), await api.task(pictures=1)
    job = await api.job(task["id"], model["id"])
    await running(api, job["id"])
    tokens = api.server.state.service.tokens
    token, text = await tokens.create("follower", Scope.READ)
    headers = {"Authorization": f"Bearer {text}"}
    url = f"{api.server.url}/v1/jobs/{job['id']}/events"
    async with asyncio.timeout(60), api.session.get(url, headers=headers) as response:
        while await response.content.readline() != b"event: state\n":
            pass
        await tokens.revoke(token.id)
        rest = await response.text()
    slow.set()
    assert "event: error" in rest
    assert '"code":"unauthorized"' in rest


async def test_a_stream_whose_job_is_removed_ends_with_an_error_event(
    api: Api, slow: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, task = await api.model(), await api.task(pictures=1)
    job = await api.job(task["id"], model["id"])
    await running(api, job["id"])
    async with api.session.get(f"{api.server.url}/v1/jobs/{job['id']}/events") as response:
        while await response.content.readline() != b"event: state\n":
            pass
        with monkeypatch.context() as patch:
            patch.setattr(Jobs, "get", AsyncMock(side_effect=NotFound("There is no job 1.", hint="It was removed.")))
            rest = await response.text()
    assert "HTTP/" not in rest
    kind, data = rest.strip().split("\n\n")[-1].splitlines()
    assert kind == "event: error"
    expected = {"code": "not_found", "message": "There is no job 1.", "hint": "It was removed."}
    assert json.loads(data.removeprefix("data: ")) == expected
    slow.set()
    assert (await api.ended(job["id"]))["state"] == "succeeded"


async def test_the_same_key_and_body_create_once_and_answer_alike(api: Api) -> None:
    body, key = {"name": "t", "labels": [{"name": "car"}]}, {"Idempotency-Key": "key 1"}
    first = await api.call("POST", "/v1/tasks", body, 201, headers=key)
    status, data, response = await api.raw("POST", "/v1/tasks", json=body, headers=key)
    assert (status, json.loads(data)) == (201, first)
    assert response.headers["Idempotency-Replayed"] == "true"
    assert len((await api.call("GET", "/v1/tasks"))["tasks"]) == 1
    other = {**body, "name": "u"}
    await api.error("POST", "/v1/tasks", 409, "idempotency_key_reused", other, headers=key)


async def test_a_key_belongs_to_one_path(api: Api) -> None:
    model, task = await api.model(), await api.task(pictures=1)
    jobs = [await api.ended((await api.job(task["id"], model["id"]))["id"]) for _ in range(2)]
    key = {"Idempotency-Key": "ka"}
    paths = [f"/v1/jobs/{job['id']}/apply" for job in jobs]
    made = await api.call("POST", paths[0], {"threshold": 0.9}, 201, headers=key)
    await api.error("POST", paths[1], 409, "idempotency_key_reused", {"threshold": 0.9}, headers=key)
    assert await api.call("POST", paths[0], {"threshold": 0.9}, 201, headers=key) == made


async def test_a_refused_request_leaves_its_key_free(api: Api) -> None:
    key = {"Idempotency-Key": "k"}
    body = {"target": 1, "model_id": 1}
    await api.error("POST", "/v1/jobs", 404, "not_found", body, headers=key)
    model, task = await api.model(), await api.task(pictures=1)
    assert (task["id"], model["id"]) == (1, 1)
    await api.call("POST", "/v1/jobs", body, 201, headers=key)


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
async def test_a_wrong_key_is_refused(api: Api, key: str) -> None:
    body = {"name": "t", "labels": [{"name": "car"}]}
    await api.error("POST", "/v1/tasks", 400, "invalid_request", body, headers={"Idempotency-Key": key})


async def test_the_same_key_at_once_creates_once(api: Api) -> None:
    model, task = await api.model(), await api.task(pictures=1)
    body = {"target": task["id"], "model_id": model["id"]}
    many = [api.raw("POST", "/v1/jobs", json=body, headers={"Idempotency-Key": "k"}) for _ in range(8)]
    answers = await asyncio.gather(*many)
    assert {status for status, _, _ in answers} <= {201, 409}
    assert all(response.headers["Retry-After"] == "1" for status, _, response in answers if status == 409)
    assert len((await api.call("GET", "/v1/jobs"))["jobs"]) == 1


WITHOUT_BOXES = ("coco-keypoints", "coco-panoptic", "yolo-pose")  # test_formats.py has the shapes that they hold


async def test_annotations_come_and_go_as_files(api: Api) -> None:
    model, task = await api.model(), await api.task(pictures=3)
    job = await api.ended((await api.job(task["id"], model["id"]))["id"])
    page = await api.call("GET", f"/v1/tasks/{task['id']}/annotations?limit=2")
    rest = await api.call("GET", f"/v1/tasks/{task['id']}/annotations", params={"cursor": page["next_cursor"]})
    shapes = [shape for frame in page["frames"] + rest["frames"] for shape in frame["shapes"]]
    assert len(shapes) == job["shapes_created"]
    assert {shape["job_id"] for shape in shapes} == {job["id"]}
    assert {shape["source"] for shape in shapes} == {"automatic"}
    for entry in (await api.call("GET", "/v1/formats"))["formats"]:
        if entry["name"] in WITHOUT_BOXES:
            continue
        other = await api.task(f"copy {entry['name']}", pictures=3)
        status, data, response = await api.raw("GET", f"/v1/tasks/{task['id']}/export?format={entry['name']}")
        assert status == 200, data
        assert response.headers["Content-Disposition"].startswith('attachment; filename="street')
        query = f"format={entry['name']}&images=true"
        status, packed, response = await api.raw("GET", f"/v1/tasks/{task['id']}/export?{query}")
        assert response.headers["Content-Disposition"] == 'attachment; filename="street.zip"'
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            assert any(name.endswith("001.png") for name in archive.namelist())
        path = f"/v1/tasks/{other['id']}/import?format={entry['name']}&source=automatic"
        form = FormData()
        form.add_field("file", data, filename="a")
        summary = await api.call("POST", path, data=form)
        assert summary["shapes"] == len(shapes), (entry, summary)
    assert not list((api.folder / "data" / "incoming").iterdir())


@pytest.mark.parametrize(
    ("query", "data", "status"),
    [
        ("", b"no json", 400),
        ("", b"{}", 400),
        ("?format=nothing", b"{}", 400),
        ("?source=imported", b"{}", 400),
        ("?format=coco", b'{"images": 1}', 400),
    ],
)
async def test_wrong_annotation_files_are_refused_and_leave_nothing(
    api: Api, query: str, data: bytes, status: int
) -> None:
    task = await api.task(pictures=1)
    headers = {"Content-Type": "application/octet-stream"}
    await api.error(
        "POST", f"/v1/tasks/{task['id']}/import{query}", status, "invalid_request", data=data, headers=headers
    )
    assert (await api.call("GET", f"/v1/tasks/{task['id']}"))["shape_count"] == 0
    assert not list((api.folder / "data" / "incoming").iterdir())


async def test_an_export_in_no_format_is_refused(api: Api) -> None:
    task = await api.task(pictures=1)
    await api.error("GET", f"/v1/tasks/{task['id']}/export?format=nothing", 400, "invalid_request")
    await api.error("GET", f"/v1/tasks/{task['id']}/export?images=some", 400, "invalid_request")


async def test_a_preview_says_what_a_job_would_do_and_stores_nothing(api: Api) -> None:
    model, task = await api.model(), await api.task(pictures=5)
    body = {"target": task["id"], "model_id": model["id"], "threshold": 0.0, "roi": {"x": 0, "y": 0, "width": 0.5,
            "height": 1, "unit": "fraction"}, "tiling": {"width": 32, "height": 32}}  # fmt: skip
    tried = await api.call("POST", "/v1/jobs/preview?frames=2", body)
    assert [frame["number"] for frame in tried["frames"]] == [0, 4]
    assert (tried["frames_total"], tried["calls"], tried["unmapped"]) == (5, None, ["tree", "stop sign"])
    shapes = [shape for frame in tried["frames"] for shape in frame["shapes"]]
    assert shapes
    assert all(shape["points"][2] <= 20 for shape in shapes)  # pictures are 40 pixels wide
    assert sum(tried["counts"].values()) == len(shapes)
    assert (await api.call("GET", "/v1/jobs"))["jobs"] == []
    assert (await api.call("GET", "/v1/mappings"))["mappings"] == []
    assert (await api.call("GET", f"/v1/tasks/{task['id']}"))["shape_count"] == 0


async def test_a_preview_that_makes_no_sense_is_refused(api: Api) -> None:
    model, task = await api.model(), await api.task(pictures=1)
    body = {"target": task["id"], "model_id": model["id"]}
    outside = {"x": 900, "y": 0, "width": 5, "height": 5}
    await api.error("POST", "/v1/jobs/preview", 400, "empty_region", {**body, "roi": outside})
    await api.error("POST", "/v1/jobs/preview", 404, "not_found", {**body, "target": 99})
    for query in ("?frames=0", "?frames=21", "?count=3"):
        await api.error("POST", f"/v1/jobs/preview{query}", 400, "invalid_request", body)
    for wrong in (
        {"roi": {"x": 1, "y": 1}},
        {"roi": {"points": [[0, 0], [1, 1]]}},
        {"roi": {**outside, "points": [[0, 0], [5, 0], [5, 5]]}},
        {"tiling": {"width": 64, "height": 64, "overlap": 1}},
        {"nms": {"iou": 2}},
        {"nms": 0.5},
        {"min_size": -1},
        {"keep_manual_iou": 0.5, "clean": "all"},
    ):
        for path in ("/v1/jobs", "/v1/jobs/preview"):
            await api.error("POST", path, 400, "invalid_json", {**body, **wrong})


async def test_shapes_are_made_anew_from_a_jobs_results(api: Api) -> None:
    model, task = await api.model(), await api.task(pictures=4)
    job = await api.job(task["id"], model["id"])
    source = await api.ended(job["id"])
    assert source["source_job_id"] is None
    path = f"/v1/jobs/{job['id']}/apply"
    made = await api.call("POST", path, {"mapping": {"car": "person"}, "nms": {"iou": 0.5}}, 201)
    applied = await api.ended(made["id"])
    assert (applied["state"], applied["source_job_id"], applied["frames_done"]) == ("succeeded", job["id"], 4)
    assert applied["spec"]["nms"] == {"iou": 0.5, "class_agnostic": False}
    frames = (await api.call("GET", f"/v1/tasks/{task['id']}/annotations"))["frames"]
    shapes = [shape for frame in frames for shape in frame["shapes"]]
    assert {shape["job_id"] for shape in shapes} == {made["id"]}
    assert {shape["label"] for shape in shapes} == {"person"}
    await api.error("POST", path, 400, "unknown_label", {"mapping": {"lorry": "car"}})
    await api.error("POST", path, 400, "invalid_json", {"roi": None})
    await api.error("POST", "/v1/jobs/99/apply", 404, "not_found", {})
    strict = await api.ended((await api.job(task["id"], model["id"], threshold=0.5, clean="none"))["id"])
    floor = strict["resolved"]["floor_score"]
    assert 0 < floor < 0.5
    message = await api.error("POST", f"/v1/jobs/{strict['id']}/apply", 400, "below_floor", {"threshold": floor / 2})
    assert str(floor) in message
    await api.call("POST", f"/v1/jobs/{strict['id']}/undo")
    await api.call("POST", f"/v1/jobs/{made['id']}/undo")
    assert (await api.call("GET", f"/v1/tasks/{task['id']}"))["shape_count"] == source["shapes_created"]


@pytest.mark.parametrize("sections", [{"archives": {"max_annotations_mb": 1}}])
async def test_an_annotation_file_that_is_too_large_to_be_read_whole_is_refused(api: Api) -> None:
    task = await api.task(pictures=1)
    headers = {"Content-Type": "application/octet-stream"}
    path = f"/v1/tasks/{task['id']}/import"
    await api.error("POST", path, 413, "too_large", data=io.BytesIO(b" " * (2**20 + 1)), headers=headers)
    await api.error("POST", path, 400, "invalid_request", data=io.BytesIO(b" " * 2**20), headers=headers)
