"""Profiles over HTTP."""

from __future__ import annotations

from typing import Any

from tests.unit.bridge.web.conftest import Api, picture


async def made(api: Api, **values: Any) -> dict[str, Any]:
    model = await api.model()
    body = {"name": "traffic", "model_id": model["id"], "labels": [{"name": "CAR"}, {"name": "walker"}], **values}
    found: dict[str, Any] = await api.call("POST", "/v1/profiles", body, 201)
    return found


async def test_a_profile_is_made_listed_shown_and_removed(api: Api) -> None:
    profile = await made(api, mapping={"person": "walker"}, title="Street for Traffic", threshold=0.25)
    assert (profile["name"], profile["title"], profile["threshold"]) == ("traffic", "Street for Traffic", 0.25)
    assert profile["pairs"] == {"car": "CAR", "person": "walker"}
    assert [label["name"] for label in profile["labels"]] == ["CAR", "walker"]
    assert await api.call("GET", "/v1/profiles") == {"profiles": [profile], "next_cursor": None}
    assert await api.call("GET", f"/v1/profiles/{profile['id']}") == profile
    mapping = await api.call("GET", f"/v1/mappings/{profile['mapping_id']}")
    assert (mapping["pairs"], mapping["task_id"]) == (profile["pairs"], None)
    await api.error("DELETE", f"/v1/models/{profile['model_id']}", 409, "conflict")
    await api.call("DELETE", f"/v1/profiles/{profile['id']}", expect=204)
    await api.error("GET", f"/v1/profiles/{profile['id']}", 404, "not_found")
    await api.error("DELETE", f"/v1/profiles/{profile['id']}", 404, "not_found")


async def test_its_labels_can_be_a_tasks_and_a_job_takes_its_mapping(api: Api) -> None:
    task = await api.task(pictures=2, labels=("Car", "Person"))
    profile = await made(api, labels=None, task_id=task["id"])
    assert profile["pairs"] == {"car": "Car", "person": "Person"}
    job = await api.job(task["id"], profile["model_id"], mapping_id=profile["mapping_id"])
    assert (await api.ended(job["id"]))["state"] == "succeeded"


async def test_one_image_is_predicted_under_its_words(api: Api) -> None:
    profile = await made(api, labels=[{"name": "Automobile", "type": "polygon"}], mapping={"car": "Automobile"})
    where = f"/v1/profiles/{profile['id']}/predict"
    headers = {"Content-Type": "image/png"}
    answer = await api.call("POST", f"{where}?threshold=0", data=picture(), headers=headers)
    assert {(shape["label"], shape["type"]) for shape in answer["shapes"]} == {("Automobile", "polygon")}
    assert (answer["model_id"], answer["width"], answer["height"]) == (profile["model_id"], 40, 30)
    default = await api.call("POST", where, data=picture(), headers=headers)
    assert default["threshold"] == 0.5
    await api.error("POST", f"{where}?masks_as_polygons=true", 400, "invalid_request", data=picture(), headers=headers)
    await api.error("POST", where, 422, "bad_frame", data=b"no image", headers=headers)


async def test_what_is_refused(api: Api) -> None:
    profile = await made(api)
    model = {"model_id": profile["model_id"]}
    labels = {"labels": [{"name": "car"}]}
    for body, status, code in (
        ({"name": "traffic", **model, **labels}, 409, "conflict"),
        ({"name": "other", **labels, "model_id": 99}, 404, "not_found"),
        ({"name": "other", **model}, 400, "invalid_json"),
        ({"name": "other", **model, **labels, "task_id": 1}, 400, "invalid_json"),
        ({"name": "other", **model, "task_id": 99}, 404, "not_found"),
        ({"name": "o t", **model, **labels}, 400, "invalid_json"),
        ({"name": "other", **model, **labels, "prompts": {"car": ["x"]}}, 400, "bad_prompts"),
        ({"name": "other", **model, "labels": [{"name": "boat"}]}, 400, "nothing_matched"),
    ):
        await api.error("POST", "/v1/profiles", status, code, body)
