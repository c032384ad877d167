"""What goes into the matcher and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DISPLAY_SCORE: Final = 0.5
"""The score from which a suggestion is worth showing: right more often than not."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of a label, in CVAT's words.

    input_type: select, radio, checkbox, number, text, or "any" where it is not known.
    values: the values to choose from; for a number CVAT keeps (least, greatest, step) here.
    """

    name: str
    input_type: str = "any"
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Label:
    """A label with what its name does not say.

    type: CVAT's shape type (rectangle, polygon, mask, ellipse, polyline, points, cuboid, skeleton, tag) or "any".
    sublabels: the names of a skeleton's points.
    """

    name: str
    type: str = "any"
    attributes: tuple[Attribute, ...] = ()
    sublabels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LearnedPair:
    """What this user said about a pair before: `accepted` is suggested first, a rejected pair never again."""

    model_label: str
    task_label: str
    accepted: bool = True


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One possible match of a model label.

    score: how likely the match is right, 0 to 1 (see docs/label-matching.md for how well that holds).
    reason: why, in words for a person: "couch = sofa", "car is a kind of vehicle".
    accepted: whether it may be used without asking: learned pairs, and names equal but for case and separators.
    tier: learned, exact, normalised, synonym, translation, hypernym, head noun, fuzzy, or semantic.
    """

    model_label: str
    task_label: str
    score: float
    reason: str
    accepted: bool
    tier: str
