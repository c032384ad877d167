"""Models that come with the program: they need no weights, and there is nothing to download."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adapters.base import Context, Limits, ModelCard, OpenModel
from adapters.errors import ModelNotFound
from adapters.promptable import REIDENTIFY, TRACK
from adapters.references import BuiltIn
from adapters.reidentify import OverlapReIdentifier
from adapters.template_tracker import TemplateTracker


@dataclass(frozen=True, slots=True)
class _BuiltIn:
    """``version`` changes with what the model answers."""

    task_type: str
    opened: Callable[[ModelCard], OpenModel]
    version: str


MODELS: Mapping[str, _BuiltIn] = {
    "template-tracker": _BuiltIn(TRACK, TemplateTracker, "1"),
    "overlap-reid": _BuiltIn(REIDENTIFY, OverlapReIdentifier, "1"),
}


class BuiltIns:
    """The Adapter of ``BuiltIn``."""

    async def resolve(self, reference: BuiltIn, context: Context) -> ModelCard:
        if reference.name not in MODELS:
            hint = f"There are: {', '.join(BuiltIn(name).canonical for name in MODELS)}."
            raise ModelNotFound(f"No model named {reference.name} is built in.", hint=hint)
        known = MODELS[reference.name]
        return ModelCard(
            name=reference.name,
            provider="built-in",
            reference=reference.canonical,
            revision=known.version,
            task_type=known.task_type,
            labels=(),
            shape_types=("rectangle",),
            engine="built-in",
            licence="apache-2.0",
            weights_bytes=0,
            limits=Limits(max_batch=1, max_concurrency=2, timeout_s=30.0),
        )

    async def fetch(self, card: ModelCard, context: Context) -> None:
        """Nothing is to be fetched."""

    async def open(self, card: ModelCard, context: Context) -> OpenModel:
        return MODELS[card.name].opened(card)
