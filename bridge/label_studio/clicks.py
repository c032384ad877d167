"""What a smart tool of Label Studio has drawn, as a prompt; and the object that was found, as the region it wants."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adapters.promptable import Prompt, Segment
from bridge.domain import Shape
from bridge.errors import InvalidRequest
from bridge.label_studio.config import Control, ImageTag, LabelConfig
from bridge.label_studio.regions import Size
from bridge.masks import mask_from_crop, mask_to_polygons

MOST_CLICKS = 1000
_HINT = 'Draw with a smart tool: KeyPointLabels or RectangleLabels with smart="true".'


@dataclass(frozen=True, slots=True)
class Clicks:
    """Of one object: what was drawn, in percent, on which image, under which label."""

    image: ImageTag
    label: str
    positive: tuple[tuple[float, float], ...]
    negative: tuple[tuple[float, float], ...]
    box: tuple[float, float, float, float] | None

    def prompt(self, width: int, height: int) -> Prompt:
        """In pixels of the picture. Raises InvalidRequest where nothing says which object is meant."""
        scale = np.array([width, height], np.float32) / 100
        box = None
        if self.box is not None:
            x1, y1, x2, y2 = self.box
            box = (x1 * width / 100, y1 * height / 100, x2 * width / 100, y2 * height / 100)
        try:
            positive, negative = (np.reshape(points, (-1, 2)) * scale for points in (self.positive, self.negative))
            prompt = Prompt(positive.astype(np.float32), negative.astype(np.float32), box)
            return prompt.inside(width, height)
        except ValueError as error:
            raise InvalidRequest(f"Nothing says which object is meant: {error}.", hint=_HINT) from error


def read_clicks(context: Mapping[str, Any], config: LabelConfig) -> Clicks:
    """The context of an interactive request. Raises InvalidRequest where it is none that can be answered."""
    regions = context.get("result")
    if not isinstance(regions, Sequence) or isinstance(regions, str) or not 0 < len(regions) <= MOST_CLICKS:
        raise InvalidRequest("The context holds no click and no box.", hint=_HINT)
    positive: list[tuple[float, float]] = []
    negative: list[tuple[float, float]] = []
    box, image, label = None, None, ""
    for region in regions:
        value = region.get("value") if isinstance(region, Mapping) else None
        if not isinstance(value, Mapping):
            raise InvalidRequest("A region of the context has no value.", hint=_HINT)
        kind = str(region.get("type") or "").lower()
        image = image or next((each for each in config.images if each.name == region.get("to_name")), None)
        label = label or _label(value, kind, region, config)
        if kind.startswith("keypoint"):
            beside = str(region.get("is_positive", value.get("is_positive", True))).lower() in ("0", "false", "no")
            (negative if beside else positive).append((_number(value, "x"), _number(value, "y")))
        elif kind.startswith("rectangle"):
            x, y = _number(value, "x"), _number(value, "y")
            box = (x, y, x + _number(value, "width"), y + _number(value, "height"))
        else:
            raise InvalidRequest(f"A smart tool of the kind {kind[:40]!r} is not answered.", hint=_HINT)
    image = image or next(iter(config.answered_images), None)
    if image is None:
        raise InvalidRequest("The label config has no image that is known.", hint=_HINT)
    return Clicks(image, label, tuple(positive), tuple(negative), box)


def _label(value: Mapping[str, Any], kind: str, region: Mapping[str, Any], config: LabelConfig) -> str:
    """The label that is chosen, as people read it; empty where none is."""
    names = value.get(kind)
    stored = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    for control in config.controls:
        if control.name == region.get("from_name"):
            return next((shown for shown, kept in control.labels.items() if kept == stored), stored)
    return stored


def _number(value: Mapping[str, Any], name: str) -> float:
    number = value.get(name)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise InvalidRequest(f"A region of the context has no number {name}.", hint=_HINT)
    return float(min(max(number, -1000), 1000))


def answer_config(config: LabelConfig, clicks: Clicks) -> tuple[LabelConfig, str]:
    """(the controls that can hold an outlined object, the label it gets). Raises InvalidRequest where there is none.

    The label that is chosen, where a brush, polygon, rectangle or ellipse has it; else the first that one has.
    """
    able = [c for c in config.on(clicks.image.name) if c.shape in ("mask", "polygon", "rectangle", "ellipse")]
    named: list[Control] = [control for control in able if clicks.label in control.labels]
    if not able:
        raise InvalidRequest(
            "The label config has no control for the object that is found.",
            hint="Add BrushLabels or PolygonLabels with the same labels on this image.",
            code="nothing_matched",
        )
    label = clicks.label if named else next(iter(able[0].labels))
    return replace(config, controls=tuple(named or able[:1])), label


def as_shape(found: Segment | None, label: str, size: Size, config: LabelConfig) -> list[Shape]:
    """One mask, or nothing. Where no brush takes it, the outline of its largest part: each outline is a region of its
    own in Label Studio, and a click means one object."""
    if found is None:
        return []
    mask = mask_from_crop(found.left, found.top, found.bits.astype(np.uint8), *size)
    if any(control.shape == "mask" and label in control.labels for control in config.controls):
        return [Shape(label, "mask", rle=mask.counts, score=found.score)]
    return [Shape(label, "polygon", tuple(outline), score=found.score) for outline in mask_to_polygons(mask)[:1]]
