"""A model in safetensors, run by PyTorch and transformers in this process (an extra)."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from adapters.base import ModelCard, OpenModel
from adapters.errors import Unsupported
from adapters.huggingface_config import PREPROCESSOR
from adapters.image_processors import PROCESSORS, plain_name
from adapters.keypoint_model import load_keypoints
from adapters.local import first_line
from adapters.local_model import Arrays, LocalModel
from adapters.owlv2_preprocess import Owlv2Preprocessor
from adapters.preprocess import FrameToTensor, Pixels, Preprocessor, Tensor
from adapters.promptable import EMBED, SEGMENT
from adapters.prompted_model import load_prompted
from adapters.readers import kind_of, make_constants, make_reader
from adapters.reidentify import EmbeddingReIdentifier
from adapters.sam import Sam, read_preprocessor
from adapters.sam_video import Sam2Video


class TransformersEngine:
    """A model of transformers on the best device that there is."""

    def __init__(self, model: Any, outputs: Sequence[str]) -> None:
        self._model, self._outputs = model, outputs
        self.inputs = frozenset(inspect.signature(model.forward).parameters)
        self.on_cpu = model.device.type == "cpu"
        self.name = f"torch {torch.__version__} {model.device}"
        self._threads = 0

    def use_threads(self, threads: int) -> None:
        self._threads = threads

    def run(self, feed: Arrays) -> Arrays:
        if self._threads and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)  # of the thread that calls
        with torch.inference_mode():
            answer = self._model(**{name: torch.from_numpy(v).to(self._model.device) for name, v in feed.items()})
            return {name: getattr(answer, name).float().cpu().numpy() for name in self._outputs}

    def close(self) -> None:
        self._model = None


class LibraryPreprocessor:
    """The library's own image processor, for those that we do not know; ``pixel_values`` is all that it may answer."""

    def __init__(self, processor: Any, name: str) -> None:
        self._processor, self._name = processor, name

    def __call__(self, pixels: Pixels) -> Tensor:
        made = self._processor(images=[pixels], return_tensors="np", input_data_format="channels_last")
        if set(made) - {"pixel_values", "pixel_mask"}:
            raise Unsupported(f"The image processor {self._name} makes {', '.join(made)}; pixel_values is needed.")
        values = np.ascontiguousarray(made["pixel_values"][0], np.float32)
        return Tensor(values, values.shape[1], values.shape[2])


def load_transformers(card: ModelCard, folder: Path) -> OpenModel:
    """From the card's files in ``folder``; blocks. No code of the model's is run, and no pickle read.

    Raises Unsupported where transformers cannot load it.
    """
    if kind_of(card).task_type == SEGMENT:
        return _load_sam(card, folder)
    engine = TransformersEngine(load_model(card, folder), kind_of(card).outputs)
    if kind_of(card).task_type == EMBED:
        return EmbeddingReIdentifier(card, load_preprocessor(card, folder), engine, *kind_of(card).outputs)
    if kind_of(card).skeleton:
        return load_keypoints(card, folder, engine)
    to_tensor = load_preprocessor(card, folder)
    if kind_of(card).open_vocabulary:
        return load_prompted(card, folder, to_tensor, engine)
    padded = isinstance(to_tensor, Preprocessor) and to_tensor.pad_to is not None
    return LocalModel(
        card,
        to_tensor,
        engine,
        make_reader(card, folder),
        masked=padded,  # without padding the model's own mask will do
        constants=make_constants(card, folder),
    )


def _load_sam(card: ModelCard, folder: Path) -> Sam:
    model, to_tensor = load_model(card, folder), read_preprocessor(folder)
    if card.settings["model_type"] == "sam2_video":
        return Sam2Video(card, model, to_tensor, partial(load_model, card, folder, "Sam2VideoModel"))
    return Sam(card, model, to_tensor)


def load_model(card: ModelCard, folder: Path, cls: str = "") -> Any:
    """The model, ready to predict, on the best device that there is. Raises Unsupported.

    ``cls``: transformers' class that loads it, where it is not the one of the model's kind.
    """
    transformers.utils.logging.disable_progress_bar()  # the program has its own
    try:
        model = getattr(transformers, cls or kind_of(card).auto_class).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
    except MemoryError:
        raise
    except ImportError as error:  # a backbone of timm's, for instance
        raise Unsupported(f"{card.name} needs a library that is not installed: {first_line(error)}.") from error
    except Exception as error:  # transformers and safetensors raise many kinds
        raise Unsupported(f"transformers cannot load {card.name}: {first_line(error)}.") from error
    return model.eval().to(best_device())


def best_device() -> str:
    """``cuda``, ``mps`` or ``cpu``: the first that is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_preprocessor(card: ModelCard, folder: Path) -> FrameToTensor:
    """Ours where we know the image processor, else the library's. Raises Unsupported."""
    config = json.loads((folder / PREPROCESSOR).read_text("utf-8"))
    if plain_name(config) == "Owlv2ImageProcessor":
        return Owlv2Preprocessor.from_config(config)
    if plain_name(config) in PROCESSORS:
        return Preprocessor.from_config(config)
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, backend="pil"
        )
    except Exception as error:  # as above
        raise Unsupported(f"The image processor of {card.name} cannot be loaded: {first_line(error)}.") from error
    return LibraryPreprocessor(processor, plain_name(config))
