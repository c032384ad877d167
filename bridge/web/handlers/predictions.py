"""Predictions of one image: by a model under its own labels, or by a profile under those of a task."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from adapters.base import Detections, PredictOptions
from adapters.errors import PredictorError
from adapters.frame import Frame
from bridge.domain import Model, Shape, TaskLabel
from bridge.errors import InvalidRequest, from_predictor
from bridge.job_spec import Region
from bridge.profiles import Named
from bridge.prompting import check_asked
from bridge.shapes import to_shapes
from bridge.views import View, crop, moved, region_of, within
from bridge.web.annotation_answers import PredictedShape, PredictionAnswer, Rle
from bridge.web.profile_bodies import ProfilePredictQuery
from bridge.web.requests import PredictQuery
from bridge.web.route import Call, Nothing
from bridge.web.uploads import receive_image
from bridge.words import words_of

_AnyCall = Call[PredictQuery, Nothing] | Call[ProfilePredictQuery, Nothing]


async def predict(call: Call[PredictQuery, Nothing]) -> PredictionAnswer:
    query = call.query
    model = await call.service.registry.get(call.ids["model_id"])
    check_asked(model.card, query.prompts or {})
    threshold = model.threshold if query.threshold is None else query.threshold
    prompts = {label: tuple(texts) for label, texts in (query.prompts or {}).items()}
    frame, found = await _look(call, model, threshold, prompts)
    shapes = await asyncio.to_thread(_own_shapes, found, query.masks_as_polygons)
    return _answer(model, frame, threshold, shapes)


async def predict_profile(call: Call[ProfilePredictQuery, Nothing]) -> PredictionAnswer:
    profile = await call.service.profiles.get(call.ids["profile_id"])
    named = Named(await call.service.registry.get(profile.model_id), profile)
    threshold = named.threshold if call.query.threshold is None else call.query.threshold
    frame, found = await _look(call, named.model, threshold, named.prompts)
    words = await asyncio.to_thread(words_of, named)
    shapes = await asyncio.to_thread(words.shapes, found, threshold, (frame.width, frame.height))
    return _answer(named.model, frame, threshold, shapes)


async def _look(
    call: _AnyCall, model: Model, threshold: float, prompts: Mapping[str, Sequence[str]]
) -> tuple[Frame, Detections]:
    """The image that was sent, and what the model finds on the part of it that is asked about."""
    query = call.query
    data = await receive_image(call.request, call.service.settings.images)
    options = PredictOptions(threshold, {k: tuple(v) for k, v in prompts.items()}, query.max_detections)
    try:
        frame = await asyncio.to_thread(Frame.from_bytes, "the image", data)
        view = _view(frame, query.roi)
        picture = await asyncio.to_thread(crop, frame, view)
        async with call.service.registry.batcher(model) as batcher:
            found = await batcher.predict(picture, options)
        found = await asyncio.to_thread(_placed, found, view, query.roi, frame)
    except PredictorError as error:
        raise from_predictor(error) from error
    call.state.metrics.frames.labels("prediction").inc()
    return frame, found


def _view(frame: Frame, roi: Region | None) -> View:
    """What the model is shown. Raises InvalidRequest where that is nothing."""
    view = region_of(frame.width, frame.height, roi)
    if view is None:
        raise InvalidRequest(
            f"The region lies outside of the image, which is {frame.width} x {frame.height}.",
            hint="Give it in pixels of the image, or in fractions of it.",
            code="empty_region",
        )
    return view


def _placed(found: Detections, view: View, roi: Region | None, frame: Frame) -> Detections:
    """In the pixels of the whole image, without those outside of the region. Masks take long."""
    return within(moved(found, view, frame.width, frame.height), roi, frame.width, frame.height)


def _own_shapes(found: Detections, masks_as_polygons: bool) -> list[Shape]:
    """The detections as shapes under the model's own labels."""
    own = {label: TaskLabel(label) for label in found.labels}
    return to_shapes(found, own, masks_as_polygons=masks_as_polygons)


def _answer(model: Model, frame: Frame, threshold: float, shapes: list[Shape]) -> PredictionAnswer:
    def shown(shape: Shape) -> PredictedShape:
        rle = None if shape.rle is None else Rle(size=[frame.height, frame.width], counts=shape.rle.decode("ascii"))
        return PredictedShape(
            label=shape.label,
            type=shape.type,
            points=list(shape.points),
            rle=rle,
            rotation=shape.rotation,
            score=shape.score or 0.0,
            attributes=dict(shape.attributes),
            group=shape.group,
        )

    return PredictionAnswer(
        model_id=model.id,
        width=frame.width,
        height=frame.height,
        threshold=threshold,
        shapes=[shown(shape) for shape in shapes],
    )
