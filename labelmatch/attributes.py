"""Attributes of two labels that are the same, and which of their values are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from labelmatch.lexicon import lexicon
from labelmatch.normalize import fold, parse
from labelmatch.types import Attribute

CHOICES = frozenset({"select", "radio"})  # one of some values, shown in two ways
UNTYPED = frozenset({"any", "unknown", ""})
LEAST_SCORE = 0.5

# Words of attributes that mean the same. The first is the one that the others are read as.
NAMES = (
    ("gender", "sex"),
    ("color", "colour", "hue"),
    ("occluded", "occlusion", "is occluded", "obscured", "hidden"),
    ("truncated", "truncation", "is truncated", "cut off", "cropped"),
    ("difficult", "hard", "difficulty", "is difficult"),
    ("crowd", "iscrowd", "is crowd", "group", "is group of"),
    ("direction", "orientation", "heading", "facing", "viewpoint", "pose"),
    ("age", "age group", "years"),
    ("make", "brand", "manufacturer", "marque"),
    ("kind", "type", "category", "class", "subtype", "sort"),
    ("id", "identifier", "identity", "number"),
    ("confidence", "score", "probability", "certainty"),
    ("text", "transcription", "ocr", "content", "plate text"),
    ("state", "status", "condition"),
    ("size", "dimension", "scale"),
    ("moving", "motion", "is moving", "movement"),
)
VALUES = (
    ("male", "m", "man", "masculine", "boy"),
    ("female", "f", "w", "woman", "feminine", "girl"),
    ("true", "yes", "y", "1", "on", "t"),
    ("false", "no", "n", "0", "off"),
    ("unknown", "unsure", "na", "n/a", "other", "undefined", "unspecified", "?"),
    ("left", "l", "left side"),
    ("right", "r", "right side"),
    ("front", "frontal", "forward", "front side"),
    ("back", "rear", "backward", "back side"),
    ("gray", "grey"),
    ("small", "s", "little"),
    ("medium", "mid", "middle"),
    ("large", "big"),
    ("none", "no one", "nothing", "not at all"),
    ("partial", "partially", "partly"),
    ("full", "fully", "complete", "completely", "heavy", "heavily"),
    ("moving", "in motion"),
    ("stopped", "standing", "stationary", "static"),
)
NAME_OF = {word: group[0] for group in NAMES for word in group}
VALUE_OF = {word: group[0] for group in VALUES for word in group}


@dataclass(frozen=True, slots=True)
class AttributeMatch:
    """Two attributes that are the same, model's and task's names.

    values: (model's value, task's value) of those that are the same; () where the values are free (text, numbers).
    score: 0 to 1. accepted: the names are equal but for case and separators, and so is every value.
    """

    model_attribute: str
    task_attribute: str
    values: tuple[tuple[str, str], ...]
    score: float
    reason: str
    accepted: bool


def match_attributes(model: Sequence[Attribute], task: Sequence[Attribute]) -> list[AttributeMatch]:
    """The attributes of a model's label among a task's label, in the model's order; each is used once.

    Names must mean the same (`gender` = `sex`) or nearly all values must (`m`, `f` = `male`, `female`), and the input
    types must fit: select and radio do; anything fits text; a checkbox fits a choice of two values.
    """
    options = []
    for i, one in enumerate(model):
        for j, other in enumerate(task):
            match = compare(one, other)
            if match and match.score >= LEAST_SCORE:
                options.append((-match.score, match.model_attribute, match.task_attribute, i, j, match))
    chosen: dict[int, AttributeMatch] = {}
    used: set[int] = set()
    for *_, i, j, match in sorted(options, key=lambda option: option[:5]):
        if i not in chosen and j not in used:
            chosen[i] = match
            used.add(j)
    return [chosen[i] for i in sorted(chosen)]


def compare(model: Attribute, task: Attribute) -> AttributeMatch | None:
    """The match of two attributes, or None where their input types do not fit."""
    if not types_fit(model, task):
        return None
    values = match_values(choices(model), choices(task))
    shared = len(values) / max(1, min(len(choices(model)), len(choices(task))))
    free = not choices(model) or not choices(task)
    if fold(model.name) == fold(task.name):
        name_score, reason = 1.0, "the same name"
    elif canonical(model.name) == canonical(task.name):
        name_score, reason = 0.95, f"synonym: {model.name} = {task.name}"
    elif related(model.name, task.name):
        name_score, reason = 0.85, f"synonym: {model.name} = {task.name}"
    elif not free and len(values) > 1 and shared >= 0.8:
        name_score, reason = 0.7, "the same values"
    else:
        return None
    score = name_score if free else name_score * (0.4 + 0.6 * shared)
    equal = fold(model.name) == fold(task.name) and all(fold(one) == fold(other) for one, other in values)
    complete = free or len(values) == len(choices(model))
    return AttributeMatch(model.name, task.name, values, round(score, 4), reason, equal and complete)


def types_fit(model: Attribute, task: Attribute) -> bool:
    one, other = fold(model.input_type), fold(task.input_type)
    if other in {one, "text"} or one in UNTYPED or other in UNTYPED or {one, other} <= CHOICES:
        return True
    if one == "checkbox":
        return other in CHOICES and len(set(task.values)) == 2
    if other == "checkbox":
        return one in CHOICES and len(set(model.values)) == 2
    return False


def choices(attribute: Attribute) -> tuple[str, ...]:
    """The values that can be chosen; a checkbox has two, text and numbers have none."""
    kind = fold(attribute.input_type)
    if kind == "checkbox":
        return ("true", "false")
    return () if kind in {"text", "number"} else tuple(dict.fromkeys(attribute.values))


def match_values(model: Iterable[str], task: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """(model's value, task's value) of the same ones, in the model's order; a task's value may serve twice."""
    available = sorted(set(task))
    exact = set(available)
    folded = {fold(value): value for value in reversed(available)}
    read = {canonical_value(value): value for value in reversed(available)}
    pairs = []
    for value in model:
        same = value if value in exact else folded.get(fold(value)) or read.get(canonical_value(value))
        if same is not None:
            pairs.append((value, same))
    return tuple(pairs)


def canonical(name: str) -> str:
    words = plain_words(name)
    return NAME_OF.get(words, words)


def canonical_value(value: str) -> str:
    folded = fold(value)
    return VALUE_OF.get(folded) or VALUE_OF.get(plain_words(value)) or plain_words(value)


def plain_words(text: str) -> str:
    forms = parse(text).forms
    return lexicon().singular(forms[-1].words) if forms else fold(text)


def related(one: str, other: str) -> bool:
    """Whether the likeliest senses of two names are the same."""
    known = lexicon()
    mine, theirs = known.find(plain_words(one)), known.find(plain_words(other))
    if mine is None or theirs is None:
        return False
    first, second = known.senses(mine)[:2], known.senses(theirs)[:2]
    return bool({sense.node for sense in first} & {sense.node for sense in second})
