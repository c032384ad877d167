"""A finished job's raw results, used again: other thresholds, mapping or suppression without asking the model."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from adapters.base import Closing, Detections, Limits, ModelCard, PredictOptions
from adapters.errors import BadFrame
from adapters.frame import Frame
from bridge import results
from bridge.domain import Job, JobState, Model, Task
from bridge.errors import Conflict, InvalidRequest
from bridge.job_spec import Clean, Fraction, JobSpec, Nms, Tracking
from bridge.mapping import check_choices
from bridge.pinning import check_elsewhere, check_pairs, labels_of, mapped_by
from bridge.prompting import prompted, prompts_from_json
from bridge.store import Store
from bridge.store import jobs as rows
from bridge.store import models as model_rows
from bridge.store import results as result_rows
from bridge.store import tasks as task_rows

_REMOVED_BY_NULL = ("nms", "top_k", "keep_manual_iou", "track")

# Reading is quick, so its batches are large.
LIMITS = Limits(max_batch=32, max_concurrency=2, timeout_s=60)


class ApplySpec(BaseModel):
    """What a job does with the raw results of an earlier one. What is not given is as it was there.

    ``mapping`` overlays the earlier job's pairs, or those of ``mapping_id``. ``clean`` is ``model`` where it is not
    given, so that the new shapes replace the earlier ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: Fraction | None = None
    label_thresholds: dict[str, Fraction] | None = Field(default=None, max_length=20_000)
    mapping: dict[str, str] = Field(default_factory=dict, max_length=20_000)
    mapping_id: int | None = Field(default=None, ge=1, le=2**63 - 1)
    nms: Nms | None = Field(default=None, description="Null removes the earlier job's; left out keeps it.")
    min_size: float | None = Field(default=None, ge=0, le=10**6)
    top_k: int | None = Field(
        default=None, ge=1, le=1000, description="Null removes the earlier job's; left out keeps it."
    )
    masks_as_polygons: bool | None = None
    keep_manual_iou: float | None = Field(
        default=None, gt=0, le=1, description="Null removes the earlier job's; left out keeps it."
    )
    track: Tracking | None = Field(default=None, description="Null removes the earlier job's; left out keeps it.")
    clean: Clean = Clean.MODEL


async def create_applied(store: Store, job_id: int, wanted: ApplySpec) -> Job:
    """A queued job that makes shapes of the raw results which ``job_id`` has left.

    Raises Conflict while that job is at work; InvalidRequest where it has left no result, where a threshold is below
    the floor down to which results were kept, or where the mapping does not fit.
    """
    async with store.read() as connection:
        source = await rows.get_job(connection, job_id)
        task = await task_rows.get_task(connection, source.spec.target)
        model = await model_rows.get_model(connection, source.spec.model_id)
    prompts = prompts_from_json(source.resolved.get("prompts"))
    model = replace(model, card=prompted(model.card, prompts))
    if source.state in (JobState.QUEUED, JobState.RUNNING):
        raise Conflict(f"Annotation job {job_id} is {source.state}.", hint="Wait until it has ended, or cancel it.")
    keeper = source.source_job_id or source.id  # results are kept once
    spec, threshold = _spec(source, wanted), _threshold(source, wanted)
    check_elsewhere(spec, task, model)
    _check_floor(source, spec, threshold)
    pairs = await _pairs(store, source, wanted, model, task)
    async with store.write() as connection:
        mapping = await model_rows.add_mapping(connection, model.id, task.id, pairs)
        resolved = {
            **source.resolved,
            "mapping_id": mapping.id,
            "pairs": pairs,
            "unmapped": [label for label in dict.fromkeys(labels_of(model.card)) if label not in pairs],
            "threshold": threshold,
        }
        job = await rows.add_job(connection, spec, resolved, source_job_id=keeper)
        if not job.frames_total:
            raise InvalidRequest(
                f"Annotation job {job_id} has left no results.", hint="Start a new job instead.", code="no_results"
            )
    return job


def _spec(source: Job, wanted: ApplySpec) -> JobSpec:
    """The source's, changed by what is wanted; checked as a whole again."""
    given = wanted.model_dump(exclude_unset=True, exclude={"mapping", "mapping_id"})
    given = {key: value for key, value in given.items() if value is not None or key in _REMOVED_BY_NULL}
    changed: dict[str, Any] = {**source.spec.model_dump(), **given, "clean": wanted.clean, "accept_suggestions": None}
    changed |= {"mapping": dict(wanted.mapping), "mapping_id": wanted.mapping_id}
    try:
        return JobSpec.model_validate(changed)
    except ValueError as error:
        raise InvalidRequest("keep_manual_iou has nothing to keep where clean is all.") from error


def _threshold(source: Job, wanted: ApplySpec) -> float:
    return float(source.resolved["threshold"]) if wanted.threshold is None else wanted.threshold


def _check_floor(source: Job, spec: JobSpec, threshold: float) -> None:
    floor = float(source.resolved["floor_score"])
    asked = {"the threshold": threshold} | {f"the threshold of {n!r}": t for n, t in spec.label_thresholds.items()}
    for name, value in asked.items():
        if value < floor:
            raise InvalidRequest(
                f"{name[:1].upper()}{name[1:]}, {value:g}, is below {floor:g}: job {source.id} kept no results there.",
                hint=f"Choose {floor:g} or more, or start a new job.",
                code="below_floor",
            )


async def _pairs(store: Store, source: Job, wanted: ApplySpec, model: Model, task: Task) -> dict[str, str]:
    labels = labels_of(model.card)
    check_choices(wanted.mapping, labels, task.labels)
    check_choices(dict.fromkeys(wanted.label_thresholds or {}, ""), labels, task.labels)
    if wanted.mapping_id is not None:
        pairs = await mapped_by(store, wanted.mapping_id, wanted.mapping, model, task)
    else:
        pairs = {m: t for m, t in {**source.resolved["pairs"], **wanted.mapping}.items() if t}
        names = {label.name for label in task.labels}
        for model_label, task_label in pairs.items():
            if task_label not in names:
                raise InvalidRequest(
                    f"The task no longer has the label {task_label!r}, which job {source.id} gave to {model_label!r}.",
                    hint=f"Map it to another label, or leave it out: --map {model_label}=",
                    code="unknown_label",
                )
    check_pairs(model.card, pairs, task.labels)
    return pairs


@dataclass(slots=True)
class StoredResults(Closing):
    """A predictor that answers what an earlier job was answered: no model is loaded and no picture is read."""

    store: Store
    job_id: int
    card: ModelCard

    @classmethod
    def of(cls, store: Store, job_id: int, model: Model) -> StoredResults:
        return cls(store, job_id, replace(model.card, limits=LIMITS))

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        """The stored results of these frames, by their names. Raises BadFrame for one without, or a damaged one."""
        async with self.store.read() as connection:
            found = await result_rows.results_of(connection, self.job_id, [frame.id for frame in frames])
        return await asyncio.to_thread(_decoded, frames, found, self.job_id)

    async def close(self) -> None:
        """Nothing is held."""


def _decoded(frames: Sequence[Frame], found: Mapping[str, bytes], job_id: int) -> list[Detections]:
    answers = []
    for frame in frames:
        body = found.get(frame.id)
        if body is None:
            raise BadFrame(frame.id, f"Job {job_id} has left no result for {frame.id}.")
        try:
            answers.append(results.decode(body))
        except (ValueError, KeyError, zlib.error) as error:
            raise BadFrame(frame.id, f"The stored result for {frame.id} is damaged.") from error
    return answers
