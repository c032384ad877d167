"""Model cards: as plain JSON and back, as the registry keeps them, and with the device that an opened model is on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from adapters.base import Limits, ModelCard

CPU = "cpu"


def on_device(card: ModelCard, device: str) -> ModelCard:
    """The card of an opened model: ``settings["device"]`` is cpu, cuda or mps."""
    return replace(card, settings={**card.settings, "device": device})


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
