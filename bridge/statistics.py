"""What a task or a job holds, counted for people who choose and for charts."""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge import results
from bridge.domain import Shape, Source, StoredFrame
from bridge.job_spec import FrameSelection, Region
from bridge.keeping import looked_at
from bridge.store import Store
from bridge.store import jobs as job_rows
from bridge.store import models as model_rows
from bridge.store import shapes as shape_rows
from bridge.store import statistics as rows
from bridge.store import tasks as task_rows

SAMPLE = 1000  # frames whose raw results are read for a histogram
PAGE = 256  # frames read at once


@dataclass(frozen=True, slots=True)
class Coverage:
    """Frames of a task, and how many of them have a shape."""

    frames: int
    annotated: int


@dataclass(frozen=True, slots=True)
class Tally:
    """Shapes of a task, or of one job.

    frames      that could have shapes; ``annotated`` of them have some
    labels      task label -> shapes, most first
    types, sources    shape type, source -> shapes
    scores      shapes by score, in bins of equal width from 0 to 1; those without a score are left out
    """

    frames: int
    annotated: int
    shapes: int
    labels: Mapping[str, int]
    types: Mapping[str, int]
    sources: Mapping[str, int]
    scores: Sequence[int]


@dataclass(frozen=True, slots=True)
class Cleanable:
    """What each choice of "clean old annotations" takes away from the selected frames, in shapes by source."""

    frames: int
    model: Mapping[str, int]
    automatic: Mapping[str, int]
    all: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RawScores:
    """Scores of a job's raw results, from its floor on, in bins of equal width from 0 to 1, by model label.

    ``frames_read`` of ``frames_total`` results were read, evenly spread.
    """

    frames_total: int
    frames_read: int
    floor_score: float
    labels: Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Compared:
    """A frame without a job's work, as undoing it would leave it, and as it is."""

    frame: StoredFrame
    before: Sequence[Shape]
    after: Sequence[Shape]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Reads only."""

    store: Store

    async def coverage(self, task_id: int) -> Coverage:
        """Raises NotFound."""
        async with self.store.read() as connection:
            task = await task_rows.get_task(connection, task_id)
            return Coverage(task.frame_count, await rows.annotated_frames(connection, task_id))

    async def on_frames(self, task_id: int, numbers: Sequence[int]) -> dict[int, int]:
        """Frame number -> shapes, of those of these frames that have some."""
        async with self.store.read() as connection:
            return await rows.count_on_frames(connection, task_id, numbers)

    async def of_task(self, task_id: int) -> Tally:
        """Raises NotFound."""
        async with self.store.read() as connection:
            task = await task_rows.get_task(connection, task_id)
            counted = rows.tally(await rows.count_by_kind(connection, task_id))
            annotated = await rows.annotated_frames(connection, task_id)
        return Tally(task.frame_count, annotated, sum(counted["sources"].values()), **counted)

    async def of_job(self, job_id: int) -> Tally:
        """Of the shapes that a job made and that are still there. Raises NotFound."""
        async with self.store.read() as connection:
            job = await job_rows.get_job(connection, job_id)
            counted = rows.tally(await rows.count_by_kind(connection, job.spec.target, job_id=job_id))
            annotated = await rows.annotated_by_job(connection, job_id)
        return Tally(job.frames_done, annotated, sum(counted["sources"].values()), **counted)

    async def cleanable(
        self, task_id: int, model_id: int, selection: FrameSelection, roi: Region | None = None
    ) -> Cleanable:
        """``roi``: of a job that looks there alone. Raises NotFound."""
        async with self.store.read() as connection:
            await task_rows.get_task(connection, task_id)
            await model_rows.get_model(connection, model_id)
            frames = await rows.count_selected(connection, task_id, selection)
            if roi is None:
                found = await rows.count_by_origin(connection, task_id, model_id, selection)
        if roi is not None:
            found = await self._looked_at(task_id, model_id, selection, roi)
        everything: dict[str, int] = {}
        for source, _, count in found:
            everything[source] = everything.get(source, 0) + count
        automatic = str(Source.AUTOMATIC)
        return Cleanable(
            frames=frames,
            model={source: count for source, own, count in found if own},
            automatic={automatic: everything[automatic]} if automatic in everything else {},
            all=everything,
        )

    async def _looked_at(
        self, task_id: int, model_id: int, selection: FrameSelection, roi: Region
    ) -> list[tuple[str, bool, int]]:
        """(source, whether a job of this model made it, shapes) of what lies where a job with this region looks."""
        counts = Counter[tuple[str, bool]]()
        after = -1
        while True:
            async with self.store.read() as connection:
                own = await rows.jobs_of_model(connection, model_id)
                page = await rows.selected_with_shapes(connection, task_id, selection, after, PAGE)
                known = await shape_rows.get_shapes(connection, task_id, [frame.number for frame in page])
            if not page:
                return [(source, ours, count) for (source, ours), count in counts.items()]
            after = page[-1].number
            counts += await asyncio.to_thread(_by_origin, page, known, roi, own)

    async def raw_scores(self, job_id: int) -> RawScores:
        """Of a job, or of the one whose results it reads. Raises NotFound."""
        async with self.store.read() as connection:
            job = await job_rows.get_job(connection, job_id)
            bodies, total = await rows.sample_results(connection, job.source_job_id or job.id, SAMPLE)
        labels = await asyncio.to_thread(_histograms, bodies)
        return RawScores(total, len(bodies), float(job.resolved["floor_score"]), labels)

    async def compared(self, job_id: int, number: int) -> Compared:
        """Raises NotFound."""
        async with self.store.read() as connection:
            job = await job_rows.get_job(connection, job_id)
            frame = await task_rows.get_frame(connection, job.spec.target, number)
            before = await shape_rows.shapes_without_job(connection, job.spec.target, number, job_id)
            after = await shape_rows.get_shapes(connection, job.spec.target, [number])
        return Compared(frame, before, after[number])


def _by_origin(
    page: Sequence[StoredFrame], known: Mapping[int, Sequence[Shape]], roi: Region, own: set[int]
) -> Counter[tuple[str, bool]]:
    counts = Counter[tuple[str, bool]]()
    for frame in page:
        there = looked_at(known[frame.number], roi, (frame.width, frame.height))
        counts.update((str(shape.source), shape.job_id in own) for shape in there)
    return counts


def _histograms(bodies: Sequence[bytes]) -> dict[str, list[int]]:
    """Model label -> detections by score; most first. A damaged result is passed over."""
    sums: dict[str, NDArray[np.int64]] = {}
    for body in bodies:
        try:
            found = results.decode(body)
        except (ValueError, KeyError, zlib.error):
            continue
        places = np.clip((found.scores * rows.BINS).astype(int), 0, rows.BINS - 1)
        for label_id in np.unique(found.label_ids):
            label = found.labels[label_id]
            counts = np.bincount(places[found.label_ids == label_id], minlength=rows.BINS)
            sums[label] = sums.get(label, np.zeros(rows.BINS, np.int64)) + counts
    ordered = sorted(sums.items(), key=lambda entry: (-int(entry[1].sum()), entry[0]))
    return {label: counts.tolist() for label, counts in ordered}
