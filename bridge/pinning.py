"""What an annotation job will do, fixed before it begins: mapping, threshold, what results are kept, what is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adapters.base import ModelCard
from adapters.promptable import ASKED_BY_HAND
from bridge.domain import Model, Task, TaskLabel
from bridge.errors import InvalidRequest
from bridge.fit import fits
from bridge.job_spec import JobSpec
from bridge.label_studio.labels import joint_pairs, matchable
from bridge.mapping import LabelMatch, accepted_pairs, check_choices, match_labels
from bridge.model_labels import describe
from bridge.prompting import Prompts, prompted, prompts_of
from bridge.recall import recall_key
from bridge.refine import Refinement
from bridge.registry import wants_a_person
from bridge.remotes.cvat.tracks import TRACKED
from bridge.shapes import can_become
from bridge.store import Store
from bridge.store import learned as learned_rows
from bridge.store import models as model_rows
from bridge.store import selection as selection_rows
from bridge.store import tasks as task_rows
from bridge.store.label_studio import KIND
from bridge.views import MAX_VIEWS, count_views
from labelmatch import DISPLAY_SCORE, Label


@dataclass(frozen=True, slots=True)
class Pinned:
    """A job's meaning at one moment.

    pairs         model label -> task label
    learned       what a person's choices teach: pairs chosen, and suggestions left out on purpose
    floor_score   results are kept from here on: never above a threshold that the job itself uses
    sizes         (width, height) -> how many of the selected frames are of this size
    most_views    how many pictures the model is shown of one frame, at most
    prompts       task label -> texts that an open vocabulary is asked for, () for the name; {} for fixed labels
    """

    spec: JobSpec
    task: Task
    model: Model
    pairs: Mapping[str, str]
    learned: Sequence[tuple[str, str, bool]]
    threshold: float
    floor_score: float
    sizes: Mapping[tuple[int, int], int]
    most_views: int
    prompts: Prompts

    @property
    def card(self) -> ModelCard:
        """The model's card; of an open vocabulary with the labels that are asked for."""
        return prompted(self.model.card, self.prompts)

    @property
    def frames(self) -> int:
        """How many frames are selected."""
        return sum(self.sizes.values())

    @property
    def unmapped(self) -> list[str]:
        """Model labels that are left out."""
        return [label for label in dict.fromkeys(labels_of(self.card)) if label not in self.pairs]

    @property
    def refinement(self) -> Refinement:
        labels = {label.name: label for label in self.task.labels}
        pairs = {m: labels[t] for m, t in self.pairs.items()}
        return Refinement.of(self.spec, pairs, self.threshold, self.card)

    def resolved(self, mapping_id: int) -> dict[str, Any]:
        """As it is kept with the job."""
        return {
            "model": self.model.name,
            "reference": self.model.card.reference,
            "revision": self.model.card.revision,
            "engine": self.model.card.engine,
            "mapping_id": mapping_id,
            "pairs": dict(self.pairs),
            "unmapped": self.unmapped,
            "threshold": self.threshold,
            "floor_score": self.floor_score,
            "most_views": self.most_views,
            "prompts": {label: list(texts) for label, texts in self.prompts.items()},
            "recall_key": self._recall_key,
        }

    @property
    def _recall_key(self) -> str | None:
        """Results of parts of frames are no other job's to use."""
        if self.spec.roi is not None or self.spec.tiling is not None:
            return None
        return recall_key(self.model.card.revision, self.floor_score, self.prompts)


