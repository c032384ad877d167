"""The image processors of transformers that we know: what each does where ``preprocessor_config.json`` is silent.

``PROCESSORS`` maps the class's plain name to its defaults and to how it finds the size to resize to. A test compares
every entry with the library's own Pillow form. One difference is meant: frames are never padded to each other, for
padding changes what a model answers, and an answer must not depend on a frame's neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.base import FloatArray

Size = tuple[int, int]  # height and width
Resize = Callable[[int, int], Size]  # of the picture -> of the resized picture

BILINEAR, BICUBIC = 2, 3  # as Pillow counts them
_IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}
_HALF = {"image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}
CLIP_NORMAL = {
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
_DETR_SIZE = {"shortest_edge": 800, "longest_edge": 1333}


def target_size(height: int, width: int, size: Mapping[str, int], multiple: int = 1) -> Size:
    """Height and width after resizing, cut down to ``multiple``; every rounding as the image processors do it."""
    if "height" in size:
        return size["height"], size["width"]
    if "max_height" in size:
        share = min(size["max_height"] / height, size["max_width"] / width)
        return int(height * share), int(width * share)
    if "longest_edge" not in size:
        return _shortest_edge(height, width, size["shortest_edge"])
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


def _shortest_edge(height: int, width: int, edge: int) -> Size:
    if width <= height:
        return int(edge * height / width), edge
    return edge, int(edge * width / height)


def read_size(value: Any, *, longest: Any = None, square: bool = False) -> dict[str, int]:
    """A ``size`` of any form that transformers ever wrote, in today's. Raises ValueError."""
    if isinstance(value, int):  # the form of 2021
        if square:
            return {"height": value, "width": value}
        return {"shortest_edge": value, **({"longest_edge": int(longest)} if longest else {})}
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return {"height": int(value[0]), "width": int(value[1])}
    forms = (("height", "width"), ("shortest_edge", "longest_edge"), ("max_height", "max_width"), ("shortest_edge",))
    for keys in forms:
        if all(value.get(key) for key in keys):
            return {key: int(value[key]) for key in keys}
    raise ValueError(f"size {dict(value)} is of no known form")


def _by_size(options: Mapping[str, Any]) -> tuple[Resize, Size | None]:
    """The plain rule; the second value is a crop that belongs to the resizing."""
    size = _size_of(options)
    return lambda height, width: target_size(height, width, size), None


def _size_of(options: Mapping[str, Any]) -> dict[str, int]:
    return read_size(
        options["size"], longest=options.get("max_size", options.get("_longest")), square=options.get("_square", False)
    )


def _yolos(options: Mapping[str, Any]) -> tuple[Resize, Size | None]:
    size = _size_of(options)
    return lambda height, width: target_size(height, width, size, multiple=16), None


