"""Jobs straight on a project: tasks read page by page, predictions written in bulk, replaced, undone, none twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from label_studio_sdk import LabelStudio as Sdk
from label_studio_sdk.label_interface import LabelInterface

from bridge.domain import FrameState, Job, Model, Task
from bridge.errors import BridgeError, InvalidRequest
from bridge.job_spec import JobSpec
from bridge.ml_backend.requests import Setup
from bridge.remotes.label_studio.remote import LabelStudioRemote
from bridge.store import intents
from bridge.web.server import serving
from tests.models import write_onnx_model
from tests.servers.label_studio import LEGACY, PERSONAL, LabelStudioServer, Project, image
from tests.unit.bridge.label_studio.configs import STREET
from tests.unit.bridge.web.conftest import settings_for


@pytest.fixture
def studio() -> Iterator[LabelStudioServer]:
    with LabelStudioServer() as server:
        yield server


class House:
    """A service with one model, and a project of the stand-in."""

    def __init__(self, service: Any, studio: LabelStudioServer, model: Model) -> None:
        self.service, self.studio, self.model = service, studio, model
        self.remote = LabelStudioRemote(service.jobs.remotes.access)

    async def open(self) -> Task:
        (task,) = await self.service.jobs.remotes.find_or_add(f"{self.studio.url}/projects/7/data?tab=1")
        return task

    async def run(self, task: Task, **values: Any) -> Job:
        job = await self.create(task, **values)
        return await self.service.jobs.run(job.id)

    async def create(self, task: Task, **values: Any) -> Job:
        given = {"threshold": 0.0, "max_failure_rate": 1.0, **values}
        return await self.service.jobs.create(JobSpec(target=task.id, model_id=self.model.id, **given))


@asynccontextmanager
async def opened(
    folder: Path, studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch, key: str = PERSONAL
) -> AsyncIterator[House]:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", key)
    monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
    async with serving(settings_for(folder)) as server:
        # Only the test runs jobs.
        server.state.worker.at_once = 0
        service = server.state.service
        await asyncio.to_thread(write_onnx_model, folder / "shared" / "model")
        model, _ = await service.registry.add(str(folder / "shared" / "model"))
        yield House(service, studio, model)


@pytest.fixture
async def house(tmp_path: Path, studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    async with opened(tmp_path, studio, monkeypatch) as made:
        yield made


async def test_a_project_is_a_task(house: House) -> None:
    project = house.studio.project(STREET, 230)
    labelled = house.studio.add_task(project, {"image": house.studio.upload("7/x.png", image(1))}, annotated=True)
    task = await house.open()
    assert (task.remote_kind, task.remote_ref) == ("label-studio", f"{house.studio.url}/projects/7")
    assert [label.name for label in task.labels] == ["Car", "Person"]
    assert task.frame_count == 231
    pages = [seen for seen in house.studio.seen if seen.path == "/api/tasks/"]
    assert len(pages) == 3, "page by page"
    frames = {frame.number: frame for frame in await house.service.tasks.frames(task.id)}
    assert frames[labelled].remote_state == "annotated"
    del project.tasks[min(project.tasks)]
    await house.open()
    assert (await house.open()).id == task.id
    job = await house.create(task, frames={"only": "unannotated"})
    assert job.frames_total == 229  # neither the labelled one nor the one that is gone


@pytest.mark.parametrize("key", [LEGACY, PERSONAL])
async def test_predictions_are_written_in_bulk_and_read_by_the_sdk(
    tmp_path: Path, studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    async with opened(tmp_path, studio, monkeypatch, key) as house:
        project = studio.project(STREET, 120)
        job = await house.run(await house.open())
        assert (job.state, job.frames_done, job.frames_failed) == ("succeeded", 120, 0)
        assert sum(studio.import_sizes) == 120
        assert max(studio.import_sizes) > 10
        assert sorted(each["task"] for each in project.predictions.values()) == sorted(project.tasks)

    def read() -> None:
        with httpx.Client() as session:
            client = Sdk(base_url=studio.url, api_key=LEGACY, httpx_client=session)
            interface = LabelInterface(client.projects.get(id=7).label_config)
            found = [each for task in project.tasks for each in client.predictions.list(task=task)]
        assert len(found) == 120
        assert sum(len(each.result) for each in found) == job.shapes_created > 0
        for each in found:
            assert each.score is not None
            told = {"model_version": each.model_version, "score": each.score, "result": each.result}
            assert interface.validate_prediction(told)

    await asyncio.to_thread(read)


async def test_a_version_that_is_there_is_not_written_again(house: House) -> None:
    project = house.studio.project(STREET, 10)
    task = await house.open()
    await house.run(task)
    again = await house.run(task)
    assert again.frames_done == 10
    assert len(project.predictions) == 10


async def test_a_job_and_the_backend_call_their_predictions_the_same(house: House) -> None:
    """So what one has written, Label Studio does not ask the other for."""
    project = house.studio.project(STREET, 5)
    await house.run(await house.open(), threshold=None)
    told = {"project": project.key, "schema": STREET, "hostname": house.studio.url, "access_token": None}
    version = await house.service.ml_backend.set_up(house.model.name, Setup.model_validate(told))
    assert {each["model_version"] for each in project.predictions.values()} == {version}
    changed = await house.service.registry.set(house.model.id, threshold=0.61)
    assert changed.threshold == 0.61
    assert await house.service.ml_backend.set_up(house.model.name, Setup.model_validate(told)) != version


@pytest.mark.parametrize("tag", ["PolygonLabels", "BrushLabels", "EllipseLabels", "KeyPointLabels"])
async def test_a_detector_fills_any_control_whose_labels_have_its_names(house: House, tag: str) -> None:
    """As a job and as a backend, with the same pairs."""
    config = STREET.replace("RectangleLabels", tag)
    project = house.studio.project(config, 2)
    await house.run(await house.open(), threshold=None)
    regions = [region for each in project.predictions.values() for region in each["result"]]
    assert {region["type"] for region in regions} == {tag.lower()}
    told = {"project": project.key, "schema": config, "hostname": house.studio.url, "access_token": None}
    version = await house.service.ml_backend.set_up(house.model.name, Setup.model_validate(told))
    assert {each["model_version"] for each in project.predictions.values()} == {version}


async def test_a_detector_is_no_choice_of_its_own_accord(house: House) -> None:
    config = STREET.replace("RectangleLabels", "Choices").replace("<Label ", "<Choice ")
    house.studio.project(config, 1)
    with pytest.raises(InvalidRequest, match="No label of"):
        await house.create(await house.open())


async def test_what_label_studio_cannot_do_is_refused(house: House) -> None:
    house.studio.project(STREET, 1)
    task = await house.open()
    for values, why in (({"keep_manual_iou": 0.5}, "keep_manual_iou"), ({"track": {}}, "no tracks on images")):
        with pytest.raises(BridgeError, match=why):
            await house.create(task, **values)


async def test_earlier_predictions_go_after_the_new_ones_have_come_and_undo_brings_them_back(house: House) -> None:
    project = house.studio.project(STREET, 8)
    other = {"task": min(project.tasks), "result": [], "score": 0.5, "model_version": "somebody else's"}
    project.predictions[1] = {"id": 1, "project": 7, **other}
    task = await house.open()
    await house.run(task, threshold=0.3)
    first = {each["model_version"] for each in project.predictions.values()} - {"somebody else's"}
    house.studio.events.clear()
    job = await house.run(task, threshold=0.6, clean="model")
    assert house.studio.events[0].startswith("import")
    assert len([event for event in house.studio.events if event.startswith("remove")]) == 8
    versions = [each["model_version"] for each in project.predictions.values()]
    assert versions.count("somebody else's") == 1
    assert not first.intersection(versions)
    assert len(versions) == 9
    await house.remote.undo(task, job)  # and then a crash, before the job is marked as undone
    await house.service.jobs.undo(job.id)
    versions = [each["model_version"] for each in project.predictions.values()]
    assert set(versions) == {*first, "somebody else's"}
    assert len(versions) == 9


async def test_a_task_that_is_gone_meanwhile_fails_alone(house: House) -> None:
    project = house.studio.project(STREET, 5)
    task = await house.open()
    job = await house.create(task)
    gone = project.tasks.pop(max(project.tasks))
    ended = await house.service.jobs.run(job.id)
    assert (ended.frames_done, ended.frames_failed) == (4, 1)
    (row,) = await house.service.jobs.ledger(job.id, state="failed")
    assert row.frame == gone["id"]
    assert len(project.predictions) == 4


async def test_unannotated_tasks_are_those_that_nobody_has_labelled(house: House) -> None:
    """Predictions of ours are no labels: the tasks that are left are predicted again by another threshold."""
    project = house.studio.project(STREET, 3)
    task = await house.open()
    await house.run(task)
    labelled = next(iter(project.tasks))
    project.tasks[labelled] |= {"is_labeled": True, "total_annotations": 1}
    job = await house.run(task, threshold=0.1, clean="model", frames={"only": "unannotated"})
    assert job.frames_done == 2
    (kept,) = project.of(labelled)
    assert "-t0-" in kept["model_version"]
    assert len(project.predictions) == 3


async def test_an_upload_that_label_studio_fails_at_fails_alone(house: House) -> None:
    project = house.studio.project(STREET, 3)
    lost = house.studio.add_task(project, {"image": "/data/upload/7/lost.png"})
    job = await house.run(await house.open())
    assert (job.state, job.frames_done, job.frames_failed) == ("succeeded", 3, 1)
    (failed,) = await house.service.jobs.ledger(job.id, state=FrameState.FAILED)
    assert failed.frame == lost
    assert "HTTP 500" in (failed.error or "")


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_answer_that_was_lost_leaves_nothing_twice(
    house: House, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The connection breaks in the middle of an import: before it was stored, or after."""
    project = house.studio.project(STREET, 6)
    task = await house.open()
    object.__setattr__(house.service.jobs.remotes.access, "settle_s", 0.01)
    original, broken = LabelStudioServer._import, []

    def cut(self: LabelStudioServer, to: Any, items: Any) -> Any:
        if not broken:
            broken.append(True)
            if moment == "after":
                original(self, to, items)
            raise ConnectionResetError
        return original(self, to, items)

    monkeypatch.setattr(LabelStudioServer, "_import", cut)
    job = await house.run(task)
    assert broken
    assert (job.state, job.frames_done) == ("succeeded", 6)
    assert sorted(each["task"] for each in project.predictions.values()) == sorted(project.tasks)


