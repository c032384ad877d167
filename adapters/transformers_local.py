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

from adapters.base import Context, ModelCard, OpenModel
from adapters.cards import CPU
from adapters.engine_choice import open_fastest
from adapters.errors import Unsupported
from adapters.graph_local import GraphEngine
from adapters.graph_session import FAST, FULL
from adapters.huggingface_config import OPENVINO, PREPROCESSOR, TRANSFORMERS
from adapters.image_processors import PROCESSORS, plain_name
from adapters.keypoint_model import load_keypoints
from adapters.local import first_line
from adapters.local_model import Arrays, Engine, LocalModel
from adapters.openvino_convert import convert, converted_path
from adapters.openvino_session import OpenvinoSession
from adapters.owlv2_preprocess import Owlv2Preprocessor
from adapters.preprocess import FrameToTensor, Pixels, Preprocessor, Tensor
from adapters.processor import has_bfloat16
from adapters.promptable import EMBED, SEGMENT
from adapters.prompted_model import load_prompted
from adapters.readers import kind_of, make_constants, make_reader
from adapters.reidentify import EmbeddingReIdentifier
from adapters.sam import Sam, read_preprocessor
from adapters.sam_video import Sam2Video
from adapters.same_answers import probes


class TransformersEngine:
    """A model of transformers on the best device that there is.

    Precision ``fast`` lets matrices be multiplied in bf16 where the processor can (on a GPU in f16); the weights stay
    in f32.
    """

    def __init__(self, model: Any, outputs: Sequence[str], precision: str = FULL) -> None:
        self._model, self._outputs = model, outputs
        self.inputs = frozenset(inspect.signature(model.forward).parameters)
        self.device = model.device.type
        on_cpu = self.device == CPU
        self.half = precision == FAST and (has_bfloat16() if on_cpu else True)
        self._half_type = torch.bfloat16 if on_cpu else torch.float16
        self.name = f"torch {torch.__version__} {model.device}" + (f" {self._half_type}" if self.half else "")
        self._threads = 0

    def use_threads(self, threads: int) -> None:
        self._threads = threads

    def run(self, feed: Arrays) -> Arrays:
        if self._threads and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)  # of the thread that calls
        with torch.inference_mode(), torch.autocast(self._model.device.type, self._half_type, enabled=self.half):
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


def load_transformers(card: ModelCard, folder: Path, context: Context) -> OpenModel:
    """From the card's files in ``folder``; blocks. No code of the model's is run, and no pickle read.

    Raises Unsupported where transformers cannot load it.
    """
    kind = kind_of(card)
    if kind.task_type not in (SEGMENT, EMBED) and not kind.skeleton and not kind.open_vocabulary:
        return _load_plain(card, folder, context)
    if card.engine == OPENVINO:
        raise Unsupported(f"{card.name} is run by {TRANSFORMERS} only.", hint=f"Take --engine {TRANSFORMERS}.")
    if kind.task_type == SEGMENT:
        return _load_sam(card, folder)
    engine = TransformersEngine(load_model(card, folder), kind.outputs, context.precision)
    if kind.task_type == EMBED:
        return EmbeddingReIdentifier(card, load_preprocessor(card, folder), engine, *kind.outputs)
    if kind.skeleton:
        return load_keypoints(card, folder, engine)
    return load_prompted(card, folder, load_preprocessor(card, folder), engine)


def _load_plain(card: ModelCard, folder: Path, context: Context) -> LocalModel:
    """One that takes pictures only, on the engine that is fastest."""
    outputs, to_tensor = kind_of(card).outputs, load_preprocessor(card, folder)
    padded = isinstance(to_tensor, Preprocessor) and to_tensor.pad_to is not None
    read, constants = make_reader(card, folder), make_constants(card, folder)

    def make(engine: Engine) -> LocalModel:
        # Without padding the model's own mask will do.
        return LocalModel(card, to_tensor, engine, read, masked=padded, constants=constants)

    def by_openvino(precision: str) -> Engine:
        path = converted_path(card, context.cache_dir)
        if not path.is_file():
            model = load_model(card, folder, device="cpu")
            plain = make(TransformersEngine(model, outputs))
            feed = plain.feed([plain.prepare(probes()[0])] * 2)
            fixed = isinstance(to_tensor, Preprocessor) and to_tensor.fixed_size is not None
            convert(model, feed, outputs, any_size=not fixed, path=path)
        return GraphEngine(OpenvinoSession(path, precision=precision), outputs)

    loaders = {
        TRANSFORMERS: lambda precision: TransformersEngine(load_model(card, folder), outputs, precision),
        OPENVINO: by_openvino,
    }
    return open_fastest(card, loaders, make, context)


def _load_sam(card: ModelCard, folder: Path) -> Sam:
    model, to_tensor = load_model(card, folder), read_preprocessor(folder)
    if card.settings["model_type"] == "sam2_video":
        return Sam2Video(card, model, to_tensor, partial(load_model, card, folder, "Sam2VideoModel"))
    return Sam(card, model, to_tensor)


def load_model(card: ModelCard, folder: Path, cls: str = "", device: str = "") -> Any:
    """The model, ready to predict, on ``device`` or the best that there is. Raises Unsupported.

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
    return model.eval().to(device or best_device())


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
