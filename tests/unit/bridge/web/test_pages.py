"""Pages as the server makes them: headers, escaping, errors, static files, and how many queries they cost."""

from __future__ import annotations

import json
import re
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiohttp import ClientSession, CookieJar

from adapters.promptable import SEGMENT, TRACK
from bridge import web
from bridge.domain import Scope
from bridge.job_spec import JobSpec
from bridge.store import Store
from bridge.store import models as model_rows
from bridge.store.label_studio import KIND
from bridge.store.tables import frames, jobs, shapes, tasks
from bridge.web.authentication import NOBODY, current_principal
from bridge.web.pages.static import static_files
from bridge.web.pages.table import PAGES
from bridge.web.requests import CreateTask
from bridge.web.server import serving
from tests.unit.bridge.web.conftest import Api, settings_for

HTML = {"Accept": "text/html,application/xhtml+xml"}
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&"
VOID = {"meta", "link", "img", "input", "br", "hr", "source"}


class Elements(HTMLParser):
    """Every element with its attributes; what is open and never closed is an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        self.text.append(data)


async def page(api: Api, path: str, status: int = 200) -> Elements:
    found, body, response = await api.raw("GET", path, headers=HTML)
    assert (found, response.content_type) == (status, "text/html"), body[:300]
    return Elements(body.decode())


async def filled(api: Api, name: str = "street") -> dict[str, int]:
    """Ids of a task, a model and an ended job."""
    model, task = await api.model(), await api.task(name, pictures=3)
    job = await api.job(task["id"], model["id"])
    await api.ended(job["id"])
    return {"task_id": task["id"], "model_id": model["id"], "job_id": job["id"], "number": 0}


PATHS = [route.path for route in PAGES]


async def test_every_page_is_whole_and_holds_no_inline_script_or_style(api: Api) -> None:
    ids = await filled(api)
    for path in PATHS:
        status, body, response = await api.raw("GET", path.format(**ids), headers=HTML)
        assert status == 200, path
        elements = Elements(body.decode())
        for tag, attributes in elements.found:
            check_element(tag, attributes)
        policy = response.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= set(
            policy.split("; ")
        )
        assert response.headers["Cache-Control"] == "no-store"
        assert [tag for tag, _ in elements.found].count("h1") == 1, path


def check_element(tag: str, attributes: dict[str, str | None]) -> None:
    assert "style" not in attributes, (tag, attributes)
    assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
    assert tag != "style"
    if tag == "script":
        assert attributes["src"] is not None
        assert attributes["src"].startswith("/static/")
    for name in ("href", "src", "action"):  # nothing from elsewhere
        assert (attributes.get(name) or "/").startswith(("/", "#")), (tag, attributes)


async def test_what_people_wrote_stays_text(api: Api) -> None:
    ids = await filled(api, name=HOSTILE)
    for path in PATHS:
        elements = await page(api, path.format(**ids))
        assert not [tag for tag, attributes in elements.found if attributes.get("src") == "x"], path
        if "task_id" in path:
            assert HOSTILE in "".join(elements.text), path


async def test_settings_list_what_is_connected_elsewhere_and_nothing_of_here(api: Api) -> None:
    await filled(api)
    assert "Connected tasks" not in "".join((await page(api, "/settings")).text)
    address = "https://studio.example.com/projects/7"
    async with api.server.state.service.store.write() as connection:
        for number in range(12):
            values = {"name": f"project {number}", "remote_kind": "label-studio", "remote_ref": f"{address}{number}"}
            await connection.execute(sa.insert(tasks).values(created_at=time.time(), **values))
    shown = "".join((await page(api, "/settings")).text)
    assert f"Label Studio · {address}11" in shown
    assert "project 2" in shown
    assert "project 1\n" not in shown, "the newest ten"
    assert "Older ones" in shown
    assert "street" not in shown


async def test_a_task_elsewhere_is_offered_where_the_service_takes_one(api: Api) -> None:
    elements = await page(api, "/tasks/new")
    offered = [tag for tag, attributes in elements.found if attributes.get("id") == "remote-form"]
    assert bool(offered) == ("remote" in CreateTask.model_fields)


def test_what_pages_are_made_of_is_part_of_the_package() -> None:
    root = Path(web.__file__).parent
    data = tomllib.loads((root.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    globs = data["tool"]["setuptools"]["package-data"]["bridge.web"]
    packed = {path for pattern in globs for path in root.glob(pattern) if path.is_file()}
    wanted = {path for part in ("templates", "static") for path in (root / part).rglob("*") if path.is_file()}
    assert wanted
    assert packed == wanted


async def test_pages_of_an_empty_service_say_what_to_do(api: Api) -> None:
    for path, words in (("/tasks", "Annotate your first images"), ("/models", "No model yet"), ("/jobs", "No job yet")):
        assert words in "".join((await page(api, path)).text)


async def test_pages_ask_for_a_login_and_protect_what_it_allows(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, auth={"mode": "required"})
    async with serving(settings) as server, ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
        api = Api(server, session, settings, tmp_path)
        status, _, response = await api.raw("GET", "/tasks", headers=HTML, allow_redirects=False)
        assert (status, response.headers["Location"]) == (303, "/login?next=/tasks")
        _, body, response = await api.raw("GET", "/login")
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        assert not [tag for tag, a in Elements(body.decode()).found if tag == "style" or "style" in a]
        _, text = await server.state.service.tokens.create("ann", Scope.ADMIN)
        await api.raw("POST", "/login", data={"token": text, "next": "/tasks"}, allow_redirects=False)
        elements = await page(api, "/tasks")
        (csrf,) = [a["content"] for tag, a in elements.found if tag == "meta" and a.get("name") == "csrf-token"]
        assert "ann" in "".join(elements.text)
        task = {"name": "t", "labels": [{"name": "car"}]}
        await api.error("POST", "/v1/tasks", 403, "csrf", task)
        await api.call("POST", "/v1/tasks", task, 201, headers={"X-CSRF-Token": str(csrf)})
        status, _, _ = await api.raw("GET", static_files().url("js/app.js"), headers={"Cookie": ""})
        assert status == 200


async def test_the_root_leads_to_the_tasks(api: Api) -> None:
    status, _, response = await api.raw("GET", "/", allow_redirects=False)
    assert (status, response.headers["Location"]) == (302, "/tasks")


@pytest.mark.parametrize("path", ["/tasks/99", "/jobs/99", "/models/99", "/tasks/1/frames/5", "/nothing", "/tasks/x"])
async def test_what_is_not_there_is_a_page_for_people_and_json_for_programs(api: Api, path: str) -> None:
    elements = await page(api, path, 404)
    assert "There is no" in "".join(elements.text)
    await api.error("GET", path, 404, "not_found")


async def test_a_wrong_parameter_of_a_page_is_said(api: Api) -> None:
    elements = await page(api, "/tasks?before=x", 400)
    assert "before" in "".join(elements.text)
    await api.error("GET", "/v1/tasks/99", 404, "not_found", headers=HTML)  # the REST API speaks JSON to everybody


async def test_static_files_are_kept_under_the_hash_of_their_content(api: Api) -> None:
    static = static_files()
    assert {"css/base.css", "js/app.js", "js/theme.js", "fonts/inter-latin-wght-normal.woff2"} <= static.files.keys()
    status, body, response = await api.raw("GET", static.url("js/app.js"))
    assert (status, body) == (200, static.files["js/app.js"])
    assert (response.content_type, response.headers["Cache-Control"]) == (
        "text/javascript",
        "public, max-age=31536000, immutable",
    )
    old = static.url("js/app.js").replace(static.version, "0" * 16)
    _, body, response = await api.raw("GET", old)
    assert (body, response.headers["Cache-Control"]) == (static.files["js/app.js"], "no-cache")
    for path in ("js/nothing.js", "../server.py", "..%2fserver.py", "js/../../server.py"):
        assert (await api.raw("GET", f"/static/{static.version}/{path}"))[0] == 404


def test_modules_import_only_each_other() -> None:
    files = static_files().files
    for name, content in files.items():
        if not name.endswith(".js"):
            continue
        text = content.decode()
        for target in re.findall(r'(?:from|import) "([^"]+)"', text):
            assert target.startswith("./"), (name, target)
            assert f"js/{target[2:]}" in files, (name, target)
        assert "innerHTML" not in text, name
        assert "eval(" not in text, name


@contextmanager
def counted(store: Store) -> Iterator[list[str]]:
    statements: list[str] = []

    def seen(_: Any, __: Any, statement: str, *___: Any) -> None:
        if current_principal() is not NOBODY:  # of a request, and not of the worker that looks for jobs
            statements.append(statement)

    engine = store._readers.sync_engine
    sa.event.listen(engine, "before_cursor_execute", seen)
    try:
        yield statements
    finally:
        sa.event.remove(engine, "before_cursor_execute", seen)


async def fill(api: Api, ids: dict[str, int], frame_count: int, job_count: int) -> None:
    """Many frames with a shape each, and many jobs, written straight into the tables."""
    store = api.server.state.service.store
    async with store.write() as connection:
        label = await connection.scalar(sa.text("SELECT id FROM labels LIMIT 1"))
        numbers = range(3, frame_count)
        at = {"task_id": ids["task_id"]}
        await connection.execute(
            sa.insert(frames),
            [
                {**at, "number": n, "name": f"{n}.jpg", "path": f"/x/{n}.jpg", "width": 64, "height": 48}
                for n in numbers
            ],
        )
        shape = {"label_id": label, "type": "rectangle", "points": b"\0" * 32, "source": "automatic", "score": 0.5}
        await connection.execute(sa.insert(shapes), [{**at, "frame": n, **shape} for n in numbers if n % 2])
        await connection.execute(sa.update(tasks).where(tasks.c.id == ids["task_id"]).values(frame_count=frame_count))
        row = (await connection.execute(sa.select(jobs).where(jobs.c.id == ids["job_id"]))).one()._mapping
        spec = JobSpec.model_validate_json(row["spec"]).model_dump_json()
        kept = {k: row[k] for k in ("task_id", "model_id", "resolved", "frames_total", "frames_done")}
        await connection.execute(
            sa.insert(jobs), [{**kept, "spec": spec, "state": "succeeded", "created_at": time.time()}] * job_count
        )


async def test_pages_cost_no_more_with_many_frames_and_jobs(api: Api) -> None:
    """Fifty times the rows: the same queries, and no page larger than its bound."""
    ids = await filled(api)
    await fill(api, ids, 200, 60)
    few = await reads_of_pages(api, ids)
    await fill_more(api, ids)
    assert await reads_of_pages(api, ids) == few
    assert max(few.values()) <= 12, few


async def reads_of_pages(api: Api, ids: dict[str, int]) -> dict[str, int]:
    """Path -> how many queries it costs."""
    found = {}
    for path in PATHS:
        with counted(api.server.state.service.store) as statements:
            _, body, _ = await api.raw("GET", path.format(**ids), headers=HTML)
        found[path] = sum(text.startswith("SELECT") for text in statements)
        assert len(body) < 150_000, path
    return found


async def fill_more(api: Api, ids: dict[str, int]) -> None:
    store = api.server.state.service.store
    async with store.write() as connection:
        await connection.execute(sa.delete(frames).where(frames.c.task_id == ids["task_id"], frames.c.number > 2))
    await fill(api, ids, 10_000, 1_000)


async def test_lists_are_paged_and_the_pages_hold_everything_once(api: Api) -> None:
    ids = await filled(api)
    await fill(api, ids, 150, 120)
    seen: list[str] = []
    path: str | None = "/jobs"
    while path:
        elements = await page(api, path)
        seen += [str(a["data-job"]) for _, a in elements.found if "data-job" in a]
        path = next((str(a["href"]) for _, a in elements.found if "data-key-next" in a), None)
    assert len(seen) == len(set(seen)) == 121
    assert seen == sorted(seen, key=int, reverse=True)
    numbers: list[int] = []
    path = f"/tasks/{ids['task_id']}"
    while path:
        elements = await page(api, path)
        numbers += [int(str(a["data-number"])) for _, a in elements.found if "data-number" in a]
        path = next((str(a["href"]) for _, a in elements.found if "data-following" in a), None)
    assert numbers == list(range(150))


async def test_frames_without_shapes_are_found(api: Api) -> None:
    ids = await filled(api)
    await fill(api, ids, 40, 1)
    elements = await page(api, f"/tasks/{ids['task_id']}?show=unannotated")
    shown = [int(str(a["data-number"])) for _, a in elements.found if "data-number" in a]
    listed = await api.call("GET", f"/v1/tasks/{ids['task_id']}/frames?only=unannotated&start=10")
    assert [n for n in shown if n >= 10] == [frame["number"] for frame in listed["frames"]] == list(range(10, 40, 2))


async def test_a_page_hands_its_module_what_the_rest_api_says(api: Api) -> None:
    ids = await filled(api)
    elements = await page(api, f"/jobs/{ids['job_id']}")
    (main,) = [attributes for tag, attributes in elements.found if tag == "main"]
    assert json.loads(str(main["data-props"]))["job"] == await api.call("GET", f"/v1/jobs/{ids['job_id']}")


async def test_a_model_that_is_asked_by_hand_is_offered_for_no_task(api: Api) -> None:
    ids = await filled(api)
    registry = api.server.state.service.registry
    card = replace((await registry.get(ids["model_id"])).card, task_type=SEGMENT, labels=None, reference="hf://x/sam")
    async with registry.store.write() as connection:
        sam = await model_rows.add_model(connection, "clicks", card)
    shown = await page(api, f"/models/{sam.id}")
    assert [a["src"] for tag, a in shown.found if a.get("src", "").endswith("/try-segment.js")]
    assert "works with a person at hand" in "".join(shown.text)
    async with registry.store.write() as connection:
        tracker = await model_rows.add_model(
            connection, "follows", replace(card, task_type=TRACK, reference="hf://x/t")
        )
    shown = await page(api, f"/models/{tracker.id}")
    assert not [a for tag, a in shown.found if a.get("id") == "drop"], "one image is not enough to follow something"
    offered = await page(api, f"/tasks/{ids['task_id']}/annotate")
    assert [a["value"] for tag, a in offered.found if tag == "option" and a.get("value") == str(sam.id)] == []


async def test_tracks_are_offered_where_they_can_be_kept_and_first_for_videos(api: Api) -> None:
    ids = await filled(api)
    path, store = f"/tasks/{ids['task_id']}/annotate", api.server.state.service.store

    async def place() -> list[str]:
        """The tags around the choice that can fold."""
        open_tags: list[str] = []
        for tag, attributes in (await page(api, path)).found:
            if tag in ("fieldset", "details"):
                open_tags.append(tag)
            if attributes.get("id") == "track":
                return open_tags
        return ["nowhere"]

    assert (await place())[-1] == "details"
    async with store.write() as connection:
        await connection.execute(sa.update(frames).values(video_pts=0))
    assert await place() == []
    async with store.write() as connection:
        await connection.execute(sa.update(tasks).values(remote_kind="cvat", remote_ref="x"))
    assert await place() == []
    async with store.write() as connection:
        await connection.execute(sa.update(tasks).values(remote_kind=KIND))
    assert await place() == ["nowhere"]  # Label Studio has no tracks
