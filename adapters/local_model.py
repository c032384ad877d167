"""A model that runs here, put together from three parts: frame -> tensor, an engine, and a reader of its outputs.

The engine knows the format of the weights (``graph_local.py``, ``transformers_local.py``), the reader knows what the
outputs mean (``readers/``), and neither knows the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from adapters.base import Detections, ModelCard
from adapters.cards import CPU, on_device
from adapters.frame import Frame
from adapters.local import LocalPredictor
from adapters.pace import Measured, candidates, measure, remembered
from adapters.preprocess import FrameToTensor, Tensor
from adapters.processor import usable_cores
from adapters.same_answers import probes

PIXELS, PIXEL_MASK = "pixel_values", "pixel_mask"

Arrays = Mapping[str, NDArray[Any]]
Outputs = Arrays  # of one frame: the model's outputs by name, without the batch dimension
Reader = Callable[[Outputs, Tensor, Frame], Detections]


class Engine(Protocol):
    """What runs the weights.

    inputs   the names that the model takes
    device   cpu, cuda or mps
    half     whether it computes in half precision
    """

    inputs: frozenset[str]
    device: str
    half: bool

    def run(self, feed: Arrays) -> Arrays:
        """Inputs by name, one row per frame -> outputs by name, one row per frame; scores and boxes as f32."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class PacedEngine(Engine, Protocol):
    """One whose ``run`` several threads may call at once. ``name``: with its version, and what it runs on."""

    name: str

    def use_threads(self, threads: int) -> None:
        """From the next run on, of whichever thread; not called while one is under way."""
        ...


class LocalModel(LocalPredictor[Tensor, tuple[Outputs, Tensor]]):
    """``constants`` are further inputs, one row each, that are the same for every frame."""

    def __init__(
        self,
        card: ModelCard,
        to_tensor: FrameToTensor,
        engine: Engine,
        read: Reader,
        *,
        masked: bool = False,
        constants: Arrays | None = None,
    ) -> None:
        super().__init__(on_device(card, engine.device, half=engine.half))
        self.to_tensor, self.engine, self.read = to_tensor, engine, read
        self._masked = masked and PIXEL_MASK in engine.inputs
        self._constants = constants or {}

    def prepare(self, frame: Frame) -> Tensor:
        return self.to_tensor(frame.pixels)

    def forward(self, batch: Sequence[Tensor]) -> Sequence[tuple[Outputs, Tensor]]:
        return run_by_shape(self.engine, batch, self.feed)

    def feed(self, batch: Sequence[Tensor]) -> dict[str, NDArray[Any]]:
        """The inputs for tensors of one shape."""
        feed: dict[str, NDArray[Any]] = {PIXELS: np.stack([each.pixels for each in batch])}
        if self._masked:
            feed[PIXEL_MASK] = np.stack([each.mask for each in batch])
        feed |= {name: np.repeat(value[None], len(batch), axis=0) for name, value in self._constants.items()}
        return feed

    def finish(self, raw: tuple[Outputs, Tensor], frame: Frame) -> Detections:
        return self.read(*raw, frame)

    def release(self) -> None:
        self.engine.close()

    def find_pace(self, folder: Path) -> None:
        """Measure how the model is best fed on this machine, or read from ``folder`` what was measured; blocks."""
        engine = self.engine
        if not isinstance(engine, PacedEngine) or "threads" in self.card.settings:  # somebody has chosen
            return
        probe = probes()[0]
        tensor, file = self.prepare(probe), probe.encoded

        def prepare(frames: int) -> None:
            for _ in range(frames):
                self.prepare(Frame(probe.id, probe.width, probe.height, encoded=file))

        def run(frames: int) -> None:
            """A batch, while the next one is decoded and prepared beside it: who shares the cores has a say."""
            following = self._preparers.submit(prepare, frames)
            engine.run(self.feed([tensor] * frames))
            following.result()

        def find() -> Measured | None:
            tried = candidates(usable_cores(), self.card.limits.max_batch, on_cpu=engine.device == CPU)
            return measure(tried, engine.use_threads, run)

        measured = remembered(folder, (self.card.revision, engine.name), find)
        if measured is not None:
            engine.use_threads(measured.pace.threads)
            self.keep_pace(measured)


def run_by_shape(
    engine: Engine, batch: Sequence[Tensor], feed: Callable[[Sequence[Tensor]], Arrays]
) -> list[tuple[Outputs, Tensor]]:
    """One run for all tensors of a shape; the answers in the batch's order, each beside its tensor."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, tensor in enumerate(batch):
        groups.setdefault(tensor.pixels.shape, []).append(index)
    answers: dict[int, Outputs] = {}
    for indices in groups.values():
        outputs = engine.run(feed([batch[i] for i in indices]))
        for row, index in enumerate(indices):
            answers[index] = {name: value[row] for name, value in outputs.items()}
    return [(answers[index], tensor) for index, tensor in enumerate(batch)]
