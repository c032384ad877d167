"""Label Studio that answers nonsense somewhere: what it says is read as far as it makes sense, or refused.

On the wire: our client asks a loopback server, and a whole service works on a project of one.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.errors import BadOutput, PredictorError
from adapters.network import HttpPolicy
from bridge.errors import BridgeError, TooLarge
from bridge.remotes.label_studio.client import LabelStudio
from tests.servers.label_studio import LEGACY, PERSONAL, LabelStudioServer, Project, jwt
from tests.servers.loopback import Loopback
from tests.strange import VALUES, spoilt
from tests.unit.bridge.label_studio.configs import STREET
from tests.unit.bridge.label_studio.test_projects import House, opened

REGION = {"id": "r1", "type": "rectanglelabels", "value": {"x": 1.0, "rectanglelabels": ["Car"]}}
PREDICTION = {"id": 3, "task": 1, "model_version": "m@1", "score": 0.5, "result": [REGION]}
TASK = {"id": 1, "data": {"image": "/data/upload/7/1.png"}, "is_labeled": False, "predictions": [PREDICTION]}
ANSWERS: dict[str, Any] = {
    "/api/token/refresh/": {"access": jwt(token_type="access", exp=4_000_000_000)},
    "/api/version": {"release": "1.23.2"},
    "/api/current-user/whoami": {"id": 1, "email": "ada@example.com"},
    "/api/projects/7/": {"id": 7, "title": "street", "label_config": STREET, "model_version": "", "task_number": 1},
    "/api/tasks/": {"tasks": [TASK], "total": 1},
    "/api/tasks/1/": TASK,
    "/api/predictions/": [PREDICTION],
    "/api/ml/": [{"id": 1, "url": "http://127.0.0.1:9/label-studio/m", "state": "CO"}],
}
CALLS: dict[str, Callable[[LabelStudio], Any]] = {
    "/api/token/refresh/": lambda studio: studio.version(),
    "/api/version": lambda studio: studio.version(),
    "/api/current-user/whoami": lambda studio: studio.user(),
    "/api/projects/7/": lambda studio: studio.project(7),
    "/api/tasks/": lambda studio: studio.tasks(7, 1, 100),
    "/api/tasks/1/": lambda studio: studio.task(1),
    "/api/predictions/": lambda studio: studio.predictions(7, [1]),
    "/api/ml/": lambda studio: studio.backends(7),
}


class Scripted(Loopback):
    """Answers each path with the bytes that the test put there."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: dict[str, bytes] = {}

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        return web.Response(body=self.bodies[request.path], content_type="application/json")


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with Scripted() as server:
        yield server


async def asked(server: Scripted, path: str) -> Any:
    """What our client makes of the answers."""
    policy = HttpPolicy(frozenset({f"127.0.0.1:{server.port}"}))
    studio = LabelStudio(server.url, PERSONAL, policy, timeout_s=30)
    try:
        return await CALLS[path](studio)
    finally:
        await studio.close()


@settings(max_examples=300)
@given(st.sampled_from(sorted(ANSWERS)), VALUES, st.integers(0, 2**32))
def test_any_answer_is_read_or_refused(scripted: Scripted, path: str, value: Any, seed: int) -> None:
    right = dict(ANSWERS)
    if path == "/api/predictions/":  # only asked where the tasks do not hold them
        right["/api/tasks/"] = {"tasks": [{**TASK, "predictions": None}], "total": 1}
    scripted.bodies = {each: json.dumps(answer).encode() for each, answer in right.items()}
    scripted.bodies[path] = json.dumps(spoilt(right[path], value, random.Random(seed))).encode()
    with suppress(PredictorError):
        json.dumps(repr(asyncio.run(asked(scripted, path))), ensure_ascii=False).encode()


