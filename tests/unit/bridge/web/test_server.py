"""The server's life: health, metrics, description, shutdown, a second server, and how commands find it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from aiohttp import ClientError, ClientSession, web
from structlog.testing import capture_logs

from bridge.errors import NotFound
from bridge.live_server import FILE_NAME, announce_server, live_server, withdraw_server
from bridge.web.errors import ERROR_CODES
from bridge.web.handlers import annotated
from bridge.web.openapi import errors_of, make_document
from bridge.web.pages.static import static_files
from bridge.web.routes import ROUTES
from bridge.web.server import serving
from tests.unit.bridge.web.conftest import Api, settings_for
from tests.unit.bridge.web.test_jobs import running


async def test_health_and_readiness(api: Api) -> None:
    assert await api.call("GET", "/healthz") == {"status": "ok"}
    async with asyncio.timeout(60):
        while (await api.raw("GET", "/readyz"))[0] != 200:
            await asyncio.sleep(0.02)
    api.server.state.closing.set()
    await api.error("GET", "/readyz", 503, "not_ready")


async def test_metrics_count_requests_frames_jobs_and_models(api: Api) -> None:
    model, task = await api.model(), await api.task(pictures=3)
    await api.ended((await api.job(task["id"], model["id"]))["id"])
    await api.raw("GET", "/v1/nothing")
    text = await api.call("GET", "/metrics")
    assert 'hubbridge_frames_predicted_total{source="job"} 3.0' in text
    assert 'hubbridge_jobs{state="succeeded"} 1.0' in text
    assert 'hubbridge_jobs{state="queued"} 0.0' in text
    assert "hubbridge_models_loaded 1.0" in text
    assert 'hubbridge_model_calls_total{outcome="ok",provider="local"}' in text
    assert 'hubbridge_model_batch_frames_sum{provider="local"} 3.0' in text
    assert 'hubbridge_model_loads_total{outcome="ok",provider="local"} 1.0' in text
    assert "hubbridge_predictions_waiting 0.0" in text
    assert re.search(r"hubbridge_model_weights_bytes [1-9]", text)
    assert re.search(r"hubbridge_disk_free_bytes [1-9]", text)
    assert 'hubbridge_http_requests_total{method="POST",route="/v1/tasks",status="201"} 1.0' in text
    assert 'hubbridge_http_requests_total{method="any",route="unknown",status="404"} 1.0' in text
    assert 'route="/v1/jobs/{job_id}"' in text


@pytest.fixture(autouse=True)
def every_line() -> Iterator[None]:
    """Lines of every severity, whatever a command that ran in this process before has chosen."""
    before = structlog.get_config()
    structlog.reset_defaults()
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("given", ["abc-1.2:3", "", "a b", "x" * 65, "a\tb"])
async def test_every_answer_and_line_of_a_request_carry_its_id(api: Api, given: str) -> None:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        _, _, response = await api.raw("GET", "/v1/tasks/77?x=secret", headers={"X-Request-ID": given} if given else {})
    request_id = response.headers["X-Request-ID"]
    assert (request_id == given) == (given == "abc-1.2:3")
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["request"], line["route"], line["status"]) == (request_id, "/v1/tasks/{task_id}", 400)
    assert line["caller"] == "everybody on this machine"
    assert "secret" not in str(lines)


async def test_lines_of_a_job_carry_its_number(api: Api) -> None:
    model, task = await api.model(), await api.task(pictures=1)
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        job = await api.job(task["id"], model["id"])
        await api.ended(job["id"])
        async with asyncio.timeout(60):
            while not any(line["event"] == "job ended" for line in lines):
                await asyncio.sleep(0.02)
    assert [line["job"] for line in lines if line["event"] == "job ended"] == [job["id"]]
    assert all("job" not in line for line in lines if line["event"] == "request")


async def test_the_description_holds_every_route_with_its_scope_and_errors(api: Api) -> None:
    document = await api.call("GET", "/v1/openapi.json")
    assert document == json.loads(json.dumps(make_document()))
    assert document["openapi"] == "3.1.0"
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        assert operation["x-scope"] == route.scope
        documented = {int(status) for status in operation["responses"]}
        assert documented == {*route.answers, *errors_of(route)}
    names = [route.operation_id for route in ROUTES]
    assert len(names) == len(set(names))
    references = set(re.findall(r'"#/components/([^"]+)"', json.dumps(document)))
    for reference in references:
        kind, name = reference.split("/")
        assert name in document["components"][kind], reference


async def test_the_page_shows_every_operation_and_fetches_only_its_own_style(api: Api) -> None:
    status, body, response = await api.raw("GET", "/v1/docs")
    page = body.decode()
    assert status == 200
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    for route in ROUTES:
        assert f'id="{route.operation_id}"' in page
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert re.findall(r"<link[^>]*>", page) == [f'<link rel="stylesheet" href="{static_files().url("css/docs.css")}">']
    assert not re.search(r"<(style|script|img|iframe)|https?://[^<\"']+\.(js|css)|@import|url\(", page)


async def test_shutting_down_gives_running_jobs_back_and_the_next_start_finishes_them(
    tmp_path: Path,
    slow: asyncio.Event,
) -> None:
    settings = settings_for(tmp_path)
    async with serving(settings) as server, ClientSession() as session:
        api = Api(server, session, settings, tmp_path)
        model, task = await api.model(), await api.task(pictures=4)
        job = await api.job(task["id"], model["id"])
        await running(api, job["id"])
        stream = await session.get(f"{server.url}/v1/jobs/{job['id']}/events")
        following = asyncio.create_task(stream.read())
        await asyncio.sleep(0.1)
        server.state.closing.set()
        assert b"running" in await following  # it ended with the server, not with the job
    slow.set()
    async with serving(settings) as server, ClientSession() as session:
        api = Api(server, session, settings, tmp_path)
        ended = await api.ended(job["id"])
        assert (ended["state"], ended["frames_done"]) == ("succeeded", 4)


async def test_two_servers_on_the_same_data_share_the_jobs(api: Api) -> None:
    model, task = await api.model(), await api.task(pictures=2)
    async with serving(api.settings) as second:
        other = Api(second, api.session, api.settings, api.folder)
        jobs = [await (api, other)[i % 2].job(task["id"], model["id"]) for i in range(4)]
        for job in jobs:
            ended = await other.ended(job["id"])
            assert (ended["state"], ended["frames_done"]) == ("succeeded", 2)


async def test_commands_find_the_server_that_lives(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    assert live_server(settings) is None
    async with serving(settings) as server:
        assert live_server(settings) == server.url
    assert live_server(settings) is None


@pytest.mark.parametrize("note", ["", "{}", "[]", '{"owner": 1, "url": 2}', '{"owner": "x", "url": "y"}', "\udcff"])
def test_a_broken_note_is_no_server(tmp_path: Path, note: str) -> None:
    settings = settings_for(tmp_path)
    settings.storage.folder.mkdir()
    (settings.storage.folder / FILE_NAME).write_text(note, errors="surrogateescape")
    assert live_server(settings) is None


def test_the_note_of_a_dead_process_is_no_server_and_another_ones_is_left(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    announce_server(settings, "http://127.0.0.1:1")
    path = settings.storage.folder / FILE_NAME
    note = json.loads(path.read_text())
    note["owner"] = note["owner"].rpartition("/")[0] + "/1"
    path.write_text(json.dumps(note))
    assert live_server(settings) is None
    withdraw_server(settings)
    assert path.exists()


async def test_a_server_of_another_machine_lives_as_long_as_it_touches_its_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that was killed leaves its note, and its successor has another name: that server is no more."""
    monkeypatch.setattr("bridge.web.server.ANNOUNCE_EVERY_S", 0.05)
    settings = settings_for(tmp_path)
    path = settings.storage.folder / FILE_NAME
    long_ago = time.time() - 3600
    async with serving(settings):
        os.utime(path, (long_ago, long_ago))
        async with asyncio.timeout(60):
            while path.stat().st_mtime < long_ago + 1:
                await asyncio.sleep(0.02)
        assert stat.S_IMODE(settings.storage.folder.stat().st_mode) == 0o700
    path.write_text(json.dumps({"owner": "another-machine/1/1", "url": "http://127.0.0.1:1"}))
    assert live_server(settings) == "http://127.0.0.1:1"
    os.utime(path, (long_ago, long_ago))
    assert live_server(settings) is None


