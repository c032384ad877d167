"""A graph in memory, whichever engine has loaded it: its inputs, its outputs, and one way to run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

FULL, FAST = "full", "fast"


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output. ``type`` is numpy's name where numpy has one; a side of None is open."""

    name: str
    type: str
    shape: tuple[int | None, ...]


class Session(Protocol):
    """``run`` may be called by several threads at once.

    name       the engine with its version, what it runs on, and how exactly where that is not in f32
    device     cpu or cuda
    half       whether it computes in half precision
    threads    of one run
    metadata   texts that the exporter wrote into the file
    """

    name: str
    device: str
    half: bool
    threads: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]

    def run(self, outputs: Sequence[str], feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs in the order asked for."""
        ...

    def use_threads(self, threads: int) -> None:
        """From the next run on; not called while one is under way."""
        ...

    def close(self) -> None: ...
