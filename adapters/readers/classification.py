"""Image classifiers: one score per label -> tags of the whole frame, best first."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adapters.base import Detections, FloatArray, ModelCard, WholeFrame
from adapters.errors import BadOutput, Unsupported
from adapters.frame import Frame
from adapters.local_model import Outputs, Reader
from adapters.preprocess import Tensor


def make_reader(card: ModelCard, folder: Path) -> Reader:
    """Scores as transformers' pipeline makes them: a softmax, or a sigmoid where labels do not exclude each other."""
    labels = card.labels or ()
    apply = _scores_by(json.loads((folder / "config.json").read_text("utf-8")), len(labels))

    def read(outputs: Outputs, tensor: Tensor, frame: Frame) -> Detections:
        logits = outputs["logits"]
        if logits.shape != (len(labels),):
            raise BadOutput(f"The model answered {list(logits.shape)} scores for its {len(labels)} labels.")
        return tags(labels, apply(logits), frame)

    return read


def _scores_by(config: Mapping[str, Any], labels: int) -> Callable[[FloatArray], FloatArray]:
    problem = config.get("problem_type")
    if problem == "regression":
        raise Unsupported("The model answers a number (regression), not scores of labels.")
    return sigmoid if problem == "multi_label_classification" or labels == 1 else softmax


def tags(labels: Sequence[str], scores: FloatArray, frame: Frame) -> Detections:
    """Every label as a tag of the frame, best first."""
    order = np.argsort(-scores, kind="stable")
    boxes = np.tile(np.array([0, 0, frame.width, frame.height], np.float32), (len(order), 1))
    return Detections(tuple(labels), boxes, scores[order], order.astype(np.int32), (WholeFrame(),) * len(order))


def softmax(logits: FloatArray) -> FloatArray:
    """Along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: FloatArray = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares


def sigmoid(logits: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and the score 0, as it should be
        return (1 / (1 + np.exp(-logits))).astype(np.float32)
