"""Instance and panoptic segmentation: a mask per query -> masks, by the library's own rules.

The rules differ from architecture to architecture (what counts as empty, which masks are merged, at which size masks
are compared), and none of them needs torchvision: so the library's own post-processing is called on each answer.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from adapters.base import Detections, ModelCard
from adapters.errors import BadOutput, Unsupported
from adapters.frame import Frame
from adapters.local import first_line
from adapters.local_model import Arrays, Outputs, Reader
from adapters.preprocess import Tensor
from adapters.readers.semantic import label_masks, masks

SEMANTIC, INSTANCE, PANOPTIC = "semantic", "instance", "panoptic"
_FORMS = re.compile(rf"{SEMANTIC}|{INSTANCE}|{PANOPTIC}")


def form_of(name: str) -> str:
    """Which of the three a model was trained for, as its name says; panoptic, which shows all, where it does not."""
    found = _FORMS.search(name.lower())
    return found[0] if found else PANOPTIC


def make_reader(card: ModelCard, folder: Path) -> Reader:
    """The post-processing of the model's own image processor. Raises Unsupported where it has none."""
    labels, form = card.labels or (), form_of(card.name)
    try:
        post_process = getattr(_processor(card, folder), f"post_process_{form}_segmentation")
    except Exception as error:  # transformers raises many kinds
        raise Unsupported(f"{card.name} has no post-processing for {form} masks: {first_line(error)}.") from error
    wanted = {
        "return_binary_maps": True,  # without it, a later instance would cut pixels out of an earlier one
        "label_ids_to_fuse": set(),  # nothing says which labels are "stuff"; unset is the same, with a warning
    }
    options = {name: wanted[name] for name in wanted if name in inspect.signature(post_process).parameters}

    def read(outputs: Outputs, tensor: Tensor, frame: Frame) -> Detections:
        if not all(np.isfinite(value).all() for value in outputs.values()):
            raise BadOutput("The model answered numbers that are not finite (NaN or infinite).")
        answer = _Answer({name: torch.from_numpy(value)[None] for name, value in outputs.items()})
        (result,) = post_process(answer, target_sizes=[(frame.height, frame.width)], **options)
        if form == SEMANTIC:
            return label_masks(result.numpy(), labels)
        return masks(list(segments(result)), labels)

    return read


def _processor(card: ModelCard, folder: Path) -> Any:
    if card.settings["model_type"] == "oneformer":  # its own wants torchvision for what MaskFormer's does without
        return transformers.MaskFormerImageProcessorPil()
    return transformers.AutoImageProcessor.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, backend="pil"
    )


def segments(result: dict[str, Any]) -> Sequence[tuple[int, float, NDArray[np.bool_]]]:
    """What the library answers for one picture -> label id, score and bits of each segment."""
    ids = result["segmentation"]
    if ids is None:
        return []
    ids, found = np.asarray(ids), result["segments_info"]
    bits = ids == 1 if ids.ndim == 3 else [ids == each["id"] for each in found]
    return [
        (int(each["label_id"]), min(1.0, float(each["score"])), mask) for each, mask in zip(found, bits, strict=True)
    ]


class _Answer(dict[str, Any]):
    """The outputs as the library's post-processing reads them: as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error


def constants(card: ModelCard, folder: Path) -> Arrays:
    """OneFormer reads its task as a text: token ids of "the task is ...", padded with zeros to its length."""
    if card.settings["model_type"] != "oneformer":
        return {}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise Unsupported(f"The tokenizer of {card.name} cannot be loaded: {first_line(error)}.") from error
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    made = tokenizer(
        f"the task is {form_of(card.name)}", padding="max_length", max_length=config.task_seq_len, truncation=True
    )
    return {"task_inputs": np.array(made["input_ids"], np.int64) * np.array(made["attention_mask"], np.int64)}
