"""Skeletons in the viewer: points, bones and box, and where a pointer hits them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.browser.conftest import Site, environment, visit
from tests.e2e.server import ServerProcess
from tests.unit.bridge.web.conftest import picture

WIDTH, HEIGHT = 600, 400
PINK = (255, 0, 255)
JOINTS = {"left_shoulder": (150, 60), "left_elbow": (250, 180), "left_wrist": (350, 60), "nose": (450, 60)}
HIDDEN = ("right_shoulder", (30, 350))  # named, and not there: no bone leads to it
LABELS = [
    {
        "name": "pose",
        "type": "skeleton",
        "color": "#ff00ff",
        "sublabels": [{"name": name} for name in (*JOINTS, HIDDEN[0])],
    }
]
POINTS = "".join(
    f'<points label="{name}" source="manual" outside="{int(name == HIDDEN[0])}" occluded="0" points="{x},{y}"></points>'
    for name, (x, y) in [*JOINTS.items(), HIDDEN]
)
XML = (
    '<?xml version="1.0"?><annotations><version>1.1</version><image id="0" name="a.png" width="600" height="400">'
    f'<skeleton label="pose" source="manual" z_order="0">{POINTS}</skeleton></image></annotations>'
).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("site"), environment=environment()) as started:
        started.call("POST", "/v1/tasks", {"name": "Poses", "labels": LABELS})
        frames = "/v1/tasks/1/frames?filename=a.png"
        started.call("POST", frames, picture(3, size=(WIDTH, HEIGHT)), content_type="application/octet-stream")
        answer = started.call("POST", "/v1/tasks/1/import?format=cvat", XML, content_type="application/octet-stream")
        assert answer["shapes"] == 1, answer
        yield started


@pytest.fixture
def site(chromium: Any, server: ServerProcess) -> Iterator[Site]:
    with visit(chromium, server) as visited:
        visited.expected.append("willReadFrequently")  # the tests read pixels
        visited.goto("/tasks/1/frames/0")
        visited.expect("#shape-count").to_have_text("1")
        visited.page.keyboard.press("n")  # no names over the shapes
        yield visited


def place(site: Site, x: float, y: float) -> tuple[float, float]:
    box = site.page.locator("#canvas").bounding_box()
    scale = min(box["width"] / WIDTH, box["height"] / HEIGHT)
    return (
        box["x"] + (box["width"] - WIDTH * scale) / 2 + x * scale,
        box["y"] + (box["height"] - HEIGHT * scale) / 2 + y * scale,
    )


def colour(site: Site, x: float, y: float) -> tuple[int, ...]:
    """On the canvas, at a place of the frame."""
    box = site.page.locator("#canvas").bounding_box()
    left, top = place(site, x, y)
    found = site.page.evaluate(
        """([x, y]) => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => {
          const canvas = document.querySelector("#canvas");
          const ratio = canvas.width / canvas.clientWidth;
          resolve([...canvas.getContext("2d").getImageData(Math.round(x * ratio), Math.round(y * ratio), 1, 1).data]);
        })))""",
        [left - box["x"], top - box["y"]],
    )
    return tuple(found[:3])


def test_a_skeleton_is_points_and_bones_in_a_box(site: Site) -> None:
    for x, y in JOINTS.values():
        assert colour(site, x, y) == PINK
    assert colour(site, 200, 120) == PINK, "shoulder and elbow are joined"
    assert colour(site, 400, 60) != PINK, "wrist and nose are not"
    bare = colour(site, 250, 100)
    assert colour(site, *HIDDEN[1]) == bare
    assert colour(site, 90, 205) == bare, "no bone leads to a joint that is not there"
    site.page.mouse.click(*place(site, 250, 100))  # within its box, on none of its points
    site.expect("#shape-facts").to_contain_text("skeleton")
    assert colour(site, 250, 100) == bare, "it is not filled"
    site.page.get_by_role("button", name="Hide pose").click()
    assert colour(site, 150, 60) == bare
