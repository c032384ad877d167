"""Counts for charts and choices, a frame before and after a job, small pictures, downloads, and what a text names."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from adapters.base import DownloadProgress, LoadStep
from bridge.downloads import Downloads
from bridge.errors import NotFound
from bridge.web.answers import DownloadAnswer
from tests.unit.bridge.web.conftest import Api, picture


async def annotated(api: Api, pictures: int = 4, **values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(task, ended job) whose every frame has shapes."""
    model, task = await api.model(), await api.task(pictures=pictures)
    job = await api.job(task["id"], model["id"], **values)
    return task, await api.ended(job["id"])


async def test_the_counts_of_a_task_are_those_of_its_shapes(api: Api) -> None:
    task, job = await annotated(api)
    pages = (await api.call("GET", f"/v1/tasks/{task['id']}/annotations"))["frames"]
    shapes = [shape for frame in pages for shape in frame["shapes"]]
    found = await api.call("GET", f"/v1/tasks/{task['id']}/statistics")
    assert found["shapes"] == len(shapes) == sum(found["labels"].values()) == job["shapes_created"]
    assert found["sources"] == {"automatic": len(shapes)}
    assert found["annotated"] == sum(bool(frame["shapes"]) for frame in pages)
    expected = [0] * 20
    for shape in shapes:
        expected[min(19, int(shape["score"] * 20))] += 1
    assert found["scores"] == expected
    of_job = await api.call("GET", f"/v1/jobs/{job['id']}/statistics")
    assert of_job["labels"] == found["labels"]
    assert await api.call("GET", f"/v1/tasks/{task['id']}/coverage") == {"frames": 4, "annotated": found["annotated"]}


async def test_an_empty_task_counts_nothing(api: Api) -> None:
    task = await api.task()
    found = await api.call("GET", f"/v1/tasks/{task['id']}/statistics")
    assert (found["frames"], found["shapes"], found["labels"], sum(found["scores"])) == (0, 0, {}, 0)
    await api.error("GET", "/v1/tasks/99/statistics", 404, "not_found")
    await api.error("GET", "/v1/jobs/99/scores", 404, "not_found")


async def test_raw_scores_show_what_a_lower_threshold_would_keep(api: Api) -> None:
    _, job = await annotated(api, threshold=0.5)
    raw = await api.call("GET", f"/v1/jobs/{job['id']}/scores")
    assert (raw["frames_total"], raw["frames_read"], raw["floor_score"]) == (4, 4, 0.05)
    kept = sum(sum(bins[10:]) for label, bins in raw["labels"].items() if label in job["resolved"]["pairs"])
    assert kept == job["shapes_created"]
    applied = await api.call("POST", f"/v1/jobs/{job['id']}/apply", {"threshold": 0.6}, 201)
    assert await api.call("GET", f"/v1/jobs/{applied['id']}/scores") == raw


async def test_what_would_be_cleaned_is_what_is_cleaned(api: Api) -> None:
    task, job = await annotated(api)
    at = f"/v1/tasks/{task['id']}/cleanable?model_id={job['spec']['model_id']}"
    found = await api.call("GET", at)
    made = {"automatic": job["shapes_created"]}
    assert found == {"frames": 4, "model": made, "automatic": made, "all": made}
    some = await api.call("GET", at + "&start=1&stop=2")
    frame = await api.call("GET", f"/v1/tasks/{task['id']}/frames/1")
    assert (some["frames"], sum(some["all"].values())) == (1, len(frame["shapes"]))
    await api.error("GET", at + "&start=2&stop=1", 400, "invalid_request")
    await api.error("GET", f"/v1/tasks/{task['id']}/cleanable?model_id=99", 404, "not_found")


@pytest.mark.parametrize("clean", ["model", "automatic", "all"])
async def test_with_a_region_what_would_be_cleaned_is_what_is_cleaned(api: Api, clean: str) -> None:
    task, job = await annotated(api)
    roi = {"x": 0, "y": 0, "width": 0.5, "height": 0.5, "unit": "fraction"}
    model = job["spec"]["model_id"]
    found = await api.call(
        "GET", f"/v1/tasks/{task['id']}/cleanable?model_id={model}&start=1&roi={quote(json.dumps(roi))}"
    )
    before = (await api.call("GET", f"/v1/tasks/{task['id']}/statistics"))["shapes"]
    later = await api.job(task["id"], model, clean=clean, roi=roi, frames={"start": 1})
    later = await api.ended(later["id"])
    after = (await api.call("GET", f"/v1/tasks/{task['id']}/statistics"))["shapes"]
    assert found["frames"] == 3
    assert sum(found[clean].values()) == before + later["shapes_created"] - after
    assert 0 < sum(found[clean].values()) < before