async def pin(store: Store, spec: JobSpec, floor_score: float) -> Pinned:
    """Settle what a job does; nothing is written.

    Raises NotFound, and InvalidRequest where nothing could come of it: no frame is selected, no label is mapped, no
    frame has a pixel in the region.
    """
    async with store.read() as connection:
        task = await task_rows.get_task(connection, spec.target)
        model = await model_rows.get_model(connection, spec.model_id)
        if model.card.task_type in ASKED_BY_HAND:
            raise wants_a_person(model)
        sizes = await selection_rows.frame_sizes(connection, task.id, spec.frames)
    prompts = prompts_of(model.card, spec.prompts, spec.mapping, task.labels)
    pairs, learned = await _pairs(store, spec, replace(model, card=prompted(model.card, prompts)), task, prompts)
    if not sizes:
        none = f"None of the {task.frame_count} frames of task {task.name} is selected."
        raise InvalidRequest(
            none if task.frame_count else f"Task {task.name} has no frames.",
            hint="Add frames to the task, or select others.",
            code="no_frames",
        )
    check_elsewhere(spec, task, model)
    threshold = model.threshold if spec.threshold is None else spec.threshold
    floor = min(floor_score, threshold, *spec.label_thresholds.values())
    return Pinned(spec, task, model, pairs, learned, threshold, floor, sizes, _most_views(spec, sizes), prompts)


def check_elsewhere(spec: JobSpec, task: Task, model: Model) -> None:
    """Raises InvalidRequest where the tool that a task lives in has no room for what is wanted."""
    if task.remote_kind is None:
        return
    if spec.keep_manual_iou is not None and task.remote_kind == KIND and not spec.hold:
        raise InvalidRequest(
            "keep_manual_iou is not for Label Studio: predictions stand beside what people drew.",
            hint="Leave it out; unannotated tasks alone are taken with frames.only.",
        )
    if spec.track is None:
        return
    made = {"polygon" if each == "mask" and spec.masks_as_polygons else each for each in model.card.shape_types}
    why = ""
    if task.remote_kind == KIND:
        why, hint = "Label Studio has no tracks on images", "Leave track out."
    elif not made.intersection(TRACKED):
        why = f"CVAT is given tracks of {', '.join(TRACKED)}, and {model.name} makes none of them"
        hint = "Return masks as polygons (masks_as_polygons)." if "mask" in made else "Leave track out."
    if why:
        raise InvalidRequest(f"Its shapes cannot be linked into tracks: {why}.", hint=hint, code="no_tracks")


def _most_views(spec: JobSpec, sizes: Mapping[tuple[int, int], int]) -> int:
    if (0, 0) in sizes:  # images elsewhere, whose sizes are known when they have been fetched
        return 1 if spec.tiling is None else MAX_VIEWS
    most = max(count_views(*size, spec.roi, spec.tiling) for size in sizes)
    if most == 0:
        width, height = max(sizes)
        raise InvalidRequest(
            f"The region lies outside of every frame; the widest is {width} x {height}.",
            hint="Give it in pixels of the frames, or in fractions of them.",
            code="empty_region",
        )
    if most > MAX_VIEWS:
        raise InvalidRequest(
            f"A frame would be cut into {most} tiles, more than {MAX_VIEWS}.",
            hint="Use larger tiles or less overlap.",
            code="too_many_tiles",
        )
    return most


async def suggest(
    store: Store,
    model_labels: Sequence[str | Label],
    task_labels: Sequence[TaskLabel],
    *,
    shape_types: Sequence[str] = (),
    min_score: float = DISPLAY_SCORE,
) -> list[LabelMatch]:
    """Suggestions for model labels among task labels, with what was learned from earlier choices."""
    async with store.read() as connection:
        known = await learned_rows.everything(connection)
    learned = [(row.model_label, row.task_label, row.accepted) for row in known]
    return await asyncio.to_thread(
        match_labels, model_labels, task_labels, shape_types=shape_types, learned=learned, min_score=min_score
    )


