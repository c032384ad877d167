"""Model cards: as plain JSON and back, as the registry keeps them, and what an opened model computes with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from adapters.base import Limits, ModelCard
from adapters.graph_session import FAST, FULL

CPU = "cpu"


def on_device(card: ModelCard, device: str, *, half: bool = False) -> ModelCard:
    """The card of an opened model: ``settings`` say its ``device`` (cpu, cuda, mps) and ``precision`` (full, fast)."""
    return replace(card, settings={**card.settings, "device": device, "precision": FAST if half else FULL})


@dataclass(frozen=True, slots=True)
class RunsOn:
    """What an opened model computes with; device and precision are None where only its host knows."""

    engine: str
    device: str | None = None
    precision: str | None = None

    @classmethod
    def of(cls, card: ModelCard) -> Self:
        return cls(card.engine, card.settings.get("device"), card.settings.get("precision"))

    def __str__(self) -> str:
        precision = f"{self.precision} precision" if self.precision else None
        return ", ".join(filter(None, (self.engine, self.device, precision)))


def card_as_json(card: ModelCard) -> dict[str, Any]:
    """Lists and objects only: what comes back from a file of JSON is equal to it."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(card)))
    return plain


def card_from_json(written: Mapping[str, Any]) -> ModelCard:
    data = {**written, "limits": Limits(**written["limits"])}
    for name in ("shape_types", "notes"):
        data[name] = tuple(data[name])
    data["labels"] = None if data["labels"] is None else tuple(data["labels"])
    return ModelCard(**data)
