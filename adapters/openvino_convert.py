"""A model of PyTorch as OpenVINO IR, traced in this process and kept in the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from adapters.base import ModelCard
from adapters.engine_choice import versions
from adapters.errors import Unsupported
from adapters.local import first_line
from adapters.local_model import Arrays
from adapters.openvino_package import openvino


def converted_path(card: ModelCard, cache: Path) -> Path:
    """Where the IR of a card's model is kept; with other versions of the packages, elsewhere."""
    key = hashlib.sha256("|".join((card.name, card.revision, *versions())).encode()).hexdigest()[:32]
    return cache / "openvino" / key / "model.xml"


class _Plain(torch.nn.Module):  # type: ignore[misc]  # torch is not looked into
    """The inputs in order, and the outputs as a tuple: what can be traced."""

    def __init__(self, model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self.input_names, self.output_names = model, tuple(inputs), tuple(outputs)

    def forward(self, *values: Any) -> Any:
        answer = self.model(**dict(zip(self.input_names, values, strict=True)))
        return tuple(getattr(answer, name) for name in self.output_names)


def convert(model: Any, feed: Arrays, outputs: Sequence[str], *, any_size: bool, path: Path) -> None:
    """Trace ``model`` on ``feed``, two rows of every input, and write IR in f32 to ``path``; blocks.

    any_size   height and width of the inputs stay open, and not only the number of rows

    Raises Unsupported where the model cannot be traced or the folder not be written.
    """
    example = tuple(torch.from_numpy(value) for value in feed.values())
    try:
        with torch.inference_mode(), _quiet():
            graph = openvino().convert_model(_Plain(model, tuple(feed), outputs), example_input=example)
        shapes = {}
        for port, (name, value) in zip(graph.inputs, feed.items(), strict=True):
            port.get_tensor().set_names({name})
            open_sides = value.ndim == 4 and any_size
            sides = [-1, value.shape[1], -1, -1] if open_sides else [-1, *value.shape[1:]]
            shapes[port] = [-1] * value.ndim if value.ndim == 3 and any_size else sides
        graph.reshape(shapes)
        for port, name in zip(graph.outputs, outputs, strict=True):
            port.get_tensor().set_names({name})
        _save(graph, path)
    except MemoryError:
        raise
    except OSError as error:
        raise Unsupported(f"The converted model cannot be kept: {error.strerror}.") from error
    except Exception as error:  # torch and OpenVINO raise many kinds
        raise Unsupported(f"it cannot be converted ({type(error).__name__}: {first_line(error)}).") from error


def _save(graph: Any, path: Path) -> None:
    """Whole or not at all: written beside its place, and moved."""
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent.parent) as folder:
        openvino().save_model(graph, Path(folder) / path.name, compress_to_fp16=False)
        shutil.rmtree(path.parent, ignore_errors=True)
        Path(folder).rename(path.parent)
        Path(folder).mkdir()  # what the context manager takes away


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Tracing warns of every branch that it fixes; the comparison of the answers is what judges it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
