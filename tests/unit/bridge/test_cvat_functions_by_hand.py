"""Interactors and trackers of `bridge.cvat_function`, called as cvat-cli's agent calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import PIL.Image
import pytest
from cvat_sdk.masks import decode_mask

from bridge.cvat_function import create
from bridge.cvat_session import FunctionFailed
from tests import architectures
from tests.unit.adapters.test_template_tracker import MOVES, film, iou

CONTEXT: Any = SimpleNamespace(original_shape_type="rectangle")
TRACKER = "builtin://template-tracker"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    (tmp_path / "config.toml").write_text('[logging]\nlevel = "critical"\n')
    monkeypatch.setenv("HUBBRIDGE_CONFIG", str(tmp_path / "config.toml"))
    functions: list[Any] = []

    def make(reference: str, **options: str) -> Any:
        functions.append(create(model=reference, data_dir=str(tmp_path / "data"), **options))
        return functions[-1]

    yield make
    for function in functions:
        function.close()


@pytest.fixture(scope="module")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(architectures.write(architectures.sam2_video, tmp_path_factory.mktemp("models") / "sam2"))


def image(*boxes: tuple[float, float, float, float]) -> PIL.Image.Image:
    return PIL.Image.fromarray(film(*boxes).pixels)


def prompts(*points: tuple[float, float], box: Any = None) -> Any:
    return SimpleNamespace(pos_points=points, neg_points=(), bounding_box=box)


def test_points_and_a_box_become_a_mask_with_its_score(made: Callable[..., Any], sam2: str) -> None:
    function = made(sam2)
    spec = function.spec
    assert isinstance(spec, cvataa.InteractionFunctionSpec)
    assert (spec.min_pos_points, spec.min_neg_points, spec.min_bounding_boxes) == (0, 0, 0)
    frame = function.preprocess_image(CONTEXT, image(MOVES["still"](0)))
    box = ((80.0, 60.0), (180.0, 140.0))
    for asked in (prompts((100, 80)), prompts(box=box), prompts((100, 80), (120, 90), box=box)):
        (shape,) = function.detect(CONTEXT, frame, asked)
        assert shape.type == "mask"
        mask = decode_mask(shape.points, image_width=320, image_height=240)  # refuses what does not fit
        left, top, right, bottom = map(int, shape.points[-4:])
        rows, columns = np.nonzero(mask)
        assert (columns.min(), rows.min(), columns.max(), rows.max()) == (left, top, right, bottom)
        (score,) = shape.attributes
        assert score.spec_id == cvataa.InteractionResultAttributes.CONFIDENCE
        assert 0 <= float(score.value) <= 1
    with pytest.raises(FunctionFailed, match="Click on the object"):
        function.detect(CONTEXT, frame, prompts())


def test_rectangles_are_followed_and_each_state_goes_on(made: Callable[..., Any]) -> None:
    function = made(TRACKER)
    assert function.spec.supported_shape_types == {"rectangle"}
    moves = (MOVES["straight"], MOVES["shrinking"])
    frames = [function.preprocess_image(CONTEXT, image(*(move(t) for move in moves))) for t in range(5)]
    states = [
        function.init_tracking_state(CONTEXT, frames[0], cvataa.TrackableShape(type="rectangle", points=move(0)))
        for move in moves
    ]
    for t, frame in enumerate(frames[1:], 1):
        for state, move in zip(states, moves, strict=True):
            shape = function.track(CONTEXT, frame, state)
            assert shape.type == "rectangle"
            assert iou(tuple(shape.points), move(t)) > 0.7


def test_a_model_that_can_be_both_is_what_is_asked_for(made: Callable[..., Any], sam2: str) -> None:
    assert isinstance(made(sam2, kind="tracker").spec, cvataa.TrackingFunctionSpec)
    with pytest.raises(FunctionFailed, match="It can be: interactor, tracker"):
        made(sam2, kind="detector")
    with pytest.raises(FunctionFailed, match="cvat-sdk has no functions of that kind"):
        made("builtin://overlap-reid")
