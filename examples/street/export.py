"""Write a checkpoint of ``train.py`` as a Hugging Face model folder with its ONNX form beside it.

Needs the ``transformers`` extra, onnx and onnxscript.

    python examples/street/export.py /tmp/hubbridge-street examples/street/model

The folder holds config.json, model.safetensors (f32), preprocessor_config.json, onnx/model.onnx, README.md and LICENSE.
It is written only where PyTorch and ONNX Runtime agree on boxes and scores at batches of 1, 2 and 5.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from transformers import RTDetrForObjectDetection

INPUT_WIDTH, INPUT_HEIGHT = 256, 192  # as train.py resizes
MOST_BYTES = 10_000_000  # of each file, for they are committed
TOLERANCE = 1e-4  # between the engines: scores, and boxes as shares of the frame

MODEL_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: object-detection
tags: [object-detection, rt_detr, onnx]
---

# Street

A small RT-DETR that finds {labels} in drawn street scenes. It exists to show Hubbridge at work without a download:
{parameters:.2f} million parameters, input {width} x {height}, trained from scratch on scenes that a script draws, with
no photograph and no other model's weights. It knows nothing of real streets.

`onnx/model.onnx` is the same model for ONNX Runtime, with any batch size. Both give the same boxes.
"""


class Outputs(torch.nn.Module):
    """The model with a plain tuple as its answer, which is what an ONNX graph can give."""

    def __init__(self, model: RTDetrForObjectDetection) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        answer = self.model(pixel_values, return_dict=True)
        return answer.logits, answer.pred_boxes


def write_onnx(model: torch.nn.Module, path: Path) -> None:
    """One file with its weights inside and a free batch size."""
    path.parent.mkdir(parents=True)
    torch.onnx.export(
        Outputs(model).eval(),
        (torch.zeros(2, 3, INPUT_HEIGHT, INPUT_WIDTH),),
        str(path),
        dynamo=True,
        opset_version=18,
        external_data=False,
        input_names=["pixel_values"],
        output_names=["logits", "pred_boxes"],
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
    )


def largest_difference(model: torch.nn.Module, path: Path, batch: int) -> float:
    """Between the engines on random pictures: of the scores, and of the boxes as shares of the frame."""
    pixels = np.random.default_rng(batch).random((batch, 3, INPUT_HEIGHT, INPUT_WIDTH), np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits, boxes = session.run(["logits", "pred_boxes"], {"pixel_values": pixels})
    with torch.inference_mode():
        expected = model(torch.from_numpy(pixels))
    scores = torch.from_numpy(logits).sigmoid() - expected.logits.sigmoid()
    return max(float(scores.abs().max()), float(np.abs(boxes - expected.pred_boxes.numpy()).max()))


def export(checkpoint: Path, out: Path) -> None:
    """Raises ValueError where the engines disagree or a file is too large; ``out`` is then as it was."""
    model = RTDetrForObjectDetection.from_pretrained(checkpoint, local_files_only=True).float().eval()
    with tempfile.TemporaryDirectory(dir=out.parent) as temporary:
        folder = Path(temporary) / "model"
        model.save_pretrained(folder)
        write_onnx(model, folder / "onnx" / "model.onnx")
        preprocessor = {
            "image_processor_type": "RTDetrImageProcessor",
            "size": {"height": INPUT_HEIGHT, "width": INPUT_WIDTH},
            "do_resize": True,
            "resample": 2,  # bilinear
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": False,
            "do_pad": False,
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")
        labels = ", ".join(model.config.id2label.values())
        parameters = sum(p.numel() for p in model.parameters()) / 1e6
        card = MODEL_CARD.format(labels=labels, parameters=parameters, width=INPUT_WIDTH, height=INPUT_HEIGHT)
        (folder / "README.md").write_text(card)
        licence = Path(__file__).resolve().parents[2] / "LICENSE"
        if licence.exists():
            shutil.copy(licence, folder / "LICENSE")
        for batch in (1, 2, 5):
            difference = largest_difference(model, folder / "onnx" / "model.onnx", batch)
            print(f"batch {batch}: largest difference between the engines {difference:.1e}")
            if not difference < TOLERANCE:
                raise ValueError(f"The engines differ by {difference:.1e} at a batch of {batch}.")
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            print(f"{path.stat().st_size / 1e6:8.2f} MB  {path.relative_to(folder)}")
            if path.stat().st_size > MOST_BYTES:
                raise ValueError(f"{path.name} is larger than {MOST_BYTES / 1e6:.0f} MB.")
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a checkpoint as a Hugging Face folder with ONNX.")
    parser.add_argument("checkpoint", type=Path, help="folder with config.json and model.safetensors")
    parser.add_argument("out", type=Path, help="model folder to write; what it held is replaced")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    export(args.checkpoint, args.out)


if __name__ == "__main__":
    main()
