"""What a user adds behind the # of an address whose host does not say what it serves.

``#model=ORG/NAME`` names the model of the hub that runs there; ``#task=object-detection&labels=car,person`` says it
outright. A label that holds a comma cannot be written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

from adapters.references.pasted import Pasted, refuse_control_characters

_TASK = re.compile(r"[a-z0-9-]{1,60}")
_MOST_LABELS = 1000


@dataclass(frozen=True, slots=True)
class Hints:
    """``model``: an id of the hub as it was written; ``task``: a task type; ``labels``: in the model's order."""

    model: str = ""
    task: str = ""
    labels: tuple[str, ...] = ()


def hints_of(url: Pasted) -> Hints:
    """What the fragment says; everything else in it is passed over."""
    try:
        pairs = dict(parse_qsl(url.fragment, errors="strict", max_num_fields=100))
    except ValueError:
        return Hints()
    values = {name: value for name, value in pairs.items() if value.strip() not in url.keys}
    for value in values.values():
        refuse_control_characters(value)
    task = values.get("task", "")
    labels = (label.strip() for label in values.get("labels", "").split(","))
    unique = tuple(dict.fromkeys(label for label in labels if label))[:_MOST_LABELS]
    return Hints(values.get("model", ""), task if _TASK.fullmatch(task) else "", unique)


def fragment(model: str = "", task: str = "", labels: tuple[str, ...] = ()) -> str:
    """The text that ``hints_of`` reads these from, with its #; empty where there is nothing to say."""
    listed = ",".join(quote(label, safe=" ").replace(" ", "%20") for label in labels)
    parts = [f"{name}={value}" for name, value in (("model", model), ("task", task), ("labels", listed)) if value]
    return "#" + "&".join(parts) if parts else ""