@settings(max_examples=60)
@given(st.sampled_from(sorted(ANSWERS)), st.binary(max_size=40) | st.integers(1, 400))
def test_what_is_no_json_is_refused(scripted: Scripted, path: str, wrong: bytes | int) -> None:
    right = {each: json.dumps(answer).encode() for each, answer in ANSWERS.items()}
    body = wrong if isinstance(wrong, bytes) else right[path][: min(wrong, len(right[path]) - 1)]
    scripted.bodies = {**right, path: body if body.strip() else b"[" * 100_000}
    if path == "/api/predictions/":
        scripted.bodies["/api/tasks/"] = json.dumps({"tasks": [{**TASK, "predictions": None}], "total": 1}).encode()
    with suppress(ValueError, RecursionError):
        json.loads(scripted.bodies[path])
        return  # it is JSON by chance: the other test's matter
    with pytest.raises(BadOutput, match="Label Studio did not answer JSON"):
        asyncio.run(asked(scripted, path))


@pytest.mark.parametrize("end", [10**400, -1, float("nan"), float("inf"), True, "soon", None, [], {}])
def test_an_access_token_may_end_whenever_it_likes(scripted: Scripted, end: Any) -> None:
    scripted.bodies = {each: json.dumps(answer).encode() for each, answer in ANSWERS.items()}
    scripted.bodies["/api/token/refresh/"] = json.dumps({"access": jwt(token_type="access", exp=end)}).encode()

    async def twice() -> None:
        studio = LabelStudio(scripted.url, PERSONAL, HttpPolicy(frozenset({f"127.0.0.1:{scripted.port}"})))
        try:
            assert await studio.version() == await studio.version() == "1.23.2"  # the second looks at the end
        finally:
            await studio.close()

    asyncio.run(twice())


@contextmanager
def spoiling(server: LabelStudioServer, where: str, value: Any, seed: int) -> Iterator[None]:
    """Meanwhile, one value is wrong in each answer to a path that holds ``where``."""
    original, chance = server.answer, random.Random(seed)

    async def answer(request: web.Request, body: bytes) -> web.StreamResponse:
        response = await original(request, body)
        if where not in request.path or not isinstance(response, web.Response) or response.status != 200:
            return response
        told = json.dumps(spoilt(json.loads(response.text or "null"), value, chance))
        return web.Response(body=told.encode(), content_type="application/json")

    server.answer = answer  # type: ignore[method-assign]
    try:
        yield
    finally:
        server.answer = original  # type: ignore[method-assign]


