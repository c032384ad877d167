"""What a job is asked to do, as pydantic reads and checks it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Clean(StrEnum):
    """What "Clean old annotations" takes away from a frame when its new shapes are in hand."""

    NONE = "none"
    MODEL = "model"
    AUTOMATIC = "automatic"
    ALL = "all"


Fraction = Annotated[float, Field(ge=0, le=1)]


class FrameSelection(BaseModel):
    """Which frames of a task: numbers from 0, ``stop`` exclusive, every ``step``-th; ``only`` and ``numbers`` narrow
    them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: int = Field(default=0, ge=0, le=2**31 - 1)
    stop: int | None = Field(default=None, ge=1, le=2**31 - 1)
    step: int = Field(default=1, ge=1, le=2**31 - 1)
    only: Literal["all", "unannotated"] = "all"
    numbers: tuple[Annotated[int, Field(ge=0, le=2**31 - 1)], ...] | None = Field(
        default=None, min_length=1, max_length=30_000
    )

    @model_validator(mode="after")
    def _ordered(self) -> FrameSelection:
        if self.stop is not None and self.stop <= self.start:
            raise ValueError("stop must be greater than start")
        return self


class Nms(BaseModel):
    """Of shapes that overlap by more than ``iou``, only the best stays: within a label, or of all labels together.

    Overlap is the intersection over union of boxes, also of masks, polygons and skeletons. Labels are the task's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    iou: Fraction = 0.5
    class_agnostic: bool = False


Coordinate = Annotated[float, Field(ge=0, le=10**6, allow_inf_nan=False)]


class Region(BaseModel):
    """Region of interest: a rectangle (x, y, width, height), or a polygon of at least three points.

    ``unit``: pixels, or fractions of each frame's width and height. What lies outside of a frame is cut off.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: Coordinate | None = None
    y: Coordinate | None = None
    width: Coordinate | None = None
    height: Coordinate | None = None
    points: tuple[tuple[Coordinate, Coordinate], ...] | None = Field(default=None, min_length=3, max_length=1000)
    unit: Literal["pixels", "fraction"] = "pixels"

    @model_validator(mode="after")
    def _one_form(self) -> Region:
        sides = (self.x, self.y, self.width, self.height)
        if self.points is None and None in sides:
            raise ValueError("give x, y, width and height, or points")
        if self.points is not None and any(side is not None for side in sides):
            raise ValueError("give either points or x, y, width and height, not both")
        corners = self.corners()
        if self.unit == "fraction" and any(value > 1 + 1e-9 for corner in corners for value in corner):
            raise ValueError("fractions of a frame must end at 1")
        if _area(corners) <= 0:
            raise ValueError("the region has no area")
        return self

    def corners(self) -> tuple[tuple[float, float], ...]:
        """Its corners in its own unit."""
        if self.points is not None:
            return self.points
        assert self.x is not None and self.y is not None and self.width is not None and self.height is not None
        right, bottom = self.x + self.width, self.y + self.height
        return (self.x, self.y), (right, self.y), (right, bottom), (self.x, bottom)


def _area(corners: tuple[tuple[float, float], ...]) -> float:
    """By the shoelace formula."""
    following = (*corners[1:], corners[0])
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(corners, following, strict=True))) / 2


class Tiling(BaseModel):
    """Large frames are shown to the model in tiles of this size, in pixels; frames smaller than a tile as they are.

    ``overlap`` is the least share of a tile that it has in common with the next one. What is seen in several tiles is
    put together again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(ge=32, le=16_384)
    height: int = Field(ge=32, le=16_384)
    overlap: float = Field(default=0.2, ge=0, le=0.75)


# What an open vocabulary looks for.
Prompt = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$")
]


class Tracking(BaseModel):
    """Shapes of consecutive frames that show one object become a track, when all frames are done.

    iou         least overlap of a shape's box with where its track is expected
    max_gap     frames for which an object may be out of sight
    min_length  what is seen on fewer frames stays without a track
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    iou: Fraction = 0.3
    max_gap: int = Field(default=5, ge=0, le=1000)
    min_length: int = Field(default=2, ge=1, le=1000)


class JobSpec(BaseModel):
    """What a job was asked to do; kept with it as it was.

    The mapping is the accepted suggestions (``accept_suggestions``: the least score that counts as accepted without
    a person), overlaid by ``mapping``; a model label given an empty task label is left out on purpose.

    min_size          shapes whose box is narrower or lower than so many pixels are left out
    top_k             of the tags of a frame the best so many stay; None: all
    keep_manual_iou   new shapes whose box overlaps that of a manual one at least so much are left out
    prompts           of a model with an open vocabulary: task label -> what it looks for. Labels without are looked
                      for by their names; ``mapping`` leaves one out
    hold              of a task that lives in another tool: what is found is kept here, and nothing is written there
    recall            what the model was asked on a frame before, with the same settings, is not asked again
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: int = Field(ge=1, le=2**63 - 1, description="id of a task")
    model_id: int = Field(ge=1, le=2**63 - 1)
    mapping: dict[str, str] = Field(default_factory=dict, max_length=20_000)
    mapping_id: int | None = Field(default=None, ge=1, le=2**63 - 1)
    accept_suggestions: Fraction | None = None
    threshold: Fraction | None = None
    label_thresholds: dict[str, Fraction] = Field(default_factory=dict, max_length=20_000)
    masks_as_polygons: bool = False
    clean: Clean = Clean.NONE
    frames: FrameSelection = FrameSelection()
    max_failure_rate: Fraction = 0.5
    nms: Nms | None = None
    min_size: float = Field(default=0.0, ge=0, le=10**6)
    top_k: int | None = Field(default=None, ge=1, le=1000, description="Most tags of a frame, best first.")
    keep_manual_iou: float | None = Field(default=None, gt=0, le=1)
    roi: Region | None = None
    tiling: Tiling | None = None
    track: Tracking | None = None
    prompts: dict[str, Prompt | list[Prompt]] = Field(default_factory=dict, max_length=1000)
    hold: bool = False
    recall: bool = False

    @model_validator(mode="after")
    def _something_to_keep(self) -> JobSpec:
        if self.keep_manual_iou is not None and self.clean is Clean.ALL:
            raise ValueError("keep_manual_iou has nothing to keep where clean is all")
        return self