async def _pairs(
    store: Store, spec: JobSpec, model: Model, task: Task, prompts: Prompts
) -> tuple[dict[str, str], list[tuple[str, str, bool]]]:
    """(accepted pairs, what a person's choices teach). What was asked for by prompts is what is found."""
    labels = labels_of(model.card)
    learned = [] if prompts else [(m, t, True) for m, t in spec.mapping.items() if t]
    check_choices({} if prompts else spec.mapping, labels, task.labels)
    check_choices(dict.fromkeys(spec.label_thresholds, ""), labels, task.labels)
    if spec.mapping_id is not None:
        pairs = await mapped_by(store, spec.mapping_id, spec.mapping, model, task)
    elif prompts:
        pairs = {label: label for label in prompts}
    else:
        there = task.remote_kind == KIND
        labels_there = matchable(task.labels, model.card) if there else task.labels
        matches = await suggest(store, describe(model.card), labels_there)
        pairs = accepted_pairs(matches, spec.mapping, accept_suggestions=spec.accept_suggestions)
        if there:  # in Label Studio the points of a pose are labels, too
            joints = joint_pairs(model.card, task.labels)
            pairs |= {theirs: ours for theirs, ours in joints.items() if theirs not in spec.mapping}
        refused = {m for m, t in spec.mapping.items() if not t}
        learned += [(m.model_label, m.best.task_label, False) for m in matches if m.best and m.model_label in refused]
        if not pairs:
            raise InvalidRequest(
                f"No label of {model.name} is matched to a label of task {task.name}.",
                hint=matching_hint(matches),
                code="nothing_matched",
            )
    check_pairs(model.card, pairs, task.labels)
    return pairs, learned


async def mapped_by(
    store: Store, mapping_id: int, chosen: Mapping[str, str], model: Model, task: Task
) -> dict[str, str]:
    """The pairs of a kept mapping, overlaid by those chosen. Raises InvalidRequest where it is not of this model."""
    async with store.read() as connection:
        mapping = await model_rows.get_mapping(connection, mapping_id)
    if mapping.model_id != model.id:
        raise InvalidRequest(f"Mapping {mapping.id} belongs to another model.")
    pairs = {m: t for m, t in {**mapping.pairs, **chosen}.items() if t}
    check_choices(pairs, labels_of(model.card), task.labels)
    return pairs


def labels_of(card: ModelCard) -> Sequence[str]:
    """A model's own labels. Raises InvalidRequest where it has none because its vocabulary is open."""
    if card.labels is None:
        raise InvalidRequest(
            f"{card.name} has an open vocabulary: it has no labels of its own, and looks for those of the task.",
            hint='Say what to look for: --labels car,person, or --prompt car="a red car" for texts other than names.',
        )
    return card.labels


def check_pairs(card: ModelCard, pairs: Mapping[str, str], task_labels: Sequence[TaskLabel]) -> None:
    """Raise InvalidRequest where nothing is mapped, or a label is one that no shape of the model can become: by its
    type, or a skeleton that has none of the model's joints."""
    if not pairs:
        raise InvalidRequest("The mapping is empty: nothing would be annotated.", code="nothing_matched")
    labels = {label.name: label for label in task_labels}
    types = {name: label.type for name, label in labels.items()}
    for model_label, task_label in pairs.items():
        if not any(can_become(shape_type, types[task_label]) for shape_type in card.shape_types):
            made = " and ".join(card.shape_types)
            raise InvalidRequest(
                f"{model_label!r} cannot become {task_label!r}: {card.name} makes {made}, the label is of type "
                f"{types[task_label]}.",
                hint="Map it to another label, or make one of type any.",
                code="wrong_shape",
            )
    for model_label, found in fits(describe(card), {m: labels[t] for m, t in pairs.items()}).items():
        if types[pairs[model_label]] == "skeleton" and found.has_no_joint:
            raise InvalidRequest(
                f"{model_label!r} cannot become {pairs[model_label]!r}: the two skeletons have no point in common.",
                hint="Name the label's points as the model does, for example left_elbow, or number all of them.",
                code="wrong_shape",
            )


def matching_hint(matches: Sequence[LabelMatch]) -> str:
    likely = [match for match in matches if match.best is not None]
    if not likely:
        return "Choose pairs by hand, for example: --map car=vehicle"
    best = max(likely, key=lambda match: match.best.score if match.best else 0.0)
    assert best.best is not None
    return (
        f"Choose pairs by hand (--map {best.model_label}={best.best.task_label}), "
        "or accept suggestions (--accept-suggestions 0.8)."
    )
