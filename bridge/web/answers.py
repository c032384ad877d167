"""What the service answers. Built from the domain's own dataclasses, so that names cannot drift apart."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from bridge.domain import Shape, Source, StoredFrame
from bridge.web.errors import ERROR_CODES


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)

    @classmethod
    def of(cls, value: Any) -> Self:
        """From a dataclass with the same field names."""
        return cls.model_validate(value, from_attributes=True)


class ErrorBody(Answer):
    code: str = Field(
        description="Stable name of what went wrong.",
        examples=["not_found"],
        json_schema_extra={"enum": list(ERROR_CODES)},
    )
    message: str = Field(description="What happened, in one sentence.", examples=["There is no task 7."])
    hint: str = Field(description="What to do next; may be empty.", examples=[""])


class ErrorAnswer(Answer):
    error: ErrorBody


class Card(Answer):
    """What a model is, as its host says."""

    name: str
    provider: str = Field(examples=["huggingface"])
    reference: str = Field(description="Where it comes from, without any key.")
    revision: str = Field(description="What pins it: a commit, a version, a hash of the content.")
    task_type: str = Field(examples=["object-detection"])
    labels: list[str] | None = Field(description="In the model's order; null for an open vocabulary.")
    shape_types: list[str] = Field(examples=[["rectangle"]])
    engine: str = Field(examples=["onnxruntime"])
    default_threshold: float
    licence: str | None
    gated: bool
    weights_bytes: int | None
    notes: list[str] = Field(description="Sentences that a user should read.")


class ModelAnswer(Answer):
    id: int
    name: str
    threshold: float
    fetched: bool = Field(description="Whether its files are here.")
    created_at: datetime
    card: Card


class ModelPage(Answer):
    models: list[ModelAnswer]
    next_cursor: str | None


class UnderstoodAnswer(Answer):
    """What a pasted text names, before any host was asked."""

    kind: str = Field(examples=["huggingface"])
    summary: str = Field(examples=["Hugging Face model PekingU/rtdetr_r18vd, revision main"])
    reference: str = Field(description="Its canonical text, without any key.")
    account_kind: str | None = Field(description="Kind of the connection that a key for it belongs to.")
    account_host: str | None
    key: Literal["none", "optional", "required"] = Field(
        description="Whether it needs a key; optional: only where the model is private or gated."
    )
    key_known: bool = Field(description="Whether there is a key already; one in the text counts.")


class CatalogueEntryAnswer(Answer):
    """A ready model. Its licence, labels and size are its host's to say, when it is added."""

    name: str = Field(description="What POST /v1/models takes as the reference.", examples=["rt-detr-v2"])
    title: str
    task_type: str
    finds: str = Field(description="In words.")
    reference: str
    verified: bool = Field(description="Whether a test of Hubbridge runs such a model.")
    proof: str = Field(description="Which test; empty where none does.")
    cvat: str = Field(description="What CVAT calls it, where CVAT comes with it.")
    model_id: int | None = Field(description="The registered model that comes from here.")


class CatalogueAnswer(Answer):
    models: list[CatalogueEntryAnswer]


class DownloadAnswer(Answer):
    """Where a model's files are, as this server sees it."""

    state: Literal["absent", "downloading", "ready", "failed"]
    done_bytes: int
    total_bytes: int | None
    error: str | None = Field(description="Why the last download failed.")


class ConnectionAnswer(Answer):
    """An account. Its secret is never shown."""

    id: int
    kind: str
    host: str
    created_at: datetime


class ConnectionPage(Answer):
    connections: list[ConnectionAnswer]
    next_cursor: str | None


class Rle(Answer):
    """A mask over the whole frame, as in COCO."""

    size: list[int] = Field(description="Height and width.", min_length=2, max_length=2)
    counts: str = Field(description="COCO's compressed run lengths.")


