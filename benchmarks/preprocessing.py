"""How long a frame's preparation takes: ours against the library's Pillow processors, on 640 x 480 JPEGs.

    python -m benchmarks.preprocessing [--rounds 9]

Both sides start from the same JPEG bytes, which both decode with Pillow, and once more from the decoded picture, which
is what the library's processors take. The two are timed in turn, frame
by frame, so that whatever else the machine does meets both; the table shows medians and their ratios. One thread.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import transformers
from PIL import Image

from adapters import resample
from adapters.frame import Frame
from adapters.image_processors import PROCESSORS
from adapters.owlv2_preprocess import Owlv2Preprocessor
from adapters.preprocess import FrameToTensor, Preprocessor
from benchmarks.machine import Table, Watch

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


def compare(name: str, frames: Sequence[bytes | Image.Image], rounds: int) -> tuple[float, float]:
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


def measure(rounds: int) -> Table:
    """Milliseconds of one thread, from JPEG bytes and from the decoded picture; the last row: medians of the ratios."""
    cv2.setNumThreads(1)
    transformers.utils.logging.set_verbosity_error()
    columns = ("image processor", "ours", "library", "ratio", "ours, decoded", "library, decoded", "ratio, decoded")
    built = "in C" if resample.native else "by Pillow: the C part was not built"
    table = Table(f"Preparation of a 640 x 480 JPEG, ms of one thread; resized {built}", columns)
    watch = Watch().start()
    frames = jpegs()
    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in frames]
    for name in sorted([*PROCESSORS, "Owlv2ImageProcessor"]):
        if not hasattr(transformers, f"{name}Pil"):  # the library has it for tensors only
            continue
        mine, library = compare(name, frames, rounds)
        alone, library_alone = compare(name, pictures, rounds)
        values = (name, mine, library, library / mine, alone, library_alone, library_alone / alone)
        table.add(**dict(zip(columns, values, strict=True)))
    ratios = {key: statistics.median(row[key] for row in table.rows) for key in ("ratio", "ratio, decoded")}
    table.add(**{"image processor": f"median of {len(table.rows)}", **ratios})
    table.others = watch.others
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    measure(parser.parse_args().rounds).show()
