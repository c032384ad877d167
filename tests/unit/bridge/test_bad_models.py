"""What a model gets wrong: every kind has its outcome in the ledger, and nothing wrong is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from adapters.base import Context, Detections, Mask, ModelCard, Polygon, Skeleton
from adapters.frame import Frame
from adapters.local import LocalPredictor
from bridge.domain import JobState
from tests.unit.bridge.world import LABELS, World, world

WIDTH, HEIGHT = 100, 80  # of the world's frames
BAD = "00003.png"


def one(box: Sequence[float] = (10, 10, 30, 30), score: float = 0.9, label: int = 0, shape: Any = None) -> Detections:
    return Detections(LABELS, [box], [score], [label], (shape,))


def mask(height: int, width: int) -> Mask:
    bits = np.asfortranarray(np.ones((height, width), np.uint8))
    return Mask(height, width, coco.encode(bits)["counts"])


class Model(LocalPredictor[str, str]):
    """Right on every frame but one, where it answers ``wrong``; ``count`` more or fewer results than pictures."""

    wrong: Callable[[], Detections] = staticmethod(one)
    count = 0

    def prepare(self, frame: Frame) -> str:
        return frame.id

    def forward(self, batch: Sequence[str]) -> Sequence[str]:
        if self.count and BAD in batch:
            return [*batch, *batch[:1]] if self.count > 0 else list(batch)[:-1]
        return list(batch)

    def finish(self, raw: str, frame: Frame) -> Detections:
        return self.wrong() if raw == BAD and not self.count else one()


async def run(made: World, wrong: Callable[[], Detections], count: int = 0) -> tuple[Any, list[Any]]:
    """The ended job, and the ledger's failed rows."""

    class Wrong(Model):
        pass

    Wrong.wrong, Wrong.count = staticmethod(wrong), count

    async def open_it(self: Any, card: ModelCard, context: Context) -> Model:
        return Wrong(card)

    made.adapter.open = open_it  # type: ignore[method-assign]
    job = await made.run(max_failure_rate=1.0)
    return job, [row for row in await made.jobs.ledger(job.id) if row.error_code]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: one((np.nan, 0, 10, 10)), "not finite"),
        (lambda: one((0, 0, np.inf, 10)), "not finite"),
        (lambda: one(score=np.nan), "not finite"),
        (lambda: one((30, 10, 10, 30)), "inverted"),
        (lambda: one((10, 30, 30, 10)), "inverted"),
        (lambda: one(score=1.7), "outside 0 to 1"),
        (lambda: one(score=-0.5), "outside 0 to 1"),
        (lambda: one(label=3), "outside the model's 3 labels"),
        (lambda: one(label=-1), "outside the model's 3 labels"),
        (lambda: one(shape=mask(40, 50)), "mask of 50x40 was answered for a frame of 100x80"),
        (lambda: one(shape=Polygon(np.array([[1, 1], [5, 5]]))), "at least 3 points"),
        (lambda: one(shape=Polygon(np.array([[1, 1], [5, 5], [np.nan, 2]]))), "not finite"),
        (lambda: one(shape=Skeleton(np.zeros((3, 2)), np.zeros(2))), "skeleton needs"),
        (lambda: Detections(LABELS, [[0, 0, 1, 1]], [0.9, 0.8], [0, 1]), "Detections need"),
    ],
)
async def test_a_frame_with_a_wrong_answer_fails_alone_and_nothing_of_it_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Callable[[], Detections], words: str
) -> None:
    async with world(tmp_path, monkeypatch, frames=8) as made:
        job, failed = await run(made, wrong)
        assert (job.state, job.frames_done, job.frames_failed) == (JobState.SUCCEEDED, 7, 1)
        assert [(row.name, row.error_code) for row in failed] == [(BAD, "bad_output")]
        assert words in failed[0].error
        shapes = await made.shapes()
        assert [len(shapes[number]) for number in range(8)] == [1, 1, 1, 0, 1, 1, 1, 1]
        assert await made.sql("SELECT count(*) FROM results") == [(7,)]


@pytest.mark.parametrize("count", [-1, 1], ids=["too few", "too many"])
async def test_a_wrong_number_of_results_is_split_until_the_frame_is_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    async with world(tmp_path, monkeypatch, frames=8) as made:
        job, failed = await run(made, one, count)
        assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 7)
        assert [(row.name, row.error_code) for row in failed] == [(BAD, "bad_output")]
        assert "results for 1 frames" in failed[0].error


@pytest.mark.parametrize(
    ("box", "stored"),
    [
        ((-20, -5, 30, 30), (0, 0, 30, 30)),
        ((50, 40, 500, 400), (50, 40, WIDTH, HEIGHT)),
        ((-50, -50, -10, -10), None),
        ((200, 200, 300, 300), None),
        ((10, 10, 10, 30), None),
    ],
)
async def test_boxes_beyond_the_frame_are_clipped_and_what_is_left_empty_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: tuple[float, ...], stored: tuple[float, ...] | None
) -> None:
    async with world(tmp_path, monkeypatch, frames=8) as made:
        job, failed = await run(made, lambda: one(box))
        assert (job.frames_done, failed) == (8, [])
        assert [shape.points for shape in (await made.shapes())[3]] == ([] if stored is None else [stored])


async def test_more_detections_than_are_kept_are_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = Detections(LABELS, [[0, 0, 9, 9]] * 1000, np.linspace(0.1, 0.9, 1000), [0] * 1000)
    async with world(tmp_path, monkeypatch, frames=8) as made:
        job, failed = await run(made, lambda: many)
        assert (job.frames_done, failed) == (8, [])
        scores = [shape.score or 0 for shape in (await made.shapes())[3]]
        assert len(scores) == 300
        assert min(scores) > 0.6
