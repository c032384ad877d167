"""Who may ask a model when."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from adapters.errors import RateLimited
from bridge.turns import PATIENT_EVERY, Turns


async def hold(turns: Turns, begun: list[str], name: str, seconds: float = 0.0, *, urgent: bool = False) -> None:
    async with turns.take(urgent=urgent):
        begun.append(name)
        await asyncio.sleep(seconds)


async def test_no_more_than_so_many_hold_a_turn_and_each_gets_one() -> None:
    turns, inside, most, served = Turns(3), 0, 0, 0

    async def call() -> None:
        nonlocal inside, most, served
        async with turns.take():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1
            served += 1

    await asyncio.gather(*(call() for _ in range(20)))
    assert (most, served) == (3, 20)


async def test_urgent_callers_go_ahead_of_those_who_came_before_them() -> None:
    turns, begun = Turns(1), []
    calls = [
        hold(turns, begun, "first", 0.01),
        hold(turns, begun, "job 1"),
        hold(turns, begun, "job 2"),
        hold(turns, begun, "online 1", urgent=True),
        hold(turns, begun, "online 2", urgent=True),
    ]
    await asyncio.gather(*calls)
    assert begun == ["first", "online 1", "online 2", "job 1", "job 2"]


async def test_patient_callers_go_on_however_many_urgent_ones_come() -> None:
    turns, begun = Turns(1), []
    done = asyncio.Event()

    async def online(name: str) -> None:
        while not done.is_set():
            await hold(turns, begun, name, urgent=True)

    async def job() -> None:
        for i in range(3):
            await hold(turns, begun, f"job {i}")
        done.set()

    async with asyncio.timeout(60):
        await asyncio.gather(*(online(f"online {i}") for i in range(4)), job())
    at = [i for i, name in enumerate(begun) if name.startswith("job")]
    # The turn that is given while a job comes back for its next one is none that it waited through.
    assert all(PATIENT_EVERY <= later - earlier <= PATIENT_EVERY + 1 for earlier, later in pairwise(at))


async def test_who_leaves_while_waiting_takes_no_turn_with_him() -> None:
    turns, begun = Turns(1), []
    first = asyncio.create_task(hold(turns, begun, "first", 0.01))
    leaver = asyncio.create_task(hold(turns, begun, "leaver"))
    last = asyncio.create_task(hold(turns, begun, "last"))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.gather(first, last)
    assert begun == ["first", "last"]


async def test_a_turn_that_comes_together_with_the_cancellation_goes_to_the_next() -> None:
    turns, begun = Turns(1), []
    async with turns.take():
        leaver = asyncio.create_task(hold(turns, begun, "leaver"))
        last = asyncio.create_task(hold(turns, begun, "last"))
        await asyncio.sleep(0)
    leaver.cancel()  # its turn has been given, and it has not run since
    async with asyncio.timeout(60):
        await last
    assert begun == ["last"]


async def test_calls_begin_no_faster_than_the_rate_and_lose_none_of_it() -> None:
    turns, times = Turns(100, per_second=100), []
    loop = asyncio.get_running_loop()

    async def call() -> None:
        async with turns.take():
            times.append(loop.time())

    started = loop.time()
    await asyncio.gather(*(call() for _ in range(21)))
    assert all(at - started >= 0.01 * number - 0.001 for number, at in enumerate(times))


async def test_while_it_is_closed_nobody_begins_and_afterwards_everybody_does() -> None:
    turns, begun = Turns(2), []
    loop = asyncio.get_running_loop()
    started = loop.time()
    turns.close_for(0.05)
    turns.close_for(0.01)  # a shorter wish does not shorten a longer one
    await asyncio.gather(*(hold(turns, begun, str(i), urgent=i % 2 == 0) for i in range(4)))
    assert loop.time() - started >= 0.045
    assert sorted(begun) == ["0", "1", "2", "3"]
    assert turns.closed_s == 0


async def test_what_is_under_way_ends_while_it_is_closed_and_who_would_wait_for_long_is_told() -> None:
    turns = Turns(1)
    async with turns.take():
        waiting = asyncio.create_task(hold(turns, [], "waiting"))
        await asyncio.sleep(0)
        turns.close_for(100)
        with pytest.raises(RateLimited) as refused:
            await waiting
        assert 90 < (refused.value.retry_after or 0) <= 100
    with pytest.raises(RateLimited):
        await hold(turns, [], "late")
