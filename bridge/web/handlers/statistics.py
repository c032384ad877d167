"""Counts for people who choose, and for charts."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.domain import Shape
from bridge.statistics import Statistics
from bridge.web.annotation_answers import (
    CleanableAnswer,
    CoverageAnswer,
    RawScoresAnswer,
    ShapeAnswer,
    StatisticsAnswer,
)
from bridge.web.job_answers import ComparedFrame
from bridge.web.requests import CleanableQuery
from bridge.web.route import Call, Nothing


async def get_coverage(call: Call[Nothing, Nothing]) -> CoverageAnswer:
    return CoverageAnswer.of(await Statistics(call.service.store).coverage(call.ids["task_id"]))


async def get_task_statistics(call: Call[Nothing, Nothing]) -> StatisticsAnswer:
    return StatisticsAnswer.of(await Statistics(call.service.store).of_task(call.ids["task_id"]))


async def get_cleanable(call: Call[CleanableQuery, Nothing]) -> CleanableAnswer:
    query, statistics = call.query, Statistics(call.service.store)
    counted = await statistics.cleanable(call.ids["task_id"], query.model_id, query.selection, query.roi)
    return CleanableAnswer.of(counted)


async def get_job_statistics(call: Call[Nothing, Nothing]) -> StatisticsAnswer:
    return StatisticsAnswer.of(await Statistics(call.service.store).of_job(call.ids["job_id"]))


async def get_job_scores(call: Call[Nothing, Nothing]) -> RawScoresAnswer:
    return RawScoresAnswer.of(await Statistics(call.service.store).raw_scores(call.ids["job_id"]))


async def compare_frame(call: Call[Nothing, Nothing]) -> ComparedFrame:
    found = await Statistics(call.service.store).compared(call.ids["job_id"], call.ids["number"])
    frame = found.frame

    def shown(shapes: Sequence[Shape]) -> list[ShapeAnswer]:
        return [ShapeAnswer.on(shape, frame.height, frame.width) for shape in shapes]

    return ComparedFrame(
        number=frame.number,
        name=frame.name,
        width=frame.width,
        height=frame.height,
        before=shown(found.before),
        after=shown(found.after),
    )
