"""A model with an open vocabulary, run by transformers: pictures and texts in, scores of the prompts' labels out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from numpy.typing import NDArray

from adapters.base import Detections, ModelCard, PredictOptions
from adapters.cards import on_device
from adapters.errors import Unsupported
from adapters.frame import Frame
from adapters.local import LocalPredictor, Steps, first_line
from adapters.local_model import PIXELS, Engine, Outputs, run_by_shape
from adapters.preprocess import FrameToTensor, Tensor
from adapters.readers.zero_shot import ASKERS, Asked, Asker, Question, check_prompts

_KEPT = 16  # questions whose tokens are kept

Answer = tuple[Outputs, Tensor]


class PromptedModel(LocalPredictor[Tensor, Answer]):
    """``PredictOptions.prompts`` gives the labels of each call."""

    def __init__(self, card: ModelCard, to_tensor: FrameToTensor, engine: Engine, asker: Asker, tokenizer: Any) -> None:
        super().__init__(on_device(card, engine.device, half=engine.half))
        self.to_tensor, self.engine, self.asker = to_tensor, engine, asker
        self._tokenizer = tokenizer
        self._asked: OrderedDict[object, Asked] = OrderedDict()
        self._lock = threading.Lock()  # tokenizers are not safe to share, nor is the table

    def steps_for(self, options: PredictOptions) -> Steps[Tensor, Answer]:
        """Raises PredictorError where there are no prompts."""
        check_prompts(self.card.name, options.prompts)
        key = tuple((label, tuple(texts)) for label, texts in options.prompts.items())
        with self._lock:
            if key not in self._asked:
                question = self.asker.question(dict(key))
                texts = self.asker.feed(self._tokenizer, question)
                kept = {name: value for name, value in texts.items() if name in self.engine.inputs}
                owners = self.asker.token_owners(self._tokenizer, question)
                self._check_whole(question, owners)
                self._asked[key] = Asked(question, kept, owners)
                if len(self._asked) > _KEPT:
                    self._asked.popitem(last=False)
            self._asked.move_to_end(key)
            return _Bound(self, self._asked[key])

    def _check_whole(self, question: Question, token_owners: NDArray[np.int32]) -> None:
        """Where all labels share one text, a tokenizer cuts off the end of a long one, without a word."""
        lost = set(range(len(question.labels))) - set(token_owners.tolist()) if len(token_owners) else set()
        if lost:
            names = ", ".join(question.labels[label] for label in sorted(lost)[:5])
            raise Unsupported(
                f"{self.card.name} reads {len(token_owners)} tokens at once; of {len(question.labels)} labels "
                f"{len(lost)} do not fit: {names}{' ...' if len(lost) > 5 else ''}.",
                hint="Ask for fewer labels in one job, or use shorter prompts.",
            )

    def prepare(self, frame: Frame) -> Tensor:
        return self.to_tensor(frame.pixels)

    def forward(self, batch: Sequence[Tensor]) -> Sequence[Answer]:
        raise AssertionError("a prompted model is called through its steps")

    def finish(self, raw: Answer, frame: Frame) -> Detections:
        raise AssertionError("a prompted model is called through its steps")

    def answer(self, batch: Sequence[Tensor], asked: Asked) -> Sequence[Answer]:
        return run_by_shape(self.engine, batch, partial(self._feed, asked))

    def _feed(self, asked: Asked, batch: Sequence[Tensor]) -> dict[str, NDArray[Any]]:
        pixels = np.stack([each.pixels for each in batch])
        return {PIXELS: pixels, **self.asker.repeated(asked.texts, len(batch))}

    def read(self, raw: Answer, asked: Asked, frame: Frame) -> Detections:
        return self.asker.read(raw[0], asked, frame)

    def release(self) -> None:
        self.engine.close()


@dataclass(frozen=True, slots=True)
class _Bound:
    """The steps of a call with its prompts."""

    model: PromptedModel
    asked: Asked

    def prepare(self, frame: Frame) -> Tensor:
        return self.model.prepare(frame)

    def forward(self, batch: Sequence[Tensor]) -> Sequence[Answer]:
        return self.model.answer(batch, self.asked)

    def finish(self, raw: Answer, frame: Frame) -> Detections:
        return self.model.read(raw, self.asked, frame)


def load_prompted(card: ModelCard, folder: Path, to_tensor: FrameToTensor, engine: Engine) -> PromptedModel:
    """Raises Unsupported where the tokenizer cannot be loaded."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds
        raise Unsupported(f"The tokenizer of {card.name} cannot be loaded: {first_line(error)}.") from error
    return PromptedModel(card, to_tensor, engine, ASKERS[card.settings["model_type"]], tokenizer)
