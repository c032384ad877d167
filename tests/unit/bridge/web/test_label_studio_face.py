"""The ML backend as Label Studio asks it, through a stand-in that makes its very calls."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from aiohttp import ClientSession
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.converter.brush import decode_rle

from adapters.base import Detections, PredictOptions
from adapters.frame import Frame
from adapters.local import LocalPredictor
from adapters.promptable import Segment
from bridge.domain import Scope
from bridge.interactive import Interactive
from bridge.store import label_studio as rows
from bridge.web.server import serving
from tests import architectures
from tests.servers.label_studio import LEGACY, PERSONAL, LabelStudioServer, Project, image
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
    chosen = settings_for(tmp_path, **sections)
    async with serving(chosen) as server, ClientSession() as session:
        yield Api(server, session, chosen, tmp_path)


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


async def test_tasks_that_come_with_large_annotations_are_answered(api: Api, studio: LabelStudioServer) -> None:
    project, url = studio.project(CONFIG, 1), await backend(api)
    (task,) = project.tasks.values()
    strokes = {"result": [{"type": "brushlabels", "value": {"rle": [200] * 4_000_000}}]}  # 20 MB of JSON
    body = {"tasks": [{**task, "annotations": [strokes]}], "project": project.key, "label_config": CONFIG}
    packed, kind = io.BytesIO(json.dumps(body).encode()), {"Content-Type": "application/json"}
    async with api.session.post(f"{url}/predict", data=packed, headers=kind) as response:
        assert response.status == 200, await response.text()
        assert len((await response.json())["results"]) == 1


async def told(api: Api) -> dict[str, Any]:
    """What the last request for predictions came to."""
    async with api.server.state.service.store.read() as connection:
        (found,) = await rows.list_backends(connection)
    return {"outcome": found.outcome, "job": found.job_id, "version": found.model_version}


async def until(condition: Any, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


@pytest.fixture
def paced(api: Api, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A model that needs ``seconds`` for each frame, and answers no job while another one is to end."""
    pace = {"seconds": 0.1, "frames": 0}
    predict = LocalPredictor.predict
    going_on = sa.text("SELECT count(*) FROM jobs WHERE state IN ('queued', 'running') AND NOT abort_requested")

    async def waits(self: Any, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        await asyncio.sleep(pace["seconds"] * len(frames))
        while True:
            async with api.server.state.service.store.read() as connection:
                if (await connection.execute(going_on)).scalar_one() <= 1:
                    break
            await asyncio.sleep(0.05)
        pace["frames"] += len(frames)
        return await predict(self, frames, options)

    monkeypatch.setattr(LocalPredictor, "predict", waits)
    return pace


WALL = {"label_studio": {"answer_within_seconds": 1.0}}


@pytest.mark.parametrize("sections", [WALL])
async def test_what_takes_longer_than_label_studio_waits_is_written_by_a_job_once(
    api: Api, studio: LabelStudioServer, paced: dict[str, float]
) -> None:
    project, url = studio.project(CONFIG, 60), await backend(api)
    await retrieve(studio, url, project)  # Label Studio is refused, and stores nothing of it
    assert not [event for event in studio.events if not event.startswith("import")]
    await retrieve(studio, url, project)  # an impatient user: nothing may come twice
    await until(lambda: len(project.predictions) >= 60)
    seen = await told(api)
    assert "job" in seen["outcome"]
    job = await api.ended(seen["job"])
    assert job["state"] == "succeeded"
    await retrieve(studio, url, project)
    await retrieve(studio, url, project)
    assert sorted(each["task"] for each in project.predictions.values()) == sorted(project.tasks)
    assert {each["model_version"] for each in project.predictions.values()} == {seen["version"]}
    assert paced["frames"] < 75, "what the first job had found was asked for again"
    assert max(studio.import_sizes) > 1, "written in bulk"


@pytest.mark.parametrize("sections", [WALL])
async def test_where_the_api_may_not_be_used_a_second_try_is_answered_from_the_ledger(
    api: Api, studio: LabelStudioServer, paced: dict[str, float]
) -> None:
    studio.legacy_tokens = False
    api.server.state.service.registry.environment_secrets = {}  # type: ignore[misc]
    where = f"http://127.0.0.1:{studio.port}"
    project = studio.project(CONFIG)
    for number in range(30):
        studio.presigned[f"{number}.png"] = image(number)
        studio.add_task(project, {"image": f"{where}/presigned/{number}.png"})
    url = await backend(api)
    await retrieve(studio, url, project)
    assert not project.predictions
    async with asyncio.timeout(60):
        while "cannot be written" not in (await told(api))["outcome"]:
            await asyncio.sleep(0.05)
    seen = await told(api)
    assert "LABEL_STUDIO_API_KEY" in seen["outcome"]
    await api.ended(seen["job"])
    paced["frames"] = 0
    api.server.state.service.ml_backend.answer_within_s = 60.0  # of a second try, on any machine
    await retrieve(studio, url, project)
    assert len(project.predictions) == 30
    assert paced["frames"] == 0


async def test_opening_a_task_asks_for_it_alone_and_makes_no_job(api: Api, studio: LabelStudioServer) -> None:
    project, url = studio.project(CONFIG, 2), await backend(api)
    first = next(iter(project.tasks))
    await asyncio.to_thread(studio.open_task, url, project, first)
    assert [each["task"] for each in project.predictions.values()] == [first]
    assert (await api.call("GET", "/v1/jobs"))["jobs"] == []


async def test_a_task_opened_twice_is_stored_once(api: Api, studio: LabelStudioServer, paced: dict[str, float]) -> None:
    project, url = studio.project(CONFIG, 1), await backend(api)
    paced["seconds"] = 1.0
    first = next(iter(project.tasks))
    await asyncio.gather(*(asyncio.to_thread(studio.open_task, url, project, first) for _ in range(3)))
    assert len(project.predictions) == 1


async def test_a_config_that_matches_nothing_is_refused_with_what_to_do(api: Api, studio: LabelStudioServer) -> None:
    other = CONFIG.replace("Car", "Zebra").replace("Person", "Xylophone")
    project, url = studio.project(other, 2), await backend(api)
    reason = await asyncio.to_thread(studio.connect, url, project)
    assert "No label of" in reason
    assert "hubbridge label-studio labels" in reason
    await retrieve(studio, url, project)
    assert not project.predictions
    assert (await told(api))["outcome"] == "Nothing is matched yet."


@pytest.mark.parametrize(
    "config", ["<View/>", '<View><Text name="t" value="$t"/></View>', "<View>", "<!DOCTYPE x><View/>"]
)
async def test_a_config_that_nothing_can_fill_is_refused(api: Api, studio: LabelStudioServer, config: str) -> None:
    project, url = studio.project(config, 5), await backend(api)
    assert "400" in await asyncio.to_thread(studio.connect, url, project)
    await retrieve(studio, url, project)
    assert not project.predictions
    assert (await api.call("GET", "/v1/label-studio/backends")) == {"backends": []}


async def test_what_is_asked_shows_by_rest(api: Api, studio: LabelStudioServer) -> None:
    other = CONFIG.replace("Person", "Xylophone").replace("Car", "Vehicle")
    project, url = studio.project(other, 1), await backend(api)
    await asyncio.to_thread(studio.connect, url, project)
    (found,) = (await api.call("GET", "/v1/label-studio/backends"))["backends"]
    assert found["project"] == f"{studio.url}/projects/7"
    assert found["pairs"] == {}
    assert [each["task_label"] for each in found["suggestions"]] == ["Vehicle"]


async def test_an_accepted_suggestion_counts_from_then_on(api: Api, studio: LabelStudioServer) -> None:
    other = CONFIG.replace("Car", "Zebra").replace("Person", "Xylophone")
    project, url = studio.project(other, 2), await backend(api)
    await asyncio.to_thread(studio.connect, url, project)
    task = (await api.call("GET", "/v1/tasks"))["tasks"][0]
    model = await api.model()
    body = {"model_id": model["id"], "task_id": task["id"], "pairs": {model["card"]["labels"][0]: "Zebra"}}
    await api.call("POST", "/v1/mappings", body, 201)
    assert await asyncio.to_thread(studio.connect, url, project) == ""
    await retrieve(studio, url, project)
    assert len(project.predictions) == 2


async def test_an_image_that_cannot_be_had_is_asked_for_again(api: Api, studio: LabelStudioServer) -> None:
    project, url = studio.project(CONFIG, 6), await backend(api)
    lost = studio.add_task(project, {"image": "/data/upload/7/lost.png"})
    nothing = studio.add_task(project, {"picture": "/data/upload/7/0000.png"})
    for _ in range(2):
        await retrieve(studio, url, project)
        held = sorted(each["task"] for each in project.predictions.values())
        assert held == sorted(set(project.tasks) - {lost, nothing}), "nothing is stored of them, and nothing twice"
    studio.add_task(project, {"image": studio.upload("7/new.png", image(98))})
    await retrieve(studio, url, project)
    assert "1 of 3 tasks answered" in (await told(api))["outcome"]
    studio.files["/data/upload/7/lost.png"] = image(99)
    await retrieve(studio, url, project)
    assert len(project.of(lost)) == 1
    assert not project.of(nothing)


@pytest.mark.parametrize("sections", [{"network": {"allowed_hosts": ("localhost",)}}])
async def test_every_kind_of_address(api: Api, studio: LabelStudioServer) -> None:
    project, url = studio.project(CONFIG), await backend(api)
    studio.files["/data/local/some/dir/a b.png"] = image(1)
    studio.presigned["s3://bucket/b.png"] = image(2)
    studio.presigned["c.png"] = image(3)
    studio.presigned["s3://bucket/sub dir/ü 1 +a%20b.png"] = image(6)
    studio.proxied["s3://closed/p.png"] = image(7)

    def resolve(uri: str) -> str:
        """As the tasks of a synchronised storage have it in 1.23.2."""
        return f"/tasks/1/resolve/?fileuri={base64.urlsafe_b64encode(uri.encode()).decode()}"

    inline = "data:image/png;base64," + base64.b64encode(image(4)).decode()
    studio.upload("7/d.png", image(5))
    for address in (
        "/data/local-files/?d=some/dir/a%20b.png",
        "s3://bucket/b.png",
        resolve("s3://bucket/sub dir/ü 1 +a%20b.png"),
        resolve("s3://closed/p.png"),
        f"{studio.url}/presigned/c.png",
        inline,
        f"{studio.url}/data/upload/7/d.png",
        "http://10.1.2.3:8080/data/local-files/?d=some/dir/a%20b.png",  # as Label Studio knows itself, elsewhere
    ):
        studio.add_task(project, {"image": address})
    far = [studio.add_task(project, {"image": address}) for address in ("http://10.1.2.3/x.png", "ftp://x/y", "x.png")]
    await retrieve(studio, url, project)
    assert set(project.tasks) - {each["task"] for each in project.predictions.values()} == set(far)
    (task,) = (await api.call("GET", "/v1/tasks"))["tasks"]
    names = {each["name"] for each in (await api.call("GET", f"/v1/tasks/{task['id']}/frames"))["frames"]}
    assert {"ü 1 +a b.png", "p.png"} <= {name.partition("-")[2] for name in names}, "not called resolve"
    assert studio.with_token_elsewhere == ["/presigned/c.png"]  # Label Studio's own host, as its own pages do


async def test_a_legacy_token_that_setup_told_is_enough(
    tmp_path: Path, studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
    chosen = settings_for(tmp_path)
    async with serving(chosen) as server, ClientSession() as session:
        api = Api(server, session, chosen, tmp_path)
        project, url = studio.project(CONFIG, 5), await backend(api)
        await retrieve(studio, url, project)
        assert len(project.predictions) == 5
        dump = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("hubbridge.db*"))
        assert LEGACY.encode() not in dump


async def test_basic_authentication_guards_all_but_the_webhook(api: Api, studio: LabelStudioServer) -> None:
    project, url = studio.project(CONFIG, 5), await backend(api)
    _, text = await api.server.state.service.tokens.create("studio", Scope.ANNOTATE)
    assert "401" in await asyncio.to_thread(studio.connect, url, project)
    assert "401" in await asyncio.to_thread(studio.connect, url, project, ("hubbridge", "wrong"))
    good = ("hubbridge", text)
    assert await asyncio.to_thread(studio.connect, url, project, good) == ""
    await asyncio.to_thread(studio.retrieve, url, project, good)
    assert len(project.predictions) == 5
    path = url.removeprefix(api.server.url)
    status, _, _ = await api.raw("POST", f"{path}/webhook", json={"action": "ANNOTATION_CREATED"})
    assert status == 200
    status, _, _ = await api.raw("POST", f"{path}/predict", json={"tasks": []})
    assert status == 401


async def test_smart_tools_of_a_model_that_takes_no_clicks(api: Api, studio: LabelStudioServer) -> None:
    project, url = studio.project(CONFIG, 1), await backend(api)
    click = {"type": "keypointlabels", "to_name": "image", "value": {"x": 50, "y": 50, "width": 1}}
    answer = await asyncio.to_thread(studio.interactive, url, project, next(iter(project.tasks)), {"result": [click]})
    assert "takes no clicks" in answer["errors"][0]


SMART = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="Car"/><Label value="A tree" alias="tree"/></BrushLabels>
<KeyPointLabels name="click" toName="image" smart="true"><Label value="Car"/><Label value="A tree" alias="tree"/>
</KeyPointLabels>
<RectangleLabels name="box" toName="image" smart="true"><Label value="Car"/></RectangleLabels></View>"""


async def test_a_click_or_a_box_of_a_smart_tool_is_answered_with_the_object(
    api: Api, studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = api.folder / "shared" / "sam"
    await asyncio.to_thread(architectures.write, architectures.sam, folder)
    model = await api.call("POST", "/v1/models", {"reference": str(folder)}, 201)
    url = f"{api.server.url}/label-studio/{model['name']}"
    project = studio.project(SMART, 1)
    assert await asyncio.to_thread(studio.connect, url, project) == ""
    task = next(iter(project.tasks))

    async def ask(*regions: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(studio.interactive, url, project, task, {"result": list(regions)})

    def click(x: float, y: float, label: str = "tree", **more: Any) -> dict[str, Any]:
        value = {"x": x, "y": y, "width": 0.5, "keypointlabels": [label]}
        return {"type": "keypointlabels", "from_name": "click", "to_name": "image", "value": value, **more}

    answer = (await ask(click(50, 50), click(5, 5, is_positive=0)))["data"]
    (region,) = answer["result"]
    assert (region["from_name"], region["type"]) == ("brush", "brushlabels")
    assert region["value"]["brushlabels"] == ["tree"]
    drawn = np.reshape(decode_rle(region["value"]["rle"]), (48, 64, 4))[:, :, 3]
    assert set(np.unique(drawn)) == {0, 255}
    box = {"x": 10, "y": 10, "width": 50, "height": 60, "rotation": 0, "rectanglelabels": ["Car"]}
    boxed = (await ask({"type": "rectanglelabels", "from_name": "box", "to_name": "image", "value": box}))["data"]
    assert boxed["result"][0]["value"]["brushlabels"] == ["Car"]
    assert "Nothing says which object" in (await ask(click(5, 5, is_positive=0)))["errors"][0]

    found = Segment(np.ones((5, 5), np.bool_), 10, 10, 0.9)

    async def same_object(*_: object) -> Segment:
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Interactive, "segment", same_object)
        (first,), (second,) = [(await ask(click(50, 50)))["data"]["result"] for _ in range(2)]
    assert first["id"] != second["id"], "Label Studio would make one region of both"
    assert not project.predictions
    for _ in range(2):
        await asyncio.to_thread(studio.open_task, url, project, task)  # as its page does before anything is clicked
    await retrieve(studio, url, project)  # it annotates nothing by itself
    assert not project.predictions
    outcome = (await told(api))["outcome"]
    assert "annotates no images by itself" in outcome
    assert "Refused" not in outcome


@pytest.mark.parametrize("kind", ["polygon", "rectangle"])
async def test_a_click_is_one_object_also_where_its_mask_has_specks(
    api: Api, studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = api.folder / "shared" / "sam"
    await asyncio.to_thread(architectures.write, architectures.sam, folder)
    model = await api.call("POST", "/v1/models", {"reference": str(folder)}, 201)
    tag = f"{kind.capitalize()}Labels"
    project = studio.project(SMART.replace("BrushLabels", tag), 1)
    bits = np.zeros((40, 40), np.bool_)
    bits[4:24, 4:24] = bits[30:33, 30:33] = True  # an object, and a speck beside it

    async def segment(*_: object) -> Segment:
        return Segment(bits, 8, 4, 0.9)

    monkeypatch.setattr(Interactive, "segment", segment)
    click = {  # as the page of 1.23.2 sends it
        "original_width": 64, "original_height": 48, "image_rotation": 0, "is_positive": True, "id": "AlLE75D6sS",
        "value": {"x": 40.2, "y": 30.1, "width": 0.2, "labels": ["Car"], "keypointlabels": ["Car"]},
        "from_name": "click", "to_name": "image", "type": "keypointlabels", "origin": "manual",
    }  # fmt: skip
    where, task = f"{api.server.url}/label-studio/{model['name']}", next(iter(project.tasks))
    answer = await asyncio.to_thread(studio.interactive, where, project, task, {"result": [click]})
    (region,) = answer["data"]["result"]
    assert region["type"] == tag.lower()
    if kind == "polygon":
        xs, ys = np.array(region["value"]["points"]).T
        seen = (xs.min(), ys.min(), xs.max() - xs.min(), ys.max() - ys.min())
    else:
        seen = tuple(region["value"][name] for name in ("x", "y", "width", "height"))
    assert seen == pytest.approx((100 * 12 / 64, 100 * 8 / 48, 100 * 20 / 64, 100 * 20 / 48), abs=0.01)


async def test_unknown_names_and_versions(api: Api, studio: LabelStudioServer) -> None:
    url = await backend(api)
    path = url.removeprefix(api.server.url)
    assert (await api.call("GET", f"{path}/health"))["status"] == "UP"
    assert await api.call("GET", f"{path}/versions") == {"versions": []}
    message = await api.error("GET", "/label-studio/nobody/health", 404, "model_not_registered")
    assert "nobody" in message
    status, _, response = await api.raw("GET", "/label-studio/nobody/health")
    assert status == 404
    assert "nobody" in response.reason


bodies = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["tasks", "project", "label_config", "params", "context", "result", "id", "data", "image",
                         "schema", "hostname", "access_token", "value", "type", "x"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


async def test_no_body_makes_a_500(api: Api, studio: LabelStudioServer) -> None:
    path = (await backend(api)).removeprefix(api.server.url)
    loop = asyncio.get_running_loop()

    @settings(max_examples=60)
    @given(st.sampled_from(["setup", "predict"]), bodies)
    def fuzz(route: str, body: Any) -> None:
        if isinstance(body, dict) and route == "predict":
            body = {"project": "7.1", "label_config": CONFIG, **body}
        call = api.raw("POST", f"{path}/{route}", json=body)
        status, answer, _ = asyncio.run_coroutine_threadsafe(call, loop).result(60)
        assert status != 500, answer
        if route == "predict" and status == 200:
            assert len(json.loads(answer)["results"]) == len(body["tasks"])

    await asyncio.to_thread(fuzz)
