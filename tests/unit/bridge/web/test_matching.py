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
        {"model_labels": ["a"], "task_labels": [{"name": "a", "type": "sphere"}]},
        {"model_labels": ["a"], "task_labels": [{"type": "rectangle"}]},
        {"model_labels": [7], "task_labels": ["a"]},
        {"model_labels": ["a"], "task_labels": ["a"], "min_score": 1.5},
        {"model_labels": ["a"], "task_labels": ["a"], "shape_types": ["sphere"]},
        {"model_id": 1, "task_labels": ["a"], "shape_types": ["tag"]},
    ],
)
async def test_half_or_double_questions_are_refused(api: Api, body: dict[str, Any]) -> None:
    await api.error("POST", "/v1/label-matches", 400, "invalid_json", body)


async def test_unknown_models_and_tasks_are_404_and_two_equal_task_labels_400(api: Api) -> None:
    await api.error("POST", "/v1/label-matches", 404, "not_found", {"model_id": 9, "task_labels": ["a"]})
    await api.error("POST", "/v1/label-matches", 404, "not_found", {"model_labels": ["a"], "task_id": 9})
    twice = {"model_labels": ["a"], "task_labels": ["a", "a"]}
    await api.error("POST", "/v1/label-matches", 400, "invalid_request", twice)


async def matched(api: Api, **body: Any) -> dict[str, Any]:
    """The one match of one model label."""
    (match,) = (await api.call("POST", "/v1/label-matches", body))["matches"]
    assert isinstance(match, dict)
    return match


async def test_types_that_cannot_become_each_other_are_no_match(api: Api) -> None:
    task_labels = [{"name": "car", "type": "rectangle"}]
    assert (await matched(api, model_labels=["car"], task_labels=task_labels))["task_label"] == "car"
    tag = [{"name": "car", "type": "tag"}]
    assert (await matched(api, model_labels=tag, task_labels=task_labels))["task_label"] is None
    assert (await matched(api, model_labels=["car"], shape_types=["tag"], task_labels=task_labels))["score"] is None
    both = await matched(api, model_labels=["car"], shape_types=["tag", "rectangle"], task_labels=task_labels)
    assert both["task_label"] == "car"


async def test_attributes_and_skeleton_points_are_matched_too(api: Api) -> None:
    gender = {"name": "gender", "input_type": "select", "values": ["m", "f"]}
    sex = {"name": "sex", "input_type": "radio", "values": ["male", "female"]}
    found = await matched(
        api,
        model_labels=[{"name": "person", "attributes": [gender]}],
        task_labels=["tree", {"name": "person", "attributes": [sex]}],
    )
    (attribute,) = found["attributes"]
    assert (attribute["model_attribute"], attribute["task_attribute"]) == ("gender", "sex")
    assert attribute["values"] == {"m": "male", "f": "female"}
    assert not attribute["accepted"]
    body = {"name": "person", "type": "skeleton", "sublabels": [{"name": "left_elbow"}, {"name": "nose"}]}
    other = {"name": "person", "type": "skeleton", "sublabels": [{"name": "nose"}, {"name": "l elbow"}]}
    assert (await matched(api, model_labels=[body], task_labels=[other]))["points"] == {
        "left_elbow": "l elbow",
        "nose": "nose",
    }
    hooves = {"name": "person", "type": "skeleton", "sublabels": [{"name": "mane"}, {"name": "hoof"}]}
    assert (await matched(api, model_labels=[body], task_labels=[hooves]))["task_label"] is None


async def test_min_score_widens_and_narrows_what_is_suggested(api: Api) -> None:
    asked = {"model_labels": ["automobile"], "task_labels": ["car"]}
    score = (await matched(api, **asked))["score"]
    assert 0.5 <= score < 1
    assert (await matched(api, **asked, min_score=1.0))["task_label"] is None
    assert (await matched(api, **asked, min_score=score - 0.0001))["task_label"] == "car"


async def test_a_skeleton_without_points_is_refused(api: Api) -> None:
    body = {"model_labels": [{"name": "a", "type": "skeleton"}], "task_labels": ["a"]}
    await api.error("POST", "/v1/label-matches", 400, "invalid_request", body)


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
