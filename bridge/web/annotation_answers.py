"""What is answered about frames and the shapes on them: stored, predicted, counted, imported."""

from __future__ import annotations

from pydantic import Field

from bridge.domain import Shape, Source, StoredFrame
from bridge.web.answers import Answer


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
