"""What a job would replace is said before it does, and nobody's work goes without a question."""

from __future__ import annotations

import json

from tests.e2e.browser.conftest import Site, add_street


def test_peoples_shapes_are_asked_about_and_with_a_region_not_all_of_them_go(site: Site) -> None:
    task, _ = add_street(site.server)
    box = {"category_id": 1, "image_id": 1, "iscrowd": 0, "area": 400}
    coco = {
        "images": [{"id": 1, "file_name": "street_00.jpg", "width": 640, "height": 480}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [{"id": n, "bbox": [20 * n, 20, 20, 20], **box} for n in (1, 2, 3)],
    }
    at = f"/v1/tasks/{task}/import?format=coco"
    site.server.call("POST", at, json.dumps(coco).encode(), content_type="application/octet-stream")
    page = site.page
    site.goto(f"/tasks/{task}/annotate")
    site.expect('[data-clean="all"]').to_have_text("3 by people go, frame by frame.")
    page.get_by_role("button", name="Draw a region").click()
    page.get_by_label("Left %").fill("5")
    page.get_by_role("button", name="Use this region").click()
    site.expect('[data-clean="all"]').to_have_text("2 by people go, frame by frame.")
    page.locator('[name=clean][value="all"]').check()
    page.get_by_role("button", name="Annotate", exact=True).click()
    site.expect("dialog[open]").to_contain_text("2 shapes that people made go as well")
    page.get_by_role("button", name="Cancel").click()
    site.at(rf"/tasks/{task}/annotate")
