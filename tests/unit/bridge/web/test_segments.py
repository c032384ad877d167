"""Clicks over HTTP, on SAM with random weights."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from adapters.base import Mask
from bridge.masks import polygon_area
from tests import architectures
from tests.unit.bridge.drawn import decode_mask
from tests.unit.bridge.web.conftest import Api, picture

PNG = {"Content-Type": "image/png"}
PATH = "/v1/models/1/segment"


@pytest.fixture
async def sam(api: Api) -> dict[str, Any]:
    folder = api.folder / "shared" / "sam"
    await asyncio.to_thread(architectures.write, architectures.sam, folder)
    added: dict[str, Any] = await api.call("POST", "/v1/models", {"reference": str(folder)}, 201)
    return added


async def test_a_click_answers_the_mask_of_one_object(api: Api, sam: dict[str, Any]) -> None:
    assert sam["card"]["task_type"] == "mask-generation"
    assert sam["card"]["labels"] == []
    query = "positive=[[200,150]]&negative=[[10,10]]&mask_as_polygons=true"
    found = await api.call("POST", f"{PATH}?{query}", data=picture(3, size=(400, 300)), headers=PNG)
    assert (found["width"], found["height"], found["model_id"]) == (400, 300, 1)
    mask = decode_mask(Mask(*found["rle"]["size"], found["rle"]["counts"].encode()))
    rows, columns = np.nonzero(mask)
    assert found["box"] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert sum(polygon_area(each) for each in found["polygons"]) == pytest.approx(mask.sum(), rel=0.1)
    assert 0 <= found["score"] <= 1
    boxed = await api.call("POST", f"{PATH}?box=[5,5,30,20]", data=picture(3), headers=PNG)
    assert boxed["polygons"] is None


@pytest.mark.parametrize(
    "query",
    ["", "negative=[[1,1]]", "positive=5", "positive=[[1]]", "positive=[[1,NaN]]", "box=[1,2,3]", "box=[1,2,3,1e999]"],
)
async def test_what_means_no_object_is_refused(api: Api, sam: dict[str, Any], query: str) -> None:
    await api.error("POST", f"{PATH}?{query}", 400, "invalid_request", data=picture(3), headers=PNG)


async def test_a_damaged_image_is_refused(api: Api, sam: dict[str, Any]) -> None:
    await api.error("POST", f"{PATH}?positive=[[1,1]]", 422, "bad_frame", data=b"\x89PNG nothing", headers=PNG)


async def test_models_that_answer_clicks_and_those_that_answer_frames_are_told_apart(
    api: Api, sam: dict[str, Any]
) -> None:
    await api.error("POST", "/v1/models/1/predict", 400, "wrong_kind_of_model", data=picture(3), headers=PNG)
    detector = await api.model()
    path = f"/v1/models/{detector['id']}/segment?positive=[[1,1]]"
    await api.error("POST", path, 400, "wrong_kind_of_model", data=picture(3), headers=PNG)
    task = await api.task(pictures=1)
    body = {"target": task["id"], "model_id": 1}
    await api.error("POST", "/v1/jobs", 400, "wrong_kind_of_model", body)
