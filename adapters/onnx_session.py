"""ONNX files in ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from adapters.cards import CPU
from adapters.errors import Unsupported
from adapters.graph_session import Port
from adapters.local import first_line

_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
_PROVIDERS = {"CUDAExecutionProvider": "cuda", "CPUExecutionProvider": CPU}  # the first that is there; a CPU always is
MOST_FOLDED = 2**28  # bytes of one constant that is computed while a graph is loaded; above, with each run


class OnnxSession:
    """A ``Session``. Its threads are fixed when ONNX Runtime makes one, so another number of them loads it anew."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        """``threads`` 0: as many as there are cores. Raises Unsupported where the file is no ONNX that loads."""
        self._path, self.threads = path, threads or os.cpu_count() or 1
        self._session = _load(path, self.threads)
        provider = self._session.get_providers()[0]
        self.device, self.half = _PROVIDERS[provider], False
        self.name = f"onnxruntime {onnxruntime.__version__} {provider}"
        self.inputs = tuple(_port(each) for each in self._session.get_inputs())
        self.outputs = tuple(_port(each) for each in self._session.get_outputs())
        self.metadata: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, outputs: Sequence[str], feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        answers: list[NDArray[Any]] = self._session.run(list(outputs), dict(feed))
        return answers

    def use_threads(self, threads: int) -> None:
        if threads != self.threads:
            self._session = None  # the old weights leave the memory before the new ones come
            self._session, self.threads = _load(self._path, threads), threads

    def close(self) -> None:
        self._session = None


def _port(port: Any) -> Port:
    sides = tuple(side if isinstance(side, int) and side > 0 else None for side in port.shape)
    return Port(port.name, _TYPES.get(port.type, port.type), sides)


def _load(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin while they wait take the processor from those that decode: on two cores, twice the time a frame.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(MOST_FOLDED))
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
