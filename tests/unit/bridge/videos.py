"""Videos made on the spot: each frame shows its own number in white bars."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = (160, 96)  # width, height
TICKS = 3000  # of a frame, at 30 frames/s
TIME_BASE = Fraction(1, 90_000)


def picture(number: int) -> np.ndarray:
    """Eight bars, one for each bit of the number."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 60, np.uint8)
    for bit in range(8):
        if number >> bit & 1:
            pixels[24:72, 4 + 20 * bit : 16 + 20 * bit] = 230
    return pixels


def number_in(pixels: np.ndarray) -> int:
    return sum(1 << bit for bit in range(8) if pixels[40:56, 7 + 20 * bit : 13 + 20 * bit].mean() > 150)


def make_video(
    path: Path,
    frames: int = 60,
    *,
    codec: str = "libx264",
    stamps: Sequence[int] | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Frames 0, 1, 2 ... at 30 frames/s or at the time stamps given, with B-frames and a keyframe every 12 frames."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=30, options=options if options is not None else {"bf": "2", "crf": "12"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.time_base = stream.codec_context.time_base = (
            TIME_BASE if stamps or codec == "libx264" else Fraction(1, 30)
        )
        stream.codec_context.gop_size = 12
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.time_base = stream.time_base
            frame.pts = stamps[number] if stamps else round(number * Fraction(1, 30) / stream.time_base)
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    return path
