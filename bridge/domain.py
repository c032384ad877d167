"""The words of the service as plain data. Nothing here knows of SQL, HTTP or a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters.base import ModelCard

LABEL_TYPES = ("any", "rectangle", "polygon", "mask", "points", "ellipse", "skeleton", "tag", "polyline", "cuboid")
HAND_DRAWN_TYPES = ("polyline", "cuboid")  # CVAT has them; no model here fills them


class Scope(StrEnum):
    """What a caller must be allowed to do; each one includes those before it. ``open``: nothing, anyone may."""

    OPEN = "open"
    READ = "read"
    ANNOTATE = "annotate"
    ADMIN = "admin"

    def covers(self, needed: Scope) -> bool:
        ranks = list(Scope)
        return ranks.index(self) >= ranks.index(needed)


@dataclass(frozen=True, slots=True)
class ApiToken:
    """Who may call the service, and how far. Its text was shown once and is stored nowhere."""

    id: int
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def lives_at(self, now: float) -> bool:
        """Whether it can be used at a moment, in seconds since 1970."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at.timestamp() > now)


class Source(StrEnum):
    """Where a shape comes from."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"
    IMPORTED = "imported"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FrameState(StrEnum):
    """One row of a job's ledger. Local jobs go from pending straight to done or failed."""

    PENDING = "pending"
    PREDICTED = "predicted"
    WRITING = "writing"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LabelAttribute:
    """As in CVAT's label constructor; ``values`` are strings, the first one the default where none is given."""

    name: str
    input_type: str
    values: tuple[str, ...]
    mutable: bool = False
    default_value: str = ""


@dataclass(frozen=True, slots=True)
class TaskLabel:
    """A label of a task. ``type`` is one of ``LABEL_TYPES``; ``color`` is #rrggbb; ``id`` is 0 until it is stored."""

    name: str
    type: str = "any"
    color: str = ""
    attributes: tuple[LabelAttribute, ...] = ()
    sublabels: tuple[str, ...] = ()
    id: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    id: int
    name: str
    labels: tuple[TaskLabel, ...]
    frame_count: int
    shape_count: int
    created_at: datetime
    remote_kind: str | None = None
    remote_ref: str | None = None


@dataclass(frozen=True, slots=True)
class NewFrame:
    """A frame to be stored. ``name`` is unique within the task; ``path`` is absolute, and empty where it lies
    elsewhere. ``number`` None: the next one. ``video_pts``: its time stamp where ``path`` is a video."""

    name: str
    path: str
    width: int
    height: int
    number: int | None = None
    remote_state: str | None = None
    video_pts: int | None = None


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A frame of a task; ``number`` counts from 0 without gaps, and is the other tool's own in a remote task.

    remote_state   what a remote tool says of it: ``deleted`` (no job takes it), ``annotated``, or None
    video_pts      its time stamp, in the stream's own unit, where ``path`` is a video; else None
    """

    task_id: int
    number: int
    name: str
    path: str
    width: int
    height: int
    remote_state: str | None = None
    video_pts: int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """One annotation on one frame, as CVAT has it.

    type        rectangle, polygon, mask, points, ellipse, skeleton or tag
    points      pixels: rectangle x1 y1 x2 y2; polygon and points x y ...; ellipse cx cy rx ry;
                skeleton x y v of each sublabel (v 0: absent); mask and tag none
    rle         of a mask: COCO's compressed counts over the whole frame
    rotation    degrees clockwise, of rectangles and ellipses
    score       the model's, or None of a shape that a person made
    group       shapes of one frame with the same number above 0 belong together
    track_id    shapes of a task with the same number above 0 show one object, frame by frame
    remote      where it stands in the tool that its task lives in, in that tool's words (JSON)
    """

    label: str
    type: str
    points: tuple[float, ...] = ()
    rle: bytes | None = None
    rotation: float = 0.0
    score: float | None = None
    source: Source = Source.MANUAL
    attributes: Mapping[str, str] = field(default_factory=dict)
    group: int = 0
    track_id: int = 0
    job_id: int | None = None
    id: int = 0
    remote: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A registered model: its card, and what the user chose about it. ``name`` is its slug, unique."""

    id: int
    name: str
    card: ModelCard
    threshold: float
    created_at: datetime
    fetched: bool


@dataclass(frozen=True, slots=True)
class Connection:
    """An account at a provider. Its secret stays in the store."""

    id: int
    kind: str
    host: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LabelMapping:
    """Accepted pairs of model label to task label, of one model for one task. Never changed: a new version is made."""

    id: int
    version: int
    model_id: int
    task_id: int | None
    pairs: Mapping[str, str]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Profile:
    """A model under a task's own words. ``name`` is its slug, among the models'; ``title`` is for people.

    labels      the task's labels, in its order; only those that the model fills
    mapping_id  the mapping that it pins, and ``pairs`` what that says: model label -> label
    prompts     of a model with an open vocabulary, in place of a mapping: label -> texts to look for
    threshold   None: the model's
    """

    id: int
    name: str
    title: str
    model_id: int
    labels: tuple[TaskLabel, ...]
    mapping_id: int | None
    pairs: Mapping[str, str]
    prompts: Mapping[str, tuple[str, ...]]
    threshold: float | None
    created_at: datetime


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


@dataclass(frozen=True, slots=True)
class Job:
    """An annotation job. Counts are of its ledger; ``resolved`` is what was pinned when it was made.

    ``source_job_id``: it reads that job's raw results and asks no model.
    """

    id: int
    state: JobState
    spec: JobSpec
    resolved: Mapping[str, Any]
    frames_total: int
    frames_done: int
    frames_failed: int
    shapes_created: int
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    undone_at: datetime | None
    abort_requested: bool
    owner: str | None
    lease_until: datetime | None
    source_job_id: int | None = None


@dataclass(frozen=True, slots=True)
class Undone:
    """What undoing a job did.

    kept   shapes of a remote task that people have changed since the job wrote them, and that stay therefore
    """

    removed: int
    restored: int
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Intent:
    """What a job is about to change in another tool: committed before the tool is asked, gone when all is known.

    part        the piece of the remote task that one request writes to, such as a CVAT job; empty where there is one
    purpose     write, or undo
    frames      whose ledger rows wait for it
    body        the change in the words of that tool, with whatever is needed to find out whether it has happened
    created_at  when it was made, or when a request for it was last sent
    """

    id: int
    job_id: int
    purpose: Literal["write", "undo"]
    part: str
    frames: tuple[int, ...]
    body: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LedgerRow:
    frame: int
    name: str
    state: FrameState
    attempts: int
    error_code: str | None
    error: str | None
