"""Every registered model and profile as an auto-annotation function of cvat-sdk: the one synchronous entry.

    cvat-cli task auto-annotate 42 --function-module bridge.cvat_function -p model=str:rtdetr-traffic
    cvat-cli function run-agent 7 --function-module bridge.cvat_function -p model=str:rtdetr-traffic

Promptable models are interactors or trackers of an agent; ReID has no place in cvat-sdk. cvat-cli calls ``create`` with
what stands behind -p. Agents work in processes of their own, each of which does so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import PIL.Image
from cvat_sdk import models
from cvat_sdk.attributes import attribute_value_validator

from adapters.base import Detections, PredictOptions
from adapters.errors import PredictorError
from adapters.frame import Frame
from adapters.promptable import ASKED_BY_HAND, abilities
from bridge.cvat_functions_by_hand import Interactor, Tracker, mask_points
from bridge.cvat_session import FunctionFailed, Session, failed
from bridge.domain import LabelAttribute, Shape, TaskLabel
from bridge.errors import BridgeError
from bridge.logs import configure_logging
from bridge.nuclio.functions import patiently
from bridge.nuclio.items import form_of
from bridge.outlines import Size
from bridge.settings import load_settings
from bridge.skeleton_drawing import skeleton_svg
from bridge.words import words_of

_KINDS = {"segment": "interactor", "track": "tracker"}  # a model's ability -> CVAT's word
_HAS_SCORE = "score" in models.LabeledShapeRequest.attribute_map  # the SDK of older servers has none


def create(model: str, config: str = "", data_dir: str = "", kind: str = "") -> Detector | Interactor | Tracker:
    """The function over a model: the name of a profile or a model that is registered, a URL, an id or a folder.

    config, data_dir   as hubbridge's options of these names; empty: as usual
    kind               detector, interactor or tracker, where a model can be several; empty: what it does first

    Raises FunctionFailed.
    """
    overrides = {"storage": {"data_dir": data_dir}} if data_dir else {}
    try:
        settings = load_settings(Path(config) if config else None, **overrides)
    except BridgeError as error:
        raise failed(error) from error
    configure_logging(settings.logging.level, settings.logging.format)
    session = Session(model, settings)
    try:
        return _function(session, kind)
    except BaseException:
        session.close()
        raise


def _function(session: Session, kind: str) -> Detector | Interactor | Tracker:
    named, card = session.named, session.named.model.card
    kinds = [_KINDS[one] for one in abilities(card) if one in _KINDS]
    if card.task_type not in ASKED_BY_HAND:
        kinds = ["detector"]
    if not kinds or kind not in ("", *kinds):
        can = f"It can be: {', '.join(kinds)}." if kinds else "cvat-sdk has no functions of that kind."
        raise FunctionFailed(f"{named.name} is for {card.task_type}. {can}")
    if (kind or kinds[0]) != "detector" and not hasattr(cvataa, "InteractionFunctionSpec"):
        raise FunctionFailed("This cvat-sdk knows detectors only: pip install -U cvat-sdk cvat-cli")
    match kind or kinds[0]:
        case "interactor":
            return Interactor(session)
        case "tracker":
            return Tracker(session)
    if card.labels is None and named.profile is None:
        raise FunctionFailed(
            f"{named.name} has no labels of its own: it is for {card.task_type}. Make a profile of it, whose labels it "
            f"looks for: hubbridge profile add NAME --model {named.name} --labels a,b,c"
        )
    return Detector(session)


class Detector:
    """A ``cvat_sdk.auto_annotation.DetectionFunction``. Label ids count from 1 in the order of the model's labels."""

    def __init__(self, session: Session) -> None:
        self._session, self._named, self._groups = session, session.named, 0
        self._words = words_of(self._named)
        self._labels = {label.name: (number, label) for number, label in enumerate(self._words.labels, 1)}
        self.spec = cvataa.DetectionFunctionSpec(labels=[_label(*entry) for entry in self._labels.values()])

    def detect(
        self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image
    ) -> Sequence[cvataa.DetectionAnnotation]:
        """Shapes and tags of one image, clipped to it and complete. Raises FunctionFailed."""
        given = context.conf_threshold
        threshold = self._named.threshold if given is None else given
        try:
            frame = Frame.from_image(context.frame_name or "the image", image)
        except PredictorError as error:
            raise failed(error) from error
        found = self._session.run(self._ask(frame, threshold))
        size = (frame.width, frame.height)
        shapes = self._words.shapes(found, threshold, size, masks_as_polygons=context.conv_mask_to_poly)
        annotations = [self._annotation(shape, size) for shape in shapes]
        self._groups += max((shape.group for shape in shapes), default=0)  # another frame's groups are others
        return [annotation for annotation in annotations if annotation is not None]

    def close(self) -> None:
        """Let the model and the database go; at the latest at the interpreter's end."""
        self._session.close()

    async def _ask(self, frame: Frame, threshold: float) -> Detections:
        service = self._session.service
        options = PredictOptions(threshold, self._named.prompts, service.settings.jobs.max_detections)

        async def once() -> Detections:
            async with service.registry.batcher(self._named.model) as batcher:
                return await batcher.predict(frame, options)

        return await patiently(once, asyncio.get_running_loop().time() + service.settings.jobs.patience_seconds)

    def _annotation(self, shape: Shape, size: Size) -> cvataa.DetectionAnnotation | None:
        number, label = self._labels[shape.label]
        form = form_of(shape, label, size)
        if form is None:
            return None
        more: dict[str, Any] = {"attributes": _values(shape, label)}
        if shape.type == "tag":
            return cvataa.tag(number, **more)
        if shape.score is not None and _HAS_SCORE:
            more["score"] = shape.score
        if shape.group:
            more["group"] = self._groups + shape.group
        if shape.type == "skeleton":
            return cvataa.skeleton(number, _elements(form["elements"]), **more)
        if "rotation" in form:
            more["rotation"] = form["rotation"]
        points = form["points"]
        if shape.type == "mask":
            bits, (left, top, *_) = form["_bits"]
            points = mask_points(bits, left, top)
        return cvataa.shape(number, type=shape.type, points=[float(value) for value in points], **more)


