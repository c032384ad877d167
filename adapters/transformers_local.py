"""A detection transformer in safetensors, run by PyTorch and transformers in this process (an extra)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from adapters.base import ModelCard
from adapters.detection_transformer import DetectionTransformer, QueryOutput, read_preprocessor
from adapters.errors import Unsupported
from adapters.local import first_line
from adapters.preprocess import Preprocessor, Tensor


class TransformersDetector(DetectionTransformer):
    """``AutoModelForObjectDetection`` between our own preprocessing and decoding, so that engines can be compared."""

    def __init__(self, card: ModelCard, model: Any, preprocessor: Preprocessor) -> None:
        super().__init__(card, preprocessor)
        self._model = model
        self._takes_mask = "pixel_mask" in inspect.signature(model.forward).parameters

    @classmethod
    def load(cls, card: ModelCard, folder: Path) -> TransformersDetector:
        """From the card's files in ``folder``; blocks. No code of the model's is run, and no pickle read.

        Raises Unsupported where transformers cannot load it.
        """
        preprocessor = read_preprocessor(folder)
        transformers.utils.logging.disable_progress_bar()  # the program has its own
        try:
            model = transformers.AutoModelForObjectDetection.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
            )
        except MemoryError:
            raise
        except ImportError as error:  # a backbone of timm's, for instance
            raise Unsupported(f"{card.name} needs a library that is not installed: {first_line(error)}.") from error
        except Exception as error:  # transformers and safetensors raise many kinds
            raise Unsupported(f"transformers cannot load {card.name}: {first_line(error)}.") from error
        return cls(card, model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), preprocessor)

    def release(self) -> None:
        self._model = None

    def run(self, batch: Sequence[Tensor]) -> Sequence[QueryOutput]:
        feed = {"pixel_values": np.stack([each.pixels for each in batch])}
        if self._takes_mask and self.preprocessor.pad_to is not None:  # without padding the model's own mask will do
            feed["pixel_mask"] = np.stack([each.mask for each in batch])
        with torch.inference_mode():
            answer = self._model(
                **{name: torch.from_numpy(value).to(self._model.device) for name, value in feed.items()}
            )
            logits, boxes = answer.logits.float().cpu().numpy(), answer.pred_boxes.float().cpu().numpy()
        return list(zip(logits, boxes, strict=True))
