"""One backend for each registered model: /setup and /predict of Label Studio, in the words of the service.

A few tasks are answered at once. Many become a job that keeps its results here; where that ends in time they are the
answer. Where it does not, the request is refused before Label Studio gives up, for an answer after that would be lost,
and another job writes the predictions through Label Studio's API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn
from uuid import uuid4

import structlog

from adapters.base import PredictOptions
from adapters.errors import BadFrame, PredictorError
from bridge.domain import StoredFrame, Task
from bridge.errors import BridgeError, Conflict, InvalidRequest, NotFound, TooLarge, from_predictor
from bridge.interactive import Interactive
from bridge.jobs import Jobs
from bridge.label_studio.clicks import answer_config, as_shape, read_clicks
from bridge.label_studio.config import LabelConfig, read_config
from bridge.label_studio.regions import prediction
from bridge.ml_backend.answers import Answer, Found, predictions
from bridge.ml_backend.plan import Plan, make_plan
from bridge.ml_backend.projects import Projects
from bridge.ml_backend.requests import Predict, Setup
from bridge.ml_backend.retrievals import Retrievals
from bridge.profiles import Named, Profiles
from bridge.recall import Recall, recall_key
from bridge.registry import Registry
from bridge.remotes.label_studio.frames import frames_of, place_of
from bridge.sources.frame_source import picture
from bridge.store import Store
from bridge.store import label_studio as rows
from bridge.store import tasks as task_rows

log = structlog.get_logger(__name__)

AT_ONCE = 4  # tasks that are answered without a job
TOLD_BY_THE_JOB = ("becomes_a_job", "in_progress")  # refusals whose outcome is noted with the job
STORING_S = 10.0  # how long Label Studio may take to store an answer, until when it may ask for the same once more


@dataclass(slots=True)
class Backend:
    """Used in one event loop. ``answer_within_s``: from the request's first byte on."""

    store: Store
    registry: Registry
    jobs: Jobs
    interactive: Interactive
    profiles: Profiles
    projects: Projects
    retrievals: Retrievals
    answer_within_s: float
    _answering: dict[tuple[int, str], set[int]] = field(default_factory=dict)  # task row, version -> tasks there

    async def set_up(self, name: str, told: Setup) -> str:
        """The ``model_version`` under which a project is answered. No model is loaded for it.

        Raises InvalidRequest, which Label Studio shows to who connects the backend, where nothing would be answered.
        """
        named = await self.find(name)
        config = await asyncio.to_thread(read_config, told.label_config)
        config.check()
        task = await self.projects.set_up(told, config)
        plan = await make_plan(self.store, named, config, task)
        await self._note(task, plan, told.label_config)
        plan.check()
        return plan.version

    async def versions(self, name: str) -> list[str]:
        """Those under which projects were answered last."""
        await self.find(name)
        async with self.store.read() as connection:
            known = await rows.list_backends(connection)
        return list(dict.fromkeys(each.model_version for each in known if each.name == name))

    async def predict(self, name: str, asked: Predict) -> list[Answer]:
        """One answer for each task, in order. Raises BridgeError; Label Studio then stores nothing.

        A model that takes clicks finds nothing by itself: it is asked whenever a task is opened for smart tools.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.answer_within_s
        named = await self.find(name)
        xml = await self._config_of(name, asked)
        config = await asyncio.to_thread(read_config, xml)
        config.check()
        task = await self.projects.of_request(asked.project or "", config)
        plan = await make_plan(self.store, named, config, task)
        context = asked.params.context if asked.params is not None else None
        if context is not None:
            return [await self._segment(plan, task, asked, context)]
        await self._note(task, plan, xml)
        plan.check()
        if plan.by_hand:
            await self.retrievals.note(task, plan, "It answers smart tools, and annotates no images by itself.")
            return [[] for _ in asked.tasks]
        try:
            return await self._in_time(plan, task, asked, deadline)
        except BridgeError as error:
            if error.code not in TOLD_BY_THE_JOB:
                await self._refused(task.id, name, error)
            raise

    async def refuse_size(self, name: str, most_mb: int) -> NoReturn:
        """A request for predictions was too large to be read: it is of the project whose /setup came just before."""
        async with self.store.read() as connection:
            asked = next((each for each in await rows.list_backends(connection) if each.name == name), None)
            task = None if asked is None else await task_rows.get_task(connection, asked.task_id)
        address = "the project's address" if task is None else task.remote_ref
        error = TooLarge(
            f"Label Studio sends more than {most_mb} MB of tasks in one request.",
            hint=f"Predict the whole project with: hubbridge annotate {address} --model {name[:100]} (or raise "
            "max_request_mb in [label_studio] of config.toml).",
        )
        if task is not None:
            await self._refused(task.id, name, error)
        raise error

    async def _refused(self, task_id: int, name: str, error: BridgeError) -> None:
        """Label Studio tells its user that all went well, so what was wrong has to be seen here."""
        async with self.store.write() as connection:
            await rows.touch_backend(connection, task_id, name, f"Refused: {error.message} {error.hint}".strip())

    async def _in_time(self, plan: Plan, task: Task, asked: Predict, deadline: float) -> list[Answer]:
        """The answer, unless one of the tasks is being answered, or written by a job, already."""
        numbers = list(dict.fromkeys(each.id for each in asked.tasks))
        frames = {number: row for each in asked.tasks for number, row in _rows(task, each.model_dump(), plan.config)}
        if not frames and asked.tasks:
            keys = ", ".join(sorted({image.key for image in plan.config.answered_images}))
            raise InvalidRequest(
                "None of the tasks names an image.",
                hint=f"Each needs its address in data under {keys}.",
                code="no_images",
            )
        claimed = self._claim(task, plan, numbers)
        answered: list[int] = []
        try:
            if not claimed or await self.retrievals.writes(task, plan, list(frames)):
                await self.retrievals.refuse_overlap(task, plan)
            found = await self._found(plan, task, frames, len(numbers), deadline)
            if found and all(each.detections is None for each in found.values()):
                reason = next(iter(found.values())).error
                raise InvalidRequest(f"No image could be had: {reason}", code="no_images")
            order = [each.id for each in asked.tasks]
            answers = await asyncio.to_thread(predictions, plan, task, order, frames.values(), found)
            answered = [n for n, each in zip(order, answers, strict=True) if each]
            await self.retrievals.note(task, plan, _outcome(len(order), len(answered), found))
        finally:
            if claimed:
                self._release(task, plan, numbers, answered)
        return answers

    def _claim(self, task: Task, plan: Plan, numbers: Sequence[int]) -> bool:
        """Whether no other request is being answered for one of these tasks: Label Studio would store both."""
        busy = self._answering.setdefault((task.id, plan.version), set())
        if busy.intersection(numbers):
            return False
        busy.update(numbers)
        return True

    def _release(self, task: Task, plan: Plan, numbers: Sequence[int], answered: Sequence[int]) -> None:
        """Those that were answered a while later: a request that was on its way meanwhile does not know of it."""
        key = (task.id, plan.version)

        def forget(some: Sequence[int]) -> None:
            busy = self._answering.get(key, set())
            busy.difference_update(some)
            if not busy:
                self._answering.pop(key, None)

        if answered:
            asyncio.get_running_loop().call_later(STORING_S, forget, answered)
        kept = set(answered)
        forget([number for number in numbers if number not in kept])

    async def _found(
        self, plan: Plan, task: Task, frames: Mapping[int, StoredFrame], asked: int, deadline: float
    ) -> dict[int, Found]:
        if asked > AT_ONCE:
            return await self.retrievals.found(task, plan, list(frames.values()), deadline)
        known = await self._recall(plan, task).results(list(frames))
        async with self.store.read() as connection:
            sizes = await rows.get_frames(connection, task.id, list(known))
        found = {n: Found((sizes[n].width, sizes[n].height), result) for n, result in known.items() if sizes[n].width}
        missing = [row for number, row in frames.items() if number not in found]
        try:
            async with asyncio.timeout_at(deadline):
                return found | await self._predicted(plan, task, missing)
        except TimeoutError:
            await self.retrievals.give_to_job(task, plan, list(frames.values()))
            raise AssertionError from None  # it raises

    async def _predicted(self, plan: Plan, task: Task, frames: Sequence[StoredFrame]) -> dict[int, Found]:
        """Each frame's own answer, ahead of jobs on the same model. Raises BridgeError where none can be had."""
        if not frames:
            return {}
        options = PredictOptions(self.jobs.floor_for(plan.threshold), plan.prompts)

        async def one(row: StoredFrame) -> Found:
            try:
                frame = await picture(source, row)
                return Found((frame.width, frame.height), await batcher.predict(frame, options))
            except BadFrame as error:
                return Found(error=error.message)
            except PredictorError as error:
                raise from_predictor(error) from error

        async with self.registry.batcher(plan.model) as batcher, self.jobs.remotes.source(task) as source:
            answers = await asyncio.gather(*(one(row) for row in frames))
        return {row.number: answer for row, answer in zip(frames, answers, strict=True)}

    def _recall(self, plan: Plan, task: Task) -> Recall:
        key = recall_key(plan.model.card.revision, self.jobs.floor_for(plan.threshold), plan.prompts)
        return Recall(self.store, task.id, plan.model.id, key)

    async def _segment(self, plan: Plan, task: Task, asked: Predict, context: Mapping[str, Any]) -> dict[str, Any]:
        """The object that a smart tool points at."""
        clicks = read_clicks(context, plan.config)
        config, label = answer_config(plan.config, clicks)
        if not plan.by_hand:
            raise InvalidRequest(
                f"{plan.name} takes no clicks.",
                hint="Connect a model that does, such as SAM 2, as a backend of its own for smart tools.",
                code="wrong_kind_of_model",
            )
        if len(asked.tasks) != 1:
            raise InvalidRequest("A smart tool asks about one task.", hint="Send the task that is open.")
        frames = dict(_rows(task, asked.tasks[0].model_dump(), plan.config))
        row = next((row for row in frames.values() if _shows(row, clicks.image.name)), None)
        if row is None:
            raise InvalidRequest(
                "The task names no image.", hint=f"Its address has to stand in data under {clicks.image.key}."
            )
        try:
            async with self.jobs.remotes.source(task) as source:
                frame = await picture(source, row)
        except PredictorError as error:
            raise from_predictor(error) from error
        found = await self.interactive.segment(plan.model, frame, clicks.prompt(frame.width, frame.height))
        size = (frame.width, frame.height)
        shapes = await asyncio.to_thread(as_shape, found, label, size, config)
        shown = {clicks.image.name: (shapes, size)}
        return await asyncio.to_thread(prediction, shown, config, plan.version, f"click {uuid4()}")

    async def find(self, name: str) -> Named:
        """The model or profile of a name. Raises NotFound."""
        named = await self.profiles.named(name)
        if named is None:
            raise NotFound(
                f"There is no model and no profile named {name[:100]!r}.",
                hint="hubbridge model list shows what is registered; it stands in the backend's URL.",
                code="model_not_registered",
            )
        return named

    async def _config_of(self, name: str, asked: Predict) -> str:
        """The request's, or what the last /setup told."""
        if asked.label_config:
            return asked.label_config
        async with self.store.read() as connection:
            project = await rows.find_project(connection, project_key=asked.project or "")
            known = await rows.list_backends(connection, task_id=project.task_id) if project is not None else []
        found = next((each.label_config for each in known if each.name == name), None)
        if found is None:
            raise Conflict("The project's label config is not known.", hint="Send it as label_config, or call /setup.")
        return found

    async def _note(self, task: Task, plan: Plan, xml: str) -> None:
        """For people to see what was asked, and what is not matched: in the log, by command line and by REST."""
        outcome = "Nothing is matched yet." if not plan.pairs and not plan.by_hand else "Set up."
        async with self.store.write() as connection:
            known = await rows.list_backends(connection, task_id=task.id)
            before = next((each for each in known if each.name == plan.name), None)
            if before is not None and (before.label_config, before.model_version) == (xml, plan.version):
                await rows.touch_backend(connection, task.id, plan.name)
                return
            await rows.put_backend(
                connection, task.id, plan.name, label_config=xml, model_version=plan.version, outcome=outcome
            )
        if plan.by_hand:
            return
        told = {m.model_label: m.best.task_label for m in plan.suggestions[:10] if m.best is not None}
        say = log.info if plan.pairs else log.warning
        say(
            "a Label Studio project is connected" if plan.pairs else "no label of a Label Studio project is matched",
            project=task.name,
            model=plan.name,
            matched=len(plan.pairs),
            suggested=told,
            left_out=list(plan.config.left_out),
            accept=f"hubbridge label-studio labels {plan.name} --task {task.id}",
        )


def _outcome(asked: int, answered: int, found: Mapping[int, Found]) -> str:
    """For people to see: how many tasks were answered, and why others were not."""
    if answered == asked:
        return f"{asked} tasks answered."
    reason = next((each.error for each in found.values() if each.error), "they name no image.")
    return f"{answered} of {asked} tasks answered; of the others an image could not be had, for example: {reason}"


def _rows(task: Task, told: Mapping[str, Any], config: LabelConfig) -> list[tuple[int, StoredFrame]]:
    """(number, frame) of each image of a task, as it would be stored."""
    return [
        (frame.number, StoredFrame(task.id, frame.number, frame.name, frame.path, frame.width, frame.height))
        for frame in frames_of(told, config)
        if frame.number is not None
    ]


def _shows(row: StoredFrame, image: str) -> bool:
    return place_of(row).image == image
