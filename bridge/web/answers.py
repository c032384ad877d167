"""What the service answers. Built from the domain's own dataclasses, so that names cannot drift apart."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from adapters.base import ModelCard
from adapters.cards import RunsOn
from bridge.domain import Model
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
    engine_chosen: bool = Field(description="Whether it was named. Else a faster one that answers alike may take over.")
    default_threshold: float
    licence: str | None
    gated: bool
    weights_bytes: int | None
    notes: list[str] = Field(description="Sentences that a user should read.")


class PaceAnswer(Answer):
    """How a model that runs here is fed, as was measured when it was first loaded."""

    batch: int
    workers: int
    threads: int = Field(description="Of each worker.")
    frames_per_second: float = Field(description="With their preparation.")


class LoadedAnswer(Answer):
    """What a model computes with that is in this server's memory."""

    engine: str = Field(examples=["openvino"])
    device: str | None = Field(description="cpu, cuda or mps; null of a hosted model.", examples=["cpu"])
    precision: str | None = Field(description="full or fast; null of a hosted model.", examples=["full"])
    why: str | None = Field(description="Why this engine; null where there was no choice.")
    pace: PaceAnswer | None = Field(description="Null where nothing was measured.")

    @classmethod
    def of(cls, value: Any) -> LoadedAnswer:
        runs_on, settings = RunsOn.of(value), value.settings
        return cls(
            engine=runs_on.engine,
            device=runs_on.device,
            precision=runs_on.precision,
            why=settings.get("engine_choice", {}).get("why"),
            pace=settings.get("pace"),
        )


class ModelAnswer(Answer):
    id: int
    name: str
    threshold: float
    fetched: bool = Field(description="Whether its files are here.")
    created_at: datetime
    card: Card
    loaded: LoadedAnswer | None = Field(default=None, description="Null while it is not in this server's memory.")

    @classmethod
    def with_loaded(cls, model: Model, card: ModelCard | None) -> ModelAnswer:
        """``card``: of the model as it was opened, or None."""
        return cls.of(model).model_copy(update={"loaded": LoadedAnswer.of(card) if card else None})


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

    state: Literal["absent", "downloading", "loading", "ready", "failed"]
    done_bytes: int
    total_bytes: int | None
    error: str | None = Field(description="Why the last download failed.")
    doing: str | None = Field(description="While it is loading: what takes long at the moment.")


class ConnectionAnswer(Answer):
    """An account. Its secret is never shown."""

    id: int
    kind: str
    host: str
    created_at: datetime


class ConnectionPage(Answer):
    connections: list[ConnectionAnswer]
    next_cursor: str | None


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
