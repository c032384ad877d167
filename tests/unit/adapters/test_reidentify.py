"""Boxes of two frames that are the same object: by overlap, and by what a random ViT makes of them."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from adapters.base import Context
from adapters.errors import ModelNotFound
from adapters.frame import Frame
from adapters.promptable import Box, ReIdentifier
from adapters.providers import adapter_for
from adapters.references import BuiltIn, LocalFolder, Reference, parse_reference
from adapters.reidentify import are_near, as_array, ious, pair
from tests import architectures


def picture(*colours: tuple[int, int, int]) -> tuple[Frame, list[Box]]:
    """A frame of squares with one colour and a pattern each, and their boxes."""
    pixels = np.zeros((40, 40 * len(colours), 3), np.uint8)
    boxes: list[Box] = []
    for i, colour in enumerate(colours):
        pixels[5:35, 40 * i + 5 : 40 * i + 35] = colour
        boxes.append((40 * i + 5.0, 5.0, 40 * i + 35.0, 35.0))
    return Frame("squares", pixels.shape[1], 40, pixels=pixels), boxes


async def opened(reference: Reference, folder: Path) -> ReIdentifier:
    adapter, context = adapter_for(reference), Context(folder)
    model = await adapter.open(await adapter.resolve(reference, context), context)
    assert isinstance(model, ReIdentifier)
    return model


def test_the_pairing_is_the_best_there_is() -> None:
    rng = np.random.default_rng(3)
    for n, m in ((1, 1), (3, 3), (4, 2), (2, 5)):
        likeness = rng.random((n, m))
        found = pair(likeness, np.ones((n, m), bool), 0.0)
        matched = [column for column in found if column >= 0]
        assert len(matched) == min(n, m) == len(set(matched))
        total = sum(likeness[row, column] for row, column in enumerate(found) if column >= 0)
        wide = likeness if n <= m else likeness.T
        best = max(sum(wide[i, p[i]] for i in range(len(wide))) for p in permutations(range(wide.shape[1]), len(wide)))
        assert total == pytest.approx(best)


def test_a_pair_that_is_unlike_or_far_is_none() -> None:
    likeness, near = np.array([[0.9, 0.2], [0.8, 0.4]]), np.array([[True, True], [False, True]])
    assert pair(likeness, near, 0.3) == [0, 1]
    assert pair(likeness, near, 0.5) == [0, -1]
    assert pair(likeness, np.zeros((2, 2), bool), 0.0) == [-1, -1]
    assert pair(np.empty((0, 3)), np.empty((0, 3), bool), 0.5) == []


def test_overlaps_and_distances() -> None:
    one, other = as_array([(0, 0, 10, 10), (5, 5, 5, 5)]), as_array([(0, 0, 10, 10), (5, 0, 15, 10)])
    assert ious(one, other) == pytest.approx(np.array([[1, 1 / 3], [0, 0]]))
    assert are_near(one, other, 4).tolist() == [[True, False], [True, False]]


async def test_boxes_that_overlap_are_the_same_object(tmp_path: Path) -> None:
    async with await opened(BuiltIn("overlap-reid"), tmp_path) as model:
        frame, _ = picture((9, 9, 9))
        before: list[Box] = [(0, 0, 10, 10), (20, 0, 30, 10), (0, 20, 10, 30)]
        after: list[Box] = [(21, 1, 31, 11), (1, 1, 11, 11)]
        found = await model.match((frame, before), (frame, after), threshold=0.3, max_distance=50)
        assert found == [1, 0, -1]
        assert await model.match((frame, before), (frame, after), threshold=0.99, max_distance=50) == [-1, -1, -1]
        assert await model.match((frame, before), (frame, []), threshold=0.1, max_distance=50) == [-1, -1, -1]
        assert await model.match((frame, []), (frame, after), threshold=0.1, max_distance=50) == []


@pytest.mark.parametrize("build", architectures.EMBEDDERS, ids=lambda build: build.__name__)
async def test_what_looks_alike_is_the_same_object(tmp_path: Path, build: object) -> None:
    folder = architectures.write(build, tmp_path / "model")  # type: ignore[arg-type]
    red, green, blue = (250, 10, 10), (10, 250, 10), (10, 10, 250)
    async with await opened(LocalFolder(str(folder)), tmp_path) as model:
        before, after = picture(red, green, blue), picture(blue, red, green)
        found = await model.match(before, after, threshold=0.5, max_distance=1000)
        assert found == [1, 2, 0]
        near_only = await model.match(before, after, threshold=0.5, max_distance=1)
        assert all(place in (-1, i) for i, place in enumerate(near_only))
        outside: list[Box] = [(-90, -90, -50, -50), (500, 500, 600, 600)]
        assert len(await model.match((before[0], outside), after, threshold=0.0, max_distance=9999)) == 2


async def test_a_built_in_model_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    reference = parse_reference("builtin://deepsort").reference
    with pytest.raises(ModelNotFound, match="deepsort") as refused:
        await adapter_for(reference).resolve(reference, Context(tmp_path))
    assert "builtin://template-tracker" in refused.value.hint
