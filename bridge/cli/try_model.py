"""`hubbridge model test`: one model on some images, timed, with nothing stored."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from adapters.base import ModelCard, PredictOptions, Predictor
from adapters.cards import RunsOn
from adapters.errors import BadFrame, PredictorError
from adapters.frame import Frame
from bridge.app import App
from bridge.cli.output import console, facts, print_json, table
from bridge.cli.progress import DownloadBar
from bridge.domain import Model, NewFrame, StoredFrame
from bridge.errors import from_predictor
from bridge.prompting import check_asked, prompts_from_json
from bridge.sources.files import collect
from bridge.sources.frame_source import pictures
from bridge.sources.local_frames import LocalFrames

ENOUGH = 200  # images of a folder that are tried


@dataclass(slots=True)
class Trial:
    """What came of it; times in seconds."""

    model: Model
    threshold: float
    engine: str = ""  # what ran it, and why
    choice: str = ""
    device: str = ""  # cpu, cuda or mps; empty for a hosted model
    precision: str = ""  # full or fast; likewise
    pace: str = ""  # how a local model is fed, as was measured when it was first loaded
    load_s: float = 0.0
    first_s: float = 0.0
    later_s: list[float] = field(default_factory=list)
    found: list[tuple[str, list[tuple[str, float, list[float]]]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


async def try_model(
    service: App,
    name: str,
    images: Sequence[Path],
    threshold: float | None,
    prompts: Mapping[str, Sequence[str]],
) -> Trial:
    """Predict image by image. Raises BridgeError where the model itself cannot be used."""
    model = await service.registry.find(name)
    check_asked(model.card, prompts)
    trial = Trial(model, model.threshold if threshold is None else threshold)
    options = PredictOptions(trial.threshold, prompts_from_json(prompts))
    with tempfile.TemporaryDirectory() as unpacked, DownloadBar() as bar:
        rows: Sequence[NewFrame] | None = None
        if images:
            collected = collect(images, extract_to=Path(unpacked), limits=service.tasks.limits)
            trial.failures += [rejected.reason for rejected in collected.rejected]
            rows = collected.frames[:ENOUGH]
        started = time.perf_counter()
        async with service.registry.predictor(model, bar) as predictor:
            trial.load_s = time.perf_counter() - started
            trial.device, trial.pace = predictor.card.settings.get("device", ""), _pace(predictor.card)
            trial.precision = predictor.card.settings.get("precision", "")
            trial.engine, trial.choice = predictor.card.engine, _choice(predictor.card)
            async with aclosing(_frames(rows, trial)) as frames:
                async for frame in frames:
                    await _try_frame(predictor, frame, options, trial)
    return trial


async def _try_frame(predictor: Predictor, frame: Frame, options: PredictOptions, trial: Trial) -> None:
    started = time.perf_counter()
    try:
        (found,) = await predictor.predict([frame], options)
    except BadFrame as error:
        trial.failures.append(error.message)
        return
    except PredictorError as error:
        raise from_predictor(error) from error
    taken = time.perf_counter() - started
    if trial.first_s:
        trial.later_s.append(taken)
    else:
        trial.first_s = taken
    rows = zip(found.label_ids.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    trial.found.append((frame.id, [(found.labels[i], score, box) for i, score, box in rows]))


def _pace(card: ModelCard) -> str:
    pace = card.settings.get("pace")
    if pace is None:
        return ""
    return (
        f"batches of {pace['batch']} to {pace['workers']} x {pace['threads']} threads "
        f"({pace['frames_per_second']:.1f} frames/s with their preparation)"
    )


def _choice(card: ModelCard) -> str:
    choice = card.settings.get("engine_choice")
    return str(choice["why"]) if choice else ""


def show_trial(trial: Trial, *, as_json: bool) -> None:
    usual = statistics.median(trial.later_s) if trial.later_s else trial.first_s
    if as_json:
        print_json(
            {
                "model": trial.model.name,
                "threshold": trial.threshold,
                "engine": trial.engine,
                "device": trial.device,
                "precision": trial.precision,
                "engine_choice": trial.choice,
                "pace": trial.pace,
                "load_seconds": trial.load_s,
                "first_seconds": trial.first_s,
                "median_seconds": usual,
                "failures": trial.failures,
                "images": [
                    {"name": name, "shapes": [{"label": m, "score": s, "box": b} for m, s, b in rows]}
                    for name, rows in trial.found
                ],
            }
        )
        return
    facts(
        [
            ("model", trial.model.name),
            ("runs on", str(RunsOn(trial.engine, trial.device, trial.precision))),
            ("engine chosen", trial.choice),
            ("fed with", trial.pace),
            ("loaded in", f"{trial.load_s:.2f} s"),
            ("first image", f"{trial.first_s * 1000:.0f} ms"),
            ("median of the others", f"{usual * 1000:.0f} ms" if trial.later_s else ""),
            ("threshold", trial.threshold),
        ]
    )
    rows = [
        (name, label, f"{score:.2f}", " ".join(f"{v:.0f}" for v in box))
        for name, found in trial.found
        for label, score, box in found
    ]
    if rows:
        table(("image", "label", "score", "x1 y1 x2 y2"), rows, right=(2,))
    else:
        console().print("Nothing was found above the threshold.")
    for failure in trial.failures:
        console().print(failure, style="red", markup=False)


async def _frames(found: Sequence[NewFrame] | None, trial: Trial) -> AsyncGenerator[Frame, None]:
    """Their pictures, one after the other, so that few are in memory; a grey one where none are given.

    What cannot be read is among the trial's failures.
    """
    if found is None:
        yield Frame("grey", 640, 480, pixels=np.full((480, 640, 3), 128, np.uint8))
        return
    rows = [
        StoredFrame(0, number, frame.name, frame.path, frame.width, frame.height, video_pts=frame.video_pts)
        for number, frame in enumerate(found)
    ]
    async with aclosing(pictures(LocalFrames(), rows)) as given:
        async for _, frame in given:
            if isinstance(frame, Frame):
                yield frame
            else:
                trial.failures.append(frame.message)
