"""A frame -> the tensor that an object-detection transformer wants, as its ``preprocessor_config.json`` says.

Equal to the Pillow form of the image processors of DETR, Conditional and Deformable DETR, YOLOS and RT-DETR (which
D-FINE and others use as well). One difference is meant: frames of different sizes are never padded to each other,
for padding changes what a model answers, and an answer must not depend on a frame's neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adapters.base import FloatArray
from adapters.errors import Unsupported

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_DETR_SIZE = {"shortest_edge": 800, "longest_edge": 1333}

# Where preprocessor_config.json leaves a key out, its processor's own default counts.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "RTDetrImageProcessor": {"do_normalize": False, "do_pad": False, "size": {"height": 640, "width": 640}},
    "DetrImageProcessor": {"do_normalize": True, "do_pad": True, "size": _DETR_SIZE},
}
_DEFAULTS |= dict.fromkeys(
    ("ConditionalDetrImageProcessor", "DeformableDetrImageProcessor", "YolosImageProcessor"),
    _DEFAULTS["DetrImageProcessor"],
)


@dataclass(frozen=True, slots=True)
class Tensor:
    """One frame for a model: ``pixels`` f32[3, h, w], and the part of it that is picture and not padding."""

    pixels: FloatArray
    height: int
    width: int

    @property
    def mask(self) -> NDArray[np.int64]:
        """i64[h, w], 1 where there is picture."""
        mask = np.zeros(self.pixels.shape[1:], np.int64)
        mask[: self.height, : self.width] = 1
        return mask


@dataclass(frozen=True, slots=True, eq=False)
class Preprocessor:
    """The steps of an image processor: resize, then one multiplication and addition per channel, then padding.

    size      ``{"height", "width"}``, ``{"shortest_edge", "longest_edge"}``, ``{"max_height", "max_width"}``, or None
    multiple  sides are cut down to multiples of it (YOLOS: 16)
    scale     f32[3], and
    bias      f32[3]: what a byte of a channel is multiplied by, and what is added; rescaling and normalising in one
    pad_to    height and width that the tensor is filled up to with zeros, or None
    """

    size: Mapping[str, int] | None
    multiple: int
    resample: Image.Resampling
    scale: FloatArray
    bias: FloatArray
    pad_to: tuple[int, int] | None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessor:
        """From the content of preprocessor_config.json. Raises Unsupported, naming what it does not know."""
        name = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
        kind = name.removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")
        if kind not in _DEFAULTS:
            known = ", ".join(sorted(_DEFAULTS))
            raise Unsupported(
                f"The image processor {name or 'without a name'} is not supported.", hint=f"Supported: {known}."
            )
        options = {**_DEFAULTS[kind], **{key: value for key, value in config.items() if value is not None}}
        try:
            scale, bias = _scale_and_bias(options)
            return cls(
                size=_read_size(options) if options.get("do_resize", True) else None,
                multiple=16 if kind == "YolosImageProcessor" else 1,
                resample=Image.Resampling(options.get("resample", Image.Resampling.BILINEAR)),
                scale=scale,
                bias=bias,
                pad_to=_read_pad(options),
            )
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise Unsupported(f"preprocessor_config.json cannot be understood: {error}.") from error

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Height and width of every tensor, or None where they depend on the frame."""
        if self.pad_to is not None:
            return self.pad_to
        return (self.size["height"], self.size["width"]) if self.size is not None and "height" in self.size else None

    def __call__(self, pixels: NDArray[np.uint8]) -> Tensor:
        """``pixels`` RGB u8[h, w, 3] -> its tensor. Raises ValueError for a picture that resizes to nothing."""
        height, width = pixels.shape[:2]
        if self.size is not None:
            height, width = target_size(height, width, self.size, self.multiple)
            if min(height, width) < 1:
                raise ValueError(f"{pixels.shape[1]} x {pixels.shape[0]} is too narrow for this model")
        if (height, width) != pixels.shape[:2]:
            pixels = np.asarray(Image.fromarray(pixels).resize((width, height), self.resample))
        full = self.pad_to or (height, width)
        if height > full[0] or width > full[1]:
            raise ValueError(f"{width} x {height} is larger than the model's {full[1]} x {full[0]}")
        out = np.zeros((3, *full), np.float32) if full != (height, width) else np.empty((3, *full), np.float32)
        for channel in range(3):
            plane = out[channel, :height, :width]
            np.multiply(pixels[:, :, channel], self.scale[channel], out=plane)
            if self.bias[channel]:
                plane += self.bias[channel]
        return Tensor(out, height, width)


def target_size(height: int, width: int, size: Mapping[str, int], multiple: int = 1) -> tuple[int, int]:
    """Height and width after resizing; every rounding as the image processors do it."""
    if "height" in size:
        return size["height"], size["width"]
    if "max_height" in size:
        share = min(size["max_height"] / height, size["max_width"] / width)
        return int(height * share), int(width * share)
    shortest: float = size["shortest_edge"]
    longest = size["longest_edge"]
    if max(height, width) / min(height, width) * shortest > longest:
        shortest = longest * min(height, width) / max(height, width)
    edge = round(shortest)
    if min(height, width) == edge and (multiple == 1 or width >= height):
        new_height, new_width = height, width
    elif width < height:
        new_height, new_width = int(shortest * height / width), edge
    else:
        new_height, new_width = edge, int(shortest * width / height)
    return new_height - new_height % multiple, new_width - new_width % multiple


def _read_size(options: Mapping[str, Any]) -> dict[str, int]:
    size = options["size"]
    if isinstance(size, int):  # the form of 2021: the shortest edge, and the longest beside it
        return {"shortest_edge": size, "longest_edge": int(options.get("max_size", 1333))}
    for keys in (("height", "width"), ("shortest_edge", "longest_edge"), ("max_height", "max_width")):
        if all(size.get(key) for key in keys):
            return {key: int(size[key]) for key in keys}
    raise ValueError(f"size {dict(size)} is of no known form")


def _read_pad(options: Mapping[str, Any]) -> tuple[int, int] | None:
    size = options.get("pad_size")
    return (int(size["height"]), int(size["width"])) if options.get("do_pad") and size else None


def _scale_and_bias(options: Mapping[str, Any]) -> tuple[FloatArray, FloatArray]:
    """byte * scale + bias = (byte * rescale_factor - image_mean) / image_std, each step only where it is wanted."""
    factor = float(options.get("rescale_factor", 1 / 255)) if options.get("do_rescale", True) else 1.0
    mean, std = np.zeros(3), np.ones(3)
    if options["do_normalize"]:
        mean = np.broadcast_to(np.asarray(options.get("image_mean", _IMAGENET_MEAN), np.float64), 3)
        std = np.broadcast_to(np.asarray(options.get("image_std", _IMAGENET_STD), np.float64), 3)
        if not std.all():
            raise ValueError("image_std holds a zero")
    return (factor / std).astype(np.float32), (-mean / std).astype(np.float32)
