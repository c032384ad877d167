"""SAM and SAM 2 with random weights: what they answer equals what transformers makes of the same prompts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from adapters.base import Context
from adapters.errors import BadFrame, BadOutput, PredictorError
from adapters.frame import Frame
from adapters.image_processors import scale_and_bias
from adapters.preprocess import Preprocessor
from adapters.promptable import Prompt, Segment
from adapters.providers import adapter_for
from adapters.references import LocalFolder
from adapters.sam import Sam
from tests import architectures

NONE = np.empty((0, 2), np.float32)
PROMPTS = {
    "a point": Prompt(np.array([[40, 30]]), NONE),
    "points": Prompt(np.array([[40, 30], [45, 20]]), np.array([[3, 4]])),
    "a box": Prompt(NONE, NONE, (10, 5, 60, 40)),
    "a box and points": Prompt(np.array([[20, 20]]), np.array([[50, 35]]), (10, 5, 60, 40)),
}
SIZES = ((80, 60), (60, 80), (64, 64), (33, 91))


@pytest.fixture(scope="module", params=architectures.SEGMENTERS, ids=lambda build: build.__name__)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    build: Callable[[], Any] = request.param
    return architectures.write(build, tmp_path_factory.mktemp("models") / build.__name__)


@pytest.fixture
async def segmenter(folder: Path, tmp_path: Path) -> AsyncIterator[Sam]:
    context = Context(tmp_path)
    reference = LocalFolder(str(folder))
    adapter = adapter_for(reference)
    async with await adapter.open(await adapter.resolve(reference, context), context) as opened:
        assert isinstance(opened, Sam)
        yield opened


def picture(width: int, height: int) -> Frame:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return Frame(f"{width}x{height}", width, height, pixels=pixels)


def expected(folder: Path, frame: Frame, prompt: Prompt, tensor: Any) -> np.ndarray[Any, Any] | None:
    """By the library: the model called once with picture and prompt, and its own post-processing."""
    model = transformers.AutoModelForMaskGeneration.from_pretrained(folder).eval()
    scale = torch.tensor([tensor.width / frame.width, tensor.height / frame.height])
    points = torch.from_numpy(np.concatenate([prompt.positive, prompt.negative]))
    asked: dict[str, Any] = {}
    if len(points):
        asked["input_points"] = (points * scale)[None, None]
        asked["input_labels"] = torch.tensor([[[1] * len(prompt.positive) + [0] * len(prompt.negative)]])
    if prompt.box is not None:
        asked["input_boxes"] = (torch.tensor(prompt.box).reshape(2, 2) * scale).reshape(1, 1, 4)
    alone = len(points) == 1 and prompt.box is None
    with torch.inference_mode():
        answer = model(pixel_values=torch.from_numpy(tensor.pixels[None]), multimask_output=alone, **asked)
    sizes: dict[str, Any] = {"original_sizes": [(frame.height, frame.width)]}
    if model.config.model_type == "sam":
        processor = transformers.SamImageProcessorPil.from_pretrained(folder)
        masks = processor.post_process_masks(
            answer.pred_masks, **sizes, reshaped_input_sizes=[(tensor.height, tensor.width)]
        )
    else:  # the library's processor needs torchvision; this is its one step
        masks = [torch.nn.functional.interpolate(answer.pred_masks[0], sizes["original_sizes"][0], mode="bilinear") > 0]
    return np.asarray(masks[0][0, int(answer.iou_scores[0, 0].argmax())])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
async def test_masks_equal_those_of_transformers(
    segmenter: Sam, folder: Path, prompt: Prompt, size: tuple[int, int]
) -> None:
    frame = picture(*size)
    prompt = prompt.inside(*size)
    mask = expected(folder, frame, prompt, segmenter._to_tensor(frame.pixels))
    found = await segmenter.segment(await segmenter.embed(frame), prompt)
    whole = np.zeros((frame.height, frame.width), bool)
    if found is not None:
        assert 0 <= found.score <= 1
        height, width = found.bits.shape
        whole[found.top : found.top + height, found.left : found.left + width] = found.bits
        assert found.bits[0].any() and found.bits[-1].any() and found.bits[:, 0].any() and found.bits[:, -1].any()
    assert mask is not None
    assert (whole != mask).mean() < 0.002  # logits right at the threshold may fall to either side


async def test_some_prompts_do_find_something(segmenter: Sam) -> None:
    embedding = await segmenter.embed(picture(80, 60))
    found = [await segmenter.segment(embedding, prompt) for prompt in PROMPTS.values()]
    assert any(each is not None and each.bits.sum() > 0 for each in found)


async def test_a_frame_is_embedded_once_for_many_prompts(segmenter: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = await segmenter.embed(picture(80, 60))
    assert embedding.nbytes > 0

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("the picture was looked at again")

    monkeypatch.setattr(segmenter._model.vision_encoder, "forward", forbidden)
    for prompt in PROMPTS.values():
        await segmenter.segment(embedding, prompt)


async def test_a_damaged_frame_is_a_bad_frame(segmenter: Sam) -> None:
    with pytest.raises(BadFrame):
        await segmenter.embed(Frame("broken", 4, 4, encoded=b"nothing"))


async def test_numbers_that_are_not_finite_are_bad_output(segmenter: Sam) -> None:
    embedding = await segmenter.embed(picture(80, 60))
    embedding = replace(embedding, features=tuple(each * float("nan") for each in embedding.features))
    with pytest.raises(BadOutput, match="finite"):
        await segmenter.segment(embedding, PROMPTS["a point"])


async def test_a_closed_model_says_so(segmenter: Sam) -> None:
    await segmenter.close()
    await segmenter.close()
    with pytest.raises(PredictorError, match="closed"):
        await segmenter.embed(picture(80, 60))


def test_sam2_pictures_are_resized_and_normalised_as_torchvision_would() -> None:
    config = {"image_processor_type": "Sam2ImageProcessorFast", "size": {"height": 64, "width": 64}}
    pixels = picture(200, 150).pixels
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(planes, (64, 64), mode="bilinear", antialias=True).round().clamp(0, 255)
    scale, bias = scale_and_bias({"do_normalize": True})
    wanted = resized[0].numpy() * scale[:, None, None] + bias[:, None, None]
    tensor = Preprocessor.from_config(config)(pixels)
    assert np.abs(tensor.pixels - wanted).max() <= scale.max() * 1.01  # one step of a byte, by rounding


@pytest.mark.parametrize(
    ("positive", "negative", "box", "words"),
    [
        (NONE, NONE, None, "needs a positive point or a box"),
        (NONE, np.array([[1, 2]]), None, "needs a positive point or a box"),
        (np.array([[1, np.nan]]), NONE, None, "finite"),
        (np.array([1, 2, 3]), NONE, None, "pairs"),
        (NONE, NONE, (1, 2, 3), "four"),
        (NONE, NONE, (1, 2, 3, np.inf), "finite"),
    ],
)
def test_prompts_that_mean_nothing_are_refused(positive: Any, negative: Any, box: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Prompt(positive, negative, box)


def test_a_prompt_is_moved_into_the_frame() -> None:
    prompt = Prompt(np.array([[-5, 900]]), NONE, (70, 50, -3, 10)).inside(80, 60)
    assert prompt.positive.tolist() == [[0, 60]]
    assert prompt.box == (0, 10, 70, 50)


def test_a_segment_is_cut_to_what_is_set() -> None:
    mask = np.zeros((10, 20), bool)
    mask[3:5, 7:12] = True
    found = Segment.of(mask, 0.5)
    assert found is not None
    assert (found.left, found.top, found.bits.shape, bool(found.bits.all())) == (7, 3, (2, 5), True)
    assert Segment.of(np.zeros((4, 4), bool), 0.5) is None
    with pytest.raises(BadOutput):
        Segment.of(mask, float("nan"))
