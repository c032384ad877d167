"""What a reader found in an annotation file, and which frames of a task it speaks of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from bridge.domain import Shape, StoredFrame, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.stems import stem_of
from bridge.outlines import Box, box_of, rectangle_of


@dataclass(frozen=True, slots=True)
class FileShapes:
    """The shapes of one image of the file; labels are the file's.

    width, height  as the file says, or None where it does not
    relative       points are shares of the frame's width and height, 0 to 1; a rectangle may be its four corners
    """

    name: str
    width: int | None
    height: int | None
    shapes: tuple[Shape, ...]
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """A file of annotations.

    suffixless  it names its images without their suffix, as YOLO does
    numbered    it knows images by the number of their frame alone, as annotations of videos do: that is their name
    """

    labels: tuple[TaskLabel, ...]
    images: tuple[FileShapes, ...]
    suffixless: bool = False
    numbered: bool = False


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

    Shapes are clipped to their frame (skeletons, ellipses and rotated shapes stay whole), masks must have its size.
    """
    known = _Numbers(frames) if document.numbered else _Names(frames, suffixless=document.suffixless)
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


def fit_joints(document: Document, labels: Iterable[TaskLabel]) -> Document:
    """The document with its skeletons' points in the order of the task's labels of the same name.

    Points are known by name; where the names are not the task's but as many, by their order. Raises InvalidRequest
    where neither fits.
    """
    theirs = {label.name: label.sublabels for label in document.labels}
    orders: dict[str, list[int | None]] = {}
    for label in labels:
        names = theirs.get(label.name, ())
        if not names or label.type != "skeleton" or names == label.sublabels:
            continue
        if set(names) <= set(label.sublabels):
            orders[label.name] = [names.index(joint) if joint in names else None for joint in label.sublabels]
        elif len(names) != len(label.sublabels):
            raise InvalidRequest(
                f"The skeleton {label.name} has {len(names)} points in the file, in the task {len(label.sublabels)}.",
                hint="Name the points in the file as in the task, or make a task with the file's points.",
            )
    if not orders:
        return document
    images = (
        replace(image, shapes=tuple(_reordered(shape, orders.get(shape.label)) for shape in image.shapes))
        for image in document.images
    )
    return replace(document, images=tuple(images))


def _reordered(shape: Shape, order: list[int | None] | None) -> Shape:
    if order is None or shape.type != "skeleton":
        return shape
    points: list[float] = []
    for place in order:
        points += shape.points[3 * place : 3 * place + 3] if place is not None else (0.0, 0.0, 0.0)
    return replace(shape, points=tuple(points))


class _Numbers:
    def __init__(self, frames: Iterable[StoredFrame]) -> None:
        self._frames = {str(frame.number): frame for frame in frames}

    def find(self, name: str) -> StoredFrame | None:
        return self._frames.get(name)


class _Names:
    """Frames by their name, and by every end of it: ``train/a/1.jpg``, ``a/1.jpg``, ``1.jpg``."""

    def __init__(self, frames: Iterable[StoredFrame], *, suffixless: bool) -> None:
        self._name: Callable[[StoredFrame], str] = stem_of if suffixless else _whole_name
        self._whole: dict[str, list[StoredFrame]] = defaultdict(list)
        self._last: dict[str, list[StoredFrame]] = defaultdict(list)
        for frame in frames:
            name = self._name(frame)
            as_image = [] if suffixless or frame.video_pts is None else [f"{name}.jpg"]  # as exported with images
            for each in (name, *as_image):
                self._whole[each].append(frame)
                self._last[PurePosixPath(each).name].append(frame)

    def find(self, name: str) -> StoredFrame | None:
        wanted = name.replace("\\", "/")
        exact = self._whole.get(wanted, [])
        if exact:
            return exact[0] if len(exact) == 1 else None
        rivals = self._last.get(PurePosixPath(wanted).name, [])
        if len(rivals) > 1:  # the one that agrees on more of the path's end, if it is one
            ends = [(_common_end(self._name(frame), wanted), frame) for frame in rivals]
            most = max(length for length, _ in ends)
            rivals = [frame for length, frame in ends if length == most]
        return rivals[0] if len(rivals) == 1 else None


def _whole_name(frame: StoredFrame) -> str:
    return frame.name


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
    points = tuple(value * factors[i % step] for i, value in enumerate(shape.points))
    if shape.type == "rectangle" and len(points) == 8:
        points, rotation = rectangle_of(points)
        return replace(shape, points=points, rotation=rotation)
    return replace(shape, points=tuple(round(value, 2) for value in points))


def _fit(shape: Shape, frame: StoredFrame) -> Shape | None:
    """The shape within its frame; None where nothing of it is inside."""
    if shape.type in ("tag", "mask"):
        return shape
    if shape.type in ("skeleton", "ellipse") or shape.rotation:
        box = box_of(shape, (frame.width, frame.height))
        return shape if box is None or _touches(box, frame) else None
    limits = (frame.width, frame.height)
    xs, ys = shape.points[::2], shape.points[1::2]
    if not _touches((min(xs), min(ys), max(xs), max(ys)), frame):
        return None
    points = tuple(min(max(value, 0.0), float(limits[i % 2])) for i, value in enumerate(shape.points))
    if shape.type == "rectangle" and (points[2] <= points[0] or points[3] <= points[1]):
        return None
    return replace(shape, points=points)


def _touches(box: Box, frame: StoredFrame) -> bool:
    x1, y1, x2, y2 = box
    return x2 >= 0 and y2 >= 0 and x1 <= frame.width and y1 <= frame.height
