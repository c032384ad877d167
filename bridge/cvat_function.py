"""Every registered model and profile as an auto-annotation function of cvat-sdk: the one synchronous entry.

    cvat-cli task auto-annotate 42 --function-module bridge.cvat_function -p model=str:rtdetr-traffic
    cvat-cli function run-agent 7 --function-module bridge.cvat_function -p model=str:rtdetr-traffic

cvat-cli calls ``create`` with what stands behind -p. Agents work in processes of their own, each of which does so.
"""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import PIL.Image
from cvat_sdk import models
from cvat_sdk.attributes import attribute_value_validator
from cvat_sdk.masks import encode_mask

from adapters.base import Detections, PredictOptions
from adapters.errors import PredictorError
from adapters.frame import Frame
from adapters.promptable import ASKED_BY_HAND
from bridge.app import App, open_app
from bridge.cli.references import named_or_added
from bridge.domain import LabelAttribute, Shape, TaskLabel
from bridge.errors import BridgeError, InvalidRequest
from bridge.logs import configure_logging
from bridge.loop_thread import LoopThread
from bridge.nuclio.functions import patiently
from bridge.nuclio.items import form_of
from bridge.outlines import Size
from bridge.profiles import Named
from bridge.settings import Settings, load_settings
from bridge.skeleton_drawing import skeleton_svg
from bridge.words import words_of

_HAS_SCORE = "score" in models.LabeledShapeRequest.attribute_map  # the SDK of older servers has none


class FunctionFailed(RuntimeError):
    """What cvat-cli shows, or an agent reports to CVAT: what is wrong, and what to do."""


def create(model: str, config: str = "", data_dir: str = "") -> Detector:
    """The function over a model: the name of a profile or a model that is registered, a URL, an id or a folder.

    config, data_dir   as hubbridge's options of these names; empty: as usual

    Raises FunctionFailed.
    """
    overrides = {"storage": {"data_dir": data_dir}} if data_dir else {}
    thread = LoopThread()
    try:
        settings = load_settings(Path(config) if config else None, **overrides)
        configure_logging(settings.logging.level, settings.logging.format)
        return Detector(model, settings, thread)
    except BridgeError as error:
        thread.close()
        raise _failed(error) from error
    except BaseException:
        thread.close()
        raise


class Detector:
    """A ``cvat_sdk.auto_annotation.DetectionFunction``. Label ids count from 1 in the order of the model's labels."""

    def __init__(self, reference: str, settings: Settings, thread: LoopThread) -> None:
        self._thread = thread
        self._stack = AsyncExitStack()
        self._patience_s = settings.jobs.patience_seconds
        self._most = settings.jobs.max_detections
        self._groups = 0
        try:
            self._service, self._named = thread.run(self._open(reference, settings))
            self._words = words_of(self._named)
            self._labels = {label.name: (number, label) for number, label in enumerate(self._words.labels, 1)}
            self.spec = cvataa.DetectionFunctionSpec(labels=[_label(*entry) for entry in self._labels.values()])
        except BaseException:
            thread.run(self._stack.aclose())
            raise
        atexit.register(self.close)

    def detect(
        self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image
    ) -> Sequence[cvataa.DetectionAnnotation]:
        """Shapes and tags of one image, clipped to it and complete. Raises FunctionFailed."""
        given = context.conf_threshold
        threshold = self._named.threshold if given is None else given
        try:
            frame = Frame.from_image(context.frame_name or "the image", image)
            found = self._thread.run(self._ask(frame, threshold))
        except (BridgeError, PredictorError) as error:
            raise _failed(error) from error
        size = (frame.width, frame.height)
        shapes = self._words.shapes(found, threshold, size, masks_as_polygons=context.conv_mask_to_poly)
        annotations = [self._annotation(shape, size) for shape in shapes]
        self._groups += max((shape.group for shape in shapes), default=0)  # another frame's groups are others
        return [annotation for annotation in annotations if annotation is not None]

    def close(self) -> None:
        """Let the model and the database go; at the latest at the interpreter's end."""
        if self._thread.closed:
            return
        atexit.unregister(self.close)
        self._thread.run(self._stack.aclose())
        self._thread.close()

    async def _open(self, reference: str, settings: Settings) -> tuple[App, Named]:
        service = await self._stack.enter_async_context(open_app(settings))
        named = await named_or_added(service, reference)
        card = named.model.card
        if card.task_type in ASKED_BY_HAND or (card.labels is None and named.profile is None):
            raise InvalidRequest(
                f"{named.name} has no labels of its own: it is for {card.task_type}.",
                hint="Make a profile of it, whose labels it looks for: hubbridge profile add NAME --model "
                f"{named.name} --labels a,b,c"
                if card.labels is None and card.task_type not in ASKED_BY_HAND
                else "Take a model that finds things by itself.",
            )
        return service, named

    async def _ask(self, frame: Frame, threshold: float) -> Detections:
        options = PredictOptions(threshold, self._named.prompts, self._most)

        async def once() -> Detections:
            async with self._service.registry.batcher(self._named.model) as batcher:
                return await batcher.predict(frame, options)

        return await patiently(once, asyncio.get_running_loop().time() + self._patience_s)

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
            bits, box = form["_bits"]
            height, width = bits.shape
            points = [*encode_mask(bits.astype(bool), [0, 0, width, height])[:-4], *box]
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


def _failed(error: BridgeError | PredictorError) -> FunctionFailed:
    return FunctionFailed(f"{error.message} {error.hint}".strip())
