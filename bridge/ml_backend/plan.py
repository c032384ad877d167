"""How a model answers a label config: which of its labels become which of the config's, and under which version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from adapters.promptable import ASKED_BY_HAND
from bridge.domain import Model, Task, TaskLabel
from bridge.errors import InvalidRequest
from bridge.job_spec import JobSpec
from bridge.label_studio.config import LabelConfig
from bridge.label_studio.labels import joint_pairs, matchable, task_labels
from bridge.label_studio.version import version_of
from bridge.mapping import LabelMatch, accepted_pairs
from bridge.model_labels import describe
from bridge.pinning import suggest
from bridge.profiles import Named
from bridge.prompting import prompted, prompts_of
from bridge.refine import Refinement
from bridge.shapes import can_become
from bridge.store import Store
from bridge.store import models as model_rows


@dataclass(frozen=True, slots=True)
class Plan:
    """What a project is answered by a model.

    pairs      model label -> label of the config; of an open vocabulary each label is its own
    matches    suggestions for every label of the model, also those that nobody has accepted
    unfit      sentences about pairs that the model's shapes cannot fill
    """

    name: str
    model: Model
    config: LabelConfig
    labels: tuple[TaskLabel, ...]
    pairs: Mapping[str, str]
    prompts: Mapping[str, tuple[str, ...]]
    threshold: float
    matches: tuple[LabelMatch, ...] = ()
    unfit: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        return version_of(self.name, self.model, self.threshold, self.pairs, self.config)

    @property
    def by_hand(self) -> bool:
        """Whether the model answers clicks, and no whole images."""
        return self.model.card.task_type in ASKED_BY_HAND

    @property
    def suggestions(self) -> list[LabelMatch]:
        """What could be accepted, best first; of a profile, for its own labels."""
        open_ones = [
            match
            for match in self.matches
            if match.best is not None and not match.best.accepted and match.model_label not in self.pairs
        ]
        return sorted(open_ones, key=lambda match: -(match.best.score if match.best else 0.0))

    def refinement(self, task: Task) -> Refinement:
        """From raw results to shapes, as a job with these pairs does it."""
        labels = {label.name: label for label in task.labels}
        pairs = {theirs: labels[ours] for theirs, ours in self.pairs.items()}
        spec = JobSpec(target=task.id, model_id=self.model.id)
        return Refinement.of(spec, pairs, self.threshold, prompted(self.model.card, self.prompts))

    def check(self) -> None:
        """Raise InvalidRequest where nothing would ever be answered, with what to do."""
        if self.by_hand or self.pairs:
            return
        likely = [
            f"{match.model_label}={match.best.task_label} ({match.best.score:.2f})"
            for match in self.suggestions[:3]
            if match.best is not None
        ]
        told = f"Suggested: {', '.join(likely)}. " if likely else ""
        unfit = f"{' '.join(self.unfit)} " if self.unfit else ""
        raise InvalidRequest(
            f"No label of {self.name} is matched to a label of the project.",
            hint=f"{unfit}{told}See them and accept some: hubbridge label-studio labels {self.name}",
            code="nothing_matched",
        )


async def make_plan(store: Store, named: Named, config: LabelConfig, task: Task | None) -> Plan:
    """The pairs that are certain, those that people have accepted, and joints by their names.

    named  a model, or a profile, whose labels are matched in place of the model's
    task   the project's local row, whose latest mapping of this model counts
    """
    model = named.model
    labels = task_labels(config) if task is None else task.labels
    names = set(config.label_names)
    plan = Plan(named.name, model, config, labels, {}, {}, named.threshold)
    if plan.by_hand or not config.controls:
        return plan
    usable = [label for label in labels if label.name in names]
    profile, chosen = named.profile, dict[str, str]()
    if profile is not None:
        matches = await suggest(store, [label.name for label in profile.labels], usable)
        accepted = accepted_pairs(matches, {}, accept_suggestions=None)
        if model.card.labels is None:
            wanted = {accepted[each]: texts for each, texts in named.prompts.items() if each in accepted}
            return replace(_prompted(plan, usable, wanted), matches=tuple(matches))
        pairs = {theirs: accepted[ours] for theirs, ours in profile.pairs.items() if ours in accepted}
    elif model.card.labels is None:
        return _prompted(plan, usable, {label.name: () for label in usable})
    else:
        matches = await suggest(store, describe(model.card), matchable(usable, model.card))
        chosen = await _saved(store, model, task, names)
        pairs = accepted_pairs(matches, chosen, accept_suggestions=None)
    pairs |= {theirs: ours for theirs, ours in joint_pairs(model.card, labels).items() if theirs not in chosen}
    pairs, unfit = _fitting(model, pairs, labels)
    return replace(plan, pairs=pairs, matches=tuple(matches), unfit=tuple(unfit))


def _prompted(plan: Plan, labels: Sequence[TaskLabel], wanted: Mapping[str, Sequence[str]]) -> Plan:
    """An open vocabulary looks for the config's own labels, those of ``wanted``, by their names or by its texts."""
    left_out = {label.name: "" for label in labels if label.name not in wanted}
    given = {label: tuple(texts) for label, texts in wanted.items() if texts}
    prompts = prompts_of(plan.model.card, given, left_out, labels) if wanted else {}
    return replace(plan, prompts=prompts, pairs={label: label for label in prompts})


async def _saved(store: Store, model: Model, task: Task | None, names: set[str]) -> dict[str, str]:
    """The latest mapping that was kept of this model for this project; labels that are gone are left out."""
    if task is None:
        return {}
    async with store.read() as connection:
        kept = await model_rows.list_mappings(connection, model_id=model.id, task_id=task.id)
    known = set(model.card.labels or ())
    latest = kept[-1].pairs if kept else {}
    return {theirs: ours for theirs, ours in latest.items() if theirs in known and ours in names}


def _fitting(model: Model, pairs: Mapping[str, str], labels: Sequence[TaskLabel]) -> tuple[dict[str, str], list[str]]:
    types = {label.name: label.type for label in labels}
    fitting, unfit = {}, []
    for theirs, ours in pairs.items():
        if any(can_become(shape, types[ours]) for shape in model.card.shape_types):
            fitting[theirs] = ours
        else:
            made = " and ".join(model.card.shape_types)
            unfit.append(f"{theirs!r} cannot become {ours!r}: {model.name} makes {made}.")
    return fitting, unfit
