"""CVAT's tracks: where one is on a frame, which frames it is on, and how shapes of ours become one. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.domain import Shape
from bridge.remotes.cvat.description import RemoteLabel
from bridge.remotes.cvat.shapes import Body, Size, to_body

# What CVAT has tracks of, and works out between keyframes. Masks are not among them; skeletons as tracks are tracks of
# their points, whose keyframes CVAT moves.
TRACKED = ("rectangle", "polygon", "ellipse", "points")
_OF_KEYFRAME = ("type", "frame", "occluded", "outside", "z_order", "rotation", "points")


@dataclass(frozen=True, slots=True)
class Track:
    """``placed``: its shapes by frame, in order; it stays as one says until the next. ``body``: as CVAT answers it."""

    body: Body
    label_id: int | None
    source: str | None
    frames: Sequence[int]
    placed: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, body: Body) -> Track:
        """A track as CVAT answers it."""
        placed = sorted(body.get("shapes") or (), key=lambda shape: int(shape.get("frame", 0)))
        frames = [int(each.get("frame", 0)) for each in placed]
        return cls(body, body.get("label_id"), body.get("source"), frames, placed)

    def on(self, frame: int) -> Body | None:
        """Its shape there; None before its first frame and where it is out of sight."""
        last = bisect_right(self.frames, frame) - 1
        if last < 0 or self.placed[last].get("outside"):
            return None
        shape = {**self.placed[last], "label_id": self.label_id, "source": self.source, "frame": frame}
        if self.frames[last] < frame and last + 1 < len(self.placed):
            points, then = shape.get("points") or (), self.placed[last + 1].get("points") or ()
            if shape.get("type") != "mask" and len(points) == len(then):
                share = (frame - self.frames[last]) / (self.frames[last + 1] - self.frames[last])
                shape["points"] = [a + (b - a) * share for a, b in zip(points, then, strict=True)]
        return shape

    @property
    def keyframes(self) -> list[int]:
        """Frames on which it was placed and is seen."""
        return [frame for frame, each in zip(self.frames, self.placed, strict=True) if not each.get("outside")]

    def seen_on(self, stop: int) -> list[range]:
        """All frames that it is on, up to ``stop``, the last one of its CVAT job."""
        following = [*self.frames[1:], stop + 1]
        return [
            range(frame, max(end, frame + 1))
            for frame, end, each in zip(self.frames, following, self.placed, strict=True)
            if not each.get("outside")
        ]


def track_body(
    placed: Iterable[tuple[int, Shape, Size]], label: RemoteLabel, group: int, looked: Sequence[int], stop: int
) -> Body | None:
    """Shapes of one object, with their frames in order and these frames' sizes, as the track that is created.

    Between two keyframes CVAT moves it on a straight line. That is so where the job did not look in between; where it
    looked and did not find it, and after its last frame, it is ``outside``, as far as the CVAT job reaches.

    looked   the frames of the job, in order
    stop     the last frame of the CVAT job

    CVAT keeps the attributes that may change on each keyframe, and the others, of which the most frequent values are
    taken, once. None where nothing of it lies on any frame.
    """
    bodies = [body for frame, shape, size in placed if (body := to_body(shape, frame, size, label, 0)) is not None]
    if not bodies:
        return None
    mutable = {label.attribute_ids[each.name] for each in label.label.attributes if each.mutable}
    keyframes: list[Body] = []
    for body, following in zip(bodies, [*bodies[1:], None], strict=True):
        values = [value for value in body["attributes"] if value["spec_id"] in mutable]
        keyframe = {**{key: body[key] for key in _OF_KEYFRAME}, "attributes": values}
        keyframes.append(keyframe)
        frame = int(body["frame"])
        ends = following is None or _next(looked, frame) < following["frame"]
        if ends and frame + 1 <= stop:
            keyframes.append({**keyframe, "frame": frame + 1, "outside": True})
    common = {key: bodies[0][key] for key in ("frame", "label_id", "source")}
    return {**common, "group": group, "attributes": _usual(bodies, mutable), "shapes": keyframes, "elements": []}


def _next(looked: Sequence[int], frame: int) -> int:
    """The first frame behind this one that was looked at."""
    place = bisect_right(looked, frame)
    return looked[place] if place < len(looked) else frame + 1


def _usual(bodies: Sequence[Body], mutable: set[int]) -> list[dict[str, Any]]:
    counts: dict[int, Counter[str]] = {}
    for body in bodies:
        for each in body["attributes"]:
            if each["spec_id"] not in mutable:
                counts.setdefault(each["spec_id"], Counter())[each["value"]] += 1
    return [{"spec_id": number, "value": found.most_common(1)[0][0]} for number, found in counts.items()]
