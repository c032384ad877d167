"""Jobs on projects that change while they are read, while a job is at work, and after it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import ModelNotFound
from adapters.network import HttpPolicy
from bridge.errors import BridgeError, Conflict
from bridge.patience import Patience
from bridge.remotes.label_studio.client import LabelStudio
from bridge.remotes.label_studio.images import Images
from bridge.remotes.label_studio.sink import remove_predictions
from tests.servers.label_studio import LabelStudioServer, Project, image
from tests.unit.bridge.label_studio.configs import STREET
from tests.unit.bridge.label_studio.test_projects import House, opened

WITH_BUS = STREET.replace("</RectangleLabels>", '<Label value="Bus"/></RectangleLabels>')


@pytest.fixture
def studio() -> Iterator[LabelStudioServer]:
    with LabelStudioServer() as server:
        yield server


@pytest.fixture
async def house(tmp_path: Path, studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    async with opened(tmp_path, studio, monkeypatch) as made:
        object.__setattr__(made.service.jobs.remotes.access, "settle_s", 0.01)
        yield made


def once(monkeypatch: pytest.MonkeyPatch, name: str, before: Callable[..., bool]) -> None:
    """``before`` runs in front of the stand-in's method until it says that it has done its work."""
    original, lock, done = getattr(LabelStudioServer, name), threading.Lock(), []

    def called(self: LabelStudioServer, *arguments: Any) -> Any:
        with lock:
            if not done and before(*arguments):
                done.append(True)
        return original(self, *arguments)

    monkeypatch.setattr(LabelStudioServer, name, called)


def each_once(project: Project) -> bool:
    return sorted(each["task"] for each in project.predictions.values()) == sorted(project.tasks)


