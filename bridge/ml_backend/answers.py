"""From what a model found to the predictions that Label Studio is answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.base import Detections
from bridge.domain import Shape, StoredFrame, Task
from bridge.label_studio.regions import prediction
from bridge.ml_backend.plan import Plan
from bridge.refine import refine
from bridge.remotes.label_studio.frames import place_of

Answer = dict[str, Any] | list[dict[str, Any]]  # of one task: a prediction, or a list of as many as there are


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a frame: its size and result, or why there is none."""

    size: tuple[int, int] = (0, 0)
    detections: Detections | None = None
    error: str = ""


def predictions(
    plan: Plan, task: Task, asked: Sequence[int], frames: Iterable[StoredFrame], found: Mapping[int, Found]
) -> list[Answer]:
    """One for each task that was asked for, in that order; blocks, so call it in a thread.

    A task whose image could not be had is answered, too, for Label Studio refuses an answer that leaves one out: with
    a list of no predictions, of which it stores nothing, so that it asks for the task again.
    """
    refinement = plan.refinement(task)
    shown: dict[int, dict[str, tuple[Sequence[Shape], tuple[int, int]]]] = {number: {} for number in asked}
    broken: set[int] = set()
    for row in frames:
        place, got = place_of(row), found.get(row.number)
        if got is None or got.detections is None:
            broken.add(place.task_id)
        else:
            shapes = refine(got.detections, refinement, got.size)
            shown[place.task_id][place.image] = (shapes, got.size)
    answers: list[Answer] = []
    for number in asked:
        lacks = number in broken or not shown[number]
        answers.append([] if lacks else prediction(shown[number], plan.config, plan.version, f"task {number}"))
    return answers