def _elements(elements: Sequence[dict[str, Any]]) -> list[models.SubLabeledShapeRequest]:
    return [
        cvataa.keypoint(number, [float(value) for value in element["points"]], outside=bool(element["outside"]))
        for number, element in enumerate(elements, 1)
    ]


def _values(shape: Shape, label: TaskLabel) -> list[models.AttributeValRequest]:
    """Those that the SDK takes: it refuses the whole run for one that does not fit."""
    found = []
    for number, attribute in enumerate(label.attributes, 1):
        value = shape.attributes.get(attribute.name)
        if value is not None and attribute_value_validator(_attribute(number, attribute))(value):
            found.append(models.AttributeValRequest(spec_id=number, value=value))
    return found


def _label(number: int, label: TaskLabel) -> models.PatchedLabelRequest:
    attributes = [_attribute(place, attribute) for place, attribute in enumerate(label.attributes, 1)]
    if label.type == "skeleton":
        joints = [cvataa.keypoint_spec(name, place) for place, name in enumerate(label.sublabels, 1)]
        drawing = skeleton_svg(label.sublabels)
        return cvataa.skeleton_label_spec(label.name, number, joints, attributes=attributes, svg=drawing)
    return cvataa.label_spec(label.name, number, type=label.type, attributes=attributes)


def _attribute(number: int, attribute: LabelAttribute) -> models.AttributeRequest:
    """As text where its values are none that the SDK takes."""
    made = cvataa.attribute_spec(attribute.name, number, attribute.input_type, list(attribute.values))
    try:
        attribute_value_validator(made)
    except ValueError:
        return cvataa.text_attribute_spec(attribute.name, number)
    return made
