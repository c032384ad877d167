"""How images are annotated without Hubbridge: transformers' pipeline, cvat-sdk's driver, CVAT's loop over Nuclio.

All run the model with PyTorch in f32, as their users do; none stores anything.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from PIL import Image

STREET = Path(__file__).parent.parent / "examples" / "street" / "model"
THRESHOLD = 0.5
Way = Callable[[], Awaitable[float]]


def images() -> list[Path]:
    """The example images, 640 x 480."""
    return sorted((STREET.parent / "images").glob("*.jpg"))


def others(folder: Path, frames: int) -> dict[str, Way]:
    """Name -> a run over so many frames that answers frames/s."""
    detect = detector(folder)
    paths = [images()[i % len(images())] for i in range(frames)]
    ways = {
        "transformers pipeline, one by one": pipeline(folder, paths, 1),
        "transformers pipeline, batch 8": pipeline(folder, paths, 8),
        "as CVAT's Nuclio loop: base64 in JSON, one by one, without HTTP": base64_loop(detect, paths),
    }
    try:
        ways["as cvat-sdk's auto-annotation driver: one by one"] = cvat_driver(detect, paths)
    except ImportError:
        print("cvat-sdk is not installed; its row is left out")
    return ways


def timed(run: Callable[[], int], frames: int) -> Way:
    async def way() -> float:
        started = perf_counter()
        done = run()
        assert done == frames
        return frames / (perf_counter() - started)

    return way


def pipeline(folder: Path, paths: list[Path], size: int) -> Way:
    import transformers  # noqa: PLC0415

    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    pipe: Any = transformers.pipeline("object-detection", model=str(folder), image_processor=processor)

    def run() -> int:
        pictures = (Image.open(path).convert("RGB") for path in paths)
        return sum(1 for _ in pipe(pictures, batch_size=size))

    return timed(run, len(paths))


def detector(folder: Path) -> Callable[[Image.Image], list[tuple[int, list[float]]]]:
    """What a user writes around a model of transformers: label ids and boxes in pixels."""
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = transformers.AutoModelForObjectDetection.from_pretrained(folder, dtype=torch.float32).eval()
    one_of_many = model.config.model_type.startswith("yolos")  # a column for no object; RT-DETR has none

    def detect(image: Image.Image) -> list[tuple[int, list[float]]]:
        inputs = processor([image], return_tensors="pt")
        with torch.inference_mode():
            answer = model(**inputs)
        logits = answer.logits[0]
        scores = logits.softmax(-1)[:, :-1] if one_of_many else logits.sigmoid()
        best, label_ids = scores.max(-1)
        x, y, w, h = answer.pred_boxes[0].unbind(-1)
        size = torch.tensor([image.width, image.height] * 2)
        boxes = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1) * size
        kept = best > THRESHOLD
        return list(zip(label_ids[kept].tolist(), boxes[kept].tolist(), strict=True))

    return detect


def base64_loop(detect: Callable[[Image.Image], list[tuple[int, list[float]]]], paths: list[Path]) -> Way:
    """The image goes out and the answer comes back as JSON text; nothing overlaps."""

    def run() -> int:
        done = 0
        for path in paths:
            body = json.dumps({"image": base64.b64encode(path.read_bytes()).decode(), "threshold": THRESHOLD})
            picture = Image.open(io.BytesIO(base64.b64decode(json.loads(body)["image"]))).convert("RGB")
            found = [{"label": label, "points": box, "type": "rectangle"} for label, box in detect(picture)]
            done += isinstance(json.loads(json.dumps(found)), list)
        return done

    return timed(run, len(paths))


def cvat_driver(detect: Callable[[Image.Image], list[tuple[int, list[float]]]], paths: list[Path]) -> Way:
    """Sample by sample: load the image, call the function, collect cvat-sdk's shapes; its upload is left out."""
    import cvat_sdk.auto_annotation as cvataa  # noqa: PLC0415

    def run() -> int:
        shapes: list[Any] = []
        for number, path in enumerate(paths):
            with Image.open(path) as picture:
                found = detect(picture.convert("RGB"))
            for label, box in found:
                shape = cvataa.rectangle(label, box)
                shape.frame = number
                shapes.append(shape)
        return len(paths)

    return timed(run, len(paths))
