"""What callers send: bodies and query parameters. Unknown fields are refused, so that a typing error is not silent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Json, model_validator

from bridge.connection_kinds import Kind
from bridge.domain import FrameState, JobState, Source
from bridge.dry_run import MOST_FRAMES
from bridge.formats import FORMATS
from bridge.job_spec import FrameSelection, Region
from bridge.sources.files import VideoRange
from bridge.web.paging import Paging
from labelmatch import DISPLAY_SCORE

Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
LabelName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Reference = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2000,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="A model's URL or id, as pasted from its page.",
        examples=["https://huggingface.co/onnx-community/rfdetr_nano-ONNX"],
    ),
]
Engine = Literal["auto", "onnxruntime", "transformers", "openvino"]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ResolveModel(Body):
    reference: Reference
    engine: Engine | None = Field(default=None, description="What is to run it here. Null: the setting.")
    run: Literal["auto", "local", "hosted"] = Field(
        default="auto", description="Here, at its host, or auto: at the host where it serves it and a token is there."
    )


class AddModel(ResolveModel):
    name: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$", description="Null: made from the model's own name."
    )
    fallback: bool = Field(
        default=False,
        description="Where a model of the hub runs at its host, let the same commit run here if it fails.",
    )
    download: bool = Field(default=False, description="Answer only when its files are here. Else: at the first use.")


class ChangeModel(Body):
    """At least one of both."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$")
    threshold: Fraction | None = Field(default=None, description="Default threshold of its jobs.")

    @model_validator(mode="after")
    def _something(self) -> ChangeModel:
        if self.name is None and self.threshold is None:
            raise ValueError("give name or threshold")
        return self


class AddConnection(Body):
    kind: Kind
    host: str | None = Field(
        default=None,
        max_length=253,
        pattern=r"^[A-Za-z0-9.:\-]*$",
        description="Which host the secret is for. Null: the provider's own.",
    )
    secret: str = Field(
        min_length=1,
        max_length=4096,
        pattern=r"^[\x21-\x7e]+$",
        description="A token or API key. It is stored encrypted, and no answer ever holds it.",
        json_schema_extra={"writeOnly": True, "format": "password"},
    )


class LabelAttributeIn(Body):
    name: LabelName
    input_type: Literal["select", "radio", "checkbox", "number", "text"] = "text"
    values: list[Annotated[str, Field(max_length=4096)]] = Field(default=[], max_length=1000)
    mutable: bool = False
    default_value: str | None = Field(default=None, max_length=4096)


class SublabelIn(Body):
    name: LabelName


class LabelIn(Body):
    """A label as in CVAT's label constructor."""

    name: LabelName
    type: (
        Literal["any", "rectangle", "polygon", "mask", "points", "ellipse", "skeleton", "tag", "polyline", "cuboid"]
        | None
    ) = None
    color: str | None = Field(default=None, pattern=r"^#[0-9a-fA-F]{6}$")
    attributes: list[LabelAttributeIn] = Field(default=[], max_length=1000)
    sublabels: list[SublabelIn] = Field(default=[], max_length=1000, description="The points of a skeleton.")


class CreateTask(Body):
    """``name`` and ``labels`` of a task here, or ``remote`` alone."""

    name: Name | None = None
    labels: list[LabelIn] | None = Field(
        default=None,
        min_length=1,
        max_length=20_000,
        examples=[[{"name": "car", "type": "rectangle"}, {"name": "person"}]],
    )
    remote: Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^https?://[^\x00-\x20\x7f]+$")] | None = (
        Field(
            default=None,
            description="Address of a task of CVAT or a project of Label Studio, where its frames and annotations "
            "stay. An account for its host has to be stored.",
        )
    )

    @model_validator(mode="after")
    def _one_form(self) -> CreateTask:
        if (self.remote is None) == (self.name is None) or (self.name is None) != (self.labels is None):
            raise ValueError("give name and labels, or remote alone")
        return self


class ServerPaths(Body):
    """Frames that lie on the server already."""

    server_paths: list[Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]] = Field(
        min_length=1,
        max_length=10_000,
        description="Absolute paths of folders, images or zips below [server] server_folders.",
    )


class MatchLabels(Body):
    """One of ``model_id`` and ``model_labels``, and one of ``task_id`` and ``task_labels``.

    Labels are names, or objects as in CVAT's label constructor, whose types, attributes and points count.
    """

    model_id: Id | None = None
    model_labels: list[LabelName | LabelIn] | None = Field(
        default=None, min_length=1, max_length=20_000, examples=[["car", {"name": "person", "type": "rectangle"}]]
    )
    task_id: Id | None = None
    task_labels: list[LabelName | LabelIn] | None = Field(
        default=None, min_length=1, max_length=20_000, examples=[["vehicle", {"name": "human", "type": "rectangle"}]]
    )
    shape_types: list[Literal["rectangle", "polygon", "mask", "points", "ellipse", "skeleton", "tag"]] = Field(
        default=[], max_length=7, description="What the model makes, for model_labels that do not say their type."
    )
    min_score: Fraction = Field(default=DISPLAY_SCORE, description="Of what is suggested.")

    @model_validator(mode="after")
    def _one_of_each(self) -> MatchLabels:
        if (self.model_id is None) == (self.model_labels is None):
            raise ValueError("give one of model_id and model_labels")
        if (self.task_id is None) == (self.task_labels is None):
            raise ValueError("give one of task_id and task_labels")
        if self.shape_types and self.model_id is not None:
            raise ValueError("shape_types are for model_labels; a registered model's are known")
        return self


