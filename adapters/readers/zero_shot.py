"""Open vocabularies: how a model is asked for texts, and what its scores of texts say of labels.

A prompt is a label and the texts to look for. Without a text, the label's own name is asked for, in the form that the
model was trained on. Of several texts of a label the best counts where texts are scored one by one; where they share
one softmax, their shares are added.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.base import Detections, FloatArray
from adapters.decode import to_corners
from adapters.errors import BadOutput, PredictorError
from adapters.frame import Frame
from adapters.local_model import Arrays, Outputs
from adapters.readers.classification import sigmoid, softmax, tags

_BETWEEN = ". "  # between the phrases of Grounding DINO
_PHOTO = "This is a photo of {}."  # the template of transformers' pipeline


@dataclass(frozen=True, slots=True)
class Question:
    """Labels, the texts that stand for them, and the label of each text."""

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    owners: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the model takes it: the texts of one frame, and the label of each token where that matters."""

    question: Question
    texts: Arrays
    token_owners: NDArray[np.int32]


class Asker(ABC):
    """One family of models."""

    template = "{}"

    def question(self, prompts: Mapping[str, Sequence[str]]) -> Question:
        pairs = [
            (index, text)
            for index, (label, texts) in enumerate(prompts.items())
            for text in (texts or (self.template.format(label),))
        ]
        return Question(tuple(prompts), tuple(t for _, t in pairs), np.array([i for i, _ in pairs], np.int32))

    @abstractmethod
    def feed(self, tokenizer: Any, question: Question) -> Arrays:
        """The texts as inputs of the model, for one frame."""

    def repeated(self, texts: Arrays, frames: int) -> Arrays:
        """The texts for so many frames."""
        return {name: np.concatenate([value] * frames) for name, value in texts.items()}

    def token_owners(self, tokenizer: Any, question: Question) -> NDArray[np.int32]:
        """Label id of each token, -1 for what belongs to none; empty where scores are not of tokens."""
        return np.empty(0, np.int32)

    @abstractmethod
    def read(self, outputs: Outputs, asked: Asked, frame: Frame) -> Detections: ...


class Classifier(Asker):
    """CLIP: the texts of a call share one softmax."""

    template = _PHOTO

    def feed(self, tokenizer: Any, question: Question) -> Arrays:
        return dict(tokenizer(list(question.texts), padding=True, truncation=True, return_tensors="np"))

    def repeated(self, texts: Arrays, frames: int) -> Arrays:
        return texts  # every frame is compared with every text

    def read(self, outputs: Outputs, asked: Asked, frame: Frame) -> Detections:
        question = asked.question
        scores = self.scores(_checked(outputs["logits_per_image"]), question)
        return tags(question.labels, np.minimum(scores, 1), frame)

    def scores(self, logits: FloatArray, question: Question) -> FloatArray:
        added = np.bincount(question.owners, softmax(logits), len(question.labels))
        return added.astype(np.float32)


class SigmoidClassifier(Classifier):
    """SigLIP: every text has a score of its own. It was trained on texts of 64 tokens."""

    def feed(self, tokenizer: Any, question: Question) -> Arrays:
        texts = list(question.texts)
        return dict(tokenizer(texts, padding="max_length", max_length=64, truncation=True, return_tensors="np"))

    def scores(self, logits: FloatArray, question: Question) -> FloatArray:
        best = np.zeros(len(question.labels), np.float32)
        np.maximum.at(best, question.owners, sigmoid(logits))
        return best


class Owl(Asker):
    """OWL-ViT: a score per box and text. ``square``: boxes are shares of the picture's longer side (OWLv2)."""

    def __init__(self, *, square: bool) -> None:
        self._square = square

    def feed(self, tokenizer: Any, question: Question) -> Arrays:
        texts = list(question.texts)
        return dict(tokenizer(texts, padding="max_length", max_length=16, truncation=True, return_tensors="np"))

    def read(self, outputs: Outputs, asked: Asked, frame: Frame) -> Detections:
        question = asked.question
        logits, boxes = _checked(outputs["logits"]), outputs["pred_boxes"]
        side = max(frame.width, frame.height)
        width, height = (side, side) if self._square else (frame.width, frame.height)
        best = logits.argmax(axis=1)
        scores = sigmoid(logits.max(axis=1))
        return Detections(question.labels, to_corners(boxes, width, height), scores, question.owners[best])


class GroundingDino(Asker):
    """One text holds all phrases; a box has a score per token, and its label is the phrase of its best token."""

    def question(self, prompts: Mapping[str, Sequence[str]]) -> Question:
        asked = super().question(prompts)
        phrases = tuple(text.lower().replace(".", " ").strip() for text in asked.texts)
        return Question(asked.labels, phrases, asked.owners)

    def feed(self, tokenizer: Any, question: Question) -> Arrays:
        return dict(tokenizer([_one_text(question)], return_tensors="np", truncation=True))

    def token_owners(self, tokenizer: Any, question: Question) -> NDArray[np.int32]:
        spans = tokenizer(_one_text(question), return_offsets_mapping=True, truncation=True)["offset_mapping"]
        owners = np.full(len(spans), -1, np.int32)
        start = 0
        for phrase, owner in zip(question.texts, question.owners, strict=True):
            end = start + len(phrase)
            owners[[first >= start and first < last <= end for first, last in spans]] = owner
            start = end + len(_BETWEEN)
        return owners

    def read(self, outputs: Outputs, asked: Asked, frame: Frame) -> Detections:
        labels = asked.question.labels
        spoken = np.flatnonzero(asked.token_owners >= 0)
        if not len(spoken):
            return Detections.empty(labels)
        logits = _checked(outputs["logits"][:, spoken], infinite=True)
        best = logits.argmax(axis=1)
        scores = sigmoid(logits.max(axis=1))
        boxes = to_corners(outputs["pred_boxes"], frame.width, frame.height)
        return Detections(labels, boxes, scores, asked.token_owners[spoken][best])


def _one_text(question: Question) -> str:
    return _BETWEEN.join(question.texts) + "."


def _checked(logits: FloatArray, *, infinite: bool = False) -> FloatArray:
    """``infinite``: minus infinity may stand for "no such token"."""
    if np.isnan(logits).any() or not (infinite or np.isfinite(logits).all()):
        raise BadOutput("The model answered scores that are not finite (NaN or infinite).")
    return logits


ASKERS: dict[str, Asker] = {
    "clip": Classifier(),
    "chinese_clip": Classifier(),
    "metaclip_2": Classifier(),
    "altclip": Classifier(),
    "align": Classifier(),
    "siglip": SigmoidClassifier(),
    "owlvit": Owl(square=False),
    "owlv2": Owl(square=True),
    "grounding-dino": GroundingDino(),
    "mm-grounding-dino": GroundingDino(),
}


def check_prompts(name: str, prompts: Mapping[str, Sequence[str]]) -> None:
    """Raises PredictorError where nothing is asked for, or an empty text is."""
    if not prompts:
        raise PredictorError(
            f"{name} has an open vocabulary and was given nothing to look for.",
            hint="Give labels, each with a text or by its name alone.",
        )
    for label, texts in prompts.items():
        if not label.strip() or not all(text.strip() for text in texts):
            raise PredictorError(f"A prompt of {name} is empty: {label!r}.", hint="Give every label a text.")