async def test_a_frame_before_a_job_is_as_undoing_leaves_it(api: Api) -> None:
    task, first = await annotated(api, pictures=1)
    second = await api.job(task["id"], first["spec"]["model_id"], clean="model")
    await api.ended(second["id"])
    found = await api.call("GET", f"/v1/jobs/{second['id']}/frames/0")
    now = await api.call("GET", f"/v1/tasks/{task['id']}/frames/0")
    assert found["after"] == now["shapes"]
    assert {shape["job_id"] for shape in found["before"]} == {first["id"]}
    await api.call("POST", f"/v1/jobs/{second['id']}/undo")
    assert (await api.call("GET", f"/v1/tasks/{task['id']}/frames/0"))["shapes"] == found["before"]


async def test_a_small_picture_is_asked_for_once(api: Api) -> None:
    task = await api.task()
    await api.upload(task["id"], {"a.jpg": picture(1, "JPEG", (400, 300))})
    at = f"/v1/tasks/{task['id']}/frames/0/image?width=100"
    _, body, response = await api.raw("GET", at)
    assert Image.open(io.BytesIO(body)).size == (100, 75)
    assert response.headers["Cache-Control"] == "private, no-cache"
    known = {"If-None-Match": response.headers["ETag"]}
    assert [(await api.raw("GET", at, headers=known))[i] for i in (0, 1)] == [304, b""]
    status, body, _ = await api.raw("GET", at.replace("100", "5000"), headers=known)
    assert (status, Image.open(io.BytesIO(body)).size) == (200, (400, 300))
    await api.error("GET", at.replace("100", "3"), 400, "invalid_request")


@pytest.mark.parametrize(
    ("text", "kind", "summary", "key"),
    [
        (
            "https://huggingface.co/PekingU/rtdetr_r18vd",
            "huggingface",
            "Hugging Face model PekingU/rtdetr_r18vd, revision main",
            "optional",
        ),
        ("roboflow://space/hats/3", "roboflow", "Roboflow project space/hats, version 3", "required"),
        ("/models/mine", "local", "Folder /models/mine on the server", "none"),
        ("http://10.0.0.5:9001/hats/2", "inference-server", "Roboflow model hats, version 2, at ", "optional"),
    ],
)
async def test_a_pasted_text_is_said_in_words(api: Api, text: str, kind: str, summary: str, key: str) -> None:
    found = await api.call("POST", "/v1/models/understand", {"reference": text})
    assert (found["kind"], found["key"], found["key_known"]) == (kind, key, False)
    assert found["summary"].startswith(summary)


async def test_a_key_that_is_there_is_known_and_never_told(api: Api) -> None:
    await api.call("POST", "/v1/connections", {"kind": "roboflow", "secret": "rf_veryhidden"}, 201)
    found = await api.call("POST", "/v1/models/understand", {"reference": "roboflow://space/hats/3"})
    assert (found["key"], found["key_known"], found["account_host"]) == ("required", True, "roboflow.com")
    inside = {"reference": "https://app.roboflow.com/space/hats/3?api_key=rf_alsohidden"}
    assert "hidden" not in str(await api.call("POST", "/v1/models/understand", inside))
    await api.error("POST", "/v1/models/understand", 400, "invalid_reference", {"reference": "ftp://x/y"})


async def test_a_model_on_this_machine_needs_no_download(api: Api) -> None:
    model = await api.model()
    assert (await api.call("GET", f"/v1/models/{model['id']}/download"))["state"] == "ready"
    begun = await api.call("POST", f"/v1/models/{model['id']}/download", expect=202)
    assert begun["state"] == "ready"
    await api.error("GET", "/v1/models/99/download", 404, "not_found")


async def test_a_download_is_seen_while_it_runs_and_its_failure_is_kept(api: Api) -> None:
    made = await api.model()
    model = await api.server.state.service.registry.get(made["id"])
    downloads, go = Downloads(), asyncio.Event()
    loading: list[DownloadAnswer] = []

    async def fetch() -> None:
        with downloads.watch(model, lambda _: None) as seen:
            seen(DownloadProgress("model.onnx", 5, 10))
            await go.wait()
            seen(LoadStep("comparing"))
            loading.append(DownloadAnswer.of(downloads.of(model)))
            raise NotFound("The file is gone.", hint="Look again.")

    downloads.start(model, fetch)
    await asyncio.sleep(0)
    assert (downloads.of(model).state, downloads.of(model).done_bytes) == ("downloading", 5)
    go.set()
    async with asyncio.timeout(60):
        while downloads.of(model).state == "downloading":
            await asyncio.sleep(0.01)
    assert [(answer.state, answer.doing) for answer in loading] == [("loading", "comparing")]
    assert (downloads.of(model).state, downloads.of(model).error) == ("failed", "The file is gone. Look again.")
    downloads.forget(model.id)
    assert downloads.of(model).state == "ready"
    await downloads.close()
