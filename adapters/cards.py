"""A model card as plain JSON and back: as the registry keeps it, and as a card holds the cards of its parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from adapters.base import Limits, ModelCard


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