class ShapeAnswer(Answer):
    """One annotation. Points are pixels: rectangle x1 y1 x2 y2; polygon and points x y ...; ellipse cx cy rx ry;
    skeleton x y v of each sublabel; mask and tag none."""

    id: int
    label: str
    type: str = Field(examples=["rectangle"])
    points: list[float] = Field(examples=[[10.0, 20.5, 110.0, 80.0]])
    rle: Rle | None
    rotation: float = Field(description="Degrees clockwise.")
    score: float | None
    source: Source
    attributes: dict[str, str]
    group: int = Field(description="Shapes of one frame with the same number above 0 belong together.")
    track_id: int = Field(description="Shapes of a task with the same number above 0 show one object.")
    job_id: int | None

    @classmethod
    def on(cls, shape: Shape, height: int, width: int) -> ShapeAnswer:
        """A shape on a frame of this size."""
        rle = None if shape.rle is None else Rle(size=[height, width], counts=shape.rle.decode("ascii"))
        return cls(
            id=shape.id,
            label=shape.label,
            type=shape.type,
            points=list(shape.points),
            rle=rle,
            rotation=shape.rotation,
            score=shape.score,
            source=shape.source,
            attributes=dict(shape.attributes),
            group=shape.group,
            track_id=shape.track_id,
            job_id=shape.job_id,
        )


class PredictedShape(Answer):
    """As a shape of a task, with the model's own label."""

    label: str
    type: str
    points: list[float]
    rle: Rle | None
    rotation: float
    score: float
    attributes: dict[str, str]
    group: int


class SegmentAnswer(Answer):
    model_id: int
    width: int
    height: int
    score: float | None = Field(description="The model's own estimate; null where it finds nothing.")
    rle: Rle | None = Field(description="The object's mask over the whole image.")
    box: list[float] | None = Field(description="x1, y1, x2, y2 around the mask.")
    polygons: list[list[float]] | None = Field(description="With `mask_as_polygons`: outlines, x y x y ...")


class PredictionAnswer(Answer):
    model_id: int
    width: int
    height: int
    threshold: float
    shapes: list[PredictedShape] = Field(description="Best first.")


class LabelAttributeAnswer(Answer):
    name: str
    input_type: str
    values: list[str]
    mutable: bool
    default_value: str


class LabelAnswer(Answer):
    id: int
    name: str
    type: str
    color: str
    attributes: list[LabelAttributeAnswer]
    sublabels: list[str]


class TaskAnswer(Answer):
    id: int
    name: str
    labels: list[LabelAnswer]
    frame_count: int
    shape_count: int
    created_at: datetime
    remote_kind: str | None
    remote_ref: str | None


class TaskPage(Answer):
    tasks: list[TaskAnswer]
    next_cursor: str | None


class FrameAnswer(Answer):
    number: int
    name: str
    width: int
    height: int


class FramePage(Answer):
    frames: list[FrameAnswer]
    next_cursor: str | None


class RejectedFile(Answer):
    name: str
    reason: str


class FramesAdded(Answer):
    frame_count: int = Field(description="Frames of the task now.")
    added: int
    rejected: list[RejectedFile] = Field(description="Files that should have been images and are none.")
    skipped: int = Field(description="Files passed over, for their ending marks no image.")
    known: int = Field(description="Frames left out, for the task has some of their names; with skip_known alone.")


class AnnotatedFrame(FrameAnswer):
    shapes: list[ShapeAnswer]

    @classmethod
    def with_shapes(cls, frame: StoredFrame, shapes: list[Shape] | tuple[Shape, ...]) -> AnnotatedFrame:
        shown = [ShapeAnswer.on(shape, frame.height, frame.width) for shape in shapes]
        return cls(number=frame.number, name=frame.name, width=frame.width, height=frame.height, shapes=shown)


class AnnotationPage(Answer):
    frames: list[AnnotatedFrame] = Field(description="Every frame in order, also those without shapes.")
    next_cursor: str | None


class CoverageAnswer(Answer):
    frames: int
    annotated: int = Field(description="Frames that have a shape.")


