"""A job seen live: through a reload and a new start of the server, cancelled, resumed, its failed frames retried."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from PIL import Image

from tests.e2e.browser.conftest import Site, environment, visit
from tests.e2e.server import ServerProcess
from tests.servers.nuclio import Deployed, Nuclio

FRAMES = 24


class GatedNuclio(Nuclio):
    """Answers ``free`` frames, and the rest when ``gate`` is open; ``broken`` numbers of calls fail."""

    def __init__(self, functions: dict[str, Deployed]) -> None:
        super().__init__(functions)
        self.gate, self.free, self.asked, self.failing = threading.Event(), 5, 0, False

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        import asyncio  # noqa: PLC0415

        if request.method == "POST":
            self.asked += 1
            if self.asked > self.free:
                while not self.gate.is_set():
                    await asyncio.sleep(0.02)
            if self.failing:
                return self.say(400, "This picture is not for me.")
        return await super().answer(request, body)


def pictures(count: int, size: tuple[int, int] = (160, 120)) -> bytes:
    rng = np.random.default_rng(0)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(count):
            picture = io.BytesIO()
            pixels = rng.integers(0, 255, (size[1] // 8, size[0] // 8, 3), np.uint8)
            Image.fromarray(pixels).resize(size).save(picture, "PNG")
            archive.writestr(f"{number:03}.png", picture.getvalue())
    return packed.getvalue()


@pytest.fixture
def host() -> Iterator[GatedNuclio]:
    with GatedNuclio({"finder": Deployed({"car": "rectangle", "person": "polygon"})}) as running:
        yield running
        running.gate.set()


@pytest.fixture
def started(chromium: Any, tmp_path: Path, host: GatedNuclio) -> Iterator[Site]:
    """A job on 24 frames whose model answers five of them."""
    allowed = {"HUBBRIDGE_NETWORK__ALLOWED_HOSTS": f"127.0.0.1:{host.port}", "HUBBRIDGE_JOBS__COMMIT_FRAMES": "1"}
    with ServerProcess(tmp_path, environment=environment(**allowed)) as server, visit(chromium, server) as site:
        reference = f"http://127.0.0.1:{host.port}/api/functions/finder"
        model = server.call("POST", "/v1/models", {"reference": reference, "name": "finder"})
        task = server.call("POST", "/v1/tasks", {"name": "Yard", "labels": [{"name": "car"}, {"name": "person"}]})
        at = f"/v1/tasks/{task['id']}/frames?filename=yard.zip"
        server.call("POST", at, pictures(FRAMES), content_type="application/zip")
        server.call("POST", "/v1/jobs", {"target": task["id"], "model_id": model["id"], "threshold": 0.1})
        yield site


def test_cancel_and_resume_live(started: Site, host: GatedNuclio) -> None:
    page = started.page
    started.goto("/jobs/1")
    started.expect("#state").to_have_text("running")
    started.expect("#connection").to_have_text("Live")
    started.expect("#frames").to_have_text(f"5 of {FRAMES}")
    started.expect("#per-label").to_contain_text("car")
    page.reload()
    started.expect("#frames").to_have_text(f"5 of {FRAMES}")
    started.goto("/jobs?state=running")
    started.expect("tbody tr").to_have_count(1)
    started.goto("/jobs/1")
    page.get_by_role("button", name="Cancel").click()
    started.expect("#state").to_have_text("cancelling")
    host.gate.set()
    started.expect("#state").to_have_text("cancelled")
    kept = started.server.call("GET", "/v1/jobs/1")["frames_done"]
    assert 5 <= kept < FRAMES
    page.get_by_role("button", name="Resume").click()
    started.expect("#state").to_have_text("succeeded")
    started.expect("#frames").to_have_text(f"{FRAMES} of {FRAMES}")
    assert started.server.call("GET", "/v1/jobs/1")["frames_failed"] == 0


def test_a_job_is_followed_through_a_new_start_of_the_server(started: Site, host: GatedNuclio) -> None:
    started.expected += ["ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED", "ERR_CONNECTION_RESET", "ERR_EMPTY"]
    server = started.server
    started.goto("/jobs/1")
    started.expect("#frames").to_have_text(f"5 of {FRAMES}")
    port = int(server.url.rsplit(":", 1)[1])
    server.kill()
    started.expect("#connection").to_contain_text("does not answer")
    host.gate.set()
    server.start(port=port)
    started.expect("#state").to_have_text("succeeded")
    started.expect("#frames").to_have_text(f"{FRAMES} of {FRAMES}")
    started.expect("#connection").to_have_text("")


def test_failed_frames_say_why_and_are_tried_again(started: Site, host: GatedNuclio) -> None:
    page = started.page
    host.failing = True
    host.gate.set()
    started.goto("/jobs/1")
    started.expect("#state").to_have_text("failed")
    started.expect("#errors-card").to_be_visible()
    started.expect("#errors tr:first-child").to_contain_text("This picture is not for me")
    host.failing = False
    page.get_by_role("button", name="Retry").click()
    started.expect("#state").to_have_text("succeeded")
    started.expect("#errors-card").to_be_hidden()
    started.expect("#frames").to_have_text(f"{FRAMES} of {FRAMES}")


def test_shapes_of_consecutive_frames_are_linked_into_tracks(started: Site, host: GatedNuclio) -> None:
    page = started.page
    host.gate.set()
    started.goto("/jobs/1")
    started.expect("#state").to_have_text("succeeded")
    started.goto("/tasks/1/annotate")
    started.expect("#matched").to_have_text("2 of 2 labels matched")
    page.get_by_text("More options").click()
    page.get_by_label("Link shapes into tracks").check()
    page.get_by_role("button", name="Annotate", exact=True).click()
    started.at(r"/jobs/2$")
    started.expect("#state").to_have_text("succeeded")
    frames = [started.server.call("GET", f"/v1/tasks/1/frames/{number}")["shapes"] for number in range(FRAMES)]
    linked = {shape["job_id"] for shapes in frames for shape in shapes if shape["track_id"]}
    assert linked == {2}
