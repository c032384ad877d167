"""What people are told of Label Studio's requests, which tells them itself that all went well, and what they can do."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from typer.testing import CliRunner

from adapters.base import Detections, PredictOptions
from adapters.frame import Frame
from adapters.local import LocalPredictor
from bridge.cli.main import app
from bridge.errors import InvalidRequest
from bridge.web import label_studio_face
from bridge.web.server import serving
from tests.servers.label_studio import PERSONAL, LabelStudioServer
from tests.unit.bridge.web.conftest import Api, settings_for

JSON = "application/json"
CONFIG = """<View><Image name="image" value="$image"/>
<RectangleLabels name="label" toName="image"><Label value="Vehicle"/><Label value="Zebra"/></RectangleLabels></View>"""
MATCHED = CONFIG.replace("Zebra", "Person")


@pytest.fixture
def studio() -> Iterator[LabelStudioServer]:
    with LabelStudioServer() as server:
        yield server


@pytest.fixture
async def api(tmp_path: Path, studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", PERSONAL)
    monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
    chosen = settings_for(tmp_path, label_studio={"max_request_mb": 1})
    async with serving(chosen) as server, ClientSession() as session:
        yield Api(server, session, chosen, tmp_path)


async def page(api: Api) -> str:
    """The page of the project's task."""
    (task,) = (await api.call("GET", "/v1/tasks"))["tasks"]
    async with api.session.get(f"{api.server.url}/tasks/{task['id']}") as response:
        assert response.status == 200
        return await response.text()


async def hubbridge(api: Api, *arguments: str) -> str:
    """What the command line prints over the same data."""
    call = ["--data-dir", str(api.settings.storage.folder), *arguments]
    result = await asyncio.to_thread(CliRunner().invoke, app, call, env={"COLUMNS": "400"})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("installed", [True, False])
async def test_a_server_is_warm_before_label_studio_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    warm = threading.Event()
    monkeypatch.setattr(label_studio_face, "_import", warm.set)
    monkeypatch.setattr(label_studio_face.importlib.util, "find_spec", lambda name: object() if installed else None)
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    async with serving(settings_for(tmp_path)) as server, ClientSession() as session:
        assert await asyncio.to_thread(warm.wait, 60 if installed else 0.2) is installed
        if not installed:  # the first /health says in the log what is missing
            async with session.get(f"{server.url}/label-studio/nobody/health") as response:
                assert response.status == 404


async def test_suggestions_stand_on_the_page_with_the_command_that_accepts_them(
    api: Api, studio: LabelStudioServer
) -> None:
    model, project = await api.model(), studio.project(CONFIG, 1)
    url = f"{api.server.url}/label-studio/{model['name']}"
    assert "No label of" in await asyncio.to_thread(studio.connect, url, project)
    text = await page(api)
    assert "No label is matched" in text
    assert "No images read yet" in text
    command = f"hubbridge label-studio labels {model['name']} --task 1 --map car=Vehicle"
    assert command in text
    shown = await hubbridge(api, *command.split()[1:])
    assert "Vehicle" in shown
    assert await asyncio.to_thread(studio.connect, url, project) == ""
    assert "car → Vehicle" in await page(api)


@pytest.mark.parametrize("accepting", [("--map", "car=Vehicle"), ("--accept-suggestions", "0.5")])
async def test_a_profile_takes_suggestions_for_its_own_labels(
    api: Api, studio: LabelStudioServer, accepting: tuple[str, str]
) -> None:
    model, project = await api.model(), studio.project(CONFIG, 1)
    body = {"name": "mine", "model_id": model["id"], "labels": [{"name": "car"}], "mapping": {"car": "car"}}
    await api.call("POST", "/v1/profiles", body, 201)
    url = f"{api.server.url}/label-studio/mine"
    assert "No label of mine" in await asyncio.to_thread(studio.connect, url, project)
    assert "Accept: hubbridge label-studio labels mine --task 1 --map car=Vehicle" in await hubbridge(
        api, "label-studio", "labels", "mine"
    )
    shown = await hubbridge(api, "label-studio", "labels", "mine", *accepting)
    assert "Suggested" not in shown
    assert await asyncio.to_thread(studio.connect, url, project) == ""
    await asyncio.to_thread(studio.retrieve, url, project)
    assert len(project.predictions) == 1
    (found,) = (await api.call("GET", "/v1/label-studio/backends"))["backends"]
    assert (found["pairs"], found["suggestions"]) == ({"car": "Vehicle"}, [])