@pytest.mark.parametrize("moment", ["import", "removal", "half", "record"])
async def test_a_crash_at_any_moment_is_made_good_by_the_next_run(
    house: House, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    project = house.studio.project(STREET, 6)
    task = await house.open()
    await house.run(task, threshold=0.3)
    before = stored(project)
    object.__setattr__(house.service.jobs.remotes.access, "settle_s", 0.01)
    job = await house.create(task, threshold=0.6, clean="model")
    names = {
        "import": ("bridge.remotes.label_studio.sink.PredictionSink._send_missing", True),
        "removal": ("bridge.remotes.label_studio.sink.PredictionSink._remove_old", False),
        "half": ("bridge.remotes.label_studio.sink.remove_predictions", False),
        "record": ("bridge.store.label_studio.keep_replaced", False),
    }
    where, _ = names[moment]
    with monkeypatch.context() as patched:

        async def dies(*given: Any, **_: Any) -> Any:
            if moment == "half":
                await given[0].remove_prediction(given[1][0])
            raise RuntimeError("killed")

        patched.setattr(where, dies)
        with pytest.raises(RuntimeError):
            await house.service.jobs.run(job.id)
    await house.service.jobs.resume(job.id)
    ended = await house.service.jobs.run(job.id)
    assert (ended.state, ended.frames_done) == ("succeeded", 6)
    assert sorted(each["task"] for each in project.predictions.values()) == sorted(project.tasks)
    assert len({each["model_version"] for each in project.predictions.values()}) == 1
    async with house.service.store.read() as connection:
        assert await intents.open_intents(connection, job.id) == []
    await house.service.jobs.undo(job.id)
    assert stored(project) == before


def stored(project: Project) -> list[str]:
    """What the predictions of a project say, whatever their ids."""
    return sorted(json.dumps({**each, "id": 0}, sort_keys=True) for each in project.predictions.values())


async def test_two_images_of_a_task_are_one_prediction(house: House) -> None:
    both = STREET.replace("</View>", "") + (
        '<Image name="side" value="$side"/><RectangleLabels name="sidebox" toName="side"><Label value="Car"/>'
        "</RectangleLabels></View>"
    )
    project = house.studio.project(both)
    for number in range(6):
        data = {
            name: house.studio.upload(f"7/{name}{number}.png", image(10 * number + i))
            for i, name in enumerate(("image", "side"))
        }
        house.studio.add_task(project, data)
    broken = house.studio.add_task(
        project, {"image": house.studio.upload("7/a.png", image(7)), "side": "/data/gone.png"}
    )
    task = await house.open()
    assert task.frame_count == 14
    job = await house.run(task)
    assert (job.frames_done, job.frames_failed) == (12, 2)
    assert sorted(each["task"] for each in project.predictions.values()) == sorted(set(project.tasks) - {broken})
    shown = {region["to_name"] for each in project.predictions.values() for region in each["result"]}
    assert shown == {"image", "side"}
    house.studio.files["/data/gone.png"] = image(8)
    await house.service.jobs.retry(job.id)
    again = await house.service.jobs.run(job.id)
    assert (again.frames_done, again.frames_failed) == (14, 0)
    assert len(project.of(broken)) == 1


async def test_refusals_say_what_to_do(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BridgeError, match="project 7"):
        await house.open()
    house.studio.project(STREET, 1)
    house.service.registry.environment_secrets = {}
    with pytest.raises(BridgeError, match="No key is known") as refused:
        await house.open()
    assert "LABEL_STUDIO_API_KEY" in refused.value.hint
    house.service.registry.environment_secrets = {"label-studio": "wrong"}
    with pytest.raises(BridgeError, match="refuses the key"):
        await house.open()
    house.service.registry.environment_secrets = {}
    await house.service.registry.connect("label-studio", f"127.0.0.1:{house.studio.port}", PERSONAL)
    assert (await house.open()).frame_count == 1
