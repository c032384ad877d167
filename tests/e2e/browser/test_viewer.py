"""The viewer with shapes of every type, with 500 of them on a 4K image, and with files that no browser shows."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from tests.e2e.browser.conftest import Site, add_street, environment, visit
from tests.e2e.server import ServerProcess

WIDTH, HEIGHT = 3840, 2160
KINDS = ("rectangle", "polygon", "ellipse", "mask")


def image(form: str, size: tuple[int, int]) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), 90, np.uint8)).save(packed, form)
    return packed.getvalue()


def cvat_xml(shapes: int) -> bytes:
    """An annotation file in CVAT's format with shapes of every type, in rows over the frame."""
    lines = ['<?xml version="1.0"?><annotations><version>1.1</version>']
    lines.append(f'<image id="0" name="large.jpg" width="{WIDTH}" height="{HEIGHT}">')
    for n in range(shapes):
        x, y = 20 + n % 30 * 125, 20 + n // 30 * 120
        at = f'label="thing{n % 4}" source="manual" occluded="0" z_order="0"'
        match KINDS[n % 4]:
            case "rectangle":
                lines.append(f'<box {at} xtl="{x}" ytl="{y}" xbr="{x + 90}" ybr="{y + 80}"></box>')
            case "polygon":
                lines.append(f'<polygon {at} points="{x},{y};{x + 90},{y + 10};{x + 40},{y + 80}"></polygon>')
            case "ellipse":
                lines.append(f'<ellipse {at} cx="{x + 45}" cy="{y + 40}" rx="45" ry="30"></ellipse>')
            case "mask":
                lines.append(f'<mask {at} rle="0, 7200" left="{x}" top="{y}" width="90" height="80"></mask>')
    lines.append(f'<points {at} points="{x},{y};{x + 5},{y + 5}"></points>')
    lines.append('<tag label="thing0" source="manual"></tag></image></annotations>')
    return "".join(lines).encode()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("site"), environment=environment()) as server:
        labels = [{"name": f"thing{n}"} for n in range(4)]
        task = server.call("POST", "/v1/tasks", {"name": "Many", "labels": labels})
        at = f"/v1/tasks/{task['id']}"
        for name, body in (("large.jpg", image("JPEG", (WIDTH, HEIGHT))), ("scan.tif", image("TIFF", (300, 200)))):
            server.call("POST", f"{at}/frames?filename={name}", body, content_type="application/octet-stream")
        answer = server.call("POST", f"{at}/import?format=cvat", cvat_xml(500), content_type="application/octet-stream")
        assert answer["shapes"] == 502, answer
        yield server


@pytest.fixture
def site(chromium: Any, many: ServerProcess) -> Iterator[Site]:
    with visit(chromium, many) as visited:
        visited.expected.append("willReadFrequently")  # the tests read pixels
        visited.goto("/tasks/1/frames/0")
        visited.expect("#shape-count").to_have_text("502")
        yield visited


def pixel(site: Site, x: float, y: float) -> list[int]:
    """Colour on the canvas at a place of the frame."""
    return site.page.evaluate(
        """([x, y]) => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => {
          const canvas = document.querySelector("#canvas");
          const scale = Math.min(canvas.width / 3840, canvas.height / 2160);
          const left = (canvas.width - 3840 * scale) / 2 + x * scale;
          const top = (canvas.height - 2160 * scale) / 2 + y * scale;
          resolve([...canvas.getContext("2d").getImageData(Math.round(left), Math.round(top), 1, 1).data]);
        })))""",
        [x, y],
    )  # type: ignore[no-any-return]


def place(site: Site, x: float, y: float) -> tuple[float, float]:
    box = site.page.locator("#canvas").bounding_box()
    scale = min(box["width"] / WIDTH, box["height"] / HEIGHT)
    left, top = (box["width"] - WIDTH * scale) / 2, (box["height"] - HEIGHT * scale) / 2
    return box["x"] + left + x * scale, box["y"] + top + y * scale