Counts = dict[str, int]


class StatisticsAnswer(CoverageAnswer):
    shapes: int
    labels: Counts = Field(description="Task label -> shapes, most first.")
    types: Counts = Field(description="Shape type -> shapes.")
    sources: Counts = Field(description="Source -> shapes.")
    scores: list[int] = Field(description="Shapes by score, in 20 bins of equal width from 0 to 1.")


class CleanableAnswer(Answer):
    """What each choice of `clean` takes away from the selected frames, in shapes by source."""

    frames: int = Field(description="Frames that are selected.")
    model: Counts
    automatic: Counts
    all: Counts


class RawScoresAnswer(Answer):
    """Scores of a job's raw results by model label, in 20 bins of equal width from 0 to 1."""

    frames_total: int
    frames_read: int = Field(description="Of very large jobs only some frames are read, evenly spread.")
    floor_score: float = Field(description="Below it nothing was kept.")
    labels: dict[str, list[int]] = Field(description="Model label -> detections, most first.")


class FormatAnswer(Answer):
    name: str
    suffix: str
    description: str


class FormatList(Answer):
    formats: list[FormatAnswer]


class ImportAnswer(Answer):
    frames: int
    shapes: int
    unknown_files: list[str] = Field(description="Images of the file that are no frame of the task.")
    unknown_labels: list[str]
    wrong_size: list[str] = Field(description="Images whose size in the file is not the frame's.")
    outside: int = Field(description="Shapes that lie wholly outside of their frame, left out.")


class AlternativeAnswer(Answer):
    task_label: str
    score: float
    reason: str


class AttributeMatchAnswer(Answer):
    """Attributes of two labels that are the same; shapes come with the task's name and values."""

    model_attribute: str = Field(examples=["gender"])
    task_attribute: str = Field(examples=["sex"])
    values: dict[str, str] = Field(
        description="Model's value -> task's; empty where values are free.", examples=[{"m": "male"}]
    )
    score: float
    reason: str
    accepted: bool = Field(description="Whether names and values differ at most in case and separators.")


class LabelMatchAnswer(Answer):
    """The best task label for a model label, or nulls where there is none."""

    model_label: str
    task_label: str | None
    score: float | None
    reason: str | None = Field(examples=["couch = sofa"])
    accepted: bool = Field(description="Whether a job takes it without being asked to.")
    alternatives: list[AlternativeAnswer]
    attributes: list[AttributeMatchAnswer] = Field(description="What the two labels have in common.")
    points: dict[str, str] = Field(description="Of two skeletons: model's point -> task's, by their names.")


class LabelMatches(Answer):
    matches: list[LabelMatchAnswer]


class MappingAnswer(Answer):
    id: int
    version: int
    model_id: int
    task_id: int | None
    pairs: dict[str, str]
    created_at: datetime


class MappingPage(Answer):
    mappings: list[MappingAnswer]
    next_cursor: str | None


class LabelStudioBackend(Answer):
    """A model or profile as a project of Label Studio uses it."""

    task_id: int
    project: str = Field(description="Address of the project.")
    name: str = Field(description="Of the model or profile; it stands in the backend's URL.")
    model_version: str
    outcome: str = Field(description="What came of the last request.")
    job_id: int | None = Field(description="The job that it became.")
    asked_at: datetime
    pairs: dict[str, str] = Field(description="Model label -> label of the project.")
    suggestions: list[LabelMatchAnswer] = Field(description="What could be accepted, best first: POST /v1/mappings.")
    left_out: list[str] = Field(description="What of the label config is not answered, and why.")
    problem: str = Field(description="Why the labels cannot be told; else empty.")


class LabelStudioBackends(Answer):
    backends: list[LabelStudioBackend]


class Health(Answer):
    status: str = Field(examples=["ok"])


class Readiness(Answer):
    """``status``: ready, or degraded for the ``reason`` given; both can be asked."""

    status: str = Field(examples=["ready"])
    reason: str | None
