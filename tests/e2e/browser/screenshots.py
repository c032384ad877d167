"""Screenshots of every page, light and dark, for README and docs: python -m tests.e2e.browser.screenshots [FOLDER]

A service of its own is filled with the example images and the embedded model, which comes from a loopback hub under the
name demo/street. WebP files land in docs/images/.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.e2e.browser.conftest import CHROMIUM_ARGUMENTS, ROOT, STREET, environment
from tests.e2e.server import ServerProcess
from tests.hub import HubServer, Repository

FOLDER = ROOT / "docs" / "images"
SIZE = {"width": 1440, "height": 900}
LABELS = [
    {"name": "vehicle", "type": "rectangle", "color": "#2f7de1"},
    {"name": "person", "color": "#e0533d"},
    {"name": "plant", "color": "#3f9d4f"},
    {"name": "traffic_light", "color": "#b0619f"},
    {"name": "sign", "color": "#d99a1c"},
]
Act = Callable[[Any], None]


def fill(server: ServerProcess, images: Path) -> None:
    """A model from the hub, two tasks, three jobs, an account."""
    model = server.call("POST", "/v1/models", {"reference": "demo/street", "name": "street", "download": True})
    street = server.call("POST", "/v1/tasks", {"name": "Street, March", "labels": LABELS})
    yard = server.call("POST", "/v1/tasks", {"name": "Crossing at night", "labels": LABELS[:3]})
    pictures = sorted(images.glob("*.jpg"))
    for task, chosen in ((street, pictures), (yard, pictures[5:12])):
        paths = {"server_paths": [str(path) for path in chosen]}
        server.call("POST", f"/v1/tasks/{task['id']}/frames", paths)
    spec = {"model_id": model["id"], "accept_suggestions": 0.7}
    for more in (
        {"target": yard["id"], "frames": {"stop": 4}},
        {"target": street["id"], "threshold": 0.6},
        {"target": street["id"], "threshold": 0.4, "clean": "model", "frames": {"stop": 13}},
    ):
        job = server.call("POST", "/v1/jobs", {**spec, **more})
        server.wait_for(job["id"], ("succeeded",))
    server.call("POST", "/v1/connections", {"kind": "roboflow", "secret": "rf_secret"})
    server.call("POST", "/v1/connections", {"kind": "cvat", "host": "cvat.example.com", "secret": "secret"})


def add_a_model(page: Any) -> None:
    page.get_by_role("button", name="Add a model").click()
    page.get_by_label("Address or id of the model").fill("demo/street")
    page.get_by_role("button", name="Look it up").click()
    page.locator("#register").wait_for(state="visible")
    page.mouse.move(5, 5)


def try_a_model(page: Any) -> None:
    page.locator("#file").set_input_files(STREET / "images" / "street_03.jpg")
    page.locator("#try-labels button").first.wait_for()


def match_labels(page: Any) -> None:
    page.locator("#match-body tbody tr").first.wait_for()
    page.get_by_role("button", name="Accept all").click()
    page.get_by_role("button", name="Try three frames").click()
    page.locator("#preview-body figure").nth(2).wait_for()
    page.locator(".toast button").click()


def fill_the_form(page: Any) -> None:
    page.get_by_label("Name", exact=True).fill("Street, April")
    page.get_by_role("tab", name="List").click()
    page.locator("#list").fill("vehicle:rectangle\nperson\nplant\ntraffic_light")
    page.get_by_role("tab", name="Form").click()
    page.locator("[data-files]").set_input_files(sorted((STREET / "images").glob("*.jpg"))[:6])


def select_a_shape(page: Any) -> None:
    page.locator("#shape-list button").nth(1).click()


def nothing(_: Any) -> None:
    return


SHOTS: tuple[tuple[str, str, Act], ...] = (
    ("tasks", "/tasks", nothing),
    ("task-new", "/tasks/new", fill_the_form),
    ("task", "/tasks/1", nothing),
    ("annotate", "/tasks/1/annotate", match_labels),
    ("viewer", "/tasks/1/frames/3", select_a_shape),
    ("compare", "/tasks/1/frames/7?job=3", nothing),
    ("models", "/models", nothing),
    ("model-add", "/models", add_a_model),
    ("model", "/models/1", try_a_model),
    ("jobs", "/jobs", nothing),
    ("job", "/jobs/3", nothing),
    ("settings", "/settings", nothing),
)


def take(page: Any, url: str, path: Path, act: Act, *, whole: bool = False) -> None:
    page.goto(url)
    page.wait_for_load_state("networkidle")
    act(page)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(400)  # for canvases
    shot = Image.open(io.BytesIO(page.screenshot(full_page=whole)))
    shot.convert("RGB").save(path, "WEBP", quality=86, method=6)
    print(path)


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    target.mkdir(parents=True, exist_ok=True)
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise SystemExit("Chromium is not installed: apt-get install chromium")
    with (
        tempfile.TemporaryDirectory(prefix="hubbridge-") as folder,
        HubServer({"demo/street": Repository(STREET / "model")}) as hub,
        ServerProcess(
            Path(folder), environment=environment(hub, HUBBRIDGE_SERVER__SERVER_FOLDERS=f"{folder}/images")
        ) as server,
        sync_playwright() as playwright,
    ):
        images = Path(shutil.copytree(STREET / "images", Path(folder) / "images"))
        fill(server, images)
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=CHROMIUM_ARGUMENTS)
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport=SIZE, color_scheme=scheme, reduced_motion="reduce")
            for name, path, act in SHOTS:
                take(page, server.url + path, target / f"{name}-{scheme}.webp", act)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
