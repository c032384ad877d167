"""Which kinds of label can stand for each other, and how far two skeletons are the same."""

from __future__ import annotations

import re

from labelmatch.normalize import fold, parse
from labelmatch.types import Label

UNTYPED = frozenset({"any", "unknown", ""})
AREAS = frozenset({"mask", "polygon"})  # the two write the same area in two ways
LEAST_SHARED_POINTS = 0.5  # of the smaller skeleton; below that they are different skeletons

SIDES = {"l": "left", "r": "right", "lt": "left", "rt": "right", "lft": "left", "rgt": "right"}
POINT_WORDS = {
    "elb": "elbow",
    "sho": "shoulder",
    "shldr": "shoulder",
    "wri": "wrist",
    "ank": "ankle",
    "kne": "knee",
    "pelvis": "hip",
    "thorax": "chest",
    "throat": "neck",
}


def compatible(model: Label, task: Label) -> bool:
    """Whether shapes of the model's label can become shapes of the task's.

    The same kinds can, and mask and polygon; one of unknown kind can become anything but a skeleton. (These are the
    rules of CVAT's own label mapping.) Two skeletons must share half of the smaller one's points, where both name them.
    """
    one, other = fold(model.type), fold(task.type)
    if one == other == "skeleton" and model.sublabels and task.sublabels:
        shared = len(match_sublabels(model.sublabels, task.sublabels))
        return shared >= LEAST_SHARED_POINTS * min(len(model.sublabels), len(task.sublabels))
    if one == other or (one in AREAS and other in AREAS):
        return True
    return "skeleton" not in (one, other) and (one in UNTYPED or other in UNTYPED)


def match_sublabels(model: tuple[str, ...], task: tuple[str, ...]) -> dict[str, str]:
    """The points of two skeletons that are the same, model -> task; each point of the task is used once.

    >>> match_sublabels(("left_elbow", "nose"), ("l elbow", "r elbow"))
    {'left_elbow': 'l elbow'}
    """
    pairs: dict[str, str] = {}
    free = {name: point_key(name) for name in sorted(set(task))}
    by_fold = {fold(name): name for name in sorted(set(task), reverse=True)}
    for name in dict.fromkeys(model):
        exact = name if name in free else by_fold.get(fold(name))
        if exact in free and exact is not None:
            pairs[name] = exact
            del free[exact]
    for name in dict.fromkeys(model):
        if name in pairs:
            continue
        key = point_key(name)
        match = next((other for other, other_key in free.items() if key and other_key == key), None)
        if match is not None:
            pairs[name] = match
            del free[match]
    return {name: pairs[name] for name in dict.fromkeys(model) if name in pairs}


def point_key(name: str) -> tuple[str, ...]:
    """A point's words without order, sides written out: "LElbow", "elbow_left" and "l elbow" are the same."""
    parsed = parse(name)
    words = parsed.forms[0].words if parsed.forms else parsed.folded
    words = re.sub(r"^(left|right)(?=[a-z]{3})", r"\1 ", words)
    if re.match(r"[LR][A-Z][a-z]", name):
        words = words if words[1:2] == " " else f"{words[0]} {words[1:]}"
    return tuple(sorted(POINT_WORDS.get(word, SIDES.get(word, word)) for word in words.split()))