async def test_a_model_that_hung_is_named_by_readyz_until_it_is_loaded_anew(api: Api) -> None:
    memory = api.server.state.service.registry._memory
    memory._hung[7] = "rt-detr"
    ready = await api.call("GET", "/readyz")
    assert ready["status"] == "degraded"
    assert "rt-detr" in ready["reason"]
    memory._hung.clear()
    assert await api.call("GET", "/readyz") == {"status": "ready", "reason": None}


@pytest.mark.parametrize(
    ("cause", "event"),
    [
        (RuntimeError("a defect"), "an answer broke off"),
        (NotFound("gone"), "an answer broke off"),
        (ConnectionResetError("left"), "the client left in the middle of its answer"),
    ],
)
async def test_an_answer_that_fails_in_its_middle_gets_no_second_one_and_one_line_in_the_log(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, cause: Exception, event: str
) -> None:
    async def breaks(request: web.Request, path: Path, response: web.StreamResponse) -> web.StreamResponse:
        response.content_length = 10
        await response.prepare(request)
        await response.write(b"{")
        raise cause

    await api.task(pictures=1)
    monkeypatch.setattr(annotated, "send_file", breaks)
    with capture_logs() as lines:
        with pytest.raises(ClientError):
            await api.raw("GET", "/v1/tasks/1/export")
        async with asyncio.timeout(60):  # the client may know it before the server does
            while not any(line["event"] == event for line in lines):
                await asyncio.sleep(0.01)
    assert [line["event"] for line in lines if line["event"] != "request"] == [event]
    assert not [record for record in caplog.records if record.name.startswith("aiohttp")]
    assert await api.call("GET", "/healthz") == {"status": "ok"}


