"""A model that cuts out what a person points at, tried on its page by clicks, a box, and keys: SAM, random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests import architectures
from tests.e2e.browser.conftest import STREET, Site, environment, visit
from tests.e2e.server import ServerProcess

WIDTH, HEIGHT = 640, 480  # of the image


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("site")
    architectures.write(architectures.sam, folder / "sam")
    with ServerProcess(folder, environment=environment(HUBBRIDGE_SERVER__SERVER_FOLDERS=str(folder))) as started:
        started.call("POST", "/v1/models", {"reference": str(folder / "sam"), "name": "sam"})
        yield started


@pytest.fixture
def site(chromium: Any, server: ServerProcess) -> Iterator[Site]:
    with visit(chromium, server) as visited:
        visited.goto("/models/1")
        visited.page.locator("#file").set_input_files(STREET / "images" / "street_03.jpg")
        visited.expect("#try-canvas").to_be_visible()
        visited.expect("#try-undo").to_be_disabled()
        visited.page.wait_for_load_state("networkidle")
        yield visited


def asked(site: Site, act: Any) -> dict[str, Any]:
    """What is asked for by an act that is answered: points and a box by their names."""
    with site.page.expect_response(lambda response: "/segment?" in response.url) as found:
        act()
    assert found.value.status == 200, found.value.text()
    site.expect("#try-wait").to_be_hidden()
    query = parse_qs(urlsplit(found.value.url).query)
    return {name: json.loads(values[0]) for name, values in query.items()}


def place(site: Site, x: float, y: float) -> tuple[float, float]:
    box = site.page.locator("#try-canvas").bounding_box()
    return box["x"] + box["width"] * x, box["y"] + box["height"] * y


def near(point: list[float], x: float, y: float) -> bool:
    return abs(point[0] - WIDTH * x) < 4 and abs(point[1] - HEIGHT * y) < 4


def test_clicks_and_a_box_mean_an_object(site: Site) -> None:
    page = site.page
    found = asked(site, lambda: page.mouse.click(*place(site, 0.5, 0.25)))
    assert list(found) == ["positive"]
    assert near(found["positive"][0], 0.5, 0.25), found
    site.expect("#try-count").to_contain_text("pixels, score")

    def beside() -> None:
        page.keyboard.down("Shift")
        page.mouse.click(*place(site, 0.9, 0.75))
        page.keyboard.up("Shift")

    found = asked(site, beside)
    assert near(found["negative"][0], 0.9, 0.75), found
    assert len(found["positive"]) == 1

    def drag() -> None:
        page.mouse.move(*place(site, 0.75, 0.75))
        page.mouse.down()
        page.mouse.move(*place(site, 0.5, 0.5), steps=3)
        page.mouse.move(*place(site, 0.25, 0.25), steps=3)
        page.mouse.up()

    found = asked(site, drag)
    assert near(found["box"][:2], 0.25, 0.25), found
    assert near(found["box"][2:], 0.75, 0.75), found
    found = asked(site, page.get_by_role("button", name="Take back").click)
    assert "box" not in found
    page.get_by_role("button", name="Clear").click()
    site.expect("#try-count").to_have_text("")
    site.expect("#try-undo").to_be_disabled()


def test_a_point_beside_it_alone_asks_nothing(site: Site) -> None:
    requests: list[str] = []
    site.page.on("request", lambda request: requests.append(request.url))
    site.page.mouse.click(*place(site, 0.5, 0.5), button="right")
    site.expect("#try-count").to_have_text("Click on the object, too")
    assert requests == []


def test_keys_point_too(site: Site) -> None:
    page = site.page
    page.locator("#try-canvas").focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowUp")
    found = asked(site, lambda: page.keyboard.press("Enter"))
    assert near(found["positive"][0], 0.6, 0.5 - 0.02 * WIDTH / HEIGHT), found
    page.keyboard.press("Backspace")
    site.expect("#try-count").to_have_text("")


def test_what_the_browser_cannot_show_is_refused(site: Site, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    site.page.locator("#file").set_input_files(broken)
    site.expect("#toasts").to_contain_text("broken.png cannot be shown")
    site.expect("#drop").to_be_visible()
