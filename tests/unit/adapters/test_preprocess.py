"""Our preprocessing against the Pillow image processors of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapters.errors import Unsupported
from adapters.image_processors import PROCESSORS, scale_and_bias, target_size
from adapters.owlv2_preprocess import Owlv2Preprocessor
from adapters.preprocess import Preprocessor, scaled
from adapters.readers.keypoints import cut_out, region_of

WITHOUT_PILLOW = ("Sam2ImageProcessor", "DINOv3ViTImageProcessor")  # the library has them with torchvision only

CONFIGS: list[dict[str, Any]] = [
    {"image_processor_type": "RTDetrImageProcessor", "size": {"height": 192, "width": 256}},
    {"image_processor_type": "RTDetrImageProcessor", "do_normalize": True, "resample": 3},
    {"image_processor_type": "RTDetrImageProcessorFast", "size": {"height": 64, "width": 64}, "do_rescale": False},
    {"image_processor_type": "RTDetrImageProcessor", "do_resize": False, "rescale_factor": 0.01},
    {
        "image_processor_type": "RTDetrImageProcessor",
        "size": {"shortest_edge": 60, "longest_edge": 90},
        "do_pad": True,
        "pad_size": {"height": 100, "width": 100},
    },
    {"image_processor_type": "DetrImageProcessor"},
    {"image_processor_type": "DetrImageProcessor", "size": {"shortest_edge": 80, "longest_edge": 133}},
    {"image_processor_type": "DetrImageProcessor", "size": {"max_height": 90, "max_width": 130}},
    {"image_processor_type": "ConditionalDetrImageProcessor", "size": {"shortest_edge": 80, "longest_edge": 133}},
    {
        "image_processor_type": "DeformableDetrImageProcessor",
        "size": {"shortest_edge": 80, "longest_edge": 133},
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.5, 0.6, 0.7],
    },
    {"image_processor_type": "YolosImageProcessor", "size": {"shortest_edge": 80, "longest_edge": 133}},
    {"feature_extractor_type": "YolosFeatureExtractor", "size": 80, "max_size": 133},
    *({"image_processor_type": name} for name in sorted(PROCESSORS) if name not in WITHOUT_PILLOW),  # all defaults
    {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 64}, "crop_pct": 0.875},
    {"image_processor_type": "PoolFormerImageProcessor", "size": {"height": 64, "width": 80}, "crop_pct": 0.9},
    {"image_processor_type": "PoolFormerImageProcessor", "size": {"shortest_edge": 64}, "do_center_crop": False},
    {"image_processor_type": "DPTImageProcessor", "ensure_multiple_of": 32, "keep_aspect_ratio": True},
    {"image_processor_type": "EfficientNetImageProcessor", "rescale_offset": True, "include_top": False},
    {"image_processor_type": "EfficientNetImageProcessor", "do_center_crop": True, "rescale_factor": 1 / 127.5},
    {"image_processor_type": "LevitImageProcessor", "size": {"height": 64, "width": 80}, "do_center_crop": False},
    {"image_processor_type": "MaskFormerImageProcessor", "size": {"shortest_edge": 80, "longest_edge": 133}},
    {"image_processor_type": "Mask2FormerImageProcessor", "size": {"height": 96, "width": 96}, "size_divisor": 64},
    {"image_processor_type": "MobileViTImageProcessor", "do_flip_channel_order": False, "crop_size": 90},
    {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 40}, "crop_size": 81},
    {"feature_extractor_type": "ViTFeatureExtractor", "size": 48},
    {"feature_extractor_type": "CLIPFeatureExtractor", "size": 48, "crop_size": 32},
]
SIZES = ((640, 480), (481, 640), (50, 37), (37, 50), (133, 80), (80, 80), (300, 60), (60, 300), (127, 95))


def reference(config: dict[str, Any], pixels: np.ndarray[Any, Any]) -> dict[str, Any]:
    import transformers  # noqa: PLC0415  (only this test needs it)

    options = {key: value for key, value in config.items() if not key.endswith("_type")}
    name = config.get("image_processor_type") or config["feature_extractor_type"]
    name = name.removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
    processor = getattr(transformers, f"{name}Pil")(**options)
    with_task = {"task_inputs": ["panoptic"]} if name.startswith("OneFormer") else {}
    return dict(processor([pixels], **with_task, return_tensors="np", input_data_format="channels_last"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: next(iter(c.values())) + "-" + "-".join(list(c)[1:]))
def test_tensors_equal_those_of_transformers(config: dict[str, Any]) -> None:
    preprocessor = Preprocessor.from_config(config)
    for width, height in SIZES:
        if len(config) == 1 and max(width, height) > 300:  # the defaults make large tensors
            continue
        pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
        expected = reference(config, pixels)
        tensor = preprocessor(pixels)
        assert tensor.pixels.shape == expected["pixel_values"][0].shape, (width, height)
        np.testing.assert_allclose(tensor.pixels, expected["pixel_values"][0], atol=1e-5, rtol=1e-6)
        assert tensor.pixels.dtype == np.float32
        assert tensor.pixels.flags.c_contiguous
        if "pixel_mask" in expected:
            assert (tensor.mask == expected["pixel_mask"][0]).all()


def test_sizes_equal_those_of_transformers_for_every_shape_of_frame() -> None:
    from transformers.image_transforms import get_size_with_aspect_ratio  # noqa: PLC0415
    from transformers.models.yolos.image_processing_pil_yolos import get_size_with_aspect_ratio_yolos  # noqa: PLC0415

    rng = np.random.default_rng(5)
    size = {"shortest_edge": 800, "longest_edge": 1333}
    for height, width in rng.integers(1, 3000, (4000, 2)).tolist():
        assert target_size(height, width, size) == get_size_with_aspect_ratio((height, width), 800, 1333)
        yolos = get_size_with_aspect_ratio_yolos((height, width), 800, 1333)
        assert target_size(height, width, size, multiple=16) == yolos


def test_the_size_of_every_tensor_is_known_where_it_is_fixed() -> None:
    assert Preprocessor.from_config(CONFIGS[0]).fixed_size == (192, 256)
    assert Preprocessor.from_config(CONFIGS[4]).fixed_size == (100, 100)
    assert Preprocessor.from_config({"image_processor_type": "DetrImageProcessor"}).fixed_size is None


def test_a_frame_that_resizes_to_nothing_is_refused() -> None:
    preprocessor = Preprocessor.from_config(CONFIGS[6])
    with pytest.raises(ValueError, match="too narrow"):
        preprocessor(np.zeros((2, 4000, 3), np.uint8))


def test_a_frame_larger_than_the_padding_is_refused() -> None:
    config = {**CONFIGS[4], "pad_size": {"height": 50, "width": 50}}
    with pytest.raises(ValueError, match="larger"):
        Preprocessor.from_config(config)(np.zeros((60, 60, 3), np.uint8))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "without a name"),
        ({"image_processor_type": "SamHQImageProcessor"}, "SamHQImageProcessor"),
        ({"image_processor_type": "RTDetrImageProcessor", "size": {"height": 0, "width": 4}}, "size"),
        ({"image_processor_type": "RTDetrImageProcessor", "size": "large"}, "understood"),
        ({"image_processor_type": "RTDetrImageProcessor", "resample": 77}, "77"),
        ({"image_processor_type": "DetrImageProcessor", "image_std": [0, 1, 1]}, "zero"),
        ({"image_processor_type": "DetrImageProcessor", "image_mean": [1, 2]}, "understood"),
    ],
)
def test_a_config_that_is_not_understood_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        Preprocessor.from_config(config)


@pytest.mark.parametrize("size", [(64, 64), (150, 90)])
def test_owlv2_tensors_equal_those_of_transformers(size: tuple[int, int]) -> None:
    config = {"image_processor_type": "Owlv2ImageProcessor", "size": {"height": size[0], "width": size[1]}}
    for width, height in ((50, 37), (37, 50), (133, 80), (80, 80), (300, 60), (60, 300)):
        pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
        expected = reference(config, pixels)["pixel_values"][0]
        np.testing.assert_allclose(Owlv2Preprocessor.from_config(config)(pixels).pixels, expected, atol=1e-5)


def test_an_owlv2_processor_of_another_form_is_refused() -> None:
    with pytest.raises(Unsupported, match="do_pad"):
        Owlv2Preprocessor.from_config({"do_pad": False})
    with pytest.raises(Unsupported, match="understood"):
        Owlv2Preprocessor.from_config({"size": "large"})


def test_what_is_cut_out_for_a_pose_equals_that_of_transformers() -> None:
    import transformers  # noqa: PLC0415  (only the tests of equality need it)

    processor = transformers.VitPoseImageProcessorPil(size={"height": 64, "width": 48})
    scale, bias = scale_and_bias({"do_normalize": True})
    pixels = np.random.default_rng(1).integers(0, 256, (80, 120, 3), np.uint8)
    for x, y, width, height in ((10, 5, 40, 70), (0, 0, 120, 80), (90, 60, 30, 20), (50, 20, 7, 3)):
        expected = processor(pixels, boxes=[[[x, y, width, height]]], return_tensors="np")["pixel_values"][0]
        region = region_of(np.array([x, y, x + width, y + height], np.float32), 48, 64)
        tensor = scaled(cut_out(pixels, region, 48, 64), scale, bias)
        np.testing.assert_allclose(tensor.pixels, expected, atol=1e-5)
