"""What a model's outputs mean: one table from kind of model to the file that reads it.

A kind is a task type as the hub spells it, except where one task type has models of two forms: semantic segmentation
answers a label per pixel, universal segmentation (instances, panoptic) a mask per query.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from adapters.base import ModelCard
from adapters.local_model import Arrays, Reader
from adapters.promptable import EMBED, SEGMENT


@dataclass(frozen=True, slots=True)
class Kind:
    """How models of a kind are loaded and read.

    task_type    as the hub spells it
    shape_types  what comes out, as ``ModelCard.shape_types``
    auto_class   transformers' class that loads them
    outputs      names of the outputs that the reader needs
    module       holds ``make_reader(card, folder)`` and, where there are constant inputs, ``constants(card, folder)``
    threshold    the card's default
    open_vocabulary   labels come with the call
    onnx         whether the reader takes an exported graph's outputs as well
    texts        whether the model reads texts, and so needs its tokenizer's files
    skeleton     the one label of a pose model; what its config calls labels are the joints
    by_hand      answers clicks and boxes and not frames (``adapters.promptable``); it has no labels
    """

    task_type: str
    shape_types: tuple[str, ...]
    auto_class: str
    outputs: tuple[str, ...]
    module: str
    threshold: float = 0.5
    open_vocabulary: bool = False
    onnx: bool = True
    texts: bool = False
    skeleton: str = ""
    by_hand: bool = False


KINDS: dict[str, Kind] = {
    "object-detection": Kind(
        "object-detection",
        ("rectangle",),
        "AutoModelForObjectDetection",
        ("logits", "pred_boxes"),
        "adapters.readers.detection",
    ),
    "image-classification": Kind(
        "image-classification",
        ("tag",),
        "AutoModelForImageClassification",
        ("logits",),
        "adapters.readers.classification",
    ),
    "semantic-segmentation": Kind(
        "image-segmentation",
        ("mask",),
        "AutoModelForSemanticSegmentation",
        ("logits",),
        "adapters.readers.semantic",
    ),
    "universal-segmentation": Kind(
        "image-segmentation",
        ("mask",),
        "AutoModelForUniversalSegmentation",
        ("class_queries_logits", "masks_queries_logits"),
        "adapters.readers.universal",
        onnx=False,
        texts=True,
    ),
    "detr-segmentation": Kind(
        "image-segmentation",
        ("mask",),
        "AutoModelForUniversalSegmentation",
        ("logits", "pred_masks"),
        "adapters.readers.universal",
        onnx=False,
    ),
    "keypoint-detection": Kind(
        "keypoint-detection",
        ("skeleton",),
        "VitPoseForPoseEstimation",  # there is no automatic class
        ("heatmaps",),
        "adapters.readers.keypoints",
        onnx=False,
        skeleton="person",
    ),
    EMBED: Kind(
        EMBED,
        ("rectangle",),
        "AutoModel",
        ("last_hidden_state",),
        "adapters.reidentify",
        onnx=False,
        by_hand=True,
    ),
    SEGMENT: Kind(
        SEGMENT,
        ("mask",),
        "AutoModelForMaskGeneration",
        ("pred_masks", "iou_scores"),
        "adapters.sam",
        onnx=False,
        by_hand=True,
    ),
    "zero-shot-image-classification": Kind(
        "zero-shot-image-classification",
        ("tag",),
        "AutoModelForZeroShotImageClassification",
        ("logits_per_image",),
        "adapters.readers.zero_shot",
        open_vocabulary=True,
        onnx=False,
        texts=True,
    ),
    "zero-shot-object-detection": Kind(
        "zero-shot-object-detection",
        ("rectangle",),
        "AutoModelForZeroShotObjectDetection",
        ("logits", "pred_boxes"),
        "adapters.readers.zero_shot",
        threshold=0.2,
        open_vocabulary=True,
        onnx=False,
        texts=True,
    ),
}


def kind_of(card: ModelCard) -> Kind:
    return KINDS[card.settings.get("kind", card.task_type)]


def make_reader(card: ModelCard, folder: Path) -> Reader:
    """The reader of a model's outputs. Raises Unsupported."""
    return cast(Reader, import_module(kind_of(card).module).make_reader(card, folder))


def make_constants(card: ModelCard, folder: Path) -> Arrays:
    """Inputs beside the picture, the same for every frame. Raises Unsupported."""
    make = getattr(import_module(kind_of(card).module), "constants", None)
    return cast(Arrays, make(card, folder)) if make else {}
