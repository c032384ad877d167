"""A hosted model as it is lent: only the sending takes a turn, and a place at the host is never held for less."""

from __future__ import annotations

import asyncio
import io
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from adapters.base import Detections, Limits, ModelCard, PredictOptions
from adapters.errors import BadFrame, BadOutput, RateLimited
from adapters.frame import Frame
from adapters.hosted import HostedPredictor
from adapters.http_caller import Host, HttpCaller, Request
from adapters.network import HttpPolicy
from adapters.sent_image import SentImage
from bridge.lent import LentPredictor
from bridge.observer import Observer
from bridge.turns import Turns
from tests.servers.paced_host import PacedHost

WAIT_S = 120


def card_for(at_once: int, batch: int = 1) -> ModelCard:
    limits = Limits(max_batch=batch, max_concurrency=at_once, timeout_s=WAIT_S)
    return ModelCard(
        "far", "huggingface-hosted", "far", "0", "object-detection", ("car",), ("rectangle",), "hosted", limits=limits
    )


def frame(name: str, side: int = 8) -> Frame:
    packed = io.BytesIO()
    Image.new("RGB", (side, 8)).save(packed, "JPEG")
    return Frame(name, side, 8, encoded=packed.getvalue())


class AtHost(HostedPredictor):
    """Sends the picture and finds nothing; a picture's width is its number in ``waits``."""

    def __init__(self, card: ModelCard, url: str) -> None:
        caller = HttpCaller(url, HttpPolicy(frozenset({urlsplit(url).netloc})), Host("The host"), timeout_s=WAIT_S)
        super().__init__(card, caller, "The host")
        self.build_waits: dict[int, threading.Event] = {}
        self.read_waits: dict[int, threading.Event] = {}
        self.built: Counter[int] = Counter()

    def build(self, images: Sequence[SentImage], options: PredictOptions) -> Request:
        (image,) = images
        self.built[image.width] += 1
        if image.width in self.build_waits:
            assert self.build_waits[image.width].wait(WAIT_S)
        return Request(f"/{image.width}", body=image.data)

    def read(self, answer: Any, images: Sequence[SentImage], options: PredictOptions) -> list[Detections]:
        if images[0].width in self.read_waits:
            assert self.read_waits[images[0].width].wait(WAIT_S)
        return [Detections.empty(("car",)) for _ in images]


async def test_a_picture_being_prepared_or_read_holds_no_turn() -> None:
    async with PacedHost(delay_s=0.0, at_once=1).running() as host, AtHost(card_for(1), host.url) as model:
        model.build_waits[10], model.read_waits[11] = threading.Event(), threading.Event()
        lent = LentPredictor(model, Turns(1))
        slow = [asyncio.create_task(lent.predict([frame(str(side), side)], PredictOptions())) for side in (10, 11)]
        async with asyncio.timeout(WAIT_S):
            await lent.predict([frame("free", 12)], PredictOptions())  # while both of the others are at work
            assert not any(task.done() for task in slow)
            model.build_waits[10].set()
            model.read_waits[11].set()
            await asyncio.gather(*slow)
        assert set(host.answered) == {"10", "11", "12"}


@pytest.mark.parametrize("at_once", [1, 4, 16])
async def test_callers_may_have_more_under_way_than_the_host_which_never_sees_one_too_many(at_once: int) -> None:
    host = PacedHost(delay_s=0.02, at_once=at_once, together=True)
    async with host.running(), AtHost(card_for(at_once), host.url) as model:
        lent = LentPredictor(model, Turns(at_once))
        assert lent.card.limits.max_concurrency > at_once
        frames = [frame(str(side), side) for side in range(10, 10 + 4 * at_once)]
        await asyncio.gather(*(lent.predict([each], PredictOptions()) for each in frames))
        assert (host.busiest, host.too_many) == (at_once, 0)
        assert set(host.answered.values()) == {1}


async def test_a_host_asked_for_one_frame_a_request_sees_no_more_of_two_batches_than_it_allows() -> None:
    host = PacedHost(delay_s=0.02, at_once=2, together=True)
    async with host.running(), AtHost(card_for(2, batch=8), host.url) as model:
        lent = LentPredictor(model, Turns(2))
        batches = [[frame(str(side), side) for side in range(start, start + 8)] for start in (10, 20)]
        found = await asyncio.gather(*(lent.predict(batch, PredictOptions()) for batch in batches))
        assert [len(each) for each in found] == [8, 8]
        assert (host.busiest, host.too_many) == (2, 0)


async def test_what_is_ready_waits_as_long_as_the_host_asks() -> None:
    async with (
        PacedHost(delay_s=0.0, at_once=2, slow_down=1.0, retry_after_s=60.0).running() as host,
        AtHost(card_for(2), host.url) as model,
    ):
        turns = Turns(2)
        lent = LentPredictor(model, turns)
        for side in (10, 11):  # the second is refused here, without asking the host
            with pytest.raises(RateLimited):
                await lent.predict([frame("a", side)], PredictOptions())
        assert model.built == {10: 1, 11: 1}
        assert host.faults == {"429": 1}
        assert turns.closed_s > 50


async def test_errors_of_each_step_are_ours() -> None:
    async with PacedHost(delay_s=0.0).running() as host, AtHost(card_for(2), host.url) as model:
        told: list[str] = []
        lent = LentPredictor(model, Turns(2), Observer(called=lambda card, n, seconds, outcome: told.append(outcome)))
        with pytest.raises(BadFrame):
            await lent.predict([Frame("text", 8, 8, encoded=b"no picture")], PredictOptions())
        assert told == []  # the host was not asked

        def broken(*_: object) -> list[Detections]:
            raise RuntimeError("an error of no kind that we know")

        model.read = broken  # type: ignore[method-assign]
        with pytest.raises(BadOutput):
            await lent.predict([frame("a")], PredictOptions())
        assert told == ["ok"]  # what the host did was well
