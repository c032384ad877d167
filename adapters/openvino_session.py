"""OpenVINO IR (.xml with its .bin) and ONNX files in OpenVINO, on the processor (an extra)."""

from __future__ import annotations

import importlib.util
import queue
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]
from numpy.typing import NDArray

from adapters.cards import CPU
from adapters.errors import Unsupported
from adapters.graph_session import FAST, FULL, Port
from adapters.local import first_line
from adapters.onnx_description import METADATA
from adapters.openvino_package import openvino
from adapters.processor import usable_cores

DEVICE = "CPU"
_ENGINE_OF = {".xml": "ir", ".onnx": "onnx"}  # which of OpenVINO's readers takes a file; it is never left to guess
_MOST_METADATA_BYTES = 1_000_000


def installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def version() -> str:
    return str(openvino().__version__).split("-", 1)[0]


class OpenvinoSession:
    """A ``Session``. Runs of several threads go beside each other, in as many streams as the threads leave room for.

    Precision ``full`` computes in f32. OpenVINO's own choice is bf16 where the processor has it, and answers other
    boxes; here that is ``fast``, and full all the same where the processor has none.
    """

    def __init__(self, path: Path, threads: int = 0, precision: str = FULL) -> None:
        """Raises Unsupported where the file does not load."""
        self._model: Any = _read(path)
        self.half = precision == FAST and _has_bfloat16()
        self.inputs = tuple(_port(each, i, "input") for i, each in enumerate(self._model.inputs))
        self.outputs = tuple(_port(each, i, "output") for i, each in enumerate(self._model.outputs))
        self.metadata: Mapping[str, str] = _metadata(self._model, path)
        self.device = CPU
        self.name = f"openvino {version()} {DEVICE}" + (" bf16" if self.half else "")
        self.threads = 0
        self._place = {port.name: i for i, port in enumerate(self.outputs)}
        self.use_threads(threads or usable_cores())

    def run(self, outputs: Sequence[str], feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        inputs = {i: np.ascontiguousarray(feed[port.name]) for i, port in enumerate(self.inputs)}
        found = request.infer(inputs, share_inputs=True)
        answers = [np.asarray(found[self._place[name]]) for name in outputs]
        self._idle.put(request)  # not where it failed: who knows what it holds
        return answers

    def use_threads(self, threads: int) -> None:
        if threads == self.threads:
            return
        streams = max(1, usable_cores() // threads)
        self._compiled: Any = None
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        try:
            self._compiled = _core().compile_model(
                self._model,
                DEVICE,
                {
                    "INFERENCE_PRECISION_HINT": "bf16" if self.half else "f32",
                    "NUM_STREAMS": streams,
                    "INFERENCE_NUM_THREADS": threads * streams,
                    "ENABLE_CPU_PINNING": False,  # those who decode need the same cores
                },
            )
        except Exception as error:
            raise Unsupported(f"OpenVINO cannot compile the model: {_reason(error)}.") from error
        self.threads = threads

    def close(self) -> None:
        self._idle, self._compiled, self._model = queue.SimpleQueue(), None, None


def _has_bfloat16() -> bool:
    return "BF16" in _core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")


@lru_cache(maxsize=1)
def _core() -> Any:
    return openvino().Core()


def _read(path: Path) -> Any:
    if not installed():
        raise Unsupported(
            f"{path.name} is to be run by OpenVINO, which is not installed.", hint="pip install 'hubbridge[openvino]'"
        )
    if path.suffix.lower() == ".xml" and not path.with_suffix(".bin").is_file():
        raise Unsupported(
            f"{path.name} is an OpenVINO model without its weights.",
            hint=f"Put {path.with_suffix('.bin').name} beside it.",
        )
    try:
        reader = openvino("frontend").FrontEndManager().load_by_framework(_ENGINE_OF[path.suffix.lower()])
        model = reader.convert(reader.load(str(path)))
    except MemoryError:
        raise
    except Exception as error:  # OpenVINO raises plain RuntimeErrors
        raise Unsupported(f"OpenVINO cannot load {path.name}: {_reason(error)}.") from error
    if not model.inputs or not model.outputs:  # any XML at all is read as a network of nothing
        raise Unsupported(f"OpenVINO cannot load {path.name}: it holds no network.")
    return model


def _reason(error: Exception) -> str:
    """OpenVINO's errors begin with where in its sources they were raised."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '", "FrontEnd API"))]
    return told[-1].rstrip(". ")[:300] if told else first_line(error)


def _port(port: Any, index: int, kind: str) -> Port:
    names = sorted(port.get_names())
    shape = port.get_partial_shape()
    sides = () if shape.rank.is_dynamic else tuple(None if side.is_dynamic else side.get_length() for side in shape)
    return Port(names[0] if names else f"{kind}_{index}", np.dtype(port.get_element_type().to_dtype()).name, sides)


def _metadata(model: Any, path: Path) -> Mapping[str, str]:
    """What exporters write beside or into an IR, in the form in which ONNX files carry it."""
    beside = path.with_name(METADATA)
    if path.suffix.lower() != ".xml":
        return {}
    if beside.is_file() and beside.stat().st_size <= _MOST_METADATA_BYTES:
        try:
            said = yaml.safe_load(beside.read_text("utf-8"))
        except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
            raise Unsupported(f"{METADATA} beside {path.name} cannot be read: {first_line(error)}.") from error
        if isinstance(said, dict):
            return {str(key): str(value) for key, value in said.items()}
    where = ["model_info", "labels"]  # as OpenVINO's own model zoo writes them: by spaces, their own as underscores
    if model.has_rt_info(where):
        labels = str(model.get_rt_info(where).value).split()
        return {"names": str([label.replace("_", " ") for label in labels])}
    return {}
