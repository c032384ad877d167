"""The thread of a model: steps in order, and what hangs is given up."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
import weakref

import pytest

from adapters.model_thread import ModelThread


async def begins(begun: threading.Event) -> None:
    async with asyncio.timeout(60):
        while not begun.is_set():
            await asyncio.sleep(0.001)


async def test_steps_run_one_after_another_in_one_thread() -> None:
    thread, order, at_once = ModelThread("model"), [], []

    def step(number: int) -> int:
        at_once.append(threading.get_ident())
        order.append(number)
        time.sleep(0.002)
        return number * 2

    answers = await asyncio.gather(*(thread.run(lambda number=number: step(number), 60) for number in range(5)))
    assert (answers, order, len(set(at_once))) == ([0, 2, 4, 6, 8], [0, 1, 2, 3, 4], 1)
    thread.close()


async def test_what_a_step_raises_is_raised_to_its_caller_only() -> None:
    thread = ModelThread("model")

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await thread.run(fail, 60)
    assert await thread.run(lambda: 1, 60) == 1
    assert thread.hung == 0
    thread.close()


async def test_a_step_that_hangs_is_abandoned_and_those_behind_it_go_on() -> None:
    thread, go = ModelThread("model"), threading.Event()
    hanging = asyncio.create_task(thread.run(go.wait, 1))
    behind = [asyncio.create_task(thread.run(lambda number=number: number, 1)) for number in range(3)]
    with pytest.raises(TimeoutError):
        await hanging
    # Their own time had not begun while they waited, although they waited for as long as it is.
    assert await asyncio.gather(*behind) == [0, 1, 2]
    assert thread.hung == 1
    go.set()
    thread.close()


async def test_a_step_that_hangs_after_its_caller_left_is_abandoned_by_the_next_caller() -> None:
    thread, go, begun = ModelThread("model"), threading.Event(), threading.Event()
    left = asyncio.create_task(thread.run(lambda: (begun.set(), go.wait()), 0.1))
    await begins(begun)
    left.cancel()
    await asyncio.wait([left])
    async with asyncio.timeout(60):
        assert await thread.run(lambda: "next", 60) == "next"
    assert thread.hung == 1
    go.set()
    thread.close()


async def test_an_answer_that_comes_after_the_deadline_is_thrown_away() -> None:
    thread, go = ModelThread("model"), threading.Event()
    with pytest.raises(TimeoutError):
        await thread.run(lambda: go.wait(600), 0.02)
    go.set()
    await asyncio.sleep(0.02)
    assert await thread.run(lambda: "mine", 60) == "mine"
    thread.close()


async def test_a_cancelled_caller_that_waits_is_never_served() -> None:
    thread, go, ran = ModelThread("model"), threading.Event(), []
    first = asyncio.create_task(thread.run(go.wait, 600))
    second = asyncio.create_task(thread.run(lambda: ran.append(1), 60))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    go.set()
    await first
    await thread.run(lambda: None, 60)
    assert ran == []
    thread.close()


async def test_when_two_steps_hang_those_that_wait_are_dropped_and_no_third_thread_is_made() -> None:
    thread, go = ModelThread("twice"), threading.Event()
    calls = [asyncio.create_task(thread.run(go.wait, 0.03)) for _ in range(5)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [TimeoutError] * 2 + [asyncio.CancelledError] * 3
    with pytest.raises(asyncio.CancelledError):
        await thread.run(lambda: 1, 5)
    assert thread.stuck
    assert sum(one.name.startswith("twice") for one in threading.enumerate()) == 2
    go.set()
    thread.close()


async def test_closing_waits_for_the_step_that_runs_but_not_for_one_that_hangs() -> None:
    thread, ended, begun = ModelThread("model"), [], threading.Event()
    running = asyncio.create_task(thread.run(lambda: (begun.set(), time.sleep(0.1), ended.append(1)), 60))
    waiting = asyncio.create_task(thread.run(lambda: ended.append(2), 60))
    await begins(begun)
    await asyncio.to_thread(thread.close)
    assert ended == [1]
    assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError)
    await running

    hung, go, begun = ModelThread("model"), threading.Event(), threading.Event()
    call = asyncio.create_task(hung.run(lambda: (begun.set(), go.wait(600)), 0.1))
    await begins(begun)
    await asyncio.to_thread(hung.close)
    with pytest.raises(TimeoutError):
        await call
    go.set()


async def test_what_a_step_held_is_let_go_while_the_thread_waits() -> None:
    class Large:
        pass

    thread, large = ModelThread("model"), Large()
    gone = weakref.ref(large)
    await thread.run(lambda large=large: large, 60)
    del large
    for _ in range(100):
        gc.collect()
        if gone() is None:
            break
        await asyncio.sleep(0.01)
    assert gone() is None
    thread.close()


def test_a_hung_step_does_not_keep_the_process_alive() -> None:
    program = """
import asyncio, time
from adapters.model_thread import ModelThread
async def main():
    try:
        await ModelThread("model").run(lambda: time.sleep(3600), 0.05)
    except TimeoutError:
        print("given up")
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert ended.stdout == "given up\n"
