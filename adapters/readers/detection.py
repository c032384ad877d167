"""Detection transformers: logits and boxes of queries -> rectangles."""

from __future__ import annotations

from pathlib import Path

from adapters.base import Detections, ModelCard
from adapters.decode import SCORES_OF, decode_queries
from adapters.frame import Frame
from adapters.local_model import Outputs, Reader
from adapters.preprocess import Tensor


def make_reader(card: ModelCard, folder: Path) -> Reader:
    scores_by, labels = SCORES_OF[card.settings["model_type"]], card.labels or ()

    def read(outputs: Outputs, tensor: Tensor, frame: Frame) -> Detections:
        return decode_queries(outputs["logits"], outputs["pred_boxes"], scores_by, labels, frame.width, frame.height)

    return read
