"""Registered models, and predictions by them."""

from __future__ import annotations

import asyncio

from adapters.base import Detections, PredictOptions
from adapters.errors import PredictorError
from adapters.frame import Frame
from bridge.domain import Model, Region, Shape, TaskLabel
from bridge.errors import InvalidRequest, from_predictor
from bridge.prompting import check_asked
from bridge.shapes import to_shapes
from bridge.understanding import understand
from bridge.views import View, crop, moved, region_of, within
from bridge.web.answers import (
    Card,
    DownloadAnswer,
    ModelAnswer,
    ModelPage,
    PredictedShape,
    PredictionAnswer,
    Rle,
    UnderstoodAnswer,
)
from bridge.web.folders import check_reference, refuse_web_file
from bridge.web.paging import Paging, cut
from bridge.web.requests import AddModel, ChangeModel, PredictQuery, ResolveModel, UnderstandReference
from bridge.web.route import Call, Nothing, Reply
from bridge.web.uploads import receive_one


async def list_models(call: Call[Paging, Nothing]) -> ModelPage:
    query = call.query
    found = await call.service.registry.page(after=query.after("models"), most=query.limit + 1)
    page, following = cut(found, query.limit, "models", lambda model: model.id)
    return ModelPage(models=[ModelAnswer.of(model) for model in page], next_cursor=following)


async def resolve_model(call: Call[Nothing, ResolveModel]) -> Card:
    await asyncio.to_thread(check_reference, call.body.reference, call.service.settings)
    refuse_web_file(call.body.reference)
    return Card.of(await call.service.registry.resolve(call.body.reference, engine=call.body.engine, run=call.body.run))


async def understand_reference(call: Call[Nothing, UnderstandReference]) -> UnderstoodAnswer:
    return UnderstoodAnswer.of(await understand(call.body.reference, call.service.registry))


async def add_model(call: Call[Nothing, AddModel]) -> Reply:
    body, registry = call.body, call.service.registry
    await asyncio.to_thread(check_reference, body.reference, call.service.settings)
    model, new = await registry.add(body.reference, name=body.name, engine=body.engine, run=body.run)
    if body.download and not model.fetched:
        model = await registry.fetch(model)
    return Reply(201 if new else 200, ModelAnswer.of(model))


async def get_model(call: Call[Nothing, Nothing]) -> ModelAnswer:
    return ModelAnswer.of(await call.service.registry.get(call.ids["model_id"]))


async def get_download(call: Call[Nothing, Nothing]) -> DownloadAnswer:
    registry = call.service.registry
    return DownloadAnswer.of(registry.download(await registry.get(call.ids["model_id"])))


async def start_download(call: Call[Nothing, Nothing]) -> DownloadAnswer:
    registry = call.service.registry
    return DownloadAnswer.of(registry.start_download(await registry.get(call.ids["model_id"])))


async def change_model(call: Call[Nothing, ChangeModel]) -> ModelAnswer:
    body = call.body
    changed = await call.service.registry.set(call.ids["model_id"], name=body.name, threshold=body.threshold)
    return ModelAnswer.of(changed)


async def remove_model(call: Call[Nothing, Nothing]) -> None:
    await call.service.registry.remove(call.ids["model_id"])


async def predict(call: Call[PredictQuery, Nothing]) -> PredictionAnswer:
    query, settings = call.query, call.service.settings
    model = await call.service.registry.get(call.ids["model_id"])
    raw = ("image/*", "application/octet-stream")
    data = await receive_one(call.request, settings.images.max_file_mb * 2**20, "image", raw)
    threshold = model.threshold if query.threshold is None else query.threshold
    prompts = {label: tuple(texts) for label, texts in _prompts(model, query).items()}
    try:
        frame = await asyncio.to_thread(Frame.from_bytes, "the image", data)
        view = _view(frame, query.roi)
        picture = await asyncio.to_thread(crop, frame, view)
        async with call.service.registry.batcher(model) as batcher:
            found = await batcher.predict(picture, PredictOptions(threshold, prompts, query.max_detections))
        found = within(moved(found, view, frame.width, frame.height), query.roi, frame.width, frame.height)
    except PredictorError as error:
        raise from_predictor(error) from error
    call.state.metrics.frames.labels("prediction").inc()
    shapes = await asyncio.to_thread(_own_shapes, found, query.masks_as_polygons)
    return _answer(model, frame, threshold, shapes)


def _prompts(model: Model, query: PredictQuery) -> dict[str, list[str]]:
    """What to look for. Raises InvalidRequest where the model needs prompts and has none, or takes none."""
    check_asked(model.card, query.prompts or {})
    return query.prompts or {}


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
