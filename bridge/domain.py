"""The words of the service as plain data. Nothing here knows of SQL, HTTP or a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters.base import ModelCard

LABEL_TYPES = ("any", "rectangle", "polygon", "mask", "points", "ellipse", "skeleton", "tag")


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
    """A frame to be stored. ``name`` is unique within the task; ``path`` is absolute."""

    name: str
    path: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A frame of a task; ``number`` counts from 0 without gaps."""

    task_id: int
    number: int
    name: str
    path: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Shape:
    """One annotation on one frame, as CVAT has it.

    type        rectangle, polygon, mask, points, ellipse, skeleton or tag
    points      pixels: rectangle x1 y1 x2 y2; polygon and points x y ...; ellipse cx cy rx ry;
                skeleton x y v of each sublabel (v 0: absent); mask and tag none
    rle         of a mask: COCO's compressed counts over the whole frame
    rotation    degrees clockwise, of rectangles and ellipses
    score       the model's, or None of a shape that a person made
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
    job_id: int | None = None
    id: int = 0


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


class Clean(StrEnum):
    """What "Clean old annotations" takes away from a frame when its new shapes are in hand."""

    NONE = "none"
    MODEL = "model"
    AUTOMATIC = "automatic"
    ALL = "all"


Fraction = Annotated[float, Field(ge=0, le=1)]


class FrameSelection(BaseModel):
    """Which frames of a task: numbers from 0, ``stop`` exclusive, every ``step``-th, and ``only`` narrows them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: int = Field(default=0, ge=0, le=2**31 - 1)
    stop: int | None = Field(default=None, ge=1, le=2**31 - 1)
    step: int = Field(default=1, ge=1, le=2**31 - 1)
    only: Literal["all", "unannotated"] = "all"

    @model_validator(mode="after")
    def _ordered(self) -> FrameSelection:
        if self.stop is not None and self.stop <= self.start:
            raise ValueError("stop must be greater than start")
        return self


class JobSpec(BaseModel):
    """What a job was asked to do; kept with it as it was.

    The mapping is the accepted suggestions (``accept_suggestions``: the least score that counts as accepted without
    a person), overlaid by ``mapping``; a model label given an empty task label is left out on purpose.
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


@dataclass(frozen=True, slots=True)
class Job:
    """An annotation job. Counts are of its ledger; ``resolved`` is what was pinned when it was made."""

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


@dataclass(frozen=True, slots=True)
class LedgerRow:
    frame: int
    name: str
    state: FrameState
    attempts: int
    error_code: str | None
    error: str | None
