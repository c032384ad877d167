"""Which kind of model a ``config.json`` describes, and whether we run that kind. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.decode import SCORES_OF
from adapters.errors import Unsupported
from adapters.readers import KINDS

# End of the architecture's name -> kind of model. The longer of two that fit stands first. Kinds that ``KINDS`` does
# not have are refused by the task type that stands here.
_KINDS_BY_ARCHITECTURE = (
    ("ForZeroShotObjectDetection", "zero-shot-object-detection"),
    ("ForObjectDetection", "object-detection"),
    ("ForImageClassification", "image-classification"),
    ("ForImageClassificationWithTeacher", "image-classification"),
    ("ForSemanticSegmentation", "semantic-segmentation"),
    ("ForInstanceSegmentation", "universal-segmentation"),
    ("ForUniversalSegmentation", "universal-segmentation"),
    ("ForSegmentation", "detr-segmentation"),
    ("ForDepthEstimation", "depth-estimation"),
    ("ForMaskGeneration", "mask-generation"),
    ("ForPoseEstimation", "keypoint-detection"),
    ("ForVideoClassification", "video-classification"),
    ("ForConditionalGeneration", "image-text-to-text"),
    ("ForCausalLM", "text-generation"),
    ("ForMaskedLM", "fill-mask"),
)

# model_type -> kind, where the architecture's name tells another kind or none.
_KINDS_BY_MODEL_TYPE = {
    ("ForObjectDetection", "owlvit"): "zero-shot-object-detection",
    ("ForObjectDetection", "owlv2"): "zero-shot-object-detection",
    ("ForObjectDetection", "grounding-dino"): "zero-shot-object-detection",
    ("ForObjectDetection", "mm-grounding-dino"): "zero-shot-object-detection",
    ("Model", "vit"): "image-feature-extraction",
    ("Model", "deit"): "image-feature-extraction",
    ("Model", "dinov2"): "image-feature-extraction",
    ("Model", "dinov2_with_registers"): "image-feature-extraction",
    ("Model", "dinov3_vit"): "image-feature-extraction",
    ("Model", "sam"): "mask-generation",
    ("Model", "sam2"): "mask-generation",
    ("Model", "sam2_video"): "mask-generation",
    ("Model", "clip"): "zero-shot-image-classification",
    ("Model", "chinese_clip"): "zero-shot-image-classification",
    ("Model", "metaclip_2"): "zero-shot-image-classification",
    ("Model", "siglip"): "zero-shot-image-classification",
    ("Model", "altclip"): "zero-shot-image-classification",
    ("Model", "align"): "zero-shot-image-classification",
}

# Which model types of a kind can be read; a kind that is not here takes every one that transformers loads.
_MODEL_TYPES = {
    "object-detection": tuple(sorted(SCORES_OF)),
    "keypoint-detection": ("vitpose",),
    "mask-generation": ("sam", "sam2", "sam2_video"),
    "image-feature-extraction": ("vit", "deit", "dinov2", "dinov2_with_registers", "dinov3_vit"),  # with a class token
}


def kind_of_config(config: Mapping[str, Any]) -> str | None:
    """A kind of ``KINDS``, a task type that we do not run, or None where nothing tells."""
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not architectures:
        return None
    name, model_type = str(architectures[0]), str(config.get("model_type", ""))
    for (end, kind_of_model), kind in _KINDS_BY_MODEL_TYPE.items():
        if model_type == kind_of_model and name.endswith(end):
            return kind
    return next((kind for end, kind in _KINDS_BY_ARCHITECTURE if name.endswith(end)), None)


def task_type_of(config: Mapping[str, Any]) -> str | None:
    """The task type, as the hub spells it, that config.json's first architecture tells; None where it tells none."""
    kind = kind_of_config(config)
    return KINDS[kind].task_type if kind in KINDS else kind


def check_task_type(name: str, task_type: str | None) -> None:
    """Raises Unsupported, naming what the model is for. None, where nobody says, passes."""
    runs = sorted({kind.task_type for kind in KINDS.values()})
    if task_type is not None and task_type not in runs:
        raise Unsupported(
            f"{name} is a model for {task_type}, which is not run.",
            hint=f"Choose a model whose page names one of these tasks: {', '.join(runs)}.",
        )


def check_supported(name: str, config: Mapping[str, Any], task_type: str | None) -> str:
    """The kind, where it is one that we run; ``task_type`` is what the hub says, or None. Raises Unsupported."""
    kind, found = kind_of_config(config), task_type_of(config)
    check_task_type(name, found)
    check_task_type(name, task_type)
    model_type = str(config.get("model_type", ""))
    if kind not in KINDS or model_type not in _MODEL_TYPES.get(kind, (model_type,)):
        architectures = config.get("architectures") or [model_type or "none"]
        known = _MODEL_TYPES.get(kind or "", ())
        raise Unsupported(
            f"{name} is of the architecture {architectures[0]}, which is not supported.",
            hint=f"Supported are: {', '.join(known)}." if known else "Its config.json names no architecture that is.",
        )
    if task_type is not None and task_type != found:
        raise Unsupported(f"{name} is listed for {task_type}, but its architecture is for {found}.")
    return kind