@pytest.mark.parametrize("left", [200, 150])
async def test_tasks_that_go_while_a_project_is_read_hide_no_others(
    house: House, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    """Those behind them move up between two pages, or the last page is gone."""
    project = house.studio.project(STREET, 250)

    def some_go(request: Any) -> bool:
        if request.query.get("page") != "2" or "query" in request.query:
            return False
        for number in sorted(project.tasks)[10 : 10 + 250 - left]:
            del project.tasks[number]
        return True

    once(monkeypatch, "_tasks", some_go)
    task = await house.open()
    job = await house.service.jobs.run((await _made_without_reading(house, task)).id)
    assert (job.state, job.frames_done, job.frames_failed) == ("succeeded", left, 0)
    assert each_once(project)


async def _made_without_reading(house: House, task: Any) -> Any:
    async def as_it_was(*_: Any) -> None:
        return None

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("bridge.remotes.label_studio.remote.LabelStudioRemote.refresh", as_it_was)
        return await house.create(task)


async def test_a_label_that_is_added_afterwards_does_not_hide_predictions_from_undo(house: House) -> None:
    project = house.studio.project(STREET, 5)
    job = await house.run(await house.open())
    assert len(project.predictions) == 5
    project.label_config = WITH_BUS
    await house.service.jobs.undo(job.id)
    assert not project.predictions


async def test_a_config_changed_in_the_midst_stops_the_job_and_it_goes_on_with_nothing_twice(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = house.studio.project(STREET, 6)
    task = await house.open()
    job = await house.create(task)

    def dies(*_: Any) -> Any:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:  # killed when all is there, and not yet noted here
        patched.setattr("bridge.store.label_studio.keep_replaced", dies)
        with pytest.raises(RuntimeError):
            await house.service.jobs.run(job.id)
    assert each_once(project)
    project.label_config = WITH_BUS
    await house.service.registry.set(house.model.id, name="renamed")
    await house.service.jobs.resume(job.id)
    ended = await house.service.jobs.run(job.id)
    assert (ended.state, ended.frames_done) == ("succeeded", 6)
    assert each_once(project)


async def test_predictions_that_label_studio_would_not_show_are_not_written(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = house.studio.project(STREET, 6)
    task = await house.open()

    def changes(*_: Any) -> bool:
        project.label_config = STREET.replace('name="label"', 'name="other"').replace("Car", "Tram")
        return True

    once(monkeypatch, "_data", changes)
    job = await house.create(task)
    with pytest.raises(BridgeError, match="was changed while the job was at work"):
        await house.service.jobs.run(job.id)
    assert not project.predictions
    await house.service.jobs.resume(job.id)
    with pytest.raises(Conflict, match="has no Car any more"):
        await house.service.jobs.run(job.id)
    project.label_config = STREET.replace('name="label"', 'name="other"')
    await house.service.jobs.resume(job.id)
    ended = await house.service.jobs.run(job.id)
    assert (ended.state, ended.frames_done) == ("succeeded", 6)
    assert each_once(project)
    regions = [region for each in project.predictions.values() for region in each["result"]]
    assert {region["from_name"] for region in regions} == {"other"}


@pytest.mark.parametrize("moment", ["_data", "_import"])
async def test_access_tokens_that_end_in_the_midst_are_had_anew(
    house: House, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Before the time that they name themselves: the server's clock is ahead of ours, or it was started anew."""
    project = house.studio.project(STREET, 40)
    task, seen = await house.open(), []

    def end(*_: Any) -> bool:
        seen.append(True)
        if len(seen) > 3 or moment == "_import":
            house.studio.access.clear()
            return True
        return False

    once(monkeypatch, moment, end)
    job = await house.run(task)
    assert (job.state, job.frames_done, job.frames_failed) == ("succeeded", 40, 0)
    assert each_once(project)


async def test_an_address_within_what_a_task_holds(house: House) -> None:
    config = STREET.replace("$image", "$shots[1].url")
    project = house.studio.project(config)
    for number in range(3):
        url = house.studio.upload(f"7/{number}.png", image(number))
        house.studio.add_task(project, {"shots": [{"url": "/data/nothing.png"}, {"url": url}]})
    for data in ({"shots": []}, {"shots": "text"}, {"shots": [1, {"url": 7}]}, {}):
        house.studio.add_task(project, data)
    task = await house.open()
    assert task.frame_count == 3
    job = await house.run(task)
    assert (job.frames_done, job.frames_failed) == (3, 0)
    assert len(project.predictions) == 3


async def test_a_server_that_was_not_told_of_label_studio_says_how_to_tell_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the command line has LABEL_STUDIO_URL, and the `serve` that runs the job has not."""
    house.studio.project(STREET, 1)
    job = await house.create(await house.open())
    object.__setattr__(house.service.jobs.remotes.access, "http", HttpPolicy())
    with pytest.raises(BridgeError, match="Label Studio is not asked") as refused:
        await house.service.jobs.run(job.id)
    assert f"LABEL_STUDIO_URL={house.studio.url}" in refused.value.hint
    assert "hubbridge connection add label-studio" in refused.value.hint


async def test_predictions_are_taken_away_one_after_another() -> None:
    """Several at once lock SQLite, Label Studio's usual database."""
    removed: list[int] = []
    at_work = 0

    class Studio:
        async def remove_prediction(self, number: int) -> None:
            nonlocal at_work
            at_work += 1
            await asyncio.sleep(0)
            assert at_work == 1
            at_work -= 1
            if number == 2:
                raise ModelNotFound("It is gone.")
            removed.append(number)

    await remove_predictions(Studio(), [1, 2, 3], Patience(1.0))  # type: ignore[arg-type]
    assert removed == [1, 3]


@pytest.mark.parametrize(
    ("base", "address", "expected"),
    [
        # Below a path prefix an upload may be named with it.
        ("/tool", "/tool/data/upload/1/a.png", "https://studio.example/tool/data/upload/1/a.png"),
        ("/tool", "/data/upload/1/a.png", "https://studio.example/tool/data/upload/1/a.png"),
        # By an address that may not be asked, Label Studio means itself where it is one of its own files.
        ("", "http://localhost:8080/data/local-files/?d=a/b.png", "https://studio.example/data/local-files/?d=a/b.png"),
        ("/tool", "http://10.0.0.7/tool/data/upload/1/a.png", "https://studio.example/tool/data/upload/1/a.png"),
        ("", "http://localhost:8080/elsewhere/a.png", "http://localhost:8080/elsewhere/a.png"),
        ("", "http://localhost:8080/?q=/data/upload/1/a.png", "http://localhost:8080/?q=/data/upload/1/a.png"),
        ("", "https://images.example/data/upload/1/a.png", "https://images.example/data/upload/1/a.png"),
        ("", "http://allowed.example/data/upload/1/a.png", "http://allowed.example/data/upload/1/a.png"),
    ],
)
async def test_where_a_file_that_label_studio_names_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, base: str, address: str, expected: str
) -> None:
    asked: list[str] = []

    async def get(self: Images, name: str, url: str) -> bytes:
        asked.append(url)
        return b""

    monkeypatch.setattr(Images, "_get", get)
    policy = HttpPolicy(frozenset({"studio.example", "allowed.example"}))
    studio = LabelStudio(f"https://studio.example{base}", None, policy)
    try:
        await Images(studio, policy, 1).fetch("a.png", 1, address)
    finally:
        await studio.close()
    assert asked == [expected]
