"""Where tracks of CVAT are on a frame: between the frames on which somebody placed them, on a straight line. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.remotes.cvat.shapes import Body


@dataclass(frozen=True, slots=True)
class Track:
    """``placed``: its shapes by frame, in order; it stays as one says until the next."""

    label_id: int | None
    source: str | None
    frames: Sequence[int]
    placed: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Track:
        """A track as CVAT answers it."""
        placed = sorted(body.get("shapes") or (), key=lambda shape: int(shape.get("frame", 0)))
        return cls(body.get("label_id"), body.get("source"), [int(each.get("frame", 0)) for each in placed], placed)

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
