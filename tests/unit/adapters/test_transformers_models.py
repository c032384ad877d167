"""Every architecture, run by our predictor, against transformers' own pipeline or model and post-processing.

The models are random and small (``tests/architectures.py``). Frames of two sizes share each call.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from pycocotools import mask as coco

from adapters.base import Context, Detections, Mask, ModelCard, PredictOptions, Skeleton, WholeFrame
from adapters.errors import PredictorError, Unsupported
from adapters.frame import Frame
from adapters.huggingface_local import HuggingFaceLocal
from adapters.keypoint_model import KeypointModel
from adapters.readers.universal import form_of
from adapters.references import LocalFolder
from tests import architectures as known

SIZES = ((120, 80), (90, 110), (120, 80))
PROMPTS = {"car": (), "red tree": ("a red tree",), "sign": ("stop sign", "red sign")}


def frames() -> list[Frame]:
    rng = np.random.default_rng(2)
    made = []
    for i, (width, height) in enumerate(SIZES):
        rough = rng.integers(0, 256, (6, 8, 3), np.uint8)
        pixels = np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))
        made.append(Frame(f"f{i}", width, height, pixels=pixels))
    return made


class Opened:
    """A folder of an architecture, its card, and what our predictor says of the frames."""

    def __init__(self, folder: Path, card: ModelCard, results: list[Detections]) -> None:
        self.folder, self.card, self.results = folder, card, results

    def processor(self) -> Any:
        return transformers.AutoImageProcessor.from_pretrained(self.folder, backend="pil")

    def pipeline(self, task: str) -> Any:
        texts = (self.folder / "tokenizer.json").exists()
        return transformers.pipeline(
            task,
            model=str(self.folder),
            image_processor=self.processor(),
            tokenizer=transformers.AutoTokenizer.from_pretrained(self.folder) if texts else None,
        )


async def predict(
    build: Callable[[], Any], root: Path, prompts: Mapping[str, tuple[str, ...]] | None = None, name: str = ""
) -> Opened:
    folder = known.write(build, root / (name or build.__name__))
    context = Context(root / "cache", engine="transformers")
    card = await HuggingFaceLocal().resolve(LocalFolder(str(folder)), context)
    options = PredictOptions(floor_score=0.0, prompts=prompts or {})
    async with await HuggingFaceLocal().open(card, context) as predictor:
        return Opened(folder, card, await predictor.predict(frames(), options))


def picture(frame: Frame) -> Image.Image:
    return Image.fromarray(frame.pixels)


def same_boxes(ours: Detections, scores: Any, boxes: Any, label_ids: Any, frame: Frame) -> None:
    """Compared as sets of rows, best first; boxes clipped to the frame, and without those that are then empty."""
    boxes = np.clip(np.asarray(boxes, np.float32), 0, [frame.width, frame.height] * 2)
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    scores, boxes, label_ids = np.asarray(scores)[kept], boxes[kept], np.asarray(label_ids)[kept]
    order = np.argsort(-scores, kind="stable")
    assert len(ours) == len(order) > 0
    np.testing.assert_allclose(ours.scores, scores[order], atol=1e-4)
    np.testing.assert_allclose(ours.boxes, boxes[order], atol=0.05)
    assert (ours.label_ids == label_ids[order]).mean() > 0.9  # queries of all but equal scores may change places


@pytest.mark.parametrize("build", known.DETECTION)
async def test_boxes_equal_those_of_the_library(build: Callable[[], Any], tmp_path: Path) -> None:
    opened = await predict(build, tmp_path)
    processor = opened.processor()
    model = transformers.AutoModelForObjectDetection.from_pretrained(opened.folder).eval()
    for frame, ours in zip(frames(), opened.results, strict=True):
        inputs = processor(images=[picture(frame)], return_tensors="pt")
        with torch.inference_mode():
            answer = model(**inputs)
        by_top_k = "top_k" in inspect.signature(processor.post_process_object_detection).parameters
        options = {"top_k": 12} if by_top_k else {}
        (expected,) = processor.post_process_object_detection(
            answer, threshold=0.0, target_sizes=[(frame.height, frame.width)], **options
        )
        same_boxes(ours, expected["scores"], expected["boxes"], expected["labels"], frame)
    assert opened.card.task_type == "object-detection"


@pytest.mark.parametrize("build", known.CLASSIFICATION)
async def test_scores_of_labels_equal_those_of_the_pipeline(build: Callable[[], Any], tmp_path: Path) -> None:
    opened = await predict(build, tmp_path)
    pipeline = opened.pipeline("image-classification")
    for frame, ours in zip(frames(), opened.results, strict=True):
        expected = pipeline(picture(frame), top_k=None)
        assert [ours.labels[i] for i in ours.label_ids] == [each["label"] for each in expected]
        np.testing.assert_allclose(ours.scores, [each["score"] for each in expected], atol=1e-4)
        assert all(isinstance(shape, WholeFrame) for shape in ours.geometry)


def bits(shape: Any) -> np.ndarray[Any, Any]:
    assert isinstance(shape, Mask)
    return coco.decode({"size": [shape.height, shape.width], "counts": shape.counts}).astype(bool)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools with numpy 2
@pytest.mark.parametrize("build", known.SEMANTIC + known.UNIVERSAL)
async def test_masks_equal_those_of_the_pipeline(build: Callable[[], Any], tmp_path: Path) -> None:
    opened = await predict(build, tmp_path)
    processor = opened.processor()
    if build is known.oneformer:
        processor = None  # see below
    pipeline = None if processor is None else opened.pipeline("image-segmentation")
    assert any(len(result) for result in opened.results)
    for frame, ours in zip(frames(), opened.results, strict=True):
        if pipeline is None:
            expected = oneformer_segments(opened, frame)
        else:
            answer = pipeline(picture(frame), threshold=0.5, mask_threshold=0.5, overlap_mask_area_threshold=0.8)
            expected = [(each["label"], each["score"], np.asarray(each["mask"]) > 0) for each in answer]
        assert len(ours) == len(expected)
        order = np.argsort([-(score or 1.0) for _, score, _ in expected], kind="stable")
        for row, index in enumerate(order):
            label, score, mask = expected[index]
            assert ours.labels[ours.label_ids[row]] == label
            assert ours.scores[row] == pytest.approx(score or 1.0, abs=1e-3)
            assert (bits(ours.geometry[row]) != mask).mean() < 0.01


def oneformer_segments(opened: Opened, frame: Frame) -> list[Any]:
    """OneFormer has no pipeline: its processor and model, and MaskFormer's post-processing, which is the same."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(opened.folder)
    processor = transformers.OneFormerProcessor(opened.processor(), tokenizer, task_seq_length=16)
    model = transformers.OneFormerForUniversalSegmentation.from_pretrained(opened.folder).eval()
    inputs = processor(images=picture(frame), task_inputs=["panoptic"], return_tensors="pt")
    with torch.inference_mode():
        answer = model(**inputs)
    (result,) = transformers.MaskFormerImageProcessorPil().post_process_panoptic_segmentation(
        answer, target_sizes=[(frame.height, frame.width)], label_ids_to_fuse=set()
    )
    ids = np.asarray(result["segmentation"])
    return [(known.LABELS[each["label_id"]], each["score"], ids == each["id"]) for each in result["segments_info"]]


