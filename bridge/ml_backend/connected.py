"""The projects that use our backends, and what is matched of their labels: for the command line and the REST API."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from bridge.domain import Job, Task
from bridge.errors import BridgeError, NotFound
from bridge.label_studio.config import read_config
from bridge.mapping import LabelMatch, check_choices
from bridge.mappings import Mappings
from bridge.ml_backend.plan import Plan, make_plan
from bridge.profiles import Profiles
from bridge.store import Store, learned
from bridge.store import jobs as job_rows
from bridge.store import label_studio as rows
from bridge.store import tasks as task_rows
from bridge.store.label_studio import StoredBackend


@dataclass(frozen=True, slots=True)
class Connected:
    """A model or profile as a project uses it.

    pairs     model label -> label of the project
    matches   what each model label is matched to or could be; ``left_out``: sentences about the label config
    outcome   what came of the last request; ``job`` is the job that it became
    problem   why the labels cannot be told, such as a model that was removed
    """

    task: Task
    name: str
    model_version: str
    outcome: str
    job: Job | None
    asked_at: datetime
    pairs: Mapping[str, str]
    matches: tuple[LabelMatch, ...] = ()
    suggestions: tuple[LabelMatch, ...] = ()
    left_out: tuple[str, ...] = ()
    problem: str = ""

    @property
    def told(self) -> str:
        """What came of the last request, for people."""
        return self.problem or (f"{self.outcome} It is {self.job.state}." if self.job is not None else self.outcome)

    def accepting(self, suggestion: LabelMatch) -> str:
        """The command that accepts a suggestion."""
        ours = suggestion.best.task_label if suggestion.best is not None else ""
        pair = shlex.quote(f"{suggestion.model_label}={ours}")
        return f"hubbridge label-studio labels {self.name} --task {self.task.id} --map {pair}"


async def connected(
    store: Store, profiles: Profiles, *, name: str | None = None, task_id: int | None = None
) -> list[Connected]:
    """The one that was asked last first."""
    async with store.read() as connection:
        found = await rows.list_backends(connection, task_id=task_id)
        wanted = [each for each in found if name is None or each.name == name]
        tasks = {each.task_id: await task_rows.get_task(connection, each.task_id) for each in wanted}
    return [await _told(store, profiles, each, tasks[each.task_id]) for each in wanted]


async def one_connected(
    store: Store, profiles: Profiles, name: str, task_id: int | None = None
) -> tuple[Connected, Plan]:
    """The project that asked a model last, or the one that is named. Raises NotFound."""
    async with store.read() as connection:
        found = await rows.list_backends(connection, task_id=task_id)
    asked = next((each for each in found if each.name == name), None)
    if asked is None:
        raise NotFound(
            f"No project of Label Studio has asked {name[:100]!r} yet.",
            hint=f"Enter its URL as an ML backend of the project; it ends in /label-studio/{name[:100]}",
        )
    async with store.read() as connection:
        task = await task_rows.get_task(connection, asked.task_id)
    return await _told(store, profiles, asked, task), await _plan(store, profiles, asked, task)


async def _told(store: Store, profiles: Profiles, asked: StoredBackend, task: Task) -> Connected:
    job = None
    if asked.job_id is not None:
        async with store.read() as connection:
            job = await job_rows.get_job(connection, asked.job_id)
    told = Connected(task, asked.name, asked.model_version, asked.outcome, job, asked.updated_at, {})
    try:
        plan = await _plan(store, profiles, asked, task)
    except BridgeError as error:
        return replace(told, problem=f"{error.message} {error.hint}".strip())
    return replace(
        told,
        model_version=plan.version,
        pairs=plan.pairs,
        matches=plan.matches,
        suggestions=tuple(plan.suggestions),
        left_out=plan.config.left_out + plan.unfit,
    )


async def _plan(store: Store, profiles: Profiles, asked: StoredBackend, task: Task) -> Plan:
    named = await profiles.named(asked.name)
    if named is None:
        raise NotFound(f"There is no model and no profile named {asked.name!r} any more.")
    config = await asyncio.to_thread(read_config, asked.label_config)
    return await make_plan(store, named, config, task)


async def accept(store: Store, plan: Plan, task: Task, chosen: Mapping[str, str], least: float | None) -> None:
    """Keep pairs that were chosen, and suggestions of at least the score ``least``, for what comes. A label with an
    empty choice is left out from now on.

    A model gets a mapping for this project. A profile keeps its own: its labels' pairs are learned, for every project.
    Raises InvalidRequest where a pair names a label that is not there.
    """
    best = {match.model_label: match.best for match in plan.matches if match.best is not None}
    taken = {
        m.model_label: m.best.task_label
        for m in plan.suggestions
        if m.best and least is not None and m.best.score >= least
    }
    pairs = taken | dict(chosen)
    refused = [
        (theirs, best[theirs].task_label, False) for theirs, ours in pairs.items() if not ours and theirs in best
    ]
    if plan.name == plan.model.name:
        skeletons = {label.name for label in plan.labels if label.type == "skeleton"}  # by their joints, not by choice
        kept = {theirs: ours for theirs, ours in plan.pairs.items() if ours not in skeletons}
        await Mappings(store).add(plan.model.id, task.id, kept | pairs)
        accepted = []  # the mapping has taught them
    else:
        check_choices(pairs, [match.model_label for match in plan.matches], plan.labels)
        accepted = [(theirs, ours, True) for theirs, ours in pairs.items() if ours]
    async with store.write() as connection:
        await learned.learn(connection, accepted + refused)
