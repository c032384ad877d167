"""What every engine shares that runs a detection transformer: tensors in, logits and boxes of queries out."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from adapters.base import Detections, FloatArray, ModelCard
from adapters.decode import SCORES_OF, decode_queries
from adapters.frame import Frame
from adapters.huggingface_config import PREPROCESSOR
from adapters.local import LocalPredictor
from adapters.preprocess import Preprocessor, Tensor

QueryOutput = tuple[FloatArray, FloatArray]  # of one frame: logits [queries, labels], boxes [queries, 4]


class DetectionTransformer(LocalPredictor[Tensor, QueryOutput]):
    """An engine adds ``run``: what the model says of tensors of one shape."""

    def __init__(self, card: ModelCard, preprocessor: Preprocessor) -> None:
        super().__init__(card)
        self.preprocessor = preprocessor
        self._scores_by = SCORES_OF[card.settings["model_type"]]

    @abstractmethod
    def run(self, batch: Sequence[Tensor]) -> Sequence[QueryOutput]:
        """In the batch's order; all tensors have one shape."""

    def prepare(self, frame: Frame) -> Tensor:
        return self.preprocessor(frame.pixels)

    def forward(self, batch: Sequence[Tensor]) -> Sequence[QueryOutput]:
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, tensor in enumerate(batch):
            groups.setdefault(tensor.pixels.shape, []).append(index)
        answers: dict[int, QueryOutput] = {}
        for indices in groups.values():
            answers.update(zip(indices, self.run([batch[i] for i in indices]), strict=True))
        return [answers[i] for i in range(len(batch))]

    def finish(self, raw: QueryOutput, frame: Frame) -> Detections:
        logits, boxes = raw
        return decode_queries(logits, boxes, self._scores_by, self.card.labels or (), frame.width, frame.height)


def read_preprocessor(folder: Path) -> Preprocessor:
    """Raises Unsupported."""
    return Preprocessor.from_config(json.loads((folder / PREPROCESSOR).read_text("utf-8")))
