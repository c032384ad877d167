"""The main job by mouse and keyboard: a model by its URL, a task from files, matching, preview, job, viewer, undo."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.e2e.browser.conftest import STREET, Site

RAW_LABELS = [
    {"id": 7, "name": "vehicle", "type": "rectangle", "color": "#1e88e5", "attributes": []},
    {"id": 8, "name": "person", "type": "any", "attributes": []},
    {"id": 9, "name": "plant", "attributes": []},
    {"id": 10, "name": "traffic_light", "attributes": []},
    {"id": 11, "name": "sign", "attributes": []},
]


def count(site: Site, selector: str) -> int:
    """The first number in an element."""
    found = re.search(r"\d+", site.page.locator(selector).inner_text())
    return int(found[0]) if found else 0


def test_from_a_url_to_annotations_and_back(site: Site, tmp_path: Path) -> None:
    add_a_model(site)
    try_it(site)
    create_a_task(site)
    match_and_preview(site)
    annotate_and_view(site)
    other_threshold(site)
    other_labels(site)
    export(site, tmp_path)
    undo(site)


def add_a_model(site: Site) -> None:
    page, hub = site.page, site.hub
    assert hub is not None
    site.goto("/tasks")
    page.get_by_role("link", name="Add a model").click()
    page.get_by_label("Address or id of the model").fill(f"{hub.url}/demo/street")
    site.expect("#understood").to_contain_text("Hugging Face model demo/street, revision main")
    page.get_by_role("button", name="Look it up").click()
    site.expect("#resolved").to_contain_text("8 labels")
    site.expect("#resolved").to_contain_text("Here, ONNX Runtime")
    site.expect("#resolved .label-list").to_contain_text("traffic light")
    assert not [seen for seen in hub.seen if "cdn" in seen.path], "weights were downloaded before anybody agreed"
    page.get_by_role("button", name="Add this model").click()
    site.at(r"/models/1$")
    site.expect("#download-state").to_have_text("ready")
    site.goto("/models")
    page.get_by_label("Filter by name, source or label").fill("traffic")
    site.expect("#models tr:visible").to_have_count(1)
    page.get_by_label("Filter by name, source or label").fill("zebra")
    site.expect("#nothing").to_be_visible()


def try_it(site: Site) -> None:
    page = site.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/predict" in request.url else None)
    site.goto("/models/1")
    page.locator("#file").set_input_files(STREET / "images" / "street_03.jpg")
    site.expect("#try-count").to_contain_text("shapes of")
    before = count(site, "#try-count")
    page.locator("#try-threshold").fill("0.05")
    assert count(site, "#try-count") > before
    page.locator("#try-threshold").fill("0.99")
    assert count(site, "#try-count") < before
    assert len(asked) == 1, "the slider asks nobody"
    site.expect("#runs").to_have_text("Here, ONNX Runtime on cpu, full precision")


def create_a_task(site: Site) -> None:
    page = site.page
    site.goto("/tasks/new")
    page.get_by_label("Name", exact=True).fill("Street, March")
    page.get_by_role("tab", name="CVAT raw JSON").click()
    page.locator("#raw").fill(json.dumps(RAW_LABELS))
    page.get_by_role("tab", name="Form").click()
    site.expect(".label-row").to_have_count(5)
    page.locator("[data-files]").set_input_files(sorted((STREET / "images").glob("*.jpg")))
    site.expect("[data-summary]").to_contain_text("16 files")
    page.get_by_role("button", name="Create task").click()
    site.at(r"/tasks/1$")
    site.expect(".frames > a").to_have_count(16)
    site.expect("#toasts").to_contain_text("16 frames added")
    site.expect("#coverage").to_contain_text("0 of 16 frames")


def match_and_preview(site: Site) -> None:
    page = site.page
    page.keyboard.press("a")  # the shortcut
    site.at(r"/tasks/1/annotate")
    site.expect("#matched").to_have_text("2 of 8 labels matched")
    page.get_by_role("button", name="Unmatched").click()
    site.expect("#match-body tbody tr").to_have_count(6)
    page.get_by_label("Accept from").fill("0.7")
    page.get_by_role("button", name="Accept all").click()
    site.expect("#matched").to_have_text("8 of 8 labels matched")
    page.get_by_role("button", name="By task label").click()
    site.expect(".group-list li").to_have_count(5)
    site.expect(".group-list li:first-child .chip").to_have_count(4)  # car, bus, truck, bicycle
    page.get_by_label("Leave bicycle out").click()
    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_label("Task label for bicycle").select_option("vehicle")
    site.expect('tr:has-text("bicycle") .why').to_contain_text("bicycle is a kind of vehicle")
    draw_a_region(site)
    page.get_by_role("button", name="Try three frames").click()
    site.expect("#preview-body figure").to_have_count(3)
    site.expect("#preview-body p").to_contain_text("shapes on 3 frames")


def draw_a_region(site: Site) -> None:
    page = site.page
    page.get_by_role("button", name="Draw a region").click()
    site.expect("#region-canvas").to_have_attribute("style", re.compile("aspect-ratio"))  # the frame is there
    box = page.locator("#region-canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.9)
    page.mouse.up()
    drawn = {side: float(page.get_by_label(f"{side} %").input_value()) for side in ("Left", "Width", "Top", "Height")}
    assert (drawn["Left"], drawn["Top"]) == (50, 50), drawn  # the frame stands in the middle of the canvas
    assert 38 <= drawn["Height"] <= 42
    assert drawn["Height"] <= drawn["Width"] <= 50
    page.get_by_role("button", name="Use this region").click()
    site.expect("#region-text").to_contain_text("wide")
    page.get_by_role("button", name="Whole frame", exact=True).click()
    site.expect("#region-text").to_have_text("The whole frame is looked at.")


def annotate_and_view(site: Site) -> None:
    page = site.page
    site.expect('[data-clean="all"]').to_contain_text("Nothing goes")
    page.get_by_role("button", name="Annotate", exact=True).click()
    site.at(r"/jobs/1$")
    site.expect("#state").to_have_text("succeeded")
    site.expect("#frames").to_have_text("16 of 16")
    site.expect("#per-label").to_contain_text("vehicle")
    page.get_by_role("link", name="View results").click()
    site.at(r"/tasks/1/frames/0\?job=1")
    site.expect("#shape-list button").not_to_have_count(0)
    site.expect("#stage-before").to_be_visible()
    page.keyboard.press("b")
    site.expect("#stage-before").to_be_hidden()
    page.keyboard.press("ArrowRight")
    site.at(r"/frames/1")
    page.keyboard.press("d")
    site.at(r"/frames/0")
    site.expect("#frame-name").to_have_text("street_00.jpg")
    shown = count(site, "#shape-count")
    page.get_by_role("button", name="Hide vehicle").click()
    site.expect("#shape-count").to_contain_text(f"of {shown}")
    page.get_by_role("button", name="Show vehicle").click()
    page.locator("#score-filter").fill("0.9")
    assert count(site, "#shape-count") < shown
    page.locator("#score-filter").fill("0")
    page.locator("#shape-list button").first.click()
    site.expect("#shape-facts").to_contain_text("job 1")


def other_threshold(site: Site) -> None:
    page = site.page
    before = site.server.call("GET", "/v1/jobs/1")["shapes_created"]
    page.locator("#job-threshold").fill("0.8")
    site.expect("#job-body p").to_contain_text("nothing is predicted again")
    page.get_by_role("button", name="Apply to the task").click()
    site.expect("#toasts").to_contain_text("from stored results")
    site.expect("#job option:checked").to_contain_text("Job 2")
    after = site.server.call("GET", "/v1/tasks/1")["shape_count"]
    assert after == site.server.call("GET", "/v1/jobs/2")["shapes_created"] < before


def other_labels(site: Site) -> None:
    page = site.page
    page.get_by_role("button", name="Other labels").click()
    page.get_by_label("Task label for tree").select_option("")
    page.get_by_role("button", name="Apply", exact=True).click()
    site.expect("#job option:checked").to_contain_text("Job 3")
    assert "plant" not in site.server.call("GET", "/v1/tasks/1/statistics")["labels"]


def export(site: Site, tmp_path: Path) -> None:
    page = site.page
    site.goto("/tasks/1")
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.locator("#export").get_by_role("button", name="Export").click()
    path = tmp_path / "export.json"
    download.value.save_as(path)
    document = json.loads(path.read_text())
    assert len(document["annotations"]) == site.server.call("GET", "/v1/tasks/1")["shape_count"]


def undo(site: Site) -> None:
    page = site.page
    for job in (3, 2, 1):
        site.goto(f"/jobs/{job}")
        page.get_by_role("button", name="Undo").click()
        page.locator("#confirm").get_by_role("button", name="Undo").click()
        site.expect("#state").to_have_text("undone")
    assert site.server.call("GET", "/v1/tasks/1")["shape_count"] == 0
    site.goto("/tasks/1?show=unannotated")
    site.expect(".frames > a").to_have_count(16)
