"""The projects that use our backends, and what is matched of their labels: for the command line and the REST API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from bridge.domain import Task
from bridge.errors import BridgeError, InvalidRequest, NotFound
from bridge.label_studio.config import read_config
from bridge.label_studio.plan import Plan, make_plan
from bridge.mapping import LabelMatch
from bridge.profiles import Profiles
from bridge.store import Store
from bridge.store import label_studio as rows
from bridge.store import tasks as task_rows
from bridge.store.label_studio import StoredBackend


@dataclass(frozen=True, slots=True)
class Connected:
    """A model or profile as a project uses it.

    pairs     model label -> label of the project
    matches   what each model label is matched to or could be; ``left_out``: sentences about the label config
    outcome   what came of the last request; ``job_id`` is the job that it became
    problem   why the labels cannot be told, such as a model that was removed
    """

    task: Task
    name: str
    model_version: str
    outcome: str
    job_id: int | None
    asked_at: datetime
    pairs: Mapping[str, str]
    matches: tuple[LabelMatch, ...] = ()
    suggestions: tuple[LabelMatch, ...] = ()
    left_out: tuple[str, ...] = ()
    problem: str = ""


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
    try:
        plan = await _plan(store, profiles, asked, task)
    except BridgeError as error:
        return _without(asked, task, f"{error.message} {error.hint}".strip())
    return Connected(
        task,
        asked.name,
        plan.version,
        asked.outcome,
        asked.job_id,
        asked.updated_at,
        plan.pairs,
        plan.matches,
        tuple(plan.suggestions),
        plan.config.left_out + plan.unfit,
    )


def _without(asked: StoredBackend, task: Task, problem: str) -> Connected:
    return Connected(
        task, asked.name, asked.model_version, asked.outcome, asked.job_id, asked.updated_at, {}, problem=problem
    )


async def _plan(store: Store, profiles: Profiles, asked: StoredBackend, task: Task) -> Plan:
    named = await profiles.named(asked.name)
    if named is None:
        raise NotFound(f"There is no model and no profile named {asked.name!r} any more.")
    config = await asyncio.to_thread(read_config, asked.label_config)
    return await make_plan(store, named, config, task)


def accepted(plan: Plan, chosen: Mapping[str, str], least: float | None) -> dict[str, str]:
    """The pairs with those that were chosen, and suggestions of at least that score.

    Raises InvalidRequest of a profile, which has a mapping of its own already.
    """
    if plan.name != plan.model.name:
        raise InvalidRequest(
            f"{plan.name} is a profile, whose labels are the project's or nearly so.",
            hint="Make a profile with the project's own labels: hubbridge profile add --help",
        )
    skeletons = {label.name for label in plan.labels if label.type == "skeleton"}  # by their joints, not by a choice
    pairs = {theirs: ours for theirs, ours in plan.pairs.items() if ours not in skeletons}
    if least is not None:
        pairs |= {m.model_label: m.best.task_label for m in plan.suggestions if m.best and m.best.score >= least}
    return {**pairs, **chosen}
