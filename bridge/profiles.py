"""Profiles: models under a task's own words, made once and used wherever a model is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.promptable import ASKED_BY_HAND
from bridge.domain import Model, Profile, TaskLabel
from bridge.errors import InvalidRequest, NotFound
from bridge.mapping import LabelMatch, accepted_pairs, check_choices, some
from bridge.model_labels import describe
from bridge.pinning import check_pairs, labels_of, matching_hint, suggest
from bridge.prompting import prompted, prompts_of
from bridge.registry import Registry, check_name
from bridge.store import Store
from bridge.store import learned as learned_rows
from bridge.store import models as model_rows
from bridge.store import profiles as rows

MAX_TITLE = 200


@dataclass(frozen=True, slots=True)
class Named:
    """What a name stands for: a model, by itself or through a profile."""

    model: Model
    profile: Profile | None = None

    @property
    def name(self) -> str:
        return self.model.name if self.profile is None else self.profile.name

    @property
    def threshold(self) -> float:
        """The default of whoever asks without one."""
        own = None if self.profile is None else self.profile.threshold
        return self.model.threshold if own is None else own

    @property
    def prompts(self) -> Mapping[str, tuple[str, ...]]:
        return {} if self.profile is None else self.profile.prompts

    def job_values(self, labels: Sequence[TaskLabel], given: Mapping[str, Any]) -> dict[str, Any]:
        """Keys of a job's spec over a task with these labels: the profile's, below those that were given.

        What the profile fills and the task does not have is left out, and so is what the task has beside it.
        Raises InvalidRequest where they have nothing in common.
        """
        if self.profile is None:
            return dict(given)
        names, ours = {label.name for label in labels}, self.profile
        filled = {label.name for label in ours.labels} & names
        if not filled:
            raise InvalidRequest(
                f"The profile {ours.name} fills none of the task's labels.",
                hint=f"It fills: {some([label.name for label in ours.labels])}.",
                code="nothing_matched",
            )
        if ours.prompts:
            own: dict[str, Any] = {"mapping": dict.fromkeys(names - filled, "")}
            own["prompts"] = {name: list(texts) for name, texts in ours.prompts.items() if texts and name in filled}
        else:
            own = {"mapping": {mine: "" for mine, name in ours.pairs.items() if name not in filled}}
        for key, values in own.items():
            own[key] = values | dict(given.get(key) or {})
        if ours.mapping_id is not None:
            own["mapping_id"] = ours.mapping_id
        if given.get("threshold") is None:
            own["threshold"] = self.threshold
        return {**given, **own}


@dataclass(frozen=True, slots=True)
class Made:
    """A new profile, and what became of each of the model's labels; none of an open vocabulary."""

    profile: Profile
    matches: Sequence[LabelMatch]


@dataclass(frozen=True, slots=True)
class Profiles:
    """The profiles of this installation."""

    store: Store
    registry: Registry

    async def add(
        self,
        name: str,
        model: Model,
        labels: Sequence[TaskLabel],
        *,
        title: str = "",
        chosen: Mapping[str, str] | None = None,
        accept_suggestions: float | None = None,
        prompts: Mapping[str, str | Sequence[str]] | None = None,
        threshold: float | None = None,
    ) -> Made:
        """A model under these labels.

        chosen, accept_suggestions   as of a job: pairs of model label and label, and which suggestions count as well
        prompts                      of an open vocabulary: label -> what it looks for; labels without are looked for by
                                     their names, and ``chosen`` leaves one out

        Raises InvalidRequest where no label of the model becomes one of ``labels`` or it has none that could, Conflict
        where the name is taken.
        """
        check_name(name)
        if model.card.task_type in ASKED_BY_HAND:
            raise InvalidRequest(
                f"{model.name} has no labels that could be matched: it is for {model.card.task_type}.",
                hint="It needs no profile; CVAT lists it among its AI tools by itself.",
            )
        title = title.strip() or f"{model.name} for {name}"
        if len(title) > MAX_TITLE or not title.isprintable():
            raise InvalidRequest(f"The title is longer than {MAX_TITLE} characters, or holds control characters.")
        if threshold is not None and not 0 <= threshold <= 1:
            raise InvalidRequest(f"A threshold lies between 0 and 1, not {threshold}.")
        chosen = chosen or {}
        asked = prompts_of(model.card, prompts or {}, chosen, labels)
        matches: list[LabelMatch] = []
        pairs = {label: label for label in asked}
        if not asked:
            pairs, matches = await self._pairs(model, labels, chosen, accept_suggestions)
        check_pairs(prompted(model.card, asked), pairs, labels)
        filled = set(pairs.values())
        async with self.store.write() as connection:
            kept = None if asked else await model_rows.add_mapping(connection, model.id, None, pairs)
            profile = await rows.add_profile(
                connection,
                name,
                title,
                model.id,
                [label for label in labels if label.name in filled],
                mapping_id=None if kept is None else kept.id,
                prompts=asked,
                threshold=threshold,
            )
            if kept is not None:
                taught = [(theirs, ours, True) for theirs, ours in chosen.items() if ours]
                await learned_rows.learn(connection, taught, mapping_id=kept.id)
        return Made(profile, matches)

    async def _pairs(
        self, model: Model, labels: Sequence[TaskLabel], chosen: Mapping[str, str], accept_suggestions: float | None
    ) -> tuple[dict[str, str], list[LabelMatch]]:
        check_choices(chosen, labels_of(model.card), labels)
        matches = await suggest(self.store, describe(model.card), labels)
        pairs = accepted_pairs(matches, chosen, accept_suggestions=accept_suggestions)
        if not pairs:
            raise InvalidRequest(
                f"No label of {model.name} is matched to one of yours.",
                hint=matching_hint(matches),
                code="nothing_matched",
            )
        return pairs, matches

    async def find(self, name_or_id: str) -> Profile:
        """A profile by its name or id. Raises NotFound."""
        async with self.store.read() as connection:
            profile = await rows.find_profile(connection, name_or_id)
            if profile is None and name_or_id.isdecimal() and len(name_or_id) < 19:
                profile = await rows.get_profile(connection, int(name_or_id))
        if profile is None:
            raise NotFound(f"There is no profile {name_or_id[:100]!r}.", hint="`hubbridge profile list` shows them.")
        return profile

    async def get(self, profile_id: int) -> Profile:
        async with self.store.read() as connection:
            return await rows.get_profile(connection, profile_id)

    async def page(self, *, after: int = 0, most: int | None = None) -> list[Profile]:
        async with self.store.read() as connection:
            return await rows.list_profiles(connection, after=after, most=most)

    async def remove(self, profile_id: int) -> None:
        """Forget a profile; its model stays. Raises NotFound."""
        async with self.store.write() as connection:
            await rows.remove_profile(connection, profile_id)

    async def named(self, name: str) -> Named | None:
        """The model or the profile of exactly that name; None where there is neither."""
        async with self.store.read() as connection:
            model = await model_rows.find_model(connection, name=name)
            if model is not None:
                return Named(model)
            profile = await rows.find_profile(connection, name)
            if profile is None:
                return None
            return Named(await model_rows.get_model(connection, profile.model_id), profile)

    async def everything(self) -> list[Named]:
        """Every model that can be read, then every profile of those, in the order in which they were made."""
        async with self.store.read() as connection:
            models = {model.id: model for model in await model_rows.list_readable_models(connection)}
            found = await rows.list_profiles(connection)
        return [Named(model) for model in models.values()] + [
            Named(models[profile.model_id], profile) for profile in found if profile.model_id in models
        ]
