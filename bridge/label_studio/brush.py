"""A mask as Label Studio's brush draws it: run lengths of four channels, row by row, packed as bits.

The form is that of thi.ng/rle-pack, which Label Studio's editor reads; ``label_studio_sdk.converter.brush`` writes the
same bytes from a dense picture. Here they come from the runs of the mask's own rows, so no frame is unpacked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.base import Mask
from adapters.frame import MAX_PIXELS
from bridge.masks import crop_mask, mask_from_crop

CHANNELS = 4  # red, green, blue, alpha
SET = 255  # 1 would be a mask that nobody sees
_WORD_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)  # a run is as long as the shortest of these can say
_LONGEST = 2 ** _LENGTH_BITS[-1]


def brush_rle(mask: Mask) -> list[int]:
    """The bytes of a mask of 0 and 255 in the size of its frame. Raises ValueError where the mask is none."""
    runs = _row_runs(mask) * CHANNELS
    head = [f"{mask.width * mask.height * CHANNELS:032b}", f"{_WORD_BITS - 1:05b}"]
    head += [f"{bits - 1:04b}" for bits in _LENGTH_BITS]
    parts = [_packed(int(length), SET * (number & 1)) for number, length in enumerate(runs) if length]
    bits = "".join(head + parts)
    bits += "0" * (8 - len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8, "big"))


def _row_runs(mask: Mask) -> NDArray[np.int64]:
    """The runs of zeros, ones, zeros ... of a mask in pixels, row by row."""
    total = mask.width * mask.height
    crop = crop_mask(mask)
    if crop is None:
        return np.array([total], np.int64)
    left, top, bits = crop
    height, width = bits.shape
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = bits
    changes = np.diff(padded, axis=1)
    rows, starts = np.nonzero(changes == 1)
    _, stops = np.nonzero(changes == -1)
    origin = (rows + top).astype(np.int64) * mask.width + left
    edges = np.stack((origin + starts, origin + stops), axis=1)
    # A run that ends where the next one begins, at the frame's edge, is one run.
    apart = np.concatenate(([True], edges[1:, 0] != edges[:-1, 1]))
    firsts = edges[apart, 0]
    lasts = edges[np.concatenate((apart[1:], [True])), 1]
    flat = np.stack((firsts, lasts), axis=1).ravel()
    return np.diff(np.concatenate(([0], flat, [total])))


def _packed(length: int, value: int) -> str:
    """One run as bits: 1, which of the four lengths, the length less one, the value; the longest are cut."""
    word = f"{value:08b}"
    whole, rest = divmod(length - 1, _LONGEST)
    text: str = f"111{_LONGEST - 1:016b}{word}" * whole
    rest += 1
    place = next(i for i, bits in enumerate(_LENGTH_BITS) if rest <= 2**bits)
    # A single value is written as such, as the SDK does.
    flag = "0" if rest == 1 else "1"
    return text + f"{flag}{place:02b}{rest - 1:0{_LENGTH_BITS[place]}b}{word}"


def mask_from_brush(rle: Any, width: int, height: int) -> Mask:
    """The mask of a brush's bytes on a frame of this size: what is half covered or more is set.

    Raises ValueError where they are none, or of a frame of another size.
    """
    if not isinstance(rle, Sequence) or not all(type(byte) is int and 0 <= byte <= 255 for byte in rle):
        raise ValueError("it is no list of bytes")
    total = width * height * CHANNELS
    if width * height > MAX_PIXELS:
        raise ValueError("its frame is too large")
    bits = "".join(f"{byte:08b}" for byte in rle)
    reader = _Bits(bits)
    if reader.take(32) != total:
        raise ValueError(f"it is not of a frame of {width}x{height}")
    word = reader.take(5) + 1
    lengths = [reader.take(4) + 1 for _ in range(4)]
    if word > _WORD_BITS:
        raise ValueError("its values have more than 8 bits")
    values, runs, filled = [], [], 0
    while filled < total:
        is_run = reader.take(1)
        length = reader.take(lengths[reader.take(2)]) + 1
        if filled + length > total:
            raise ValueError("its runs are longer than its frame")
        if is_run:
            values.append(reader.take(word))
            runs.append(length)
        else:
            values += [reader.take(word) for _ in range(length)]
            runs += [1] * length
        filled += length
    alpha = np.repeat(np.array(values, np.uint8), runs)[CHANNELS - 1 :: CHANNELS].reshape(height, width)
    return mask_from_crop(0, 0, (alpha > SET // 2).astype(np.uint8), width, height)


class _Bits:
    def __init__(self, bits: str) -> None:
        self._bits, self._at = bits, 0

    def take(self, count: int) -> int:
        taken = self._bits[self._at : self._at + count]
        if len(taken) < count:
            raise ValueError("it ends too early")
        self._at += count
        return int(taken, 2)