@pytest.mark.parametrize(("form", "least"), [("instance", 1), ("semantic", 1)])
async def test_the_name_of_a_model_tells_the_form_of_its_masks(form: str, least: int, tmp_path: Path) -> None:
    opened = await predict(known.mask2former, tmp_path, name=f"mask2former-street-{form}")
    processor = opened.processor()
    model = transformers.AutoModelForUniversalSegmentation.from_pretrained(opened.folder).eval()
    for frame, ours in zip(frames(), opened.results, strict=True):
        with torch.inference_mode():
            answer = model(**processor(images=[picture(frame)], return_tensors="pt"))
        post_process = getattr(processor, f"post_process_{form}_segmentation")
        options = {"return_binary_maps": True} if form == "instance" else {}
        (expected,) = post_process(answer, target_sizes=[(frame.height, frame.width)], **options)
        if form == "semantic":
            assert set(ours.label_ids.tolist()) == set(expected.unique().tolist())
        else:
            scores = sorted((each["score"] for each in expected["segments_info"]), reverse=True)
            np.testing.assert_allclose(ours.scores, scores, atol=1e-3)
        assert len(ours) >= least


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("facebook/mask2former-swin-tiny-ade-semantic", "semantic"),
        ("facebook/mask2former-swin-tiny-coco-instance", "instance"),
        ("facebook/mask2former-swin-tiny-coco-panoptic", "panoptic"),
        ("shi-labs/oneformer_ade20k_swin_tiny", "panoptic"),
    ],
)
def test_without_a_word_in_its_name_a_model_is_read_as_panoptic(name: str, form: str) -> None:
    assert form_of(name) == form


