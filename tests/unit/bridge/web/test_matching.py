"""Label matching and mappings over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.bridge.web.conftest import Api


async def test_lists_of_labels_are_matched_in_the_models_order(api: Api) -> None:
    body = {"model_labels": ["sofa", "Car", "xyzzy"], "task_labels": ["car", "couch"]}
    matches = (await api.call("POST", "/v1/label-matches", body))["matches"]
    assert [match["model_label"] for match in matches] == ["sofa", "Car", "xyzzy"]
    assert matches[0]["task_label"] == "couch"
    assert matches[0]["reason"]
    assert not matches[0]["accepted"]
    assert matches[1]["task_label"] == "car"
    assert matches[1]["accepted"]
    assert (matches[2]["task_label"], matches[2]["score"], matches[2]["accepted"]) == (None, None, False)


async def test_a_model_and_a_task_are_matched_by_their_ids(api: Api) -> None:
    model, task = await api.model(), await api.task(labels=["vehicle", "person"])
    matches = (await api.call("POST", "/v1/label-matches", {"model_id": model["id"], "task_id": task["id"]}))["matches"]
    found = {match["model_label"]: match for match in matches}
    assert found["person"]["accepted"]
    assert found["car"]["task_label"] == "vehicle"
    assert not found["car"]["accepted"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model_id": 1},
        {"model_labels": ["a"], "model_id": 1, "task_labels": ["a"]},
        {"model_labels": [], "task_labels": ["a"]},
        {"model_labels": ["a"], "task_labels": [""]},
        {"model_labels": "a", "task_labels": ["a"]},
        {"model_labels": ["a"], "task_labels": ["x" * 65]},
    ],
)
async def test_half_or_double_questions_are_refused(api: Api, body: dict[str, Any]) -> None:
    await api.error("POST", "/v1/label-matches", 400, "invalid_json", body)


async def test_unknown_models_and_tasks_are_404_and_two_equal_task_labels_400(api: Api) -> None:
    await api.error("POST", "/v1/label-matches", 404, "not_found", {"model_id": 9, "task_labels": ["a"]})
    await api.error("POST", "/v1/label-matches", 404, "not_found", {"model_labels": ["a"], "task_id": 9})
    twice = {"model_labels": ["a"], "task_labels": ["a", "a"]}
    await api.error("POST", "/v1/label-matches", 400, "invalid_request", twice)


async def test_mappings_have_versions_and_are_learned_from(api: Api) -> None:
    model, task = await api.model(), await api.task(labels=["thing", "person"])
    body = {"model_id": model["id"], "task_id": task["id"], "pairs": {"tree": "thing", "car": ""}}
    first = await api.call("POST", "/v1/mappings", body, 201)
    assert (first["version"], first["pairs"]) == (1, {"tree": "thing"})
    assert await api.call("POST", "/v1/mappings", body, 201) == first
    second = await api.call("POST", "/v1/mappings", {**body, "pairs": {"car": "thing"}}, 201)
    assert second["version"] == 2
    listed = await api.call("GET", f"/v1/mappings?task_id={task['id']}&limit=1")
    assert listed["mappings"] == [first]
    rest = await api.call("GET", "/v1/mappings", params={"limit": 1, "cursor": listed["next_cursor"]})
    assert rest == {"mappings": [second], "next_cursor": None}
    assert await api.call("GET", f"/v1/mappings/{second['id']}") == second
    asked = {"model_id": model["id"], "task_id": task["id"]}
    matches = (await api.call("POST", "/v1/label-matches", asked))["matches"]
    assert {match["model_label"]: match["accepted"] for match in matches}["tree"]


@pytest.mark.parametrize(
    ("pairs", "code"),
    [({"cat": "person"}, "unknown_label"), ({"car": "cat"}, "unknown_label"), ({"car": ""}, "nothing_matched")],
)
async def test_a_mapping_of_unknown_or_no_labels_is_refused(api: Api, pairs: dict[str, str], code: str) -> None:
    model, task = await api.model(), await api.task()
    body = {"model_id": model["id"], "task_id": task["id"], "pairs": pairs}
    await api.error("POST", "/v1/mappings", 400, code, body)
    assert (await api.call("GET", "/v1/mappings"))["mappings"] == []
