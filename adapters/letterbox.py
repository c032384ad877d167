"""Fitting pictures into an ONNX file's input: stretched, letterboxed, or scaled by the shortest edge and cropped.

The tensor keeps where the picture lies in it, so that ``Tensor.to_frame`` undoes it to the pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from adapters.base import FloatArray
from adapters.image_processors import target_size
from adapters.preprocess import Pixels, Tensor, center_crop, scaled

Fit = Literal["stretch", "letterbox", "shortest_edge", "limit_side"]
FITS: tuple[Fit, ...] = ("stretch", "letterbox", "shortest_edge", "limit_side")
GREY = 114  # what the YOLO family fills letterboxes with


@dataclass(frozen=True, slots=True, eq=False)
class FileInput:
    """How frames become the input of an ONNX file.

    height, width   of the tensor; of ``limit_side``, the least size of the shorter side
    fit             stretch: no regard to proportions; letterbox: in the middle, on ``fill``; shortest_edge: scaled to
                    cover the input, and cropped; limit_side: scaled up where the shorter side is smaller, each side
                    rounded to a multiple of 32
    scale, bias     f32[3]: what a byte of a channel is multiplied by, and what is added
    bgr             channels come in reverse
    """

    height: int
    width: int
    fit: Fit
    scale: FloatArray
    bias: FloatArray
    bgr: bool = False
    fill: int = GREY

    def __call__(self, pixels: Pixels) -> Tensor:
        height, width = pixels.shape[:2]
        top = left = 0
        if self.fit == "letterbox":
            pixels, top, left = self._letterboxed(pixels)
        elif self.fit == "shortest_edge":
            pixels, top, left = self._covered(pixels)
        else:
            size = _limited(height, width, min(self.height, self.width)) if self.fit == "limit_side" else None
            new_height, new_width = size or (self.height, self.width)
            pixels = _resized(pixels, new_height, new_width)
        tensor = scaled(pixels[:, :, ::-1] if self.bgr else pixels, self.scale, self.bias)
        if self.fit == "letterbox":
            new_height, new_width = self._inside(height, width)
            return Tensor(tensor.pixels, new_height, new_width, top, left)
        if self.fit == "shortest_edge":
            new_height, new_width = self._outside(height, width)
            return Tensor(tensor.pixels, new_height, new_width, top, left)
        return tensor

    def _inside(self, height: int, width: int) -> tuple[int, int]:
        share = min(self.height / height, self.width / width)
        return max(1, round(height * share)), max(1, round(width * share))

    def _outside(self, height: int, width: int) -> tuple[int, int]:
        return target_size(height, width, {"shortest_edge": max(self.height, self.width)})

    def _letterboxed(self, pixels: Pixels) -> tuple[Pixels, int, int]:
        new_height, new_width = self._inside(*pixels.shape[:2])
        top, left = (self.height - new_height) // 2, (self.width - new_width) // 2
        full = np.full((self.height, self.width, 3), self.fill, np.uint8)
        full[top : top + new_height, left : left + new_width] = _resized(pixels, new_height, new_width)
        return full, top, left

    def _covered(self, pixels: Pixels) -> tuple[Pixels, int, int]:
        """The picture begins before the tensor does, so its place is negative."""
        new_height, new_width = self._outside(*pixels.shape[:2])
        cropped = center_crop(_resized(pixels, new_height, new_width), (self.height, self.width))
        return cropped, -((new_height - self.height) // 2), -((new_width - self.width) // 2)


def _limited(height: int, width: int, least: int) -> tuple[int, int]:
    """As PP-OCR's detector wants it: never smaller than ``least``, in multiples of 32."""
    share = max(1.0, least / min(height, width))
    return max(32, round(height * share / 32) * 32), max(32, round(width * share / 32) * 32)


def _resized(pixels: Pixels, height: int, width: int) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return pixels
    resized: Pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR))
    return resized
