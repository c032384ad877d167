"""What a reader found in an annotation file, and which frames of a task it speaks of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from bridge.domain import Shape, StoredFrame, TaskLabel


@dataclass(frozen=True, slots=True)
class FileShapes:
    """The shapes of one image of the file; labels are the file's.

    width, height  as the file says, or None where it does not
    relative       points are shares of the frame's width and height, 0 to 1
    """

    name: str
    width: int | None
    height: int | None
    shapes: tuple[Shape, ...]
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """A file of annotations. ``suffixless``: it names its images without their suffix, as YOLO does."""

    labels: tuple[TaskLabel, ...]
    images: tuple[FileShapes, ...]
    suffixless: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """Shapes by frame number, and the names of what found no place.

    unknown_files  images of the file that are no frame of the task, or could be several
    wrong_size     images whose size in the file is not the frame's, so their points would lie wrong
    outside        shapes that lie wholly outside of their frame, by image name
    """

    shapes: Mapping[int, tuple[Shape, ...]]
    unknown_files: tuple[str, ...] = ()
    wrong_size: tuple[str, ...] = ()
    outside: Mapping[str, int] = field(default_factory=dict)


def place(document: Document, frames: Iterable[StoredFrame]) -> Placed:
    """Find each image's frame: by its name, else by the end of its path where only one frame fits.

    Shapes are clipped to their frame (skeletons and rotated shapes stay whole), masks must have its size.
    """
    known = _Names(frames, suffixless=document.suffixless)
    shapes: dict[int, tuple[Shape, ...]] = {}
    unknown, wrong, outside = [], [], {}
    for image in document.images:
        frame = known.find(image.name)
        if frame is None:
            unknown.append(image.name)
            continue
        size = (image.width or frame.width, image.height or frame.height)
        if size != (frame.width, frame.height):
            wrong.append(image.name)
            continue
        fitted = [_fit(_scaled(shape, frame) if image.relative else shape, frame) for shape in image.shapes]
        inside = tuple(shape for shape in fitted if shape is not None)
        if len(inside) < len(fitted):
            outside[image.name] = len(fitted) - len(inside)
        shapes[frame.number] = shapes.get(frame.number, ()) + inside
    return Placed(shapes, tuple(unknown), tuple(wrong), outside)


class _Names:
    """Frames by their name, and by every end of it: ``train/a/1.jpg``, ``a/1.jpg``, ``1.jpg``."""

    def __init__(self, frames: Iterable[StoredFrame], *, suffixless: bool) -> None:
        self._strip: Callable[[str], str] = _without_suffix if suffixless else str
        self._whole: dict[str, list[StoredFrame]] = defaultdict(list)
        self._last: dict[str, list[StoredFrame]] = defaultdict(list)
        for frame in frames:
            name = self._strip(frame.name)
            self._whole[name].append(frame)
            self._last[PurePosixPath(name).name].append(frame)

    def find(self, name: str) -> StoredFrame | None:
        wanted = name.replace("\\", "/")
        exact = self._whole.get(wanted, [])
        if exact:
            return exact[0] if len(exact) == 1 else None
        rivals = self._last.get(PurePosixPath(wanted).name, [])
        if len(rivals) > 1:  # the one that agrees on more of the path's end, if it is one
            ends = [(_common_end(self._strip(frame.name), wanted), frame) for frame in rivals]
            most = max(length for length, _ in ends)
            rivals = [frame for length, frame in ends if length == most]
        return rivals[0] if len(rivals) == 1 else None


def _without_suffix(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")) if PurePosixPath(name).name else name


def _common_end(one: str, other: str) -> int:
    length = 0
    for a, b in zip(reversed(one.split("/")), reversed(other.split("/")), strict=False):
        if a != b:
            break
        length += 1
    return length


def _scaled(shape: Shape, frame: StoredFrame) -> Shape:
    step = 3 if shape.type == "skeleton" else 2
    factors = (frame.width, frame.height, 1)[:step]
    points = tuple(round(value * factors[i % step], 2) for i, value in enumerate(shape.points))
    return replace(shape, points=points)


def _fit(shape: Shape, frame: StoredFrame) -> Shape | None:
    """The shape within its frame; None where nothing of it is inside."""
    if shape.type in ("tag", "mask", "skeleton", "ellipse") or shape.rotation:
        return shape
    limits = (frame.width, frame.height)
    xs, ys = shape.points[::2], shape.points[1::2]
    if max(xs) < 0 or max(ys) < 0 or min(xs) > frame.width or min(ys) > frame.height:
        return None
    points = tuple(min(max(value, 0.0), float(limits[i % 2])) for i, value in enumerate(shape.points))
    if shape.type == "rectangle" and (points[2] <= points[0] or points[3] <= points[1]):
        return None
    return replace(shape, points=points)