@pytest.mark.parametrize("build", known.ZERO_SHOT_CLASSIFICATION)
async def test_scores_of_prompts_equal_those_of_the_pipeline(build: Callable[[], Any], tmp_path: Path) -> None:
    prompts: dict[str, tuple[str, ...]] = {"car": (), "tree": ("This is a photo of tree.",), "stop sign": ()}
    opened = await predict(build, tmp_path, prompts)
    pipeline = opened.pipeline("zero-shot-image-classification")
    for frame, ours in zip(frames(), opened.results, strict=True):
        expected = pipeline(picture(frame), candidate_labels=list(prompts))
        assert ours.labels == tuple(prompts)
        assert [ours.labels[i] for i in ours.label_ids] == [each["label"] for each in expected]
        np.testing.assert_allclose(ours.scores, [each["score"] for each in expected], atol=1e-4)
    assert opened.card.labels is None


@pytest.mark.parametrize("build", [known.owlvit, known.owlv2])
async def test_boxes_of_prompts_equal_those_of_the_library(build: Callable[[], Any], tmp_path: Path) -> None:
    opened = await predict(build, tmp_path, PROMPTS)
    texts, owners = ["car", "a red tree", "stop sign", "red sign"], np.array([0, 1, 2, 2])
    processor = opened.processor()
    tokens = transformers.AutoTokenizer.from_pretrained(opened.folder)(
        texts, padding="max_length", max_length=16, return_tensors="pt"
    )
    model = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(opened.folder).eval()
    for frame, ours in zip(frames(), opened.results, strict=True):
        inputs = processor(images=[picture(frame)], return_tensors="pt")
        with torch.inference_mode():
            answer = model(**inputs, input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        (expected,) = processor.post_process_object_detection(
            answer, threshold=0.0, target_sizes=[(frame.height, frame.width)]
        )
        same_boxes(ours, expected["scores"], expected["boxes"], owners[expected["labels"]], frame)


async def test_grounding_dino_finds_the_boxes_of_the_library(tmp_path: Path) -> None:
    opened = await predict(known.grounding_dino, tmp_path, PROMPTS)
    processor = opened.processor()
    tokenizer = transformers.AutoTokenizer.from_pretrained(opened.folder)
    tokens = tokenizer(["car. a red tree. stop sign. red sign."], return_tensors="pt")
    model = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(opened.folder).eval()
    owners = [
        -1,
        0,
        -1,
        1,
        1,
        1,
        -1,
        2,
        2,
        -1,
        2,
        2,
        -1,
        -1,
    ]  # of [CLS] car . a red tree . stop sign . red sign . [SEP]
    asked = np.flatnonzero(np.array(owners) >= 0)
    for frame, ours in zip(frames(), opened.results, strict=True):
        inputs = processor(images=[picture(frame)], return_tensors="pt")
        with torch.inference_mode():
            answer = model(
                pixel_values=inputs["pixel_values"],
                input_ids=tokens["input_ids"],
                attention_mask=tokens["attention_mask"],
            )
        only_asked = torch.full_like(answer.logits, -torch.inf)
        only_asked[..., asked] = answer.logits[..., asked]
        answer.logits = only_asked
        grounding = transformers.GroundingDinoProcessor(processor, tokenizer)
        (expected,) = grounding.post_process_grounded_object_detection(
            answer, tokens["input_ids"], threshold=0.0, text_threshold=0.0, target_sizes=[(frame.height, frame.width)]
        )
        label_ids = np.array(owners)[answer.logits[0].argmax(-1)]
        same_boxes(ours, expected["scores"], expected["boxes"], label_ids, frame)


async def test_labels_that_do_not_fit_into_the_text_are_named(tmp_path: Path) -> None:
    """The tokenizer cuts a long text off, and what was cut off would never be found."""
    prompts: dict[str, tuple[str, ...]] = {f"label {i}": ("a big red car",) for i in range(5)}
    with pytest.raises(Unsupported, match=r"reads 16 tokens at once; of 5 labels 2 do not fit: label 3, label 4"):
        await predict(known.grounding_dino, tmp_path, prompts)


async def test_without_prompts_an_open_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PredictorError, match="nothing to look for"):
        await predict(known.clip, tmp_path)
    with pytest.raises(PredictorError, match="empty"):
        await predict(known.clip, tmp_path / "again", {"car": (" ",)})


