"""The shapes of a job become predictions of a Label Studio project, in bulk, and none of them twice.

An intent holds the predictions of some tasks and those that they replace. Before anything is sent, and
before it is sent again, the tasks are looked at: what is there already is not sent. The old predictions go when the
new ones have been seen there.
"""

from __future__ import annotations

import asyncio
import base64
import functools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from adapters.errors import AccessDenied, ModelNotFound, PredictorError, Transient
from bridge.domain import Intent, Shape, Source, StoredFrame
from bridge.errors import Conflict
from bridge.job_spec import Clean
from bridge.label_studio.config import LabelConfig, read_config
from bridge.label_studio.regions import Size, id_stem, prediction
from bridge.label_studio.version import stem_of
from bridge.patience import Patience
from bridge.remotes import Writing
from bridge.remotes.label_studio.client import Json, LabelStudio, regions_of
from bridge.remotes.label_studio.frames import place_of
from bridge.remotes.target_lease import TargetLease
from bridge.sinks.sink import FinishedFrame, Written
from bridge.store import Store, ledger
from bridge.store import intents as intent_rows
from bridge.store import label_studio as rows
from bridge.store import shapes as shape_rows
from bridge.store.intents import NewIntent
from bridge.store.leases import Lease
from bridge.store.ledger import FrameOutcome

AT_ONCE = 100  # tasks in one request
GONE = "task_gone"
_OF_PREDICTION = ("result", "score", "model_version")


@dataclass(frozen=True, slots=True)
class Naming:
    """How this job's predictions are called, from its first run on."""

    version: str
    job_id: int

    @property
    def stem(self) -> str:
        """What every version of this model begins with."""
        return stem_of(self.version.partition("@")[0])

    def key(self, task_id: int) -> str:
        return f"job {self.job_id} task {task_id}"

    def made(self, held: Json, task_id: int) -> bool:
        """Whether a prediction is this job's: by its version, and the ids of its regions where it has any."""
        if held.get("model_version") != self.version:
            return False
        regions = regions_of(held)
        return not regions or str(regions[0].get("id")).startswith(id_stem(self.version, self.key(task_id)))


