"""Models over HTTP: resolve, add, change, remove, predict."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from aiohttp import FormData

from adapters import huggingface_config
from adapters.base import Limits
from bridge import batcher
from tests import architectures as known
from tests.unit.bridge.web.conftest import Api, picture

PNG = {"Content-Type": "image/png"}


async def test_resolving_says_what_a_model_is_and_stores_nothing(api: Api) -> None:
    await api.model()
    reference = (await api.call("GET", "/v1/models/1"))["card"]["reference"]
    await api.call("DELETE", "/v1/models/1", expect=204)
    card = await api.call("POST", "/v1/models/resolve", {"reference": reference})
    assert card["task_type"] == "object-detection"
    assert card["labels"] == ["car", "person", "tree", "stop sign"]
    assert (await api.call("GET", "/v1/models"))["models"] == []


async def test_the_same_model_twice_is_one_model(api: Api) -> None:
    first = await api.model()
    body = {"reference": first["card"]["reference"]}
    again = await api.call("POST", "/v1/models", body, 200)
    assert again["id"] == first["id"]


@pytest.mark.parametrize(
    ("reference", "status", "code"),
    [
        ("https://huggingface.co/datasets/coco", 400, "invalid_reference"),
        ("not a model at all", 400, "invalid_reference"),
        ("/etc", 403, "folder_not_allowed"),
        ("~/model", 403, "folder_not_allowed"),
        ("./model", 403, "folder_not_allowed"),
        ("file:///etc", 403, "folder_not_allowed"),
        ("/etc/x.onnx", 403, "folder_not_allowed"),
    ],
)
async def test_what_is_no_model_for_callers_is_refused(api: Api, reference: str, status: int, code: str) -> None:
    for path in ("/v1/models", "/v1/models/resolve"):
        await api.error("POST", path, status, code, {"reference": reference})
    assert (await api.call("GET", "/v1/models"))["models"] == []


async def test_a_link_out_of_an_allowed_folder_does_not_lead_out(api: Api) -> None:
    secret = api.folder / "secret"
    secret.mkdir()
    (api.folder / "shared" / "link").symlink_to(secret)
    reference = str(api.folder / "shared" / "link")
    await api.error("POST", "/v1/models", 403, "folder_not_allowed", {"reference": reference})


async def test_a_model_runs_here_or_at_its_host_and_nowhere_else(api: Api) -> None:
    reference = (await api.model())["card"]["reference"]
    card = await api.call("POST", "/v1/models/resolve", {"reference": reference, "run": "local"})
    assert card["engine"] == "onnxruntime"
    await api.error("POST", "/v1/models", 400, "invalid_json", {"reference": reference, "run": "there"})


async def test_name_and_threshold_change(api: Api) -> None:
    await api.model()
    changed = await api.call("PATCH", "/v1/models/1", {"name": "detector", "threshold": 0.3})
    assert (changed["name"], changed["threshold"]) == ("detector", 0.3)
    await api.error("PATCH", "/v1/models/1", 400, "invalid_json", {})
    await api.error("PATCH", "/v1/models/9", 404, "not_found", {"threshold": 0.3})


async def test_a_model_that_a_job_used_stays(api: Api) -> None:
    model = await api.model()
    task = await api.task(pictures=1)
    await api.ended((await api.job(task["id"], model["id"]))["id"])
    await api.error("DELETE", f"/v1/models/{model['id']}", 409, "conflict")


async def test_what_a_model_computes_with_is_said_once_it_is_loaded(api: Api) -> None:
    model = await api.model()
    assert (model["loaded"], model["card"]["engine_chosen"]) == (None, False)
    await api.call("POST", "/v1/models/1/predict", data=picture(3), headers=PNG)
    loaded = (await api.call("GET", "/v1/models/1"))["loaded"]
    assert loaded["engine"] in ("onnxruntime", "openvino")  # auto: whichever is faster here
    assert (loaded["device"], loaded["precision"]) == ("cpu", "full")
    assert loaded["pace"]["batch"] >= 1
    assert (await api.call("GET", "/v1/models"))["models"][0]["loaded"] == loaded
    job = await api.ended((await api.job((await api.task(pictures=1))["id"], 1))["id"])
    assert {name: job["resolved"][name] for name in ("engine", "device", "precision")}.items() <= loaded.items()


async def test_an_image_as_body_and_as_form_is_predicted_alike(api: Api) -> None:
    await api.model()
    data = picture(3)
    raw = await api.call("POST", "/v1/models/1/predict?threshold=0", data=data, headers=PNG)
    form = FormData()
    form.add_field("image", data, filename="a.png", content_type="image/png")
    assert await api.call("POST", "/v1/models/1/predict?threshold=0", data=form) == raw
    assert (raw["width"], raw["height"]) == (40, 30)
    assert raw["shapes"]
    scores = [shape["score"] for shape in raw["shapes"]]
    assert scores == sorted(scores, reverse=True)
    for shape in raw["shapes"]:
        assert shape["type"] == "rectangle"
        x1, y1, x2, y2 = shape["points"]
        assert 0 <= x1 < x2 <= 40
        assert 0 <= y1 < y2 <= 30


async def test_threshold_and_most_detections_cut(api: Api) -> None:
    await api.model()
    everything = (await api.call("POST", "/v1/models/1/predict?threshold=0", data=picture(3), headers=PNG))["shapes"]
    cut = everything[1]["score"] - 1e-6
    found = await api.call("POST", f"/v1/models/1/predict?threshold={cut}", data=picture(3), headers=PNG)
    assert found["shapes"] == [shape for shape in everything if shape["score"] >= cut]
    one = await api.call("POST", "/v1/models/1/predict?threshold=0&max_detections=1", data=picture(3), headers=PNG)
    assert one["shapes"] == everything[:1]


@pytest.mark.parametrize("data", [b"", b"no image", picture(1)[:60], b"GIF89a"])
async def test_what_is_no_image_is_a_bad_frame(api: Api, data: bytes) -> None:
    await api.model()
    await api.error("POST", "/v1/models/1/predict", 422, "bad_frame", data=data, headers=PNG)


async def test_a_form_without_an_image_is_refused(api: Api) -> None:
    await api.model()
    form = FormData()
    form.add_field("picture", picture(1), filename="a.png", content_type="image/png")
    await api.error("POST", "/v1/models/1/predict", 400, "invalid_request", data=form)
    broken = {"Content-Type": "multipart/form-data"}
    await api.error("POST", "/v1/models/1/predict", 400, "invalid_request", data=b"x", headers=broken)
    await api.error("POST", "/v1/models/1/predict", 415, "unsupported_media_type", {"image": "x"})


@pytest.mark.parametrize("sections", [{"images": {"max_file_mb": 1}}])
async def test_an_image_larger_than_the_setting_is_refused(api: Api) -> None:
    await api.model()
    data = picture(1) + b"\0" * 2**20
    await api.error("POST", "/v1/models/1/predict", 413, "too_large", data=io.BytesIO(data), headers=PNG)


@pytest.mark.parametrize(
    "query",
    [
        "threshold=2",
        "threshold=nan",
        "max_detections=0",
        "max_detections=x",
        "region=1",
        "roi=1",
        'roi={"x":1}',
        "roi=no json",
        'prompts={"car":[" "]}',
    ],
)
async def test_wrong_options_of_a_prediction_are_refused(api: Api, query: str) -> None:
    await api.model()
    await api.error("POST", f"/v1/models/1/predict?{query}", 400, "invalid_request", data=picture(1), headers=PNG)


async def test_a_model_with_its_own_labels_takes_no_prompts(api: Api) -> None:
    await api.model()
    query = {"prompts": '{"car": ["a car"]}'}
    path = "/v1/models/1/predict"
    message = await api.error("POST", path, 400, "bad_prompts", data=picture(1), headers=PNG, params=query)
    assert "takes no prompts" in message


async def test_more_waiting_predictions_than_fit_are_turned_away(
    api: Api,
    slow: asyncio.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await api.model()
    monkeypatch.setattr(batcher, "MAX_WAITING", 1)
    many = [
        asyncio.create_task(api.raw("POST", "/v1/models/1/predict", data=picture(i), headers=PNG)) for i in range(40)
    ]
    await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)  # only a refusal can be so quick
    slow.set()
    answers = await asyncio.gather(*many)
    assert {status for status, _, _ in answers} == {200, 503}
    refused = next(response for status, _, response in answers if status == 503)
    assert refused.headers["Retry-After"] == "1"


async def test_many_predictions_at_once_do_not_mix_up(api: Api) -> None:
    await api.model()

    async def ask(seed: int) -> object:
        return await api.call("POST", "/v1/models/1/predict?threshold=0", data=picture(seed), headers=PNG)

    alone = [await ask(seed) for seed in range(6)]
    assert await asyncio.gather(*(ask(seed) for seed in range(6))) == alone
    assert len({str(answer) for answer in alone}) == 6


@pytest.mark.usefixtures("slow")
async def test_a_hanging_model_is_a_timeout_and_who_waited_behind_it_is_told_to_come_back(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_config, "_LIMITS", Limits(max_batch=1, timeout_s=0.3))
    await api.model()
    many = [api.raw("POST", "/v1/models/1/predict", data=picture(i), headers=PNG) for i in range(12)]
    answers = await asyncio.gather(*many)
    codes = {(status, json.loads(text)["error"]["code"]) for status, text, _ in answers}
    assert codes == {(504, "predict_timeout"), (503, "overloaded")}


async def predicted(api: Api, data: bytes, **options: Any) -> list[dict[str, Any]]:
    query = {"threshold": "0", **{name: json.dumps(value) for name, value in options.items()}}
    answer = await api.call("POST", "/v1/models/1/predict", data=data, headers=PNG, params=query)
    assert (answer["width"], answer["height"]) == (40, 30)
    found: list[dict[str, Any]] = answer["shapes"]
    return found


async def test_a_region_is_what_the_model_sees_and_points_are_those_of_the_whole_image(api: Api) -> None:
    await api.model()
    region = {"x": 10, "y": 5, "width": 20, "height": 15}
    found = await predicted(api, picture(3), roi=region)
    cut = await api.call("POST", "/v1/models/1/predict?threshold=0", headers=PNG, data=picture(3, size=(20, 15)))
    for shape in cut["shapes"]:
        shape["points"] = [round(value + (10, 5)[place % 2], 2) for place, value in enumerate(shape["points"])]
    assert found == cut["shapes"]
    assert found
    fractions = {"x": 0.25, "y": 1 / 6, "width": 0.5, "height": 0.5, "unit": "fraction"}
    assert await predicted(api, picture(3), roi=fractions) == found


async def test_a_region_outside_of_the_image_is_refused(api: Api) -> None:
    await api.model()
    query = {"roi": json.dumps({"x": 100, "y": 0, "width": 10, "height": 10})}
    path = "/v1/models/1/predict"
    await api.error("POST", path, 400, "empty_region", data=picture(3), headers=PNG, params=query)


async def test_a_model_with_an_open_vocabulary_answers_with_the_labels_of_the_prompts(api: Api) -> None:
    folder = await asyncio.to_thread(known.write, known.grounding_dino, api.folder / "shared" / "open")
    await api.call("POST", "/v1/models", {"reference": str(folder)}, 201)
    found = await predicted(api, picture(3), prompts={"person": [], "vehicle": ["a car"]})
    assert found
    assert {shape["label"] for shape in found} <= {"vehicle", "person"}
    message = await api.error("POST", "/v1/models/1/predict", 400, "bad_prompts", data=picture(3), headers=PNG)
    assert "needs prompts" in message


async def test_a_file_on_the_web_is_not_fetched_for_those_who_only_ask(api: Api) -> None:
    reference = f"https://models.example.com/m.onnx#sha256={'0' * 64}"
    message = await api.error("POST", "/v1/models/resolve", 400, "must_be_downloaded", {"reference": reference})
    assert "once it is here" in message


async def test_a_key_for_files_belongs_to_one_host(api: Api) -> None:
    body = {"kind": "https", "secret": "abc"}
    assert "one host" in await api.error("POST", "/v1/connections", 400, "invalid_request", body)
