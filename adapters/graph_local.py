"""A model of transformers as a graph, ONNX or OpenVINO IR, run in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.base import Context, ModelCard
from adapters.engine_choice import open_fastest
from adapters.errors import Unsupported
from adapters.graph_session import Session
from adapters.huggingface_config import ONNXRUNTIME, OPENVINO, PREPROCESSOR
from adapters.local_model import PIXEL_MASK, PIXELS, Arrays, Engine, LocalModel
from adapters.onnx_session import OnnxSession
from adapters.openvino_session import OpenvinoSession
from adapters.preprocess import Preprocessor
from adapters.readers import kind_of, make_reader
from adapters.trial_load import try_loading

_FLOATS = ("float32", "float16")


class GraphEngine:
    """Graphs that take ``pixel_values [, pixel_mask]``: what Optimum and transformers.js export."""

    def __init__(self, session: Session, outputs: Sequence[str]) -> None:
        self._session, self._outputs = session, list(outputs)
        self.name, self.device, self.half = session.name, session.device, session.half
        self._inputs = {each.name: each for each in session.inputs}
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
        whole = parts[0] if len(parts) == 1 else [np.concatenate(each) for each in zip(*parts, strict=True)]
        answers = [each[:rows].astype(np.float32, copy=False) for each in whole]
        return dict(zip(self._outputs, answers, strict=True))

    def _fitted(self, name: str, value: NDArray[Any], rows: int) -> NDArray[Any]:
        """As the graph wants an input; a fixed batch is filled up with the last row."""
        value = np.concatenate([value, *[value[-1:]] * (rows - len(value))]) if len(value) < rows else value
        if name == PIXEL_MASK:
            sides = self._inputs[name].shape[1:]
            if all(isinstance(side, int) for side in sides):  # some exports want a mask of their own fixed size
                return np.ones((rows, *(int(side or 1) for side in sides)), np.int64)
            return value
        return value.astype(self._inputs[name].type, copy=False)

    def use_threads(self, threads: int) -> None:
        self._session.use_threads(threads)

    def close(self) -> None:
        self._session.close()


def load_graph(card: ModelCard, folder: Path, context: Context) -> LocalModel:
    """From the card's files in ``folder``; blocks. Raises Unsupported where the graph is of another form."""
    preprocessor = _preprocessor(folder)
    path, kind, threads = folder / card.settings["weights"], kind_of(card), int(card.settings.get("threads") or 0)

    def engine(session: Session) -> Engine:
        _check_graph(card.name, session, preprocessor, kind.outputs, kind.task_type)
        return GraphEngine(session, kind.outputs)

    loaders = {
        ONNXRUNTIME: lambda precision: engine(OnnxSession(path, threads)),
        OPENVINO: lambda precision: engine(OpenvinoSession(path, threads, precision)),
    }
    read = make_reader(card, folder)
    return open_fastest(
        card, loaders, lambda engine: LocalModel(card, preprocessor, engine, read, masked=True), context
    )


def check_graph(card: ModelCard, folder: Path) -> None:
    """Raises Unsupported where the card's graph does not load within bounds, or is of another form; blocks."""
    path = folder / card.settings["weights"]
    try_loading(path)
    preprocessor, kind = _preprocessor(folder), kind_of(card)
    session: Session = OpenvinoSession(path) if path.suffix == ".xml" else OnnxSession(path)
    try:
        _check_graph(card.name, session, preprocessor, kind.outputs, kind.task_type)
    finally:
        session.close()


def _preprocessor(folder: Path) -> Preprocessor:
    return Preprocessor.from_config(json.loads((folder / PREPROCESSOR).read_text("utf-8")))


def _check_graph(
    name: str, session: Session, preprocessor: Preprocessor, wanted: Sequence[str], task_type: str
) -> None:
    inputs = {each.name: each for each in session.inputs}
    outputs = [each.name for each in session.outputs]
    if not set(wanted) <= set(outputs):
        raise Unsupported(
            f"The graph of {name} answers {', '.join(outputs)}; {' and '.join(wanted)} are needed.",
            hint=f"Export it with optimum for the task {task_type}.",
        )
    if PIXELS not in inputs or not set(inputs) <= {PIXELS, PIXEL_MASK}:
        raise Unsupported(f"The graph of {name} takes {', '.join(inputs)}; {PIXELS} [, {PIXEL_MASK}] is needed.")
    pixels = inputs[PIXELS]
    if pixels.type not in _FLOATS or len(pixels.shape) != 4 or pixels.shape[1] not in (3, None):
        raise Unsupported(f"The graph of {name} takes {pixels.type} of shape {list(pixels.shape)}, not pictures.")
    sides = pixels.shape[2:]
    made = preprocessor.fixed_size
    if any(side is not None and (made is None or side != made[i]) for i, side in enumerate(sides)):
        made_text = f"{made[0]} x {made[1]}" if made else "pictures of any size"
        raise Unsupported(
            f"The graph of {name} takes {sides[0]} x {sides[1]} pixels (height x width), "
            f"but preprocessor_config.json makes {made_text}."
        )
