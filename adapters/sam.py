"""SAM and SAM 2 as transformers has them: a frame is embedded once, then each prompt costs a small decoder only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its name everywhere)

from adapters.base import ModelCard
from adapters.cards import on_device
from adapters.errors import BadOutput
from adapters.frame import Frame
from adapters.huggingface_config import PREPROCESSOR
from adapters.one_thread import OneThreadModel
from adapters.preprocess import Preprocessor
from adapters.promptable import Prompt, Segment


@dataclass(frozen=True, slots=True, eq=False)
class FrameEmbedding:
    """``features`` f32[1, c, h, w], coarsest last; on the processor, whatever the model runs on.

    tensor_size   height and width of the model's input, padding included
    picture_size  of the part of it that is picture
    padded        whether the model pads pictures to a square (SAM), or stretches them (SAM 2)
    """

    features: tuple[torch.Tensor, ...]
    tensor_size: tuple[int, int]
    picture_size: tuple[int, int]
    frame_size: tuple[int, int]
    padded: bool

    @property
    def nbytes(self) -> int:
        return sum(each.nbytes for each in self.features)


class Sam(OneThreadModel):
    """The Segmenter of ``SamModel`` and ``Sam2Model``."""

    def __init__(self, card: ModelCard, model: Any, to_tensor: Preprocessor) -> None:
        super().__init__(on_device(card, model.device.type))
        self._model, self._to_tensor = model, to_tensor

    async def embed(self, frame: Frame) -> FrameEmbedding:
        return await self.call(partial(self._embed, frame))

    async def segment(self, embedding: FrameEmbedding, prompt: Prompt) -> Segment | None:
        return await self.call(partial(self._segment, embedding, prompt))

    def release(self) -> None:
        self._model = None

    def _embed(self, frame: Frame) -> FrameEmbedding:
        tensor = self._to_tensor(frame.pixels)
        with torch.inference_mode():
            features = self._model.get_image_embeddings(self._on_device(tensor.pixels[None]))
        several = features if isinstance(features, (list, tuple)) else (features,)
        return FrameEmbedding(
            tuple(each.float().cpu() for each in several),
            (tensor.pixels.shape[1], tensor.pixels.shape[2]),
            (tensor.height, tensor.width),
            (frame.height, frame.width),
            padded=self._to_tensor.pad_to is not None,
        )

    def _segment(self, embedding: FrameEmbedding, prompt: Prompt) -> Segment | None:
        height, width = embedding.frame_size
        with torch.inference_mode():
            features = [each.to(self._model.device) for each in embedding.features]
            answer = self._model(
                image_embeddings=features if len(features) > 1 else features[0],
                # One click can mean a part or the whole: of three masks the model thinks most of one.
                multimask_output=len(prompt.positive) == 1 and not len(prompt.negative) and prompt.box is None,
                **self._asked(embedding, prompt.inside(width, height)),
            )
            scores, masks = answer.iou_scores[0, 0].float(), answer.pred_masks[0, 0].float()
            if not (torch.isfinite(scores).all() and torch.isfinite(masks).all()):
                raise BadOutput("The model answered numbers that are not finite (NaN or infinite).")
            best = int(scores.argmax())
            mask = _in_frame(masks[best], embedding).cpu().numpy() > 0
        return Segment.of(mask, float(scores[best]))

    def _asked(self, embedding: FrameEmbedding, prompt: Prompt) -> dict[str, torch.Tensor]:
        """The prompt in pixels of the model's input."""
        (height, width), (tensor_height, tensor_width) = embedding.frame_size, embedding.picture_size
        share = np.array([tensor_width / width, tensor_height / height], np.float32)
        asked: dict[str, torch.Tensor] = {}
        points = np.concatenate([prompt.positive, prompt.negative])
        if len(points):
            labels = np.repeat(np.array([1, 0], np.int64), [len(prompt.positive), len(prompt.negative)])
            asked["input_points"] = self._on_device(points[None, None] * share)
            asked["input_labels"] = self._on_device(labels[None, None])
        if prompt.box is not None:
            asked["input_boxes"] = self._on_device(np.asarray(prompt.box, np.float32)[None, None] * np.tile(share, 2))
        return asked

    def _on_device(self, values: Any) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._model.device)


def _in_frame(mask: torch.Tensor, embedding: FrameEmbedding) -> torch.Tensor:
    """Logits [h, w] over the model's input -> over the frame, interpolated as ``post_process_masks`` does it."""
    logits = mask[None, None]
    if embedding.padded:
        height, width = embedding.picture_size
        logits = F.interpolate(logits, embedding.tensor_size, mode="bilinear", align_corners=False)
        logits = logits[..., :height, :width]
    return F.interpolate(logits, embedding.frame_size, mode="bilinear", align_corners=False)[0, 0]


def read_preprocessor(folder: Path) -> Preprocessor:
    """Raises Unsupported where the image processor cannot be understood."""
    return Preprocessor.from_config(json.loads((folder / PREPROCESSOR).read_text("utf-8")))
