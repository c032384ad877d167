"""Tracks of CVAT for video 1.1, in: the shapes of each frame, those between keyframes worked out.

CVAT writes every frame of a track. Where a file gives only keyframes, what lies between two of them is on a straight
line, as CVAT draws it (https://docs.cvat.ai/docs/annotation/manual-annotation/modes/track-mode-basics/); masks and
shapes of different numbers of points stay as they were. A track that shows one frame is a shape of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from bridge.domain import Shape
from bridge.formats.cvat_shapes_reading import SOURCES, Parts, shape_of
from bridge.formats.document import FileShapes
from bridge.formats.xml_reading import Node, Wrong

MAX_FRAME = 10_000_000
MAX_BETWEEN = 1_000_000  # shapes worked out between keyframes: two of them could ask for any number


@dataclass(frozen=True, slots=True)
class Grid:
    """Which frames of its video a task has: CVAT writes the video's numbers."""

    start: int = 0
    step: int = 1

    def number(self, frame: int) -> int:
        """The number in the task."""
        place, off = divmod(frame - self.start, self.step)
        if place < 0 or off:
            raise Wrong(f"frame {frame} is none of its task's, from {self.start} in steps of {self.step}")
        return place


class Tracks:
    """The tracks of a file; ``size`` is the width and height of its frames, where the head says so."""

    def __init__(self) -> None:
        self.size: tuple[int, int] | None = None
        self.grid = Grid()
        self.count = 0
        self._between = 0
        self._frames: defaultdict[int, list[Shape]] = defaultdict(list)

    def add(self, node: Node, parts: Parts) -> None:
        self.count += 1
        source = SOURCES.get(node.attributes.get("source", "manual"), SOURCES["manual"])
        group = node.whole("group_id", most=2**31 - 1) if "group_id" in node.attributes else 0
        keyframes: dict[int, Shape | None] = {}
        for child in node.children:
            number = self.grid.number(child.whole("frame", most=MAX_FRAME))
            shape = shape_of(child, self.size, parts, node.need("label"))
            shape = replace(shape, source=source, group=group or shape.group)
            keyframes[number] = None if child.attributes.get("outside") == "1" or _is_gone(child) else shape
        seen = list(self._filled(keyframes))
        track_id = node.whole("id", most=2**31 - 2) + 1 if len(seen) > 1 else 0
        for number, shape in seen:
            self._frames[number].append(replace(shape, track_id=track_id))

    def _filled(self, keyframes: dict[int, Shape | None]) -> Iterator[tuple[int, Shape]]:
        """Frame and shape, in order, those between keyframes included."""
        order = sorted(keyframes)
        for number, following in zip(order, [*order[1:], None], strict=False):
            shape = keyframes[number]
            if shape is None:
                continue
            end = number + 1 if following is None else following
            self._between += end - number - 1
            if self._between > MAX_BETWEEN:
                raise Wrong(f"more than {MAX_BETWEEN} shapes lie between the keyframes of its tracks")
            then = keyframes[end] if following is not None else None
            for between in range(number, end):
                yield between, _between(shape, then, (between - number) / (end - number))

    def images(self) -> tuple[FileShapes, ...]:
        width, height = self.size or (None, None)
        return tuple(
            FileShapes(str(number), width, height, tuple(shapes)) for number, shapes in sorted(self._frames.items())
        )


def _is_gone(node: Node) -> bool:
    """A skeleton is outside where all its points are."""
    points = node.all("points")
    return node.tag == "skeleton" and bool(points) and all(point.attributes.get("outside") == "1" for point in points)


def _between(shape: Shape, then: Shape | None, share: float) -> Shape:
    if not share or then is None or shape.type != then.type or len(shape.points) != len(then.points):
        return shape
    flat = [a + (b - a) * share for a, b in zip(shape.points, then.points, strict=True)]
    if shape.type == "skeleton":
        flat[2::3] = shape.points[2::3]  # visibility is no place
    turn = (then.rotation - shape.rotation + 180) % 360 - 180  # the short way round
    rotation = round((shape.rotation + turn * share) % 360, 2) % 360
    return replace(shape, points=tuple(round(value, 2) for value in flat), rotation=rotation, score=None)
