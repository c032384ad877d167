"""Pairs of labels that people accepted or refused: kept with the mapping's version, offered first, carried as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge.domain import TaskLabel
from bridge.errors import InvalidRequest
from bridge.learning import Learning
from tests.unit.bridge.world import World, world


@pytest.fixture
async def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with world(tmp_path, monkeypatch, frames=2, labels="vehicle,human,shrub") as service:
        yield service


async def best(made: World, model_label: str) -> tuple[str, str, bool] | None:
    (match,) = await made.jobs.match([model_label], [TaskLabel(name) for name in ("vehicle", "human", "shrub")])
    return None if match.best is None else (match.best.task_label, match.best.tier, match.best.accepted)


async def test_a_chosen_pair_is_kept_with_its_mapping_and_accepted_the_next_time(made: World) -> None:
    assert await best(made, "tree") != ("shrub", "learned", True)
    job = await made.job(mapping={"tree": "shrub"})
    (row,) = await Learning(made.store).pairs()
    assert (row.model_label, row.task_label, row.accepted) == ("tree", "shrub", True)
    assert (row.mapping_id, row.mapping_version) == (job.resolved["mapping_id"], 1)
    assert await best(made, "tree") == ("shrub", "learned", True)
    assert (await made.job()).resolved["pairs"]["tree"] == "shrub"


async def test_a_suggestion_left_out_on_purpose_is_not_suggested_again(made: World) -> None:
    before = await best(made, "car")
    assert before is not None
    assert before[0] == "vehicle"
    await made.job(mapping={"car": "", "tree": "shrub"})
    assert {(r.model_label, r.accepted) for r in await Learning(made.store).pairs()} == {("car", False), ("tree", True)}
    after = await best(made, "car")
    assert after is None or after[0] != "vehicle"


async def test_export_and_import_carry_what_was_learned_to_another_installation(
    made: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made.job(mapping={"tree": "shrub", "car": ""})
    document = (await Learning(made.store).export()).model_dump(mode="json")
    assert document["version"] == 1
    (tmp_path / "other").mkdir()
    async with world(tmp_path / "other", monkeypatch, frames=1, labels="vehicle,human,shrub") as other:
        learning = Learning(other.store)
        assert await learning.import_(document) == 2
        assert await learning.import_(document) == 2  # a second time changes nothing
        assert len(await learning.pairs()) == 2
        assert all(row.mapping_id is None for row in await learning.pairs())
        assert await best(other, "tree") == ("shrub", "learned", True)


async def test_pairs_learned_at_once_keep_their_order_and_so_does_an_export(made: World) -> None:
    learning = Learning(made.store)
    order = [("z", "human"), ("z", "vehicle"), ("a", "shrub"), ("m", "vehicle"), ("m", "human")]
    pairs = [{"model_label": m, "task_label": t, "accepted": True} for m, t in [order[1], *order]]
    await learning.import_({"pairs": pairs})
    assert [(row.model_label, row.task_label) for row in await learning.pairs()] == order
    exported = await learning.export()
    await learning.forget()
    await learning.import_(exported.model_dump(mode="json"))
    assert [(row.model_label, row.task_label) for row in await learning.pairs()] == order
    assert await best(made, "z") == ("vehicle", "learned", True)


async def test_what_was_learned_of_a_label_in_another_case_is_offered(made: World) -> None:
    await made.job(mapping={"tree": "shrub"})
    (match,) = await made.jobs.match(["Tree"], [TaskLabel("SHRUB")])
    assert match.best is not None
    assert (match.best.task_label, match.best.tier) == ("SHRUB", "learned")


async def test_the_pair_that_a_later_one_took_the_place_of_is_told(made: World) -> None:
    await made.job(mapping={"tree": "shrub"})
    await made.job(mapping={"tree": "vehicle"})
    learning = Learning(made.store)
    assert [(row.task_label, row.accepted) for row in await learning.pairs()] == [("shrub", True), ("vehicle", True)]
    assert await learning.replaced() == {("tree", "shrub")}


async def test_forgetting(made: World) -> None:
    learning = Learning(made.store)
    await learning.import_({"pairs": [{"model_label": m, "task_label": "x", "accepted": True} for m in "abc"]})
    assert await learning.forget(model_label="a") == 1
    assert await learning.forget(model_label="a") == 0
    assert await learning.forget() == 2
    assert await learning.pairs() == []


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"version": 2, "pairs": []},
        {"pairs": [{"model_label": "a", "task_label": "b"}]},
        {"pairs": [{"model_label": "", "task_label": "b", "accepted": True}]},
        {"pairs": [{"model_label": "a" * 10_001, "task_label": "b", "accepted": True}]},
        {"pairs": [{"model_label": "a", "task_label": "b", "accepted": True, "more": 1}]},
    ],
)
async def test_what_is_no_document_of_pairs_is_refused_and_changes_nothing(made: World, data: Any) -> None:
    with pytest.raises(InvalidRequest, match="These are no learned pairs"):
        await Learning(made.store).import_(data)
    assert await Learning(made.store).pairs() == []
