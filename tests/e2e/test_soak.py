"""A short piece of `make soak`: nothing fails, nothing is lost, nothing stays; and what would be wrong is seen."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from tests.soak.disk import Kept
from tests.soak.process import Held, Watch
from tests.soak.run import MORE_MB_PER_MINUTE, Size, State, grown, soak
from tests.soak.traffic import Client, Tally

BEFORE = State(Held(300.0, 40, 20), Kept({"tasks": 0, "mappings": 2}, 1.0, 0, 1, 100))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
async def test_mixed_traffic_fails_nowhere_loses_nothing_and_leaves_nothing_open(tmp_path: Path) -> None:
    report = await soak(tmp_path, 8, Size(predictors=12, annotators=2, others=1), warm_up_s=2, settle_s=3)
    assert report.wrong == []
    assert report.jobs >= 1
    assert report.done["crowds that took every place"] >= 1
    assert len(report.recovered_s) >= 2
    assert {row.kind for row in report.rows} >= {"predict", "upload", "job", "page", "refused", "flood", "recovery"}


@pytest.mark.parametrize(
    ("held", "kept", "words"),
    [
        ({"files": 57}, {}, "open files grew from 40 to 57"),
        ({"threads": 45}, {}, "threads grew from 20 to 45"),
        ({}, {"files": 1}, "files of tasks grew from 0 to 1"),
        ({}, {"leftovers": 2}, "left-over files grew from 1 to 2"),
        ({}, {"database_mb": 26.0}, "MB of the database grew from 1.0 to 26.0"),
        ({}, {"log_lines": 401}, "lines of the log grew from 100 to 401"),
        ({}, {"rows": {"tasks": 0, "mappings": 3}}, "rows in mappings grew from 2 to 3"),
    ],
)
def test_what_grows_is_named(held: dict[str, int], kept: dict[str, float], words: str) -> None:
    assert grown(BEFORE, BEFORE, MORE_MB_PER_MINUTE, 100) == []
    after = State(replace(BEFORE.held, **held), replace(BEFORE.kept, **kept))
    assert grown(BEFORE, after, 0.0, 100) == [words]


def test_memory_that_grows_is_named_by_its_slope_over_the_second_half() -> None:
    watch = Watch(0, [float(second) for second in range(240)])
    watch.samples = [Held(300 + max(0, second - 120) / 10, 40, 20) for second in range(240)]
    assert watch.slope_mb_per_minute() == pytest.approx(6)
    assert watch.minutes() == [300.0, 300.0, 302.9, 308.9]
    assert grown(BEFORE, BEFORE, watch.slope_mb_per_minute(), 0) == ["memory grew by 6.0 MB a minute"]


async def test_answers_that_must_not_be_are_named() -> None:
    """An unexpected failure, and a refusal that does not say when to come back."""
    answers = iter([web.Response(status=500, text="x"), web.Response(status=503), web.Response(status=404)])

    async def answer(_: web.Request) -> web.StreamResponse:
        return next(answers)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    tally = Tally()
    async with TestServer(app) as server, ClientSession() as session:
        client = Client(str(server.make_url("")).rstrip("/"), session, tally, 0.0, 1, 1)
        client.rng = random.Random(1)
        for _ in range(3):
            await client.ask("page", "GET", "/")
    assert set(tally.wrong) == {"page: 500 b'x'", "page: 503 without Retry-After", "page: 404 b''"}
