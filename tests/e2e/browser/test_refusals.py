"""What is refused is said where it happens, in words that say what to do."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.browser.conftest import STREET, Site, add_street


def test_a_wrong_address_is_said_as_it_is_typed(site: Site) -> None:
    site.expected.append("400")  # the browser notes every such answer
    page = site.page
    site.goto("/models#add")
    address = page.get_by_label("Address or id of the model")
    for wrong in ("ftp://example.com/x", "https://huggingface.co/datasets/coco", "http://10.1.2.3/nothing"):
        address.fill(wrong)
        site.expect("#understood .note.bad").to_be_visible()
        assert page.locator("#look").is_disabled()
        address.fill("")
        site.expect("#understood .help").to_be_visible()
    address.fill("PekingU/rtdetr_r18vd")
    site.expect("#understood .note.good").to_contain_text("PekingU/rtdetr_r18vd")
    assert page.locator("#look").is_enabled()


def test_a_model_that_does_not_exist(site: Site) -> None:
    site.expected.append("404")
    page, hub = site.page, site.hub
    assert hub is not None
    site.goto("/models#add")
    page.get_by_label("Address or id of the model").fill(f"{hub.url}/demo/nothing")
    page.get_by_role("button", name="Look it up").click()
    site.expect("#add-error").to_contain_text("demo/nothing")
    site.expect("#register").to_be_hidden()


def test_a_gated_model_asks_for_a_key_and_never_shows_it(site: Site) -> None:
    site.expected.append("403")
    page, hub = site.page, site.hub
    assert hub is not None
    from tests.hub import TOKEN  # noqa: PLC0415

    site.goto("/models#add")
    page.get_by_label("Address or id of the model").fill(f"{hub.url}/demo/private")
    site.expect("#understood .note.good").to_be_visible()
    site.expect("#key-field").to_be_hidden()
    page.get_by_role("button", name="Look it up").click()
    site.expect("#add-error").to_be_visible()
    site.expect("#key-field").to_be_visible()
    page.locator("#key").fill(TOKEN)
    page.get_by_role("button", name="Look it up").click()
    site.expect("#resolved").to_contain_text("8 labels")
    assert page.locator("#key").input_value() == ""
    for path in ("/settings", "/models"):
        site.goto(path)
        assert TOKEN not in page.content()


def test_roboflow_asks_for_its_key_at_once(site: Site) -> None:
    page = site.page
    site.goto("/models#add")
    page.get_by_label("Address or id of the model").fill("https://universe.roboflow.com/space/hats/3")
    site.expect("#key-field").to_be_visible()
    site.expect("#key-label").to_have_text("Roboflow API key")
    page.get_by_label("Address or id of the model").fill("/models/mine")
    site.expect("#key-field").to_be_hidden()


def test_wrong_files_are_named(site: Site, tmp_path: Path) -> None:
    site.expected.append("400")
    page = site.page
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image either")
    site.goto("/tasks/new")
    page.get_by_role("button", name="Create task").click()
    site.expect("#name-wrong").to_be_visible()
    site.expect("#labels-wrong").to_contain_text("at least one label")
    page.get_by_label("Name", exact=True).fill("Wrong")
    page.get_by_role("tab", name="CVAT raw JSON").click()
    page.locator("#raw").fill("[{]")
    page.get_by_role("button", name="Create task").click()
    site.expect("#labels-wrong").to_contain_text("not JSON")
    page.locator("#raw").fill('[{"name": "car"}]')
    page.locator("[data-files]").set_input_files(text)
    site.expect("#toasts").to_contain_text("notes.txt is no image, no zip and no video")
    page.locator("[data-files]").set_input_files([broken])
    page.get_by_role("button", name="Create task").click()
    site.expect("#toasts").to_contain_text("Nothing of what was given is an image")
    page.get_by_role("button", name="Clear").click()
    page.locator("[data-files]").set_input_files([broken, STREET / "images" / "street_00.jpg"])
    page.get_by_role("button", name="Add the images").click()  # the task is there already
    site.at(r"/tasks/1$")
    site.expect("#toasts").to_contain_text("1 frame added, 1 file refused")
    site.expect("#toasts").to_contain_text("broken.jpg")
    page.get_by_role("button", name="Add images").click()
    page.locator("[data-files]").set_input_files([STREET / "images" / f"street_{n:02}.jpg" for n in (0, 1)])
    page.locator("[data-files]").set_input_files(STREET / "images" / "street_01.jpg")
    site.expect("[data-summary]").to_contain_text("1 left out: a file of that name is chosen already")
    page.locator("#add-send").click()
    site.expect("#toasts").to_contain_text("1 frame added.")
    site.expect("#toasts").to_contain_text("1 frame left out: the task has some of that name")


def test_a_wrong_annotation_file_and_a_later_job(site: Site, tmp_path: Path) -> None:
    site.expected += ["400", "409"]
    page, server = site.page, site.server
    task, model = add_street(server)
    site.goto(f"/tasks/{task}")
    page.get_by_role("button", name="Import").click()
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{}")
    page.locator("#import-file").set_input_files(wrong)
    page.locator("#import").get_by_role("button", name="Import").click()
    site.expect(".toast.bad").to_be_visible()
    spec = {"target": task, "model_id": model, "accept_suggestions": 0.5, "clean": "model", "frames": {"stop": 2}}
    for _ in range(2):
        server.wait_for(server.call("POST", "/v1/jobs", spec)["id"], ("succeeded",))
    site.goto("/jobs/1")
    page.get_by_role("button", name="Undo").click()
    page.locator("#confirm").get_by_role("button", name="Undo").click()
    site.expect(".toast.bad").to_contain_text("Annotation job 2 has replaced shapes")
    site.goto(f"/models/{model}")
    page.get_by_role("button", name="Remove").click()
    page.locator("#confirm").get_by_role("button", name="Remove").click()
    site.expect(".toast.bad").to_contain_text("used this model")


def test_what_needs_the_pages_module_cannot_be_pressed_before_it_is_there(site: Site) -> None:
    """A click that nobody hears is lost, and its user waits for nothing."""
    task, _ = add_street(site.server)
    site.expected.append("annotate.js")
    site.page.route("**/annotate.js", lambda route: route.abort())
    site.goto(f"/tasks/{task}/annotate")
    for name in ("Preview", "Annotate", "Try three frames"):
        assert site.page.get_by_role("button", name=name, exact=True).is_disabled()
