"""The embedded model, run by both engines."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from adapters.base import Context, Detections, PredictOptions
from adapters.frame import Frame
from adapters.huggingface_local import HuggingFaceLocal
from adapters.references import LocalFolder

STREET = Path(__file__).parents[3] / "examples" / "street"
MODEL = STREET / "model"
MOST_BYTES = 10_000_000


@pytest.fixture
def scenes(monkeypatch: pytest.MonkeyPatch) -> list[Frame]:
    monkeypatch.syspath_prepend(str(STREET))
    import scenes as drawing  # noqa: PLC0415  (an example, not a package)

    frames = []
    for index in range(5):
        pixels = np.array(drawing.make_scene(99, index).image.convert("RGB"))
        frames.append(Frame(f"scene{index}", pixels.shape[1], pixels.shape[0], pixels=pixels))
    sys.modules.pop("scenes")
    return frames


async def predict(engine: str, frames: list[Frame], cache: Path) -> list[Detections]:
    adapter, context = HuggingFaceLocal(), Context(cache, engine=engine)
    card = await adapter.resolve(LocalFolder(str(MODEL)), context)
    assert card.engine == engine
    async with await adapter.open(card, context) as predictor:
        return await predictor.predict(frames, PredictOptions(floor_score=0.2))


@pytest.mark.parametrize("batch", [1, 2, 5])
async def test_both_engines_give_the_same_boxes(scenes: list[Frame], tmp_path: Path, batch: int) -> None:
    by_onnx = await predict("onnxruntime", scenes[:batch], tmp_path)
    by_torch = await predict("transformers", scenes[:batch], tmp_path)
    assert sum(map(len, by_onnx)) > 0
    for one, other in zip(by_onnx, by_torch, strict=True):
        assert (one.label_ids == other.label_ids).all()
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0.01)


def test_the_embedded_models_files_are_small_enough_to_commit() -> None:
    sizes = {path.name: path.stat().st_size for path in MODEL.rglob("*") if path.is_file()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "model.onnx"} <= set(sizes)
    assert max(sizes.values()) < MOST_BYTES
