"""What callers send and get about profiles."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field, Json, model_validator

from bridge.job_spec import Region
from bridge.profiles import MAX_TITLE
from bridge.web.answers import Answer, LabelAnswer
from bridge.web.requests import Body, Fraction, Id, LabelIn, Prompts


class AddProfile(Body):
    """One of ``labels`` and ``task_id``."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$",
        description="Its slug, among those of the models.",
        examples=["rtdetr-traffic"],
    )
    title: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_TITLE,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="What people read. Null: made of both names.",
    )
    model_id: Id
    labels: list[LabelIn] | None = Field(
        default=None, min_length=1, max_length=20_000, examples=[[{"name": "vehicle", "type": "rectangle"}]]
    )
    task_id: Id | None = Field(default=None, description="A task whose labels are meant.")
    mapping: dict[str, str] = Field(
        default={}, max_length=20_000, description="Model label -> label; an empty one leaves the model label out."
    )
    accept_suggestions: Fraction | None = Field(default=None, description="Suggestions from this score on count, too.")
    prompts: Prompts | None = Field(
        default=None, description="Of a model with an open vocabulary: label -> texts that describe it."
    )
    threshold: Fraction | None = Field(default=None, description="Default threshold. Null: the model's.")

    @model_validator(mode="after")
    def _one_of_both(self) -> AddProfile:
        if (self.labels is None) == (self.task_id is None):
            raise ValueError("give one of labels and task_id")
        return self


class ProfilePredictQuery(Body):
    threshold: Fraction | None = Field(default=None, description="Least score. Without it: the profile's threshold.")
    max_detections: int = Field(default=300, ge=1, le=1000, description="Most shapes, best first.")
    roi: Json[Region] | None = Field(default=None, description="The part of the image to look at; as `roi` of a job.")


class ProfileAnswer(Answer):
    """A model under a task's own words."""

    id: int
    name: str
    title: str
    model_id: int
    labels: list[LabelAnswer] = Field(description="Those that the model fills.")
    mapping_id: int | None = Field(description="The mapping that it pins; null for an open vocabulary.")
    pairs: dict[str, str] = Field(description="Model label -> label.")
    prompts: dict[str, list[str]] = Field(description="What an open vocabulary looks for; [] for a label's name.")
    threshold: float | None
    created_at: datetime


class ProfilePage(Answer):
    profiles: list[ProfileAnswer]
    next_cursor: str | None
