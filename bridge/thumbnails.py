"""Small pictures of frames for lists; JPEG files are decoded at a fraction of their size, which is quick."""

from __future__ import annotations

import io

from PIL import Image

from adapters.frame import Frame, read_info

QUALITY = 82


def thumbnail(frame: Frame, width: int) -> bytes:
    """A JPEG of the upright frame, at most ``width`` wide and never enlarged. Raises BadFrame. Blocks."""
    width = min(width, frame.width)
    size = (width, max(1, round(frame.height * width / frame.width)))
    packed = io.BytesIO()
    _small(frame, size).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0).save(packed, "JPEG", quality=QUALITY)
    return packed.getvalue()


def _small(frame: Frame, size: tuple[int, int]) -> Image.Image:
    """The picture, not smaller than ``size``."""
    encoded = frame.encoded
    if read_info(frame.id, encoded).format == "JPEG":
        try:
            image = Image.open(io.BytesIO(encoded))
            image.draft("RGB", size)
            return image.convert("RGB")
        except (OSError, ValueError, SyntaxError):  # damaged behind its head: the whole decoder says how
            pass
    return Image.fromarray(frame.pixels)
