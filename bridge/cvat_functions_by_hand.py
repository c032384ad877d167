"""Promptable models as functions of cvat-sdk: what an agent calls for one person's clicks and tracks.

An agent keeps what ``preprocess_image`` gives, so a frame is read once; the service keeps what a model made of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import PIL.Image
from cvat_sdk import models
from cvat_sdk.masks import encode_mask
from numpy.typing import NDArray

from adapters.errors import PredictorError
from adapters.frame import Frame
from adapters.promptable import Prompt, Segment, State
from bridge.cvat_session import FunctionFailed, Session, failed

SCORE_DIGITS = 4


def _frame(image: PIL.Image.Image) -> Frame:
    try:
        return Frame.from_image("the image", image)
    except PredictorError as error:
        raise failed(error) from error


class Interactor:
    """A ``cvat_sdk.auto_annotation.InteractionFunction``: points and a box become a mask."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.spec = cvataa.InteractionFunctionSpec(min_pos_points=0, min_neg_points=0, min_bounding_boxes=0)

    def preprocess_image(self, context: cvataa.InteractionFunctionContext, image: PIL.Image.Image) -> Frame:
        return _frame(image)

    def detect(
        self, context: cvataa.InteractionFunctionContext, pp_image: Frame, prompts: cvataa.InteractionPrompts
    ) -> list[cvataa.InteractionResultShape]:
        """The one object that is meant, or nothing where the model finds none. Raises FunctionFailed."""
        corners = prompts.bounding_box
        box = None if corners is None else (*corners[0], *corners[1])
        try:
            prompt = Prompt(np.array(prompts.pos_points), np.array(prompts.neg_points), box)
        except ValueError as error:
            raise FunctionFailed(f"Nothing can be found so: {error}. Click on the object.") from error
        session = self._session
        found = session.run(session.service.interactive.segment(session.named.model, pp_image, prompt))
        return [] if found is None else [_shape(found)]

    def close(self) -> None:
        self._session.close()


@dataclass(slots=True)
class Track:
    """What is known of a followed object."""

    state: State


class Tracker:
    """A ``cvat_sdk.auto_annotation.TrackingFunction`` of rectangles."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.spec = cvataa.TrackingFunctionSpec(supported_shape_types={"rectangle"})

    def preprocess_image(self, context: cvataa.TrackingFunctionContext, image: PIL.Image.Image) -> Frame:
        return _frame(image)

    def init_tracking_state(
        self, context: cvataa.TrackingFunctionShapeContext, pp_image: Frame, shape: cvataa.TrackableShape
    ) -> Track:
        """Raises FunctionFailed."""
        x1, y1, x2, y2 = shape.points
        session = self._session
        begin = session.service.interactive.begin_tracks(session.named.model, pp_image, [(x1, y1, x2, y2)])
        return Track(session.run(begin)[0])

    def track(
        self, context: cvataa.TrackingFunctionShapeContext, pp_image: Frame, state: Track
    ) -> cvataa.TrackableShape:
        """Where the object is now, and its next state in ``state``. Raises FunctionFailed."""
        session = self._session
        follow = session.service.interactive.follow_tracks(session.named.model, pp_image, [state.state])
        box, state.state = session.run(follow)[0]
        return cvataa.TrackableShape(type="rectangle", points=[float(value) for value in box])

    def close(self) -> None:
        self._session.close()


def _shape(found: Segment) -> cvataa.InteractionResultShape:
    score = models.AttributeValRequest(
        spec_id=int(cvataa.InteractionResultAttributes.CONFIDENCE), value=f"{found.score:.{SCORE_DIGITS}f}"
    )
    points = mask_points(found.bits, found.left, found.top)
    return cvataa.InteractionResultShape(type="mask", points=points, attributes=[score])


def mask_points(bits: NDArray[np.generic], left: int, top: int) -> list[float]:
    """A mask as CVAT's REST API has it: run lengths of the crop [h, w], then its box with inclusive corners."""
    height, width = bits.shape
    runs = encode_mask(bits.astype(bool), [0, 0, width, height])[:-4]
    return [float(value) for value in (*runs, left, top, left + width - 1, top + height - 1)]