@asynccontextmanager
async def quick(folder: Path, studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """Without the waits for what broke off."""
    async with opened(folder, studio, monkeypatch, LEGACY) as house:
        object.__setattr__(house.service.jobs.remotes.access, "settle_s", 0.01)
        house.service.jobs.options = house.service.jobs.options.__class__(patience_s=0.1)
        yield house


@pytest.mark.parametrize("where", ["/api/projects", "/api/tasks"])
def test_a_job_on_any_project_ends_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    async def annotate(house: House, studio: LabelStudioServer, value: Any, seed: int) -> None:
        studio.projects.clear()
        project = studio.project(STREET, 3)
        task = await house.open()
        old = {"task": min(project.tasks), "result": [REGION], "score": 0.5, "model_version": "theirs"}
        project.predictions[1] = {"id": 1, "project": 7, **old}
        with spoiling(studio, where, value, seed):
            with suppress(BridgeError):
                await house.open()
            with suppress(BridgeError, PredictorError):
                job = await house.run(task, clean="all")
                assert "unexpected" not in str(job.error)
                await house.service.jobs.undo(job.id)

    with LabelStudioServer() as studio, asyncio.Runner() as runner:
        context = quick(tmp_path, studio, monkeypatch)
        house = runner.run(context.__aenter__())

        @settings(max_examples=25)
        @given(VALUES, st.integers(0, 2**32))
        def examples(value: Any, seed: int) -> None:
            runner.run(annotate(house, studio, value, seed))

        try:
            examples()
        finally:
            runner.run(context.__aexit__(None, None, None))


async def test_pages_that_never_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBBRIDGE_IMAGES__MAX_TASK_FRAMES", "250")
    with LabelStudioServer() as studio:
        studio.project(STREET, 2)
        original = studio._tasks
        always_new = False

        def endless(request: web.Request) -> web.Response:
            page = int(request.query["page"])
            tasks = [
                {"id": page * 1000 + i if always_new else i, "data": {"image": f"/data/{i}.png"}} for i in range(1, 101)
            ]
            return web.json_response({"tasks": tasks, "total": 10**12})

        monkeypatch.setattr(studio, "_tasks", endless)
        async with quick(tmp_path, studio, monkeypatch) as house:
            with pytest.raises(BridgeError, match=r"Page 2 of .* holds no task that was not on an earlier page"):
                await house.open()
            always_new = True
            with pytest.raises(TooLarge, match="300 frames; a task takes at most 250"):
                await house.open()
            monkeypatch.setattr(studio, "_tasks", original)
            assert (await house.open()).frame_count >= 2


@pytest.mark.parametrize("clean", ["model", "all"])
async def test_predictions_of_others_may_look_like_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean: str
) -> None:
    """They are taken away where the job says so, and brought back, as they were."""
    results: list[Any] = [None, "x", {}, [], [1], [[]], [{"id": None}], [{"id": 10**400, "value": "\ud800"}], 2**63]
    with LabelStudioServer() as studio:
        project = studio.project(STREET, 2)
        project.title = "half \ud800 a character\0"
        studio.add_task(project, {"image": "/data/\ud800.png"})
        theirs = {
            number: {
                "id": number,
                "project": 7,
                "task": min(project.tasks),
                "score": 0.5,
                "model_version": None if number % 2 else "theirs",
                "result": result,
            }
            for number, result in enumerate(results, 1)
        }
        monkeypatch.setattr(studio, "_store", lambda project, items: _stored(studio, project, items))
        async with quick(tmp_path, studio, monkeypatch) as house:
            task = await house.open()
            assert task.frame_count == 2  # an address with half a character is none
            project.predictions = dict(theirs)
            job = await house.run(task, clean=clean)
            assert (job.state, job.frames_done) == ("succeeded", 2)
            left = [each for each in project.predictions.values() if each in theirs.values()]
            assert len(left) == (0 if clean == "all" else len(results))
            await house.service.jobs.undo(job.id)
            assert sorted(repr(each["result"]) for each in project.predictions.values()) == sorted(map(repr, results))


def _stored(studio: LabelStudioServer, project: Project, items: list[dict[str, Any]]) -> None:
    """Whatever it is."""
    for item in items:
        studio._next += 1
        project.predictions[studio._next] = {"id": studio._next, "project": project.id, **item}


async def test_what_json_cannot_say_is_not_sent_and_an_id_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LabelStudioServer() as studio:
        project = studio.project(STREET, 1)
        old = {"id": 1, "task": min(project.tasks), "project": 7, "model_version": "theirs", "result": []}
        async with quick(tmp_path, studio, monkeypatch) as house:
            task = await house.open()
            project.predictions = {1: {**old, "score": float("nan")}}
            job = await house.run(task, clean="all")
            with pytest.raises(BridgeError, match="a number that is none"):
                await house.service.jobs.undo(job.id)
            project.predictions = {1: {**old, "id": None}}
            job = await house.run(task, threshold=0.5)
            assert (job.state, len(project.predictions)) == ("failed", 1)
            assert "answered a prediction of task 1001 without an id" in str(job.error)


async def test_a_token_that_was_issued_is_blotted_out_like_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with LabelStudioServer() as studio:
        told = lambda *_: studio.say(400, f"no: {' '.join(studio.access)} {PERSONAL} was sent")  # noqa: E731
        monkeypatch.setattr(studio, "_api", told)
        client = LabelStudio(studio.url, PERSONAL, HttpPolicy(frozenset({f"127.0.0.1:{studio.port}"})))
        try:
            with pytest.raises(PredictorError, match=r"no: \*\*\* \*\*\* was sent"):
                await client.project(7)
        finally:
            await client.close()
        assert len(studio.access) == 1
