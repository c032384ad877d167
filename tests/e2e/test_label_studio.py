"""`hubbridge serve` as an ML backend, with the embedded model, asked as Label Studio asks; and killed in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from label_studio_sdk.label_interface import LabelInterface

from tests.e2e.conftest import IMAGES, MODEL, Program
from tests.e2e.server import ServerProcess
from tests.servers.label_studio import PERSONAL, LabelStudioServer, Project

CONFIG = """<View><Image name="image" value="$image"/>
<RectangleLabels name="label" toName="image"><Label value="Car"/><Label value="Person"/><Label value="Tree"/>
</RectangleLabels></View>"""


@pytest.fixture
def studio() -> Iterator[LabelStudioServer]:
    with LabelStudioServer() as server:
        yield server


def street(studio: LabelStudioServer, times: int) -> Project:
    """The example's images as tasks, so many times over."""
    project = studio.project(CONFIG)
    for number in range(times):
        for path in sorted(IMAGES.glob("*.*")):
            studio.add_task(project, {"image": studio.upload(f"7/{number}-{path.name}", path.read_bytes())})
    return project


def wait(condition: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def environment(studio: LabelStudioServer, within_s: float) -> dict[str, str]:
    return {
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": PERSONAL,
        "HUBBRIDGE_LABEL_STUDIO__ANSWER_WITHIN_SECONDS": str(within_s),
    }


def test_predictions_of_the_embedded_model(tmp_path: Path, studio: LabelStudioServer) -> None:
    variables = environment(studio, 90)
    program = Program(tmp_path / "data", variables)
    program.run("model", "add", MODEL, "--name", "street")
    project = street(studio, 1)
    with ServerProcess(tmp_path, environment=variables) as server:
        url = f"{server.url}/label-studio/street"
        assert studio.connect(url, project) == ""
        studio.retrieve(url, project)
        listed = program.run("label-studio", "list").stdout
    assert len(project.predictions) == len(project.tasks)
    found = [region for each in project.predictions.values() for region in each["result"]]
    assert {region["value"]["rectanglelabels"][0] for region in found} == {"Car", "Person", "Tree"}
    assert all(LabelInterface(CONFIG).validate_prediction(each) for each in project.predictions.values())
    assert f"{len(project.tasks)} tasks answered." in listed
    checked = program.run("label-studio", "check", f"{studio.url}/projects/7", "--model", "street").stdout
    assert "WRONG" not in checked


def test_a_server_that_is_killed_while_it_writes_leaves_nothing_twice(
    tmp_path: Path, studio: LabelStudioServer
) -> None:
    variables = environment(studio, 0.05) | {"HUBBRIDGE_JOBS__BATCH_SIZE": "2", "HUBBRIDGE_JOBS__COMMIT_FRAMES": "4"}
    Program(tmp_path / "data", variables).run("model", "add", MODEL, "--name", "street")
    project = street(studio, 4)
    server = ServerProcess(tmp_path, environment=variables)
    with server:
        studio.retrieve(f"{server.url}/label-studio/street", project)
        wait(lambda: len(project.predictions) > 4)
        server.kill()
    assert len(project.predictions) < len(project.tasks), "it was killed too late to tell"
    with server:
        wait(lambda: len({each["task"] for each in project.predictions.values()}) == len(project.tasks))
        studio.retrieve(f"{server.url}/label-studio/street", project)
    assert sorted(each["task"] for each in project.predictions.values()) == sorted(project.tasks)
