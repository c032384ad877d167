"""Tasks that live in CVAT and Label Studio, from their address to annotations there, by the pages alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.browser.conftest import STREET, Site, environment, visit
from tests.e2e.server import ServerProcess
from tests.servers.cvat import TOKEN, CvatServer, State, images_task, label
from tests.servers.label_studio import PERSONAL, LabelStudioServer

FRAMES = 4
LABELS = [label(11, "car"), label(12, "person"), label(13, "tree")]
CONFIG = """<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">
<Label value="Car"/><Label value="Person"/><Label value="Tree"/></RectangleLabels></View>"""


@pytest.fixture
def cvat() -> Iterator[CvatServer]:
    task = images_task(42, FRAMES, LABELS, size=(640, 480))
    task.pictures[:] = [(STREET / "images" / f"street_{n:02}.jpg").read_bytes() for n in range(FRAMES)]
    with CvatServer(State(task)) as server:
        yield server


@pytest.fixture
def studio() -> Iterator[LabelStudioServer]:
    with LabelStudioServer() as server:
        project = server.project(CONFIG)
        for n in range(FRAMES):
            name = f"street_{n:02}.jpg"
            file = server.upload(f"7/{name}", (STREET / "images" / name).read_bytes())
            server.add_task(project, {"image": file})
        yield server


@pytest.fixture
def site(chromium: Any, tmp_path: Path, cvat: CvatServer, studio: LabelStudioServer) -> Iterator[Site]:
    more = {"LABEL_STUDIO_URL": studio.url, "HUBBRIDGE_NETWORK__ALLOWED_HOSTS": f"127.0.0.1:{cvat.port}"}
    with ServerProcess(tmp_path, environment=environment(**more)) as server, visit(chromium, server) as visited:
        server.call("POST", "/v1/models", {"reference": str(STREET / "model"), "name": "street"})
        yield visited


def store_token(site: Site, kind: str, host: str, token: str) -> None:
    page = site.page
    site.goto("/settings")
    page.get_by_role("button", name="Add a token").first.click()
    page.get_by_label("Account", exact=True).select_option(kind)
    page.get_by_label("Host").fill(host)
    page.get_by_label("Token or key").fill(token)
    page.get_by_role("button", name="Store").click()
    site.expect(".accounts").to_contain_text(host)


def connect(site: Site, address: str) -> None:
    site.goto("/tasks/new")
    site.page.get_by_label("A task that lives in CVAT or Label Studio").fill(address)
    site.page.get_by_role("button", name="Connect").click()


def annotate(site: Site) -> None:
    page = site.page
    site.at(r"/tasks/1$")
    page.get_by_role("link", name="Automatic annotation").click()
    page.get_by_role("button", name="Try three frames").click()  # it waits for the page's module
    site.expect("#preview-body figure").to_have_count(3, timeout=120_000)  # the model is loaded first
    page.get_by_role("button", name="Annotate", exact=True).click()
    site.at(r"/jobs/1$")
    site.expect("#state").to_have_text("succeeded")


def test_a_task_in_cvat(site: Site, cvat: CvatServer) -> None:
    page, address = site.page, f"http://127.0.0.1:{cvat.port}/tasks/42"
    site.expected.append("/v1/tasks")  # what is refused is an error of the browser's console, too
    connect(site, address)
    site.expect(".toast.bad").to_contain_text("on the page Settings")
    site.expected.clear()
    store_token(site, "cvat", f"127.0.0.1:{cvat.port}", TOKEN)
    connect(site, address)
    site.at(r"/tasks/1$")
    site.expect("main").to_contain_text("stay in CVAT")
    site.expect(".frame").to_have_count(FRAMES)
    annotate(site)
    made = cvat.state.tasks[42].annotations
    assert made
    assert {each["source"] for each in made} == {"auto"}
    site.expect("#shapes").to_have_text(str(len(made)))
    page.get_by_role("link", name="View results").click()
    site.expect("#shape-count").not_to_have_text("0")
    site.goto("/jobs/1")
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("dialog").get_by_role("button", name="Undo").click()
    site.expect("#state").to_have_text("undone")
    assert cvat.state.tasks[42].annotations == []


def test_a_project_in_label_studio(site: Site, studio: LabelStudioServer) -> None:
    host = studio.url.partition("//")[2]
    store_token(site, "label-studio", host, PERSONAL)
    connect(site, f"{studio.url}/projects/7/data")
    site.at(r"/tasks/1$")
    site.expect("main").to_contain_text("stay in Label Studio")
    annotate(site)
    assert studio.projects[7].predictions
    site.goto("/settings")
    site.expect("main").to_contain_text(f"{host}/projects/7")
