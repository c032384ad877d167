"""What a user adds behind the # of a model file on the web, whose host says nothing of it.

The same as ``MODEL.json`` beside a file here says: ``#sha256=...&labels=car,person&layout=yolo-v5&size=640x640``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote

from adapters.references.pasted import refusal, refuse_control_characters

_LISTS = ("labels", "joints")
_NUMBERS = ("mean", "std")
NAMES = (
    "layout",
    *_LISTS,
    "fit",
    "size",
    *_NUMBERS,
    "channels",
    "iou",
    "threshold",
    "name",
    "licence",
    "output",
    "scale",
)
_HINT = f"What can stand behind the digest: {', '.join(NAMES)}; for example &labels=car,person&size=640x640."
_MOST_LABELS = 20_000

Said = tuple[tuple[str, str], ...]


def said_in(text: str) -> Said:
    """The pairs of ``name=value&name=value``, in the order of ``NAMES``. Raises InvalidReference."""
    if not text:
        return ()
    try:
        pairs = parse_qsl(text, strict_parsing=True, errors="strict", max_num_fields=2 * len(NAMES))
    except ValueError:
        raise refusal("What stands behind the digest cannot be read.", _HINT) from None
    given: dict[str, str] = {}
    for name, value in pairs:
        refuse_control_characters(value)
        if name not in NAMES or name in given:
            raise refusal("What stands behind the digest is unknown or said twice.", _HINT)
        given[name] = value
    said = tuple((name, given[name].strip()) for name in NAMES if given.get(name, "").strip())
    beside_of(said)
    return said


def as_text(said: Said) -> str:
    """The text that ``said_in`` reads, with a leading &; empty where nothing is said."""
    return "".join(f"&{name}={quote(value, safe=',.-')}" for name, value in said)


def beside_of(said: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """As ``MODEL.json`` has it. Raises InvalidReference where a number is none."""
    return {name: _value(name, value) for name, value in said}


def _value(name: str, value: str) -> Any:
    if name in _LISTS:
        listed = [each.strip() for each in value.split(",")]
        if len(listed) > _MOST_LABELS:
            raise refusal(f"{len(listed)} {name} are too many for an address.", _HINT)
        return listed
    if name == "size":
        match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", value)
        if match is None:
            raise refusal("The size is not of the form HEIGHTxWIDTH.", _HINT)
        return [int(match[1]), int(match[2])]
    if name in _NUMBERS:
        return _numbers(value.split(","))
    return _numbers([value])[0] if name in ("iou", "threshold", "scale") else value


def _numbers(texts: Sequence[str]) -> list[float]:
    try:
        return [float(text) for text in texts]
    except ValueError:
        raise refusal("A number behind the digest is none.", _HINT) from None
