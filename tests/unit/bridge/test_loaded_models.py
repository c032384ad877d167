"""How many models are in memory, which one makes room, and when one that nobody uses leaves."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bridge.domain import Model
from bridge.errors import Overloaded
from bridge.loaded_models import LoadedModels
from tests.unit.bridge.world import CARD, FakePredictor


def model(number: int) -> Model:
    return Model(number, f"model-{number}", replace(CARD, name=f"model-{number}"), 0.5, datetime.now(UTC), True)


class Shelf:
    """Opens fake predictors and counts those that are open."""

    def __init__(self) -> None:
        self.opened: list[FakePredictor] = []
        self.most_open = 0
        self.fails = False

    def opener(self, number: int):  # type: ignore[no-untyped-def]
        async def open_it() -> FakePredictor:
            await asyncio.sleep(0)
            if self.fails:
                raise ValueError("no weights")
            self.opened.append(FakePredictor(model(number).card))
            self.most_open = max(self.most_open, sum(not predictor.closed for predictor in self.opened))
            return self.opened[-1]

        return open_it

    @property
    def open(self) -> list[str]:
        return [predictor.card.name for predictor in self.opened if not predictor.closed]


async def test_never_more_than_so_many_are_in_memory_and_the_longest_unused_makes_room() -> None:
    shelf, memory = Shelf(), LoadedModels(2)
    for number in (1, 2, 1, 3, 1, 2):
        async with memory.lend(model(number), shelf.opener(number)):
            pass
    assert [predictor.card.name for predictor in shelf.opened] == ["model-1", "model-2", "model-3", "model-2"]
    assert (sorted(shelf.open), shelf.most_open, len(memory)) == (["model-1", "model-2"], 2, 2)
    await memory.close()
    assert (shelf.open, len(memory)) == ([], 0)


async def test_who_finds_all_places_in_use_waits_for_one() -> None:
    shelf, memory = Shelf(), LoadedModels(1)
    got: list[int] = []

    async def use(number: int) -> None:
        async with memory.lend(model(number), shelf.opener(number)):
            got.append(number)
            await asyncio.sleep(0.02)

    async with asyncio.timeout(60):
        await asyncio.gather(*(use(number) for number in (1, 2, 3, 1)))
    assert sorted(got) == [1, 1, 2, 3]
    assert shelf.most_open == 1


async def test_who_cannot_wait_is_told_which_setting_makes_room() -> None:
    shelf, memory = Shelf(), LoadedModels(1)
    async with memory.lend(model(1), shelf.opener(1)):
        with pytest.raises(Overloaded, match="model-2 has to wait") as caught:
            async with memory.lend(model(2), shelf.opener(2), room_within_s=0.02):
                pass
        assert "keep_loaded" in caught.value.hint
        async with memory.lend(model(1), shelf.opener(1), room_within_s=0.02):
            pass  # what is in memory needs no room


async def test_a_model_that_cannot_be_opened_takes_no_place() -> None:
    shelf, memory = Shelf(), LoadedModels(1)
    shelf.fails = True
    for _ in range(3):
        with pytest.raises(ValueError, match="no weights"):
            async with memory.lend(model(1), shelf.opener(1)):
                pass
    shelf.fails = False
    async with asyncio.timeout(60), memory.lend(model(2), shelf.opener(2)):
        assert len(memory) == 1


async def test_a_model_that_nobody_uses_leaves_memory_after_its_time_and_one_in_use_does_not() -> None:
    shelf, memory = Shelf(), LoadedModels(2, unload_after_s=0.05)
    async with memory.lend(model(2), shelf.opener(2)):
        async with memory.lend(model(1), shelf.opener(1)):
            pass
        async with memory.lend(model(1), shelf.opener(1)):  # used again: its time begins anew
            await asyncio.sleep(0.1)
            assert "model-1" in shelf.open
        assert len(shelf.opened) == 2
        assert "model-1" in shelf.open
        async with asyncio.timeout(60):
            while "model-1" in shelf.open:
                await asyncio.sleep(0.005)
        assert shelf.open == ["model-2"]
    await memory.close()


async def test_a_forgotten_model_is_closed_by_its_last_user() -> None:
    shelf, memory = Shelf(), LoadedModels(2)
    async with AsyncExitStack() as users:
        for _ in range(2):
            await users.enter_async_context(memory.lend(model(1), shelf.opener(1)))
        await memory.forget(1)
        assert shelf.open == ["model-1"]
        async with memory.lend(model(1), shelf.opener(1)):
            assert len(shelf.opened) == 2
        assert len(memory) == 2
    assert (len(shelf.open), len(memory)) == (1, 1)


async def test_a_model_that_hung_is_unloaded_named_and_loaded_anew() -> None:
    shelf, memory = Shelf(), LoadedModels(2)
    async with memory.lend(model(1), shelf.opener(1)), memory.lend(model(1), shelf.opener(1)) as lent:
        lent.model.stuck = True  # type: ignore[attr-defined]
    assert (shelf.open, memory.hung, len(memory)) == ([], ["model-1"], 0)
    async with memory.lend(model(1), shelf.opener(1)):
        assert (shelf.open, memory.hung) == (["model-1"], [])


async def test_what_is_loaded_is_not_looked_through_for_garbage_and_what_has_left_is() -> None:
    shelf, memory = Shelf(), LoadedModels(1)
    async with memory.lend(model(1), shelf.opener(1)):
        assert gc.get_freeze_count() > 0
    await memory.close()
    assert gc.get_freeze_count() == 0
