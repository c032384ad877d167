"""axe finds no serious violation on any page, light and dark; pages fit 400 and 2,560 pixels; keys reach everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.browser.conftest import AXE, Site, add_street, environment, need, visit
from tests.e2e.server import ServerProcess

PAGES = (
    "/tasks",
    "/tasks/new",
    "/tasks/1",
    "/tasks/1?show=unannotated",
    "/tasks/1/annotate",
    "/tasks/1/frames/1?job=1",
    "/models",
    "/models/1",
    "/jobs",
    "/jobs/1",
    "/settings",
    "/nothing",
)
DIALOGS = {
    "/models": "add-model",
    "/tasks/1": "import",
    "/tasks/1/annotate": "region",
    "/settings": "add-account",
    "/models/1": "rename",
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("site"), environment=environment()) as server:
        task, model = add_street(server)
        server.call("POST", "/v1/connections", {"kind": "roboflow", "secret": "rf_hidden"})
        spec = {"target": task, "model_id": model, "accept_suggestions": 0.5, "frames": {"stop": 6}}
        server.wait_for(server.call("POST", "/v1/jobs", spec)["id"], ("succeeded",))
        yield server


@pytest.fixture(params=["light", "dark"])
def themed(request: pytest.FixtureRequest, chromium: Any, filled: ServerProcess) -> Iterator[Site]:
    with visit(chromium, filled, color_scheme=request.param, reduced_motion="reduce") as site:
        site.expected.append("/nothing")
        yield site


def violations(site: Site) -> list[str]:
    """What axe calls serious or critical, with the elements."""
    site.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = site.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']}: {node['target']} {node.get('failureSummary', '')[:300]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def test_axe_finds_no_serious_violation(themed: Site) -> None:
    need(AXE.exists(), "axe-core is not installed: make .venv/npm")
    wrong = []
    for path in PAGES:
        themed.goto(path)
        themed.page.wait_for_load_state("networkidle")
        wrong += [f"{path} {each}" for each in violations(themed)]
    for path, dialog in DIALOGS.items():
        themed.goto(path)
        themed.page.wait_for_load_state("networkidle")
        themed.page.evaluate(f"document.getElementById('{dialog}').showModal()")
        wrong += [f"{path}#{dialog} {each}" for each in violations(themed)]
    themed.goto("/tasks")
    themed.page.keyboard.press("?")
    wrong += [f"help {each}" for each in violations(themed)]
    assert wrong == []


@pytest.mark.parametrize("width", [400, 2560])
def test_pages_fit(chromium: Any, filled: ServerProcess, width: int) -> None:
    with visit(chromium, filled) as site:
        site.expected.append("/nothing")
        site.page.set_viewport_size({"width": width, "height": 800})
        for path in PAGES:
            site.goto(path)
            site.page.wait_for_load_state("networkidle")
            needed = site.page.evaluate("document.documentElement.scrollWidth")
            assert needed <= width, f"{path} needs {needed} pixels"


def test_lists_are_read_without_scrolling_sideways_on_a_telephone(chromium: Any, filled: ServerProcess) -> None:
    with visit(chromium, filled) as site:
        site.page.set_viewport_size({"width": 400, "height": 800})
        for path in ("/jobs", "/models"):
            site.goto(path)
            site.page.wait_for_load_state("networkidle")
            scrolls = "(box) => box.scrollWidth > box.clientWidth"
            assert not site.page.locator(".table-scroll").evaluate(scrolls), path
            title = site.page.locator("td .title").first.bounding_box()
            assert title["height"] < 40, f"{path}: a short name is broken into {title['height']} pixels"
        site.expect('td[data-name="State"] .badge').to_be_visible()


def test_the_theme_is_kept_and_changes_by_a_key(chromium: Any, filled: ServerProcess) -> None:
    with visit(chromium, filled, color_scheme="light") as site:
        page = site.page
        ground = "getComputedStyle(document.body).backgroundColor + getComputedStyle(document.body).color"
        site.goto("/tasks")
        light = page.evaluate(ground)
        page.keyboard.press("t")
        dark = page.evaluate(ground)
        assert dark != light
        site.goto("/jobs")
        assert page.evaluate(ground) == dark
        page.get_by_role("button", name="Change between light and dark").click()
        assert page.evaluate(ground) == light


def test_keys_lead_everywhere_and_the_overview_names_them(chromium: Any, filled: ServerProcess) -> None:
    with visit(chromium, filled) as site:
        page = site.page
        site.goto("/tasks")
        page.keyboard.press("Tab")
        site.expect(":focus").to_have_text("Skip to the content")
        for key, path in (("m", "/models"), ("j", "/jobs"), ("s", "/settings"), ("t", "/tasks")):
            page.keyboard.press("g")
            page.keyboard.press(key)
            site.at(path + "$")
        page.keyboard.press("?")
        site.expect("#help").to_contain_text("Go to models")
        page.keyboard.press("Escape")
        site.expect("#help").to_be_hidden()
        page.keyboard.press("/")
        page.keyboard.type("gm?")  # in a field, keys are text
        assert page.locator("#q").input_value() == "gm?"


def test_nothing_is_asked_of_another_host(chromium: Any, filled: ServerProcess) -> None:
    with visit(chromium, filled) as site:
        asked: list[str] = []
        site.expected.append("/nothing")
        site.page.on("request", lambda request: asked.append(request.url))
        for path in PAGES:
            site.goto(path)
            site.page.wait_for_load_state("networkidle")
        assert [url for url in asked if not url.startswith((filled.url, "blob:", "data:"))] == []


def test_an_inline_script_does_not_run(chromium: Any, filled: ServerProcess, tmp_path: Path) -> None:
    with visit(chromium, filled) as site:
        site.expected.append("Content Security Policy")
        site.goto("/tasks")
        site.page.evaluate(
            "() => { const script = document.createElement('script'); script.textContent = 'globalThis.broken = 1';"
            " document.body.append(script); document.body.setAttribute('style', 'display: none'); }"
        )
        assert site.page.evaluate("globalThis.broken === undefined")
        assert site.page.evaluate("getComputedStyle(document.body).display") != "none"
