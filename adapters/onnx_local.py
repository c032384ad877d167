"""A detection transformer as an ONNX file, run by ONNX Runtime in this process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from adapters.base import ModelCard
from adapters.detection_transformer import DetectionTransformer, QueryOutput, read_preprocessor
from adapters.errors import Unsupported
from adapters.local import first_line
from adapters.preprocess import Preprocessor, Tensor

_PIXELS, _MASK = "pixel_values", "pixel_mask"
_LOGITS, _BOXES = "logits", "pred_boxes"
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # the first that is there; a CPU always is


class OnnxDetector(DetectionTransformer):
    """``pixel_values [, pixel_mask]`` -> ``logits``, ``pred_boxes``: what Optimum and transformers.js export."""

    def __init__(self, card: ModelCard, session: Any, preprocessor: Preprocessor) -> None:
        super().__init__(card, preprocessor)
        self._session = session
        self._inputs = {each.name: each for each in session.get_inputs()}
        first = self._inputs[_PIXELS].shape[0]
        self._fixed_batch = first if isinstance(first, int) else None

    @classmethod
    def load(cls, card: ModelCard, folder: Path) -> OnnxDetector:
        """From the card's files in ``folder``; blocks. Raises Unsupported where the graph is of another form."""
        preprocessor = read_preprocessor(folder)
        session = _load_session(folder / card.settings["weights"], card.settings)
        _check_graph(card.name, session, preprocessor)
        return cls(card, session, preprocessor)

    def release(self) -> None:
        self._session = None

    def run(self, batch: Sequence[Tensor]) -> Sequence[QueryOutput]:
        """Tensors of one shape, in as many runs as the graph's batch size asks for."""
        size = self._fixed_batch or len(batch)
        answers: list[QueryOutput] = []
        for start in range(0, len(batch), size):
            part = list(batch[start : start + size])
            feed = self._feed(part + part[-1:] * (size - len(part)))  # a fixed batch is filled up with the last
            logits, boxes = self._session.run([_LOGITS, _BOXES], feed)
            answers += [(logits[i].astype(np.float32), boxes[i].astype(np.float32)) for i in range(len(part))]
        return answers

    def _feed(self, batch: Sequence[Tensor]) -> dict[str, NDArray[Any]]:
        pixels = np.stack([each.pixels for each in batch])
        feed: dict[str, NDArray[Any]] = {_PIXELS: pixels.astype(_TYPES[self._inputs[_PIXELS].type], copy=False)}
        if _MASK in self._inputs:
            sides = self._inputs[_MASK].shape[1:]
            if all(isinstance(side, int) for side in sides):  # some exports want a mask of their own fixed size
                feed[_MASK] = np.ones((len(batch), *sides), np.int64)
            else:
                feed[_MASK] = np.stack([each.mask for each in batch])
        return feed


def _load_session(path: Path, settings: Mapping[str, Any]) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(settings.get("threads") or os.cpu_count() or 1)
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


def _check_graph(name: str, session: Any, preprocessor: Preprocessor) -> None:
    inputs = {each.name: each for each in session.get_inputs()}
    outputs = [each.name for each in session.get_outputs()]
    if not {_LOGITS, _BOXES} <= set(outputs):
        raise Unsupported(
            f"The ONNX file of {name} answers {', '.join(outputs)}; {_LOGITS} and {_BOXES} are needed.",
            hint="Export it with optimum for the task object-detection.",
        )
    if _PIXELS not in inputs or not set(inputs) <= {_PIXELS, _MASK}:
        raise Unsupported(f"The ONNX file of {name} takes {', '.join(inputs)}; {_PIXELS} [, {_MASK}] is needed.")
    pixels = inputs[_PIXELS]
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