def test_shapes_of_every_type_are_drawn_hit_and_hidden(site: Site) -> None:
    page = site.page
    page.keyboard.press("n")  # no names over the shapes
    plain = pixel(site, 3835, 2155)
    for n, kind in enumerate(KINDS):
        x, y = 20 + n * 125 + 45, 20 + (30 if kind == "polygon" else 40)
        inside = pixel(site, x, y)
        assert inside != plain, f"{kind} is filled with its colour"
        page.mouse.click(*place(site, x, y))
        site.expect("#shape-facts").to_contain_text(kind)
    page.mouse.click(*place(site, 3835, 2150))
    site.expect("#shape-facts").to_be_hidden()
    page.get_by_role("button", name="Hide thing3").click()
    assert pixel(site, 20 + 3 * 125 + 45, 60) == plain
    page.keyboard.press("h")
    site.expect("#shape-count").to_have_text("502")


def test_five_hundred_shapes_on_a_4k_image_are_drawn_in_bounded_work(site: Site) -> None:
    """Masks are decoded once, and shapes are redrawn once a screen frame however often the pointer moves."""
    page = site.page
    page.evaluate(
        """() => {
          Object.assign(globalThis, { made: 0, cleared: 0 });
          const prototype = CanvasRenderingContext2D.prototype;
          for (const [name, count] of [["putImageData", "made"], ["clearRect", "cleared"]]) {
            const real = prototype[name];
            prototype[name] = function (...given) {
              globalThis[count]++;
              return real.apply(this, given);
            };
          }
        }"""
    )
    x, y = place(site, 1900, 1000)
    page.evaluate(
        """([x, y]) => {
          const canvas = document.querySelector("#canvas");
          const wheel = { deltaY: -2, clientX: x, clientY: y, cancelable: true };
          for (let n = 0; n < 200; n++) canvas.dispatchEvent(new WheelEvent("wheel", wheel));
        }""",
        [x, y],
    )
    page.evaluate("() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
    assert page.evaluate("made") == 0
    assert 1 <= page.evaluate("cleared") <= 4
    page.keyboard.press("0")


def test_a_file_that_no_browser_shows_is_shown_all_the_same(site: Site) -> None:
    page = site.page
    page.keyboard.press("ArrowRight")
    site.expect("#frame-name").to_have_text("scan.tif")
    site.expect("#stage-error").to_be_hidden()
    page.wait_for_function(
        "document.querySelector('#canvas').getContext('2d').getImageData("
        "document.querySelector('#canvas').width / 2, document.querySelector('#canvas').height / 2, 1, 1).data[3] > 0"
    )
    page.keyboard.press("e")
    site.expect("#toasts").to_contain_text("No later frame is without shapes")


def test_neighbours_are_loaded_ahead(chromium: Any, tmp_path: Path) -> None:
    with ServerProcess(tmp_path, environment=environment()) as server, visit(chromium, server) as site:
        add_street(server)
        asked: list[str] = []
        site.page.on("request", lambda request: asked.append(request.url.removeprefix(server.url)))
        site.goto("/tasks/1/frames/5")
        site.expect("#shape-count").to_have_text("0")
        site.page.wait_for_load_state("networkidle")
        assert {f"/v1/tasks/1/frames/{n}/image" for n in (4, 5, 6, 7)} <= set(asked)
        asked.clear()
        site.page.keyboard.press("f")
        site.expect("#frame-name").to_have_text("street_06.jpg")
        assert "/v1/tasks/1/frames/6/image" not in asked


def test_run_lengths_are_read_as_pycocotools_writes_them(chromium: Any, many: ServerProcess) -> None:
    rng = np.random.default_rng(3)
    masks = [rng.random((h, w)) < share for h, w, share in ((1, 1, 2), (7, 5, 0.5), (40, 90, 0.1), (64, 64, 0.95))]
    yy, xx = np.mgrid[:200, :300]
    masks.append((xx - 150) ** 2 + (yy - 90) ** 2 < 60**2)
    with visit(chromium, many) as site:
        site.goto("/tasks")
        script = many.call("GET", "/tasks").partition("/static/")[2].partition("/")[0]
        for mask in masks:
            counts = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
            found = site.page.evaluate(
                f"""async (rle) => {{
                  const {{ decodeMask }} = await import("/static/{script}/js/rle.js");
                  const mask = decodeMask(rle);
                  return {{ ...mask, bits: [...mask.bits] }};
                }}""",
                {"size": list(mask.shape), "counts": counts},
            )
            rows, columns = np.nonzero(mask)
            assert (found["x"], found["y"]) == (columns.min(), rows.min())
            cut = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert np.array_equal(np.array(found["bits"]).reshape(found["height"], found["width"]), cut)
