"""What is answered about annotation jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from bridge.domain import FrameState, JobState
from bridge.job_spec import JobSpec
from bridge.web.annotation_answers import AnnotatedFrame, FrameAnswer, ShapeAnswer
from bridge.web.answers import Answer


class Pinned(Answer):
    """What was fixed when the job was made, and what its run found out."""

    model: str
    reference: str
    revision: str
    engine: str = Field(
        description="What runs the model: first as it was registered; from the run's beginning what answers indeed."
    )
    device: str | None = Field(
        default=None, description="cpu, cuda or mps; null before the run, and of a hosted model.", examples=["cpu"]
    )
    precision: str | None = Field(
        default=None, description="full or fast; null before the run, and of a hosted model.", examples=["full"]
    )
    mapping_id: int
    pairs: dict[str, str]
    unmapped: list[str] = Field(description="Model labels that are left out.")
    threshold: float
    floor_score: float = Field(description="Raw results are kept from this score on.")
    prompts: dict[str, list[str]] = Field(
        default={}, description="What an open vocabulary looks for: task label -> texts, none for the label's name."
    )
    fell_back: str | None = Field(
        default=None, description="Why the model's host was given up, and what answered in its place."
    )


class JobAnswer(Answer):
    id: int
    state: JobState
    spec: JobSpec
    resolved: Pinned
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
    source_job_id: int | None = Field(description="The job whose raw results it reads; null of one that asks a model.")
    waiting: str | None = Field(description="What a running job waits for: another one that writes to the same place.")


class TriedFrameAnswer(AnnotatedFrame):
    error: str | None = Field(description="Why the frame would fail.")
    seconds: float = Field(description="How long the model took.")


class PreviewAnswer(Answer):
    """What a job would do, tried on some of its frames."""

    frames: list[TriedFrameAnswer]
    counts: dict[str, int] = Field(description="Task label -> shapes on the frames tried.")
    pairs: dict[str, str]
    unmapped: list[str] = Field(description="Model labels that are left out.")
    threshold: float
    frames_total: int = Field(description="Frames that the job would work on.")
    seconds_per_frame: float | None
    seconds_estimated: float | None = Field(description="For all frames, one after the other; a job is quicker.")
    calls: int | None = Field(description="Pictures that a hosted model would be sent; null of one that runs here.")

    @classmethod
    def of(cls, value: Any) -> PreviewAnswer:
        names = [name for name in cls.model_fields if name != "frames"]
        frames = [
            TriedFrameAnswer(
                **AnnotatedFrame.with_shapes(one.frame, tuple(one.shapes)).model_dump(),
                error=one.error,
                seconds=one.seconds,
            )
            for one in value.frames
        ]
        return cls(frames=frames, **{name: getattr(value, name) for name in names})


class JobPage(Answer):
    jobs: list[JobAnswer]
    next_cursor: str | None


class LedgerEntry(Answer):
    frame: int
    name: str
    state: FrameState
    attempts: int
    error_code: str | None
    error: str | None


class LedgerPage(Answer):
    frames: list[LedgerEntry]
    next_cursor: str | None


class ComparedFrame(FrameAnswer):
    """A frame without a job's work, as undoing it would leave it, and as it is now."""

    before: list[ShapeAnswer]
    after: list[ShapeAnswer]


class UndoneAnswer(Answer):
    removed: int = Field(description="Shapes that the job had made.")
    restored: int = Field(description="Shapes that it had replaced.")
    kept: int = Field(description="Shapes of a remote task that people have changed since, and that stay.")
