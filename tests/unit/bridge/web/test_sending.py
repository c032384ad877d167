"""Pictures that are decoded for requests share a bounded room, and files go out in pieces."""

from __future__ import annotations

import asyncio

from bridge.web.sending import PixelRoom


async def test_pictures_are_decoded_as_far_as_there_is_room_and_one_of_any_size_alone() -> None:
    room, at_once, most = PixelRoom(100), 0, 0
    order = []

    async def decode(pixels: int) -> None:
        nonlocal at_once, most
        async with room.take(pixels):
            order.append(pixels)
            at_once += pixels
            most = max(most, at_once)
            await asyncio.sleep(0)
            at_once -= pixels

    sizes = [40, 40, 40, 5000, 30, 30, 30, 30]
    async with asyncio.timeout(60):
        await asyncio.gather(*(decode(each) for each in sizes))
    assert (order, most) == (sizes, 5000)
    at_once = most = 0
    async with asyncio.timeout(60):
        await asyncio.gather(*(decode(40) for _ in range(10)))
    assert most == 80


async def test_who_gives_up_waiting_or_fails_leaves_the_room_to_others() -> None:
    room = PixelRoom(10)

    async def wait() -> None:
        async with room.take(8):
            raise AssertionError

    async with asyncio.timeout(60):
        async with room.take(8):
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait((waiting,))
        failing = asyncio.create_task(wait())
        await asyncio.wait((failing,))
        assert isinstance(failing.exception(), AssertionError)
        async with room.take(10):
            pass
