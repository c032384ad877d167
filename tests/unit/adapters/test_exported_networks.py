"""Real networks, exported to ONNX by torch: run by ONNX Runtime, they answer what transformers answers.

Each is run as a folder in Hugging Face layout, and as a single file with its JSON beside it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from adapters.base import Context, Detections, PredictOptions
from adapters.frame import Frame
from adapters.onnx_file import OnnxFile
from adapters.providers import adapter_for
from adapters.references import LocalFile, LocalFolder
from tests import architectures as known

EVERYTHING = PredictOptions(floor_score=0.0)
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}

# Builder, automatic class, names of outputs, height and width of the input, and the JSON beside a single file.
NETWORKS: list[tuple[Callable[[], Any], str, tuple[str, ...], tuple[int, int], dict[str, Any]]] = [
    (known.yolos, "AutoModelForObjectDetection", ("logits", "pred_boxes"), (64, 96), IMAGENET),
    (
        known.rt_detr_v2,
        "AutoModelForObjectDetection",
        ("logits", "pred_boxes"),
        (64, 96),
        {"mean": [0, 0, 0], "std": [1, 1, 1]},
    ),
    (known.vit, "AutoModelForImageClassification", ("logits",), (32, 32), {**HALF, "fit": "stretch"}),
    (known.segformer, "AutoModelForSemanticSegmentation", ("logits",), (64, 64), IMAGENET),
]
NAMES = [build.__name__ for build, *_ in NETWORKS]


class _Plain(torch.nn.Module):
    """Pixels in, a tuple of outputs out, as the exporter wants a network."""

    def __init__(self, model: Any, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(self, pixels: Any) -> Any:
        answer = self.model(pixel_values=pixels)
        return tuple(getattr(answer, name) for name in self.outputs)


def export(folder: Path, auto_class: str, outputs: tuple[str, ...], size: tuple[int, int]) -> Path:
    model = getattr(transformers, auto_class).from_pretrained(folder).eval()
    path = folder / "model.onnx"
    open_axes = {name: {0: "batch"} for name in ("pixel_values", *outputs)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of every branch that it fixes
        torch.onnx.export(
            _Plain(model, outputs),
            (torch.randn(2, 3, *size),),
            str(path),
            input_names=["pixel_values"],
            output_names=list(outputs),
            dynamic_axes=open_axes,
            dynamo=False,
            opset_version=17,
        )
    return path


def frames(size: tuple[int, int]) -> list[Frame]:
    """Pictures of the input's own size, so that no resizing stands between the engines."""
    rng = np.random.default_rng(3)
    made = []
    for i in range(3):
        rough = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        pixels = np.asarray(rough.resize((size[1], size[0]), Image.Resampling.BICUBIC))
        made.append(Frame(f"f{i}", size[1], size[0], pixels=pixels))
    return made


async def predict(reference: LocalFolder | LocalFile, engine: str, batch: list[Frame], cache: Path) -> list[Detections]:
    context = Context(cache, engine=engine)
    adapter = adapter_for(reference)
    card = await adapter.resolve(reference, context)
    assert card.engine == engine
    async with await adapter.open(card, context) as predictor:
        return await predictor.predict(batch, EVERYTHING)


def same(one: list[Detections], other: list[Detections]) -> None:
    for ours, theirs in zip(one, other, strict=True):
        assert len(ours) == len(theirs) > 0
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-3)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=0.2)
        assert ours.label_ids.tolist() == theirs.label_ids.tolist()
        assert [type(shape) for shape in ours.geometry] == [type(shape) for shape in theirs.geometry]


@pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript:DeprecationWarning")
@pytest.mark.parametrize(
    ("build", "auto_class", "outputs", "size", "beside"), NETWORKS, ids=lambda v: getattr(v, "__name__", "")
)
async def test_exported_networks_answer_as_they_did(
    build: Callable[[], Any],
    auto_class: str,
    outputs: tuple[str, ...],
    size: tuple[int, int],
    beside: dict[str, Any],
    tmp_path: Path,
) -> None:
    folder = known.write(build, tmp_path / "model")
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    processor["size"] = {"height": size[0], "width": size[1]}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    path = export(folder, auto_class, outputs, size)
    batch = frames(size)
    expected = await predict(LocalFolder(str(folder)), "transformers", batch, tmp_path)
    same(await predict(LocalFolder(str(folder)), "onnxruntime", batch, tmp_path), expected)

    path.with_suffix(".json").write_text(json.dumps({"labels": known.LABELS, "size": size, **beside}))
    card = await OnnxFile().resolve(LocalFile(str(path)), Context(tmp_path))
    assert card.labels == known.LABELS
    same(await predict(LocalFile(str(path)), "onnxruntime", batch, tmp_path), expected)
