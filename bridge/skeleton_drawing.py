"""The drawing that CVAT asks of every skeleton label: where its points stand, and which are joined by a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

# COCO's person, as one sees it from the front: the person's left is on the right side. Percent of 100 x 100.
_PERSON: dict[str, tuple[float, float]] = {
    "nose": (50, 12),
    "left_eye": (53, 9), "right_eye": (47, 9),
    "left_ear": (57, 11), "right_ear": (43, 11),
    "left_shoulder": (63, 26), "right_shoulder": (37, 26),
    "left_elbow": (71, 41), "right_elbow": (29, 41),
    "left_wrist": (75, 55), "right_wrist": (25, 55),
    "left_hip": (58, 55), "right_hip": (42, 55),
    "left_knee": (60, 74), "right_knee": (40, 74),
    "left_ankle": (61, 93), "right_ankle": (39, 93),
}  # fmt: skip
_BONES = (
    ("nose", "left_eye"), ("nose", "right_eye"), ("left_eye", "left_ear"), ("right_eye", "right_ear"),
    ("left_shoulder", "right_shoulder"), ("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"),
    ("left_hip", "right_hip"),
    ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"),
    ("left_hip", "left_knee"), ("left_knee", "left_ankle"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
)  # fmt: skip
_LEAST_KNOWN = 5  # points of a person without which a list of joints is not taken for one


def skeleton_svg(sublabels: Sequence[str], *, with_ids: bool = False) -> str:
    """The points in order, within 100 x 100: a standing person where they are one's joints, else a circle.

    ``with_ids``: each point also names its sublabel's id, counted from 1.
    """
    places, lines = _layout(sublabels)
    parts = [
        f'<line x1="{places[a][0]:.1f}" y1="{places[a][1]:.1f}" x2="{places[b][0]:.1f}" y2="{places[b][1]:.1f}" '
        f'stroke="black" stroke-width="0.5" data-type="edge" data-node-from="{a + 1}" data-node-to="{b + 1}"></line>'
        for a, b in lines
    ]
    parts += [
        f'<circle r="1.5" stroke="black" fill="#b3b3b3" cx="{x:.1f}" cy="{y:.1f}" stroke-width="0.1" '
        f'data-type="element node" data-element-id="{number}" data-node-id="{number}" '
        + (f'data-label-id="{number}" ' if with_ids else "")
        + f'data-label-name="{escape(name, {chr(34): "&quot;"})}"></circle>'
        for number, (name, (x, y)) in enumerate(zip(sublabels, places, strict=True), 1)
    ]
    return "".join(parts)


def bones(sublabels: Sequence[str]) -> list[tuple[int, int]]:
    """The pairs of points that a line joins, by their places; none where they are not a person's joints."""
    return _layout(sublabels)[1]


def _layout(sublabels: Sequence[str]) -> tuple[list[tuple[float, float]], list[tuple[int, int]]]:
    """Each point's place, and the pairs of points that a line joins."""
    names = [_joint(name) for name in sublabels]
    if len(set(names)) == len(names) >= _LEAST_KNOWN and set(names) <= _PERSON.keys():
        index = {name: number for number, name in enumerate(names)}
        return [_PERSON[name] for name in names], [
            (index[one], index[other]) for one, other in _BONES if one in index and other in index
        ]
    turns = [2 * math.pi * number / len(sublabels) for number in range(len(sublabels))]
    return [(50 + 40 * math.sin(turn), 50 - 40 * math.cos(turn)) for turn in turns], []


def _joint(name: str) -> str:
    """``L_Eye``, ``left-eye``, ``Left Eye`` -> ``left_eye``."""
    words = name.strip().lower().replace("-", " ").replace("_", " ").split()
    sides = {"l": "left", "r": "right"}
    return "_".join(sides.get(word, word) for word in words)
