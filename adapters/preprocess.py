"""A frame -> the tensor that a model wants, as its ``preprocessor_config.json`` says.

Equal to the Pillow form of the image processors in ``image_processors.py``, and made in fewer passes over the
picture: rescaling and normalising are one multiplication and one addition per channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adapters.base import FloatArray
from adapters.errors import Unsupported
from adapters.image_processors import PROCESSORS, Resize, Size, plain_name, read_size, scale_and_bias
from adapters.resample import resized

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One frame for a model: ``pixels`` f32[3, h, w], and the part of it that is picture and not padding.

    top, left   where the picture begins
    """

    pixels: FloatArray
    height: int
    width: int
    top: int = 0
    left: int = 0

    @property
    def mask(self) -> NDArray[np.int64]:
        """i64[h, w], 1 where there is picture."""
        mask = np.zeros(self.pixels.shape[1:], np.int64)
        mask[self.top : self.top + self.height, self.left : self.left + self.width] = 1
        return mask

    def to_frame(self, boxes: FloatArray, width: int, height: int) -> FloatArray:
        """x y pairs in pixels of the tensor, f32[n, 2k], -> in pixels of the frame of that size."""
        pairs = boxes.shape[1] // 2
        offset = np.tile(np.array([self.left, self.top], np.float32), pairs)
        share = np.tile(np.array([width / self.width, height / self.height], np.float32), pairs)
        return (boxes - offset) * share


FrameToTensor = Callable[[Pixels], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Preprocessor:
    """The steps of an image processor: resize, crop, one multiplication and addition per channel, padding.

    resize        size of the picture -> size to resize to; None: the picture stays as it is
    resample      filter of the resizing
    crops         sizes that are cut out of the middle, one after the other; what is missing is black
    reverse       whether channels are reversed, from RGB to BGR
    scale, bias   f32[3]: what a byte of each channel is multiplied by, and what is added to that: rescaling and
                  normalising in one step
    pad_to        height and width that the tensor is padded to with zeros, or None
    fixed_size    height and width of every tensor where they do not depend on the picture, else None
    """

    resize: Resize | None
    resample: Image.Resampling
    crops: tuple[Size, ...]
    reverse: bool
    scale: FloatArray
    bias: FloatArray
    pad_to: Size | None
    fixed_size: Size | None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessor:
        """From the content of preprocessor_config.json. Raises Unsupported, naming what it does not know."""
        kind = plain_name(config)
        if kind not in PROCESSORS:
            raise Unsupported(
                f"The image processor {kind or 'without a name'} is not supported.",
                hint=f"Supported: {', '.join(sorted(PROCESSORS))}.",
            )
        processor = PROCESSORS[kind]
        options = {**processor.defaults, **{key: value for key, value in config.items() if value is not None}}
        try:
            resize, crop = processor.resize(options) if options.get("do_resize", True) else (None, None)
            crops = [each for each in (crop, _read_crop(options)) if each]
            pad_to = _read_pad(options)
            scale, bias = scale_and_bias(options)
            return cls(
                resize=resize,
                resample=Image.Resampling(options.get("resample", Image.Resampling.BILINEAR)),
                crops=tuple(crops),
                reverse=bool(options.get("do_flip_channel_order", False)),
                scale=scale,
                bias=bias,
                pad_to=pad_to,
                fixed_size=pad_to or (crops[-1] if crops else _fixed(resize)),
            )
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise Unsupported(f"preprocessor_config.json cannot be understood: {error}.") from error

    def __call__(self, pixels: Pixels) -> Tensor:
        """``pixels`` RGB u8[h, w, 3] -> its tensor. Raises ValueError for a picture that resizes to nothing."""
        height, width = pixels.shape[:2]
        if self.resize is not None:
            height, width = self.resize(height, width)
            if min(height, width) < 1:
                raise ValueError(f"{pixels.shape[1]} x {pixels.shape[0]} is too narrow for this model")
        pixels = resized(pixels, height, width, self.resample)
        for crop in self.crops:
            pixels = center_crop(pixels, crop)
        if self.reverse:
            pixels = pixels[:, :, ::-1]
        return scaled(pixels, self.scale, self.bias, self.pad_to)


def scaled(pixels: Pixels, scale: FloatArray, bias: FloatArray, pad_to: Size | None = None) -> Tensor:
    """u8[h, w, 3] -> f32[3, h, w] = byte * scale + bias, with zeros to the right and below up to ``pad_to``."""
    height, width = pixels.shape[:2]
    full = pad_to or (height, width)
    if height > full[0] or width > full[1]:
        raise ValueError(f"{width} x {height} is larger than the model's {full[1]} x {full[0]}")
    out = np.zeros((3, *full), np.float32) if full != (height, width) else np.empty((3, *full), np.float32)
    for channel, values in enumerate(cv2.split(pixels)):  # whole planes are multiplied faster than every third byte
        plane = out[channel, :height, :width]
        np.multiply(values, scale[channel], out=plane)
        if bias[channel]:
            plane += bias[channel]
    return Tensor(out, height, width)


def center_crop(pixels: Pixels, size: Size) -> Pixels:
    """The middle of a picture, on black where the picture is smaller; rounded as transformers rounds."""
    height, width = pixels.shape[:2]
    if height < size[0] or width < size[1]:
        full = np.zeros((max(height, size[0]), max(width, size[1]), 3), np.uint8)
        top, left = -(-(full.shape[0] - height) // 2), -(-(full.shape[1] - width) // 2)
        full[top : top + height, left : left + width] = pixels
        # The crop was placed in the small picture, and moves along with it.
        top, left = top + (height - size[0]) // 2, left + (width - size[1]) // 2
        pixels = full
    else:
        top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return pixels[max(0, top) : top + size[0], max(0, left) : left + size[1]]


def _fixed(resize: Resize | None) -> Size | None:
    """Asked with pictures of every form, a rule that always answers the same is fixed."""
    if resize is None:
        return None
    sizes = {resize(height, width) for height, width in ((480, 640), (640, 480), (97, 1001), (1200, 1200))}
    return sizes.pop() if len(sizes) == 1 else None


def _read_crop(options: Mapping[str, Any]) -> Size | None:
    if not options.get("do_center_crop"):
        return None
    size = read_size(options["crop_size"], square=True)
    return size["height"], size["width"]


def _read_pad(options: Mapping[str, Any]) -> Size | None:
    size = options.get("pad_size")
    return (int(size["height"]), int(size["width"])) if options.get("do_pad") and size else None
