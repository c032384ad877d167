"""The words of the service as plain data. Nothing here knows of SQL, HTTP or a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from adapters.base import ModelCard
from adapters.cards import RunsOn
from bridge.job_spec import JobSpec

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
    """One row of a job's ledger. Local jobs go from pending straight to done or failed, others by way of writing.

    Nothing stays ``PREDICTED``: raw results are stored together with what comes next.
    """

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


@dataclass(frozen=True, slots=True)
class Job:
    """An annotation job. Counts are of its ledger; ``resolved`` is what was pinned when it was made, and what its run
    found out: what really ran the model.

    ``source_job_id``: it reads that job's raw results and asks no model. ``waiting``: what a running job waits for, in
    a sentence.
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
    waiting: str | None = None

    @property
    def runs_on(self) -> RunsOn:
        """What runs its model; before the run, the engine as it was registered."""
        told = self.resolved
        return RunsOn(told["engine"], told.get("device"), told.get("precision"))


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