def _up_to_a_multiple(options: Mapping[str, Any]) -> tuple[Resize, Size | None]:
    size, multiple = _size_of(options), int(options.get("size_divisor") or options.get("size_divisibility") or 1)

    def resize(height: int, width: int) -> Size:
        new_height, new_width = target_size(height, width, size)
        return -(-new_height // multiple) * multiple, -(-new_width // multiple) * multiple

    return resize, None


def _convnext(options: Mapping[str, Any]) -> tuple[Resize, Size | None]:
    edge = _size_of(options)["shortest_edge"]
    if edge >= 384:
        return lambda height, width: (edge, edge), None
    first = int(edge / options["crop_pct"])
    return lambda height, width: _shortest_edge(height, width, first), (edge, edge)


def _levit(options: Mapping[str, Any]) -> tuple[Resize, Size | None]:
    size = _size_of(options)
    if "shortest_edge" not in size:
        return _by_size(options)
    edge = int((256 / 224) * size["shortest_edge"])
    return lambda height, width: _shortest_edge(height, width, edge), None


def _poolformer(options: Mapping[str, Any]) -> tuple[Resize, Size | None]:
    size, share = _size_of(options), options.get("crop_pct")
    if share is None:
        return _by_size(options)
    if "shortest_edge" in size or size["height"] == size["width"]:
        edge = int(size.get("shortest_edge", size.get("height", 0)) / share)
        return lambda height, width: _shortest_edge(height, width, edge), None
    fixed = int(size["height"] / share), int(size["width"] / share)
    return lambda height, width: fixed, None


def _dpt(options: Mapping[str, Any]) -> tuple[Resize, Size | None]:
    size, multiple = _size_of(options), int(options["ensure_multiple_of"])

    def resize(height: int, width: int) -> Size:
        share_y, share_x = size["height"] / height, size["width"] / width
        if options["keep_aspect_ratio"]:
            share_y = share_x = share_x if abs(1 - share_x) < abs(1 - share_y) else share_y
        return _near(share_y * height, multiple), _near(share_x * width, multiple)

    return resize, None


def _near(value: float, multiple: int) -> int:
    """The nearest multiple, but never 0."""
    near = round(value / multiple) * multiple
    return near if near >= 0 else math.ceil(value / multiple) * multiple


def _longest_edge(options: Mapping[str, Any]) -> tuple[Resize, Size | None]:
    edge = int(options["size"]["longest_edge"])

    def resize(height: int, width: int) -> Size:
        share = edge / max(height, width)
        return int(height * share + 0.5), int(width * share + 0.5)

    return resize, None


@dataclass(frozen=True, slots=True)
class Processor:
    """``defaults`` of preprocessor_config.json's keys, and the rule that makes its sizes."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    resize: Callable[[Mapping[str, Any]], tuple[Resize, Size | None]] = _by_size


def _square(edge: int, resample: int, normalise: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "size": {"height": edge, "width": edge},
        "resample": resample,
        "do_normalize": True,
        "_square": True,
        **normalise,
        **more,
    }


def _edge(
    edge: int, resample: int, normalise: Mapping[str, Any], crop: int | None = 224, **more: Any
) -> dict[str, Any]:
    crops = {"do_center_crop": True, "crop_size": {"height": crop, "width": crop}} if crop else {}
    return {
        "size": {"shortest_edge": edge},
        "resample": resample,
        "do_normalize": True,
        **normalise,
        **crops,
        **more,
    }


_DETR = {"size": _DETR_SIZE, "resample": BILINEAR, "do_normalize": True, "do_pad": True, "_longest": 1333, **_IMAGENET}
_MASKFORMER = {**_DETR, "do_pad": False, "size_divisor": 32}
_OPENAI = _edge(224, BICUBIC, CLIP_NORMAL)

PROCESSORS: dict[str, Processor] = {
    "BeitImageProcessor": Processor(_square(224, BICUBIC, _HALF, crop_size={"height": 224, "width": 224})),
    "BitImageProcessor": Processor(_OPENAI),
    "BlipImageProcessor": Processor(_square(384, BICUBIC, CLIP_NORMAL)),
    "CLIPImageProcessor": Processor(_OPENAI),
    "ChineseCLIPImageProcessor": Processor(_OPENAI),
    "ConditionalDetrImageProcessor": Processor(_DETR),
    "ConvNextImageProcessor": Processor(_edge(384, BICUBIC, _HALF, crop=None, crop_pct=224 / 256), _convnext),
    "DINOv3ViTImageProcessor": Processor(_square(224, BILINEAR, _IMAGENET)),  # the library's needs torchvision
    "DPTImageProcessor": Processor(
        _square(384, BICUBIC, _HALF, ensure_multiple_of=1, keep_aspect_ratio=False), resize=_dpt
    ),
    "DeformableDetrImageProcessor": Processor(_DETR),
    "DeiTImageProcessor": Processor(
        _square(256, BICUBIC, _HALF, do_center_crop=True, crop_size={"height": 224, "width": 224})
    ),
    "DetrImageProcessor": Processor(_DETR),
    "EfficientNetImageProcessor": Processor(
        _square(346, BICUBIC, _HALF, crop_size={"height": 289, "width": 289}, rescale_offset=False, include_top=True)
    ),
    "GroundingDinoImageProcessor": Processor(_DETR),
    "LevitImageProcessor": Processor(_edge(224, BICUBIC, _IMAGENET), _levit),
    "Mask2FormerImageProcessor": Processor(_MASKFORMER, _up_to_a_multiple),
    "MaskFormerImageProcessor": Processor(_MASKFORMER, _up_to_a_multiple),
    "MobileNetV1ImageProcessor": Processor(_edge(256, BILINEAR, _HALF)),
    "MobileNetV2ImageProcessor": Processor(_edge(256, BILINEAR, _HALF)),
    "MobileViTImageProcessor": Processor(
        _edge(224, BICUBIC, _HALF, 256, do_normalize=False, do_flip_channel_order=True, _never_normalizes=True)
    ),
    "OneFormerImageProcessor": Processor({**_DETR, "do_pad": False}),
    "OwlViTImageProcessor": Processor(
        _square(768, BICUBIC, CLIP_NORMAL, crop_size={"height": 768, "width": 768}, do_center_crop=False)
    ),
    "PoolFormerImageProcessor": Processor(_edge(224, BICUBIC, _IMAGENET, crop_pct=0.9), _poolformer),
    "PvtImageProcessor": Processor(_square(224, BICUBIC, _IMAGENET)),
    "RTDetrImageProcessor": Processor(_square(640, BILINEAR, _IMAGENET, do_normalize=False, do_pad=False)),
    "Sam2ImageProcessor": Processor(_square(1024, BILINEAR, _IMAGENET)),  # the library's needs torchvision
    "SamImageProcessor": Processor(
        {
            "size": {"longest_edge": 1024},
            "resample": BILINEAR,
            "do_normalize": True,
            "do_pad": True,
            "pad_size": {"height": 1024, "width": 1024},
            **_IMAGENET,
        },
        _longest_edge,
    ),
    "SegformerImageProcessor": Processor(_square(512, BILINEAR, _IMAGENET)),
    "SiglipImageProcessor": Processor(_square(224, BICUBIC, _HALF)),
    "ViTImageProcessor": Processor(_square(224, BILINEAR, _HALF)),
    "YolosImageProcessor": Processor(_DETR, _yolos),
}


def plain_name(config: Mapping[str, Any]) -> str:
    """The processor's name without the suffixes that tell its form (Fast, Pil) or its age (FeatureExtractor)."""
    name = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    return name.removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")


def scale_and_bias(options: Mapping[str, Any]) -> tuple[FloatArray, FloatArray]:
    """byte * scale + bias = (byte * rescale_factor - image_mean) / image_std, each step only where it is wanted."""
    factor = float(options.get("rescale_factor", 1 / 255)) if options.get("do_rescale", True) else 1.0
    offset = 1.0 if options.get("rescale_offset") and options.get("do_rescale", True) else 0.0
    mean: NDArray[np.float64] = np.zeros(3)
    std: NDArray[np.float64] = np.ones(3)
    given: NDArray[np.float64] = np.broadcast_to(
        np.asarray(options.get("image_std", _IMAGENET["image_std"]), np.float64), 3
    )
    if options["do_normalize"] and not options.get("_never_normalizes"):
        mean = np.broadcast_to(np.asarray(options.get("image_mean", _IMAGENET["image_mean"]), np.float64), 3)
        std = given
    if options.get("include_top"):  # EfficientNet divides by the deviation once more
        std = std * given
    if not std.all():
        raise ValueError("image_std holds a zero")
    return (factor / std).astype(np.float32), ((-mean - offset) / std).astype(np.float32)