@dataclass(slots=True)
class PredictionSink:
    """Writes the frames of one job. The images of one task belong to one prediction, so they wait for each other."""

    store: Store
    studio: LabelStudio
    project_id: int
    config: LabelConfig
    naming: Naming
    writing: Writing
    label_ids: Mapping[str, int]
    patience: Patience
    settle_s: float
    target: TargetLease
    _waiting: dict[int, dict[int, FinishedFrame]] = field(default_factory=dict)  # task -> frame -> what it became

    @property
    def lease(self) -> Lease:
        return self.writing.lease

    async def write(self, finished: Sequence[FinishedFrame]) -> Written:
        """See ``Sink``."""
        await self.target.acquire(self.patience)
        async with self.store.read() as connection:
            frames = await rows.get_frames(connection, self.writing.task.id, [each.outcome.frame for each in finished])
        complete: dict[int, dict[int, FinishedFrame]] = {}
        for each in finished:
            task_id = place_of(frames[each.outcome.frame]).task_id
            together = self._waiting.setdefault(task_id, {})
            together[each.outcome.frame] = each
            if len(together) == await self._images_of(task_id, frames[each.outcome.frame]):
                complete[task_id] = self._waiting.pop(task_id)
        failed = [each for group in complete.values() if _failed(group) for each in _all_failed(group)]
        written = await self._record_failed(failed)
        good = [(task_id, group) for task_id, group in complete.items() if not _failed(group)]
        for start in range(0, len(good), AT_ONCE):
            written += await self._write_some(dict(good[start : start + AT_ONCE]), frames)
        return written

    async def _images_of(self, task_id: int, row: StoredFrame) -> int:
        """How many frames of a task this job has."""
        images = len(self.config.answered_images)
        if images <= 1:
            return 1
        first = task_id * images
        async with self.store.read() as connection:
            return await rows.count_ledger(connection, self.lease.job_id, first, first + images)

    async def _record_failed(self, failed: Sequence[FinishedFrame]) -> Written:
        if not failed:
            return Written()
        async with self.store.write() as connection:
            outcomes = [each.outcome for each in failed]
            await ledger.record_outcomes(connection, self.lease, outcomes, 0, self.writing.lease_s)
        return Written(failed=len(failed))

    async def _write_some(
        self, groups: Mapping[int, Mapping[int, FinishedFrame]], frames: Mapping[int, StoredFrame]
    ) -> Written:
        """At most ``AT_ONCE`` tasks."""
        await self._check_config()
        held = await self._held(list(groups))
        gone = [each for task_id, group in groups.items() if task_id not in held for each in group.values()]
        written = await self._record_failed([replace(each, outcome=_gone(each.outcome)) for each in gone])
        there = {task_id: group for task_id, group in groups.items() if task_id in held}
        if not there:
            return written
        known = await self._known(frames, there)
        body = await asyncio.to_thread(self._body, there, known, held)
        outcomes = [each.outcome for group in there.values() for each in group.values()]
        async with self.store.write(durable=True) as connection:
            new = [NewIntent("", tuple(outcome.frame for outcome in outcomes), body)]
            (intent,) = await intent_rows.put_intents(connection, self.lease.job_id, new)
            await ledger.begin_writing(connection, self.lease, outcomes, self.writing.lease_s)
            await self.target.check(connection)
        return written + await self._carry_out(intent)

    async def _check_config(self) -> None:
        """Label Studio shows no region whose control or label is gone, and does not say so. Raises Conflict."""
        project = await self.patience.ask("Label Studio", lambda: self.studio.project(self.project_id))
        if await asyncio.to_thread(read_config, project.label_config) != self.config:
            raise Conflict(
                "The project's label config was changed while the job was at work.",
                hint=f"What is written stays. Go on with: hubbridge job resume {self.lease.job_id}",
            )

    async def _known(
        self, frames: Mapping[int, StoredFrame], there: Mapping[int, Mapping[int, FinishedFrame]]
    ) -> dict[int, StoredFrame]:
        """The rows of these frames; those of images that came with an earlier call have to be read again."""
        numbers = [number for group in there.values() for number in group]
        if all(number in frames for number in numbers):
            return {number: frames[number] for number in numbers}
        async with self.store.read() as connection:
            return await rows.get_frames(connection, self.writing.task.id, numbers)

    def _body(
        self,
        groups: Mapping[int, Mapping[int, FinishedFrame]],
        frames: Mapping[int, StoredFrame],
        held: Mapping[int, list[Json]],
    ) -> Json:
        """What the intent has to know: everything, so that another process can carry it out."""
        items = []
        for task_id, group in groups.items():
            shown: dict[str, tuple[Sequence[Shape], Size]] = {
                place_of(frames[number]).image: (each.shapes, each.size) for number, each in group.items()
            }
            made = prediction(shown, self.config, self.naming.version, self.naming.key(task_id))
            old = [each for each in held[task_id] if self._goes(each)]
            same = any(each.get("model_version") == self.naming.version for each in held[task_id] if each not in old)
            items.append({"task": task_id, "prediction": None if same else made, "old": [_kept(each) for each in old]})
        return {
            "items": items,
            "frames": [
                {"number": number, "size": each.size, "shapes": [_packed(shape) for shape in each.shapes]}
                for group in groups.values()
                for number, each in group.items()
            ],
        }

    def _goes(self, held: Json) -> bool:
        """Whether the job takes a prediction away; what people made are annotations, and stay in any case."""
        clean = self.writing.spec.clean
        if clean is Clean.MODEL:
            return str(held.get("model_version") or "").startswith(self.naming.stem)
        return clean is not Clean.NONE

    async def reconcile(self, intents: Sequence[Intent]) -> Written:
        """See ``Sink``: an intent holds all that is needed to go on."""
        await self.target.acquire(self.patience)
        written = Written()
        if intents:
            await self.patience.sleep(self.settle_s)  # a request of the run that broke off may still be at work
        for intent in intents:
            written += await self._carry_out(intent, again=True)
        return written

    async def flush(self) -> None:
        """Nothing is put off."""

    async def finish(self) -> None:
        """Nothing waits for the end."""

    async def _carry_out(self, intent: Intent, *, again: bool = False) -> Written:
        """``again``: an earlier run may have carried out a part of it."""
        items = {int(item["task"]): item for item in intent.body["items"]}
        refused = await self.patience.ask("Label Studio", lambda: self._send_missing(items))
        replaced = await self._remove_old({t: item for t, item in items.items() if t not in refused}, again=again)
        done: list[FrameOutcome] = []
        shapes: list[tuple[int, list[Shape]]] = []
        sizes: dict[int, Size] = {}
        async with self.store.read() as connection:
            frames = await rows.get_frames(connection, self.writing.task.id, list(intent.frames))
        for entry in intent.body["frames"]:
            number = int(entry["number"])
            reason = refused.get(place_of(frames[number]).task_id)
            if reason is not None:
                done.append(FrameOutcome(number, error_code="refused_by_tool", error=reason))
                continue
            done.append(FrameOutcome(number))
            shapes.append((number, [_unpacked(shape) for shape in entry["shapes"]]))
            sizes[number] = (int(entry["size"][0]), int(entry["size"][1]))
        task_id, spec = self.writing.task.id, self.writing.spec
        async with self.store.write() as connection:
            numbers = list(sizes)
            await shape_rows.retire_shapes(
                connection, task_id, numbers, job_id=self.lease.job_id, model_id=spec.model_id, clean=spec.clean
            )
            count = await shape_rows.add_shapes(connection, task_id, self.label_ids, shapes, job_id=self.lease.job_id)
            await rows.set_sizes(connection, task_id, sizes)
            await rows.keep_replaced(connection, self.lease.job_id, replaced)
            await ledger.record_outcomes(connection, self.lease, done, count, self.writing.lease_s)
            await intent_rows.complete_intent(connection, intent.id)
        return Written(len(sizes), len(done) - len(sizes), count)

    async def _send_missing(self, items: Mapping[int, Json]) -> dict[int, str]:
        """Send what is not there yet; task -> why it was refused. Raises PredictorError."""
        wanted = {task: item["prediction"] for task, item in items.items() if item["prediction"] is not None}
        held = await self.studio.predictions(self.project_id, list(wanted)) if wanted else {}
        refused = {task: "The task has been deleted in Label Studio." for task in wanted if task not in held}
        missing = {
            task: made
            for task, made in wanted.items()
            if task in held and not any(self._is_new(each, items[task]) for each in held[task])
        }
        return refused | await self._send(missing)

    @staticmethod
    def _is_new(held: Json, item: Json) -> bool:
        return held.get("model_version") == item["prediction"]["model_version"] and all(
            held.get("id") != old["id"] for old in item["old"]
        )

    async def _send(self, missing: Mapping[int, Json]) -> dict[int, str]:
        """A batch that is refused is split until the bad one is alone."""
        if not missing:
            return {}
        try:
            await self.studio.import_predictions(
                self.project_id, [{"task": task, **made} for task, made in missing.items()]
            )
        except (AccessDenied, ModelNotFound):
            raise
        except Transient:
            await self.patience.sleep(self.settle_s)  # it may have arrived all the same, and be at work there
            raise
        except PredictorError as error:
            if len(missing) == 1:
                return dict.fromkeys(missing, error.message)
            tasks = list(missing)
            parts = (tasks[: len(tasks) // 2], tasks[len(tasks) // 2 :])
            return {k: v for part in parts for k, v in (await self._send({t: missing[t] for t in part})).items()}
        return {}

    async def _remove_old(self, items: Mapping[int, Json], *, again: bool) -> list[Json]:
        """Take away what was replaced, now that the new is there; what was taken away, for undo.

        ``again``: what is there no more went by the run that broke off before it could note that.
        """
        old = {int(each["id"]): {"task": task, **each} for task, item in items.items() for each in item["old"]}
        if not old:
            return []
        held = await self._held(sorted({each["task"] for each in old.values()}))
        left = [int(each["id"]) for found in held.values() for each in found if each.get("id") in old]
        await remove_predictions(self.studio, left, self.patience)
        gone = old.values() if again else [old[number] for number in left]
        return [{name: each[name] for name in ("task", *_OF_PREDICTION)} for each in gone]

    async def _held(self, tasks: list[int]) -> dict[int, list[Json]]:
        return await self.patience.ask("Label Studio", lambda: self.studio.predictions(self.project_id, tasks))


async def remove_predictions(studio: LabelStudio, ids: Sequence[int], patience: Patience) -> None:
    """One after another, for on SQLite, Label Studio's usual database, several at once lock each other out: 16 took
    1 s, two at a time 3 s. One that is gone already is no error."""
    for number in ids:
        with suppress(ModelNotFound):
            await patience.ask("Label Studio", functools.partial(studio.remove_prediction, number))


def _kept(held: Json) -> Json:
    """Of a prediction that is replaced: what it takes to take it away, and to bring it back."""
    return {name: held.get(name) for name in ("id", *_OF_PREDICTION)}


def _failed(group: Mapping[int, FinishedFrame]) -> bool:
    return any(each.outcome.error_code is not None for each in group.values())


def _all_failed(group: Mapping[int, FinishedFrame]) -> list[FinishedFrame]:
    """A task whose images are not all understood gets no prediction, so all of them can be tried again."""
    failed = []
    for each in group.values():
        outcome = each.outcome
        if outcome.error_code is None:
            why = "Another image of the same task failed."
            outcome = replace(outcome, result=None, error_code="other_image_failed", error=why)
        failed.append(replace(each, outcome=outcome, shapes=()))
    return failed


def _gone(outcome: FrameOutcome) -> FrameOutcome:
    return replace(outcome, result=None, error_code=GONE, error="The task has been deleted in Label Studio.")


def _packed(shape: Shape) -> Json:
    return {
        "label": shape.label,
        "type": shape.type,
        "points": list(shape.points),
        "rle": None if shape.rle is None else base64.b64encode(shape.rle).decode(),
        "rotation": shape.rotation,
        "score": shape.score,
        "attributes": dict(shape.attributes),
        "group": shape.group,
    }


def _unpacked(entry: Mapping[str, Any]) -> Shape:
    return Shape(
        label=entry["label"],
        type=entry["type"],
        points=tuple(entry["points"]),
        rle=None if entry["rle"] is None else base64.b64decode(entry["rle"]),
        rotation=entry["rotation"],
        score=entry["score"],
        source=Source.AUTOMATIC,
        attributes=entry["attributes"],
        group=entry["group"],
    )
