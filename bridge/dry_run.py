"""A job tried on some of its frames: what it would find, how long it would take, what it would ask. Stores nothing."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from adapters.base import PredictOptions, Predictor
from adapters.errors import AccessDenied, BadFrame, ModelNotFound, PredictorError, Transient, Unsupported
from bridge.domain import Shape, StoredFrame
from bridge.errors import from_predictor, translated
from bridge.keeping import beside, people_made
from bridge.pinning import Pinned
from bridge.refine import refine
from bridge.sources.frame_source import FrameSource, Picture, pictures
from bridge.store import Store
from bridge.store import selection as selection_rows
from bridge.store import shapes as shape_rows
from bridge.viewing import viewed
from bridge.views import views_of

MOST_FRAMES = 20
_HOPELESS = (AccessDenied, ModelNotFound, Unsupported, Transient)  # another frame would meet them as well


@dataclass(frozen=True, slots=True)
class TriedFrame:
    """One frame with the shapes that it would get, or why it would fail; ``seconds`` is how long the model took."""

    frame: StoredFrame
    shapes: Sequence[Shape]
    error: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Preview:
    """What a job would do.

    counts               task label -> shapes on the frames tried
    pairs, unmapped      model label -> task label, and the model labels that are left out
    frames_total         frames that the job would work on
    seconds_per_frame    median of the frames tried; None where all of them failed
    seconds_estimated    for all frames, asked one after the other: a job, which asks for several at once, is quicker
    calls                pictures that a hosted model would be sent; None of a model that runs here
    """

    frames: Sequence[TriedFrame]
    counts: Mapping[str, int]
    pairs: Mapping[str, str]
    unmapped: Sequence[str]
    threshold: float
    frames_total: int
    seconds_per_frame: float | None
    seconds_estimated: float | None
    calls: int | None


# What stands on frames, by their numbers.
Standing = Callable[[Sequence[StoredFrame]], Awaitable[Mapping[int, Sequence[Shape]]]]


def standing_here(store: Store, task_id: int) -> Standing:
    async def shapes_on(frames: Sequence[StoredFrame]) -> Mapping[int, Sequence[Shape]]:
        async with store.read() as connection:
            return await shape_rows.get_shapes(connection, task_id, [frame.number for frame in frames])

    return shapes_on


async def preview(
    store: Store,
    pinned: Pinned,
    predictor: Predictor,
    source: FrameSource,
    standing: Standing,
    frames: int,
    max_detections: int,
) -> Preview:
    """Try at most ``frames`` frames, evenly spread over those of the job. Raises BridgeError where none would work."""
    spec, total = pinned.spec, pinned.frames
    async with store.read() as connection:
        chosen = await selection_rows.spread_frames(connection, pinned.task.id, spec.frames, frames)
    eyes = viewed(predictor, spec.roi, spec.tiling, pinned.most_views)
    options = PredictOptions(pinned.floor_score, pinned.prompts, max_detections)
    tried = []
    with translated():
        known = {} if spec.keep_manual_iou is None else await standing(chosen)
        async with aclosing(pictures(source, chosen)) as found:
            async for picture in found:
                tried.append(await _try(picture, pinned, eyes, options, known.get(picture[0].number, ())))
    times = [one.seconds for one in tried if one.error is None]
    per_frame = statistics.median(times) if times else None
    views = sum(count * len(views_of(*size, spec.roi, spec.tiling)) for size, count in pinned.sizes.items())
    return Preview(
        frames=tried,
        counts=dict(Counter(shape.label for one in tried for shape in one.shapes).most_common()),
        pairs=pinned.pairs,
        unmapped=pinned.unmapped,
        threshold=pinned.threshold,
        frames_total=total,
        seconds_per_frame=per_frame,
        seconds_estimated=None if per_frame is None else per_frame * total,
        calls=views if pinned.model.card.engine == "hosted" else None,
    )


async def _try(
    picture: Picture, pinned: Pinned, predictor: Predictor, options: PredictOptions, known: Sequence[Shape]
) -> TriedFrame:
    row, frame = picture
    if isinstance(frame, BadFrame):
        return TriedFrame(row, (), frame.message, 0.0)
    started = time.perf_counter()
    try:
        (found,) = await predictor.predict([frame], options)
    except _HOPELESS as error:
        raise from_predictor(error) from error
    except PredictorError as error:
        return TriedFrame(row, (), error.message, time.perf_counter() - started)
    seconds = time.perf_counter() - started

    def shapes() -> list[Shape]:
        size = (row.width, row.height)
        made = refine(found, pinned.refinement, size)
        iou = pinned.spec.keep_manual_iou
        return made if iou is None else beside(made, people_made(known), iou, size)

    return TriedFrame(row, await asyncio.to_thread(shapes), None, seconds)