async def test_the_description_lists_the_formats_that_the_service_knows(api: Api) -> None:
    known = [entry["name"] for entry in (await api.call("GET", "/v1/formats"))["formats"]]
    paths = make_document()["paths"]
    for operation in (paths["/v1/tasks/{task_id}/export"]["get"], paths["/v1/tasks/{task_id}/import"]["post"]):
        (form,) = [parameter for parameter in operation["parameters"] if parameter["name"] == "format"]
        assert form["schema"]["enum"] == known


def test_what_is_made_is_linked_to_what_can_be_done_with_it() -> None:
    paths = make_document()["paths"]
    at = {operation["operationId"]: path for path, methods in paths.items() for operation in methods.values()}
    links = {
        operation["operationId"]: operation["responses"]["201"]["links"]
        for methods in paths.values()
        for operation in methods.values()
        if "links" in operation["responses"].get("201", {})
    }
    assert {"addModel", "createTask", "createJob"} <= links.keys()
    assert {"getJob", "cancelJob", "undoJob", "jobEvents"} <= links["createJob"].keys()
    for found in links.values():
        for link in found.values():
            assert list(link["parameters"]) == re.findall(r"{(\w+)}", at[link["operationId"]])


def test_the_description_lists_every_error_code() -> None:
    body = make_document()["components"]["schemas"]["ErrorBody"]
    assert body["properties"]["code"]["enum"] == list(ERROR_CODES)