async def test_joints_equal_those_of_the_library(tmp_path: Path) -> None:
    boxes = np.array([[10, 5, 60, 75], [30, 20, 110, 60]], np.float32)
    folder = known.write(known.vitpose, tmp_path / "vitpose")
    context = Context(tmp_path / "cache", engine="transformers")
    card = await HuggingFaceLocal().resolve(LocalFolder(str(folder)), context)
    assert (card.labels, card.settings["sublabels"]) == (("person",), list(known.JOINTS))
    processor = transformers.VitPoseImageProcessorPil.from_pretrained(folder)
    model = transformers.VitPoseForPoseEstimation.from_pretrained(folder).eval()
    async with await HuggingFaceLocal().open(card, context) as predictor:
        assert isinstance(predictor, KeypointModel)
        whole = await predictor.predict(frames(), PredictOptions(floor_score=0.0))
        boxed = await predictor.predict_boxes(frames(), [boxes] * 3, PredictOptions(floor_score=0.0))
        nothing = await predictor.predict_boxes(frames(), [boxes[:0]] * 3, PredictOptions(floor_score=0.0))
    assert [len(result) for result in nothing] == [0, 0, 0]
    for frame, one, two in zip(frames(), whole, boxed, strict=True):
        everything = np.array([[0, 0, frame.width, frame.height]], np.float32)
        for ours, given in ((one, everything), (two, boxes)):
            coco_boxes = np.concatenate([given[:, :2], given[:, 2:] - given[:, :2]], axis=1)
            inputs = processor(images=[picture(frame)], boxes=[coco_boxes], return_tensors="pt")
            with torch.inference_mode():
                answer = model(**inputs)
            (expected,) = processor.post_process_pose_estimation(answer, boxes=[coco_boxes.tolist()])
            assert len(ours) == len(expected)
            order = np.argsort([-float(e["scores"].clip(0, 1).mean()) for e in expected], kind="stable")
            for shape, index in zip(ours.geometry, order, strict=True):
                assert isinstance(shape, Skeleton)
                limit = np.array([frame.width, frame.height])
                points = np.clip(np.asarray(expected[index]["keypoints"]), 0, limit)
                np.testing.assert_allclose(shape.points, points, atol=0.05)
                np.testing.assert_allclose(shape.scores, expected[index]["scores"].clip(0, 1), atol=1e-4)


async def test_a_processor_that_we_do_not_know_is_the_librarys(tmp_path: Path) -> None:
    folder = known.write(known.vit, tmp_path / "vit")
    (folder / "preprocessor_config.json").write_text(
        '{"image_processor_type": "TextNetImageProcessor", "size": {"shortest_edge": 32}, "crop_size": 32, '
        '"do_center_crop": true}'
    )
    context = Context(tmp_path / "cache", engine="transformers")
    card = await HuggingFaceLocal().resolve(LocalFolder(str(folder)), context)
    async with await HuggingFaceLocal().open(card, context) as predictor:
        (ours, *_) = await predictor.predict(frames(), PredictOptions(floor_score=0.0))
    processor = transformers.TextNetImageProcessorPil.from_pretrained(folder)
    pipeline = transformers.pipeline("image-classification", model=str(folder), image_processor=processor)
    expected = pipeline(picture(frames()[0]), top_k=None)
    np.testing.assert_allclose(ours.scores, [each["score"] for each in expected], atol=1e-4)


async def test_a_classifier_that_answers_a_number_is_refused(tmp_path: Path) -> None:
    folder = known.write(known.vit, tmp_path / "vit")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(
        config.replace('"architectures"', '"problem_type": "regression", "architectures"')
    )
    context = Context(tmp_path / "cache", engine="transformers")
    card = await HuggingFaceLocal().resolve(LocalFolder(str(folder)), context)
    with pytest.raises(Unsupported, match="regression"):
        await HuggingFaceLocal().open(card, context)