class AddMapping(Body):
    model_id: Id
    task_id: Id
    pairs: dict[str, str] = Field(
        min_length=1,
        max_length=20_000,
        description="Model label -> task label; an empty task label leaves the model label out.",
        examples=[{"sofa": "couch"}],
    )


def _nothing_blank(prompts: dict[str, list[str]]) -> dict[str, list[str]]:
    if any(not text.strip() for label, texts in prompts.items() for text in (label, *texts)):
        raise ValueError("a label or a text is blank")
    return prompts


Prompts = Annotated[dict[LabelName, list[Name]], Field(min_length=1, max_length=1000), AfterValidator(_nothing_blank)]


class PredictQuery(Body):
    threshold: Fraction | None = Field(default=None, description="Least score. Without it: the model's threshold.")
    max_detections: int = Field(default=300, ge=1, le=1000, description="Most shapes, best first.")
    masks_as_polygons: bool = False
    roi: Json[Region] | None = Field(default=None, description="The part of the image to look at; as `roi` of a job.")
    prompts: Json[Prompts] | None = Field(
        default=None,
        description="What a model with an open vocabulary looks for: label -> texts that describe it; without a text, "
        "its name.",
    )


Pixel = Annotated[float, Field(ge=-(10**6), le=10**6, allow_inf_nan=False)]
Points = Annotated[list[tuple[Pixel, Pixel]], Field(max_length=1000)]


class SegmentQuery(Body):
    positive: Json[Points] | None = Field(default=None, description="Points on the object, `[[x, y], ...]`.")
    negative: Json[Points] | None = Field(default=None, description="Points beside the object.")
    box: Json[tuple[Pixel, Pixel, Pixel, Pixel]] | None = Field(
        default=None, description="A box around the object, `[x1, y1, x2, y2]`."
    )
    mask_as_polygons: bool = False


class UnderstandReference(Body):
    reference: Reference


class ImageQuery(Body):
    width: int | None = Field(
        default=None, ge=16, le=16_384, description="A JPEG of at most this width. Without it: the file as it is."
    )


class FramesQuery(Paging):
    start: int = Field(default=0, ge=0, le=2**31 - 1, description="The first frame of the first page.")
    only: Literal["all", "unannotated"] = Field(default="all", description="unannotated: those without a shape.")


class CleanableQuery(Body):
    """Frames are selected as in a job."""

    model_id: Id
    start: int = Field(default=0, ge=0, le=2**31 - 1)
    stop: int | None = Field(default=None, ge=1, le=2**31 - 1)
    step: int = Field(default=1, ge=1, le=2**31 - 1)
    only: Literal["all", "unannotated"] = "all"
    roi: Json[Region] | None = Field(default=None, description="Where the job looks, in JSON; as `roi` of a job.")

    @property
    def selection(self) -> FrameSelection:
        return FrameSelection(start=self.start, stop=self.stop, step=self.step, only=self.only)

    @model_validator(mode="after")
    def _ordered(self) -> CleanableQuery:
        if self.stop is not None and self.stop <= self.start:
            raise ValueError("stop must be greater than start")
        return self


class UploadQuery(Body):
    filename: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="Name of the one file whose bytes are the body."
    )
    skip_known: bool = Field(default=False, description="Pass over frames whose name the task has, instead of 409.")
    start: int = Field(default=0, ge=0, le=2**31 - 1, description="Number of the first frame, from 0.")
    stop: int | None = Field(default=None, ge=1, le=2**31 - 1, description="The frame to stop before.")
    step: int = Field(default=1, ge=1, le=2**31 - 1, description="Every so many frames one is taken.")

    @property
    def video(self) -> VideoRange:
        return VideoRange(self.start, self.stop, self.step)


class MappingsQuery(Paging):
    model_id: Id | None = None
    task_id: Id | None = None


class JobsQuery(Paging):
    task_id: Id | None = None
    state: JobState | None = None


class PreviewQuery(Body):
    frames: int = Field(
        default=3, ge=1, le=MOST_FRAMES, description="On how many frames, evenly spread over the job's."
    )


class LedgerQuery(Paging):
    state: FrameState | None = None


class FormatQuery(Body):
    format: str = Field(
        default="coco",
        max_length=40,
        description="GET /v1/formats lists them.",
        json_schema_extra={"enum": list(FORMATS)},
    )


class ExportQuery(FormatQuery):
    images: bool = Field(default=False, description="Whether the images go along; the answer is a zip then.")


class ImportQuery(FormatQuery):
    source: Literal[Source.MANUAL, Source.AUTOMATIC] = Field(
        default=Source.MANUAL, description="Whether people or a model made them."
    )
