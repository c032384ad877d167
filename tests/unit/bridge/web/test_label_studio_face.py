"""The ML backend as Label Studio asks it, through a stand-in that makes its very calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from bridge.web.server import serving
from tests.servers.label_studio import PERSONAL, LabelStudioServer, Project
from tests.unit.bridge.web.conftest import Api, settings_for

CONFIG = """<View><Image name="image" value="$image"/>
<RectangleLabels name="label" toName="image"><Label value="Car"/><Label value="Person"/></RectangleLabels></View>"""


@pytest.fixture
def studio() -> Iterator[LabelStudioServer]:
    with LabelStudioServer() as server:
        yield server


@pytest.fixture
async def api(
    tmp_path: Path, studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch, sections: dict[str, dict[str, Any]]
) -> AsyncIterator[Api]:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", PERSONAL)
    monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
    settings = settings_for(tmp_path, **sections)
    async with serving(settings) as server, ClientSession() as session:
        yield Api(server, session, settings, tmp_path)


async def backend(api: Api) -> str:
    model = await api.model()
    await api.call("PATCH", f"/v1/models/{model['id']}", {"threshold": 0.0})
    return f"{api.server.url}/label-studio/{model['name']}"


async def retrieve(studio: LabelStudioServer, url: str, project: Project) -> str:
    return await asyncio.to_thread(studio.retrieve, url, project)


async def test_all_tasks_of_a_project_are_predicted_once(api: Api, studio: LabelStudioServer) -> None:
    project, url = studio.project(CONFIG, 12), await backend(api)
    assert await asyncio.to_thread(studio.connect, url, project) == ""
    for _ in range(2):
        await retrieve(studio, url, project)
    assert sorted(each["task"] for each in project.predictions.values()) == sorted(project.tasks)
    for each in project.predictions.values():
        assert each["model_version"].startswith(url.rpartition("/")[2] + "@")
        for region in each["result"]:
            assert region["type"] == "rectanglelabels"
            assert (region["original_width"], region["original_height"]) == (64, 48)
    assert any(each["result"] for each in project.predictions.values())
    (job,) = (await api.call("GET", "/v1/jobs"))["jobs"]
    assert job["state"] == "succeeded"
    task = await api.call("GET", f"/v1/tasks/{job['task_id'] if 'task_id' in job else job['spec']['target']}")
    assert task["frame_count"] == 12