async def test_a_label_can_be_left_out_though_its_name_is_the_same(api: Api, studio: LabelStudioServer) -> None:
    model, project = await api.model(), studio.project(MATCHED, 1)
    await asyncio.to_thread(studio.connect, f"{api.server.url}/label-studio/{model['name']}", project)
    shown = await hubbridge(
        api, "label-studio", "labels", model["name"], "--map", "person=", "--map", "car=Vehicle", "--json"
    )
    assert json.loads(shown)["pairs"] == {"car": "Vehicle"}
    shown = await hubbridge(api, "label-studio", "labels", model["name"], "--map", "person=Person", "--json")
    assert json.loads(shown)["pairs"] == {"car": "Vehicle", "person": "Person"}


@pytest.mark.parametrize("pair", ["lorry=Vehicle", "car=Lorry"])
async def test_a_pair_that_a_profile_cannot_have_is_refused(api: Api, studio: LabelStudioServer, pair: str) -> None:
    model, project = await api.model(), studio.project(CONFIG, 1)
    body = {"name": "mine", "model_id": model["id"], "labels": [{"name": "car"}], "mapping": {"car": "car"}}
    await api.call("POST", "/v1/profiles", body, 201)
    await asyncio.to_thread(studio.connect, f"{api.server.url}/label-studio/mine", project)
    call = ["--data-dir", str(api.settings.storage.folder), "label-studio", "labels", "mine", "--map", pair]
    result = await asyncio.to_thread(CliRunner().invoke, app, call)
    assert isinstance(result.exception, InvalidRequest), result.output


async def test_a_request_that_is_too_large_is_told_with_what_to_do(api: Api, studio: LabelStudioServer) -> None:
    model, project = await api.model(), studio.project(MATCHED, 2)
    url = f"{api.server.url}/label-studio/{model['name']}"
    for task in project.tasks.values():
        task["data"]["text"] = "long" * 200_000
    assert await asyncio.to_thread(studio.connect, url, project) == ""
    await asyncio.to_thread(studio.retrieve, url, project)
    assert not project.predictions
    command = f"hubbridge annotate {studio.url}/projects/7 --model {model['name']}"
    for text in (await page(api), await hubbridge(api, "label-studio", "list")):
        assert "more than 1 MB of tasks" in text
        assert command in text
        assert "max_request_mb" in text
    packed, kind = io.BytesIO(json.dumps({"tasks": [], "more": "x" * 2**20}).encode()), {"Content-Type": JSON}
    async with api.session.post(f"{url}/predict", data=packed, headers=kind) as response:
        assert response.status == 413
        assert "of tasks in one request" in str(response.reason)
        assert command in (await response.json())["error"]["hint"]


async def test_a_refusal_that_label_studio_keeps_to_itself_is_told(api: Api, studio: LabelStudioServer) -> None:
    model, project = await api.model(), studio.project(MATCHED)
    studio.add_task(project, {"picture": "/data/upload/7/0000.png"})
    url = f"{api.server.url}/label-studio/{model['name']}"
    assert await asyncio.to_thread(studio.connect, url, project) == ""
    await asyncio.to_thread(studio.retrieve, url, project)
    for text in (await page(api), await hubbridge(api, "label-studio", "list")):
        assert "Refused: None of the tasks names an image." in text


async def test_the_page_follows_the_job_that_a_request_became(api: Api, studio: LabelStudioServer) -> None:
    model, project = await api.model(), studio.project(MATCHED, 6)
    url = f"{api.server.url}/label-studio/{model['name']}"
    backend = api.server.state.service.ml_backend
    backend.answer_within_s = 0.0
    assert await asyncio.to_thread(studio.connect, url, project) == ""
    await asyncio.to_thread(studio.retrieve, url, project)
    text: Any = ""
    async with asyncio.timeout(60):
        while len(project.predictions) < 6:
            await asyncio.sleep(0.05)
        while not ("writes their predictions" in text and ">succeeded</span>" in text):
            text = await page(api)
            await asyncio.sleep(0.1)
    assert "It is succeeded." in await hubbridge(api, "label-studio", "list")


async def test_what_becomes_of_a_request_is_told_before_the_model_is_free(
    api: Api, studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that loads a model ends a while after it was cancelled."""
    model, project = await api.model(), studio.project(MATCHED, 6)
    url, busy = f"{api.server.url}/label-studio/{model['name']}", asyncio.Event()
    predict = LocalPredictor.predict

    async def waits(self: Any, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        while not busy.is_set():
            try:
                await busy.wait()
            except asyncio.CancelledError:
                continue
        return await predict(self, frames, options)

    monkeypatch.setattr(LocalPredictor, "predict", waits)
    api.server.state.service.ml_backend.answer_within_s = 0.5
    assert await asyncio.to_thread(studio.connect, url, project) == ""
    try:
        await asyncio.to_thread(studio.retrieve, url, project)
        async with asyncio.timeout(60):
            while "writes their predictions" not in await page(api):
                await asyncio.sleep(0.05)
        assert not project.predictions
    finally:
        busy.set()
    async with asyncio.timeout(60):
        while len(project.predictions) < 6:
            await asyncio.sleep(0.05)
