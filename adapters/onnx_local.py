"""A model of transformers as an ONNX file, run by ONNX Runtime in this process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from adapters.base import ModelCard
from adapters.errors import Unsupported
from adapters.huggingface_config import PREPROCESSOR
from adapters.local import first_line
from adapters.local_model import PIXEL_MASK, PIXELS, Arrays, LocalModel
from adapters.preprocess import Preprocessor
from adapters.readers import kind_of, make_reader

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # the first that is there; a CPU always is


class OnnxEngine:
    """Graphs that take ``pixel_values [, pixel_mask]``: what Optimum and transformers.js export.

    ``reload`` makes the session anew with so many threads: they are fixed when one is made.
    """

    def __init__(self, session: Any, outputs: Sequence[str], reload: Callable[[int], Any] | None = None) -> None:
        self._session, self._outputs, self._reload = session, list(outputs), reload
        self._threads = session.get_session_options().intra_op_num_threads
        self.on_cpu = session.get_providers()[0] == "CPUExecutionProvider"
        self.name = f"onnxruntime {onnxruntime.__version__} {session.get_providers()[0]}"
        self._inputs = {each.name: each for each in session.get_inputs()}
        self.inputs = frozenset(self._inputs)
        first = self._inputs[PIXELS].shape[0]
        self._fixed_batch = first if isinstance(first, int) else None

    def run(self, feed: Arrays) -> Arrays:
        """In as many runs as the graph's batch size asks for."""
        rows = len(feed[PIXELS])
        size = self._fixed_batch or rows
        parts = []
        for start in range(0, rows, size):
            part = {name: self._fitted(name, value[start : start + size], size) for name, value in feed.items()}
            parts.append(self._session.run(self._outputs, part))
        answers = [np.concatenate(each)[:rows].astype(np.float32) for each in zip(*parts, strict=True)]
        return dict(zip(self._outputs, answers, strict=True))

    def _fitted(self, name: str, value: NDArray[Any], rows: int) -> NDArray[Any]:
        """As the graph wants an input; a fixed batch is filled up with the last row."""
        value = np.concatenate([value, *[value[-1:]] * (rows - len(value))]) if len(value) < rows else value
        if name == PIXEL_MASK:
            sides = self._inputs[name].shape[1:]
            if all(isinstance(side, int) for side in sides):  # some exports want a mask of their own fixed size
                return np.ones((rows, *sides), np.int64)
            return value
        return value.astype(_TYPES[self._inputs[name].type], copy=False)

    def use_threads(self, threads: int) -> None:
        if self._reload is not None and threads != self._threads:
            self._session = None  # the old weights leave the memory before the new ones come
            self._session, self._threads = self._reload(threads), threads

    def close(self) -> None:
        self._session = None


def load_onnx(card: ModelCard, folder: Path) -> LocalModel:
    """From the card's files in ``folder``; blocks. Raises Unsupported where the graph is of another form."""
    preprocessor = Preprocessor.from_config(json.loads((folder / PREPROCESSOR).read_text("utf-8")))
    path = folder / card.settings["weights"]
    session = load_session(path, card.settings)
    wanted = kind_of(card).outputs
    _check_graph(card.name, session, preprocessor, wanted, kind_of(card).task_type)
    engine = OnnxEngine(session, wanted, lambda threads: load_session(path, {**card.settings, "threads": threads}))
    return LocalModel(
        card,
        preprocessor,
        engine,
        make_reader(card, folder),
        masked=True,
    )


def load_session(path: Path, settings: Mapping[str, Any]) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(settings.get("threads") or os.cpu_count() or 1)
    # Threads that spin while they wait take the processor from those that decode: on two cores, twice the time a frame.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only: its warnings speak to those who export models
    available = onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=[each for each in _PROVIDERS if each in available]
        )
    except MemoryError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions have no base of their own
        text = first_line(error)
        if "xternal data" in text:
            raise Unsupported(
                f"{path.name} keeps weights outside its folder, or they are missing.",
                hint="Export the model with its weights inside the file.",
            ) from error
        raise Unsupported(f"ONNX Runtime cannot load {path.name}: {text}.") from error


def _check_graph(name: str, session: Any, preprocessor: Preprocessor, wanted: Sequence[str], task_type: str) -> None:
    inputs = {each.name: each for each in session.get_inputs()}
    outputs = [each.name for each in session.get_outputs()]
    if not set(wanted) <= set(outputs):
        raise Unsupported(
            f"The ONNX file of {name} answers {', '.join(outputs)}; {' and '.join(wanted)} are needed.",
            hint=f"Export it with optimum for the task {task_type}.",
        )
    if PIXELS not in inputs or not set(inputs) <= {PIXELS, PIXEL_MASK}:
        raise Unsupported(f"The ONNX file of {name} takes {', '.join(inputs)}; {PIXELS} [, {PIXEL_MASK}] is needed.")
    pixels = inputs[PIXELS]
    if (
        pixels.type not in _TYPES
        or len(pixels.shape) != 4
        or (isinstance(pixels.shape[1], int) and pixels.shape[1] != 3)
    ):
        raise Unsupported(f"The ONNX file of {name} takes {pixels.type} of shape {pixels.shape}, not pictures.")
    sides = pixels.shape[2:]
    made = preprocessor.fixed_size
    if any(isinstance(side, int) and (made is None or side != made[i]) for i, side in enumerate(sides)):
        made_text = f"{made[0]} x {made[1]}" if made else "pictures of any size"
        raise Unsupported(
            f"The ONNX file of {name} takes {sides[0]} x {sides[1]} pixels (height x width), "
            f"but preprocessor_config.json makes {made_text}."
        )
