"""A greedy client hears 429 with Retry-After, and a modest one is served all the while."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.domain import Scope
from tests.unit.bridge.web.conftest import Api, picture

PNG = {"Content-Type": "image/png"}
FEW = {"server": {"requests_per_client": 3}, "jobs": {"queued_per_client": 2}}


async def token(api: Api, name: str) -> dict[str, str]:
    made = await api.server.state.service.tokens.create(name, Scope.ADMIN)
    return {"Authorization": f"Bearer {made[1]}"}


def predict(api: Api, who: dict[str, str], seed: int = 0) -> asyncio.Task[Any]:
    asked = api.raw("POST", "/v1/models/1/predict", data=picture(seed), headers={**PNG, **who})
    return asyncio.create_task(asked)


@pytest.mark.parametrize("sections", [FEW])
async def test_requests_of_one_token_leave_room_for_others(api: Api, slow: asyncio.Event) -> None:
    await api.model()
    greedy, modest = await token(api, "greedy"), await token(api, "modest")
    many = [predict(api, greedy, seed) for seed in range(12)]
    done: set[asyncio.Task[Any]] = set()
    while len(done) < 9:  # all but its share
        done, _ = await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED, timeout=60)
        await asyncio.sleep(0.01)
    refused = [task.result() for task in done]
    assert {status for status, _, _ in refused} == {429}
    assert {response.headers["Retry-After"] for _, _, response in refused} == {"1"}
    message = await api.error("GET", "/v1/models", 429, "too_many_requests", headers=greedy)
    assert "3 requests of yours are at work" in message
    assert (await api.raw("GET", "/healthz", headers=greedy))[0] == 200
    await api.call("GET", "/v1/models", headers=modest)
    served = predict(api, modest)
    await asyncio.sleep(0.05)
    slow.set()
    assert (await served)[0] == 200
    assert [(await task)[0] for task in many].count(200) == 3
    assert (await predict(api, greedy))[0] == 200  # its places are free again


@pytest.mark.parametrize("sections", [FEW])
async def test_queued_jobs_of_one_token_leave_room_for_others(api: Api, slow: asyncio.Event) -> None:
    model, task = await api.model(), await api.task(pictures=1)
    greedy, modest = await token(api, "greedy"), await token(api, "modest")
    wanted = {"target": task["id"], "model_id": model["id"], "threshold": 0.0}
    asked = [api.raw("POST", "/v1/jobs", json=wanted, headers=greedy) for _ in range(3)]
    first, *_ = [(await asyncio.create_task(each))[0] for each in asked[:1]]
    assert first == 201
    async with asyncio.timeout(60):
        while (await api.call("GET", "/v1/jobs/1", headers=modest))["state"] == "queued":
            await asyncio.sleep(0.02)
    answers = await asyncio.gather(*asked[1:], *(api.raw("POST", "/v1/jobs", json=wanted, headers=greedy),))
    assert sorted(status for status, _, _ in answers) == [201, 201, 429]
    refused = next(response for status, _, response in answers if status == 429)
    assert refused.headers["Retry-After"] == "10"
    await api.call("POST", "/v1/jobs", wanted, 201, headers=modest)
    slow.set()
    async with asyncio.timeout(60):
        while any(job["state"] == "queued" for job in (await api.call("GET", "/v1/jobs", headers=modest))["jobs"]):
            await asyncio.sleep(0.02)
    await api.call("POST", "/v1/jobs", wanted, 201, headers=greedy)
