"""One object of an image, as a person points at it."""

from __future__ import annotations

import asyncio

import numpy as np

from adapters.errors import PredictorError
from adapters.frame import Frame
from adapters.promptable import Prompt, Segment
from bridge.domain import Model
from bridge.errors import InvalidRequest, from_predictor
from bridge.masks import mask_from_crop, mask_to_polygons
from bridge.web.annotation_answers import Rle, SegmentAnswer
from bridge.web.requests import SegmentQuery
from bridge.web.route import Call, Nothing
from bridge.web.uploads import receive_image


async def segment(call: Call[SegmentQuery, Nothing]) -> SegmentAnswer:
    query = call.query
    model = await call.service.registry.get(call.ids["model_id"])
    prompt = _prompt(query)
    data = await receive_image(call.request, call.service.settings.images)
    try:
        frame = await asyncio.to_thread(Frame.from_bytes, "the image", data)
    except PredictorError as error:
        raise from_predictor(error) from error
    found = await call.service.interactive.segment(model, frame, prompt)
    return await asyncio.to_thread(_answer, model, frame, found, query.mask_as_polygons)


def _prompt(query: SegmentQuery) -> Prompt:
    try:
        return Prompt(np.array(query.positive or [], np.float32), np.array(query.negative or [], np.float32), query.box)
    except ValueError as error:
        raise InvalidRequest(
            f"Nothing says which object is meant: {error}.",
            hint="For example: positive=[[120, 80]] or box=[10, 10, 90, 60].",
        ) from error


def _answer(model: Model, frame: Frame, found: Segment | None, as_polygons: bool) -> SegmentAnswer:
    size = {"model_id": model.id, "width": frame.width, "height": frame.height}
    if found is None:
        return SegmentAnswer(**size, score=None, rle=None, box=None, polygons=None)
    mask = mask_from_crop(found.left, found.top, found.bits.astype(np.uint8), frame.width, frame.height)
    height, width = found.bits.shape
    return SegmentAnswer(
        **size,
        score=found.score,
        rle=Rle(size=[frame.height, frame.width], counts=mask.counts.decode("ascii")),
        box=[found.left, found.top, found.left + width, found.top + height],
        polygons=mask_to_polygons(mask) if as_polygons else None,
    )
