"""How long a frame's preparation takes: ours against the library's Pillow processors, on 640 x 480 JPEGs.

    python -m benchmarks.preprocessing [--rounds 9] [--json preprocessing.json]

Both sides start from the same JPEG bytes, and once more from the decoded picture ("alone"): decoding and Pillow's own
resizing are the same on both sides, and what is left is what the two do differently. The two are timed in turn, frame
by frame, so that whatever else the machine does meets both; the table shows medians and their ratios. One thread.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import transformers
from PIL import Image

from adapters.frame import Frame
from adapters.image_processors import PROCESSORS
from adapters.owlv2_preprocess import Owlv2Preprocessor
from adapters.preprocess import FrameToTensor, Preprocessor

SIZE = (640, 480)
FRAMES = 4


def jpegs() -> list[bytes]:
    """Pictures with large and small structures, as photographs have them."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(FRAMES):
        rough = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
        fine = rng.normal(0, 8, (SIZE[1], SIZE[0], 3))
        picture = Image.fromarray((np.asarray(rough) + fine).clip(0, 255).astype(np.uint8))
        packed = io.BytesIO()
        picture.save(packed, "JPEG", quality=90)
        made.append(packed.getvalue())
    return made


def theirs(name: str) -> Callable[[bytes | Image.Image], Any]:
    processor = getattr(transformers, f"{name}Pil")()
    further = {"task_inputs": ["panoptic"]} if name.startswith("OneFormer") else {}

    def prepare(data: bytes | Image.Image) -> Any:
        image = data if isinstance(data, Image.Image) else Image.open(io.BytesIO(data)).convert("RGB")
        return processor([image], **further, return_tensors="np")["pixel_values"]

    return prepare


def ours(name: str) -> Callable[[bytes | Image.Image], Any]:
    config = {"image_processor_type": name}
    to_tensor: FrameToTensor = (
        Owlv2Preprocessor.from_config(config) if name.startswith("Owlv2") else Preprocessor.from_config(config)
    )

    def prepare(data: bytes | Image.Image) -> Any:
        pixels = np.asarray(data) if isinstance(data, Image.Image) else Frame("f", *SIZE, encoded=data).pixels
        return to_tensor(pixels).pixels

    return prepare


def measure(name: str, frames: Sequence[bytes | Image.Image], rounds: int) -> tuple[float, float]:
    """Median milliseconds of a frame: ours, theirs."""
    times: tuple[list[float], list[float]] = ([], [])
    sides = ours(name), theirs(name)
    for run in sides:
        run(frames[0])
    for _ in range(rounds):
        for data in frames:
            for run, taken in zip(sides, times, strict=True):
                start = time.perf_counter()
                run(data)
                taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    transformers.utils.logging.set_verbosity_error()
    frames = jpegs()
    rows: list[dict[str, Any]] = []
    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in frames]
    print(f"{'image processor':32}{'ours ms':>10}{'theirs ms':>12}{'ratio':>8}{'alone':>10}{'theirs':>10}{'ratio':>8}")
    for name in sorted([*PROCESSORS, "Owlv2ImageProcessor"]):
        mine, library = measure(name, frames, arguments.rounds)
        alone, library_alone = measure(name, pictures, arguments.rounds)
        row = {"processor": name, "ours_ms": mine, "theirs_ms": library, "ratio": library / mine}
        row |= {"ours_alone_ms": alone, "theirs_alone_ms": library_alone, "ratio_alone": library_alone / alone}
        rows.append(row)
        print(
            f"{name:32}{mine:10.2f}{library:12.2f}{library / mine:8.2f}"
            f"{alone:10.2f}{library_alone:10.2f}{library_alone / alone:8.2f}",
            flush=True,
        )
    ratio, ratio_alone = (statistics.median(row[key] for row in rows) for key in ("ratio", "ratio_alone"))
    print(f"median of the ratios over {len(rows)} classes: {ratio:.2f} from JPEGs, {ratio_alone:.2f} from pictures")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"rows": rows, "median_ratio": ratio, "median_ratio_alone": ratio_alone}, indent=2)
        )


if __name__ == "__main__":
    main()
