"""Which engine runs a local model: the fastest of those that answer alike, found once and remembered.

The card's engine is the reference. Under ``auto``, OpenVINO is taken in its place where its answers to a few drawn
pictures equal the reference's within the tolerances of ``same_answers.py``, and where it is faster. The precision
``fast`` lets engines in that compute in half precision; they answer a little differently by nature.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path

from adapters.base import Context, Detections, LoadStep, ModelCard, Report
from adapters.cards import CPU
from adapters.errors import PredictorError
from adapters.frame import Frame
from adapters.graph_session import FAST, FULL
from adapters.huggingface_config import AUTO, OPENVINO
from adapters.local import first_line
from adapters.local_model import Engine, LocalModel, PacedEngine
from adapters.openvino_session import installed
from adapters.processor import processor_name, usable_cores
from adapters.same_answers import difference, probes

CLEARLY = 1.05  # how much faster another engine has to be
MEASURED_S = 0.5  # processor time of one measurement

_PACKAGES = ("onnxruntime", "openvino", "torch", "transformers")

Load = Callable[[str], Engine]  # precision -> the weights in memory; full precision is always a good answer
Make = Callable[[Engine], LocalModel]  # puts the model together around an engine


@dataclass(frozen=True, slots=True)
class Choice:
    """``why`` is a sentence for people."""

    engine: str
    precision: str
    why: str


def open_fastest(card: ModelCard, loaders: Mapping[str, Load], make: Make, context: Context) -> LocalModel:
    """The model on the engine that is chosen of ``loaders``, its pace measured; blocks. Raises PredictorError."""
    names = [name for name in _engines(card, context) if name in loaders]
    if len(names) == 1 and context.precision == FULL:
        return _opened(Choice(names[0], FULL, ""), loaders, make, context.cache_dir)
    path = _place(card, names, context)
    remembered = _read(path, names)
    if remembered is not None:
        try:
            return _opened(remembered, loaders, make, context.cache_dir)
        except PredictorError:  # a converted file is gone, perhaps: chosen anew
            pass
    choice = _Contest(make, loaders, context.cache_dir, context.progress).choose(names, context.precision)
    _write(path, choice)
    return _opened(choice, loaders, make, context.cache_dir)


def _engines(card: ModelCard, context: Context) -> list[str]:
    """The reference first."""
    free = context.engine == AUTO and not card.engine_chosen
    further = [OPENVINO] if free and context.openvino and card.engine != OPENVINO and installed() else []
    return [card.engine, *further]


def _opened(choice: Choice, loaders: Mapping[str, Load], make: Make, cache: Path) -> LocalModel:
    model = make(loaders[choice.engine](choice.precision))
    model.find_pace(cache / "pace")
    if choice.why:
        told = {"engine": choice.engine, "precision": choice.precision, "why": choice.why}
        settings = {**model.card.settings, "engine_choice": told}
        model.card = replace(model.card, engine=choice.engine, settings=settings)
    return model


class _Contest:
    """One engine in memory after the other: two are never held together."""

    def __init__(
        self, make: Make, loaders: Mapping[str, Load], cache: Path, progress: Callable[[Report], None]
    ) -> None:
        self._make, self._loaders, self._cache, self._progress = make, loaders, cache, progress
        self._speeds: dict[tuple[str, str], float] = {}  # engine and precision -> frames/s
        self._told: list[str] = []

    def choose(self, names: Sequence[str], precision: str) -> Choice:
        """Raises PredictorError where the first engine, the reference, cannot run the model."""
        first, *others = names
        self._step(f"trying it with {first}")
        reference = self._make(self._loaders[first](FULL))
        try:
            on_cpu = not isinstance(reference.engine, PacedEngine) or reference.engine.device == CPU
            others = others if on_cpu else []
            expected = answers(reference) if others else []
            self._time(first, FULL, reference)
        finally:
            reference.engine.close()
        able = [first, *(other for other in others if self._try(first, other, expected))]
        for name in able if precision == FAST else ():
            self._try_fast(name)
        return self._best(first)

    def _try(self, first: str, other: str, expected: Sequence[Detections]) -> bool:
        """Whether it answers as the reference does; its speed is measured then."""
        self._step(f"converting it for {other} and comparing its answers with {first}'s")
        try:
            challenger = self._make(self._loaders[other](FULL))
        except (PredictorError, MemoryError) as error:
            self._told.append(f"{other} does not run this model: {first_line(error)}")
            return False
        try:
            apart = difference(expected, answers(challenger))
            if apart is None:
                self._told.append(f"{other} and {first} answer alike")
                self._time(other, FULL, challenger)
            else:
                self._told.append(f"{other} answers differently from {first}: {apart}")
        except (PredictorError, MemoryError) as error:
            apart = first_line(error)
            self._told.append(f"{other} fails on this model: {apart}")
        finally:
            challenger.engine.close()
        return apart is None

    def _step(self, doing: str) -> None:
        self._progress(LoadStep(f"{doing} (once on this machine, to find what is fastest)"))

    def _try_fast(self, name: str) -> None:
        self._step(f"trying {name} in half precision")
        model = self._make(self._loaders[name](FAST))
        try:
            if isinstance(model.engine, PacedEngine) and model.engine.half:
                self._time(name, FAST, model)
            else:
                self._told.append(f"{name} has no half precision here")
        finally:
            model.engine.close()

    def _time(self, name: str, precision: str, model: LocalModel) -> None:
        model.find_pace(self._cache / "pace")
        self._speeds[name, precision] = _speed(model)

    def _best(self, first: str) -> Choice:
        fastest = max(self._speeds, key=lambda each: self._speeds[each])
        usual = first, FULL
        if self._speeds[fastest] < self._speeds[usual] * CLEARLY:
            fastest = usual
        by_speed = sorted(self._speeds.items(), key=lambda each: -each[1])
        speeds = [
            f"{name}{' in half precision' if how == FAST else ''} {speed:.1f} frames/s"
            for (name, how), speed in by_speed
        ]
        return Choice(*fastest, "; ".join([f"forward pass: {', '.join(speeds)}", *self._told]))


def _speed(model: LocalModel) -> float:
    """Frames/s of the forward pass with every core at work, from the processor time that a frame takes.

    Other programs hardly change it, while frames of one engine would be counted in their pauses and those of the next
    in their rush. Beside a GPU it is the pace that was measured.
    """
    pace = model.card.settings.get("pace", {})
    if not isinstance(model.engine, PacedEngine) or model.engine.device != CPU:
        return float(pace.get("frames_per_second", 0.0))
    batch = int(pace.get("batch", 1))
    feed = model.feed([model.prepare(probes()[0])] * batch)
    model.engine.run(feed)
    frames, started, taken = 0, time.process_time(), 0.0
    while taken < MEASURED_S:
        model.engine.run(feed)
        frames, taken = frames + batch, time.process_time() - started
    return frames / taken * usable_cores()


def answers(model: LocalModel) -> list[Detections]:
    """What the model says of the test pictures, each alone and then all together. Raises PredictorError."""
    frames = probes()
    alone = [found for frame in frames for found in _answer(model, [frame])]
    return alone + _answer(model, frames)


def _answer(model: LocalModel, frames: Sequence[Frame]) -> list[Detections]:
    try:
        raws = model.forward([model.prepare(frame) for frame in frames])
        found = [model.finish(raw, frame) for raw, frame in zip(raws, frames, strict=True)]
        return [each.inside(frame.width, frame.height) for each, frame in zip(found, frames, strict=True)]
    except (PredictorError, MemoryError):
        raise
    except Exception as error:
        raise PredictorError(first_line(error)) from error


def versions() -> list[str]:
    """Of the packages that run models; with another one, engines are compared anew."""
    found = []
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{package} {metadata.version(package)}")
    return found


def _place(card: ModelCard, names: Sequence[str], context: Context) -> Path:
    parts = [card.name, card.revision, context.precision, *names, *versions()]
    parts += [platform.machine(), processor_name(), str(usable_cores())]
    return context.cache_dir / "engines" / f"{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:32]}.json"


def _read(path: Path, names: Sequence[str]) -> Choice | None:
    try:
        choice = Choice(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return choice if choice.engine in names and choice.why else None


def _write(path: Path, choice: Choice) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(choice)), "utf-8")
    except OSError:  # chosen anew next time
        pass
