"""What CVAT says of a task: labels, frames, jobs. Read leniently, since versions differ; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.errors import BadOutput
from bridge.domain import LABEL_TYPES, LabelAttribute, NewFrame, StoredFrame, TaskLabel
from bridge.errors import too_many_frames
from bridge.task_labels import INPUT_TYPES, color_of


@dataclass(frozen=True, slots=True)
class RemoteLabel:
    """A label with CVAT's ids: of itself, of its attributes and of a skeleton's points, by their names."""

    id: int
    label: TaskLabel
    attribute_ids: Mapping[str, int]
    point_ids: Mapping[str, int] = field(default_factory=dict)
    point_attributes: Mapping[str, Sequence[tuple[int, str]]] = field(default_factory=dict)  # (id, default value)


class Labels:
    """A task's labels, by their names and by CVAT's ids."""

    def __init__(self, labels: Sequence[RemoteLabel]) -> None:
        self.all = tuple(labels)
        self.by_name = {label.label.name: label for label in labels}
        self.names = {label.id: label.label.name for label in labels}
        self.points = {label.id: [label.point_ids[name] for name in label.label.sublabels] for label in labels}
        self.attributes = {number: name for label in labels for name, number in label.attribute_ids.items()}

    @property
    def ids(self) -> set[int]:
        """Of everything that a shape refers to."""
        points = {number for numbers in self.points.values() for number in numbers}
        return {*self.names, *points, *self.attributes}


@dataclass(frozen=True, slots=True)
class RemoteJob:
    """A CVAT job: the frames from ``start`` to ``stop``, both included."""

    id: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Data:
    """How a task's frames are kept.

    cut   the task has a start_frame or a step, so that its frames' numbers are not its source's
    """

    size: int
    chunk_size: int
    video: bool
    cut: bool
    frames: Sequence[NewFrame]


def labels_of(answer: Iterable[Mapping[str, Any]]) -> list[RemoteLabel]:
    """In CVAT's order. Raises BadOutput where one is none."""
    entries = [entry for entry in answer if not entry.get("parent_id")]
    labels = [_label(entry, position) for position, entry in enumerate(entries)]
    if len({label.label.name for label in labels}) < len(labels):
        raise BadOutput("CVAT answered two labels of the same name.", hint=_NO_CVAT)
    return labels


def _label(entry: Mapping[str, Any], position: int) -> RemoteLabel:
    name, label_type = entry.get("name"), entry.get("type") or "any"
    if not isinstance(name, str) or not name.strip() or text_of(name) != name or not isinstance(entry.get("id"), int):
        raise BadOutput("CVAT answered a label without name or id.", hint=_NO_CVAT)
    attributes, ids = _attributes(entry.get("attributes"))
    points = [point for point in list_of(entry.get("sublabels")) if isinstance(point, dict)]
    if not all(isinstance(point.get("id"), int) for point in points):
        raise BadOutput(f"CVAT answered a point of {name} without an id.", hint=_NO_CVAT)
    point_attributes = {}
    for point in points:
        own, own_ids = _attributes(point.get("attributes"))
        point_attributes[text_of(point.get("name"))] = [(own_ids[each.name], default_of(each)) for each in own]
    label = TaskLabel(
        name,
        label_type if label_type in LABEL_TYPES else "any",
        text_of(entry.get("color") or color_of(position)),
        attributes,
        tuple(text_of(point.get("name")) for point in points),
    )
    point_ids = {text_of(point.get("name")): int(point["id"]) for point in points}
    return RemoteLabel(entry["id"], label, ids, point_ids, point_attributes)


def _attributes(answer: object) -> tuple[tuple[LabelAttribute, ...], dict[str, int]]:
    found, ids = [], {}
    for entry in answer if isinstance(answer, list) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int):
            continue
        name, input_type = text_of(entry.get("name")), str(entry.get("input_type") or "text")
        values = entry.get("values") or ()
        values = values.splitlines() if isinstance(values, str) else list_of(values)
        attribute = LabelAttribute(
            name,
            input_type if input_type in INPUT_TYPES else "text",
            tuple(text_of(value) for value in values),
            bool(entry.get("mutable")),
            text_of(entry.get("default_value") or ""),
        )
        found.append(attribute)
        ids[name] = entry["id"]
    return tuple(found), ids


def default_of(attribute: LabelAttribute) -> str:
    """The value that CVAT's own page gives to a new shape."""
    if attribute.default_value:
        return attribute.default_value
    if attribute.input_type == "checkbox":
        return "false"
    if attribute.input_type == "text" or not attribute.values:
        return ""
    return attribute.values[0]


def jobs_of(answer: Iterable[Mapping[str, Any]]) -> list[RemoteJob]:
    """Those that people annotate, in the order of their frames: ground truth and replicas are left out."""
    jobs = [
        RemoteJob(int(entry["id"]), int(entry["start_frame"]), int(entry["stop_frame"]))
        for entry in answer
        if entry.get("type", "annotation") == "annotation"
        and all(isinstance(entry.get(key), int) for key in ("id", "start_frame", "stop_frame"))
        and entry["start_frame"] >= 0
    ]
    return sorted(jobs, key=lambda job: (job.start, job.id))


def data_of(task: Mapping[str, Any], meta: Mapping[str, Any], within: RemoteJob | None, most: int) -> Data:
    """``within``: the job whose frames alone are meant. Raises BadOutput where sizes are missing, TooLarge where the
    task (or that job) has more than ``most`` frames."""
    size, chunk_size = meta.get("size"), meta.get("chunk_size") or task.get("data_chunk_size")
    frames = [entry for entry in list_of(meta.get("frames")) if isinstance(entry, dict)]
    if not isinstance(size, int) or not isinstance(chunk_size, int) or min(size, chunk_size) < 1 or not frames:
        raise BadOutput("CVAT does not say how many frames the task has, or of what size.", hint=_NO_CVAT)
    video = task.get("mode") == "interpolation" and len(frames) == 1 and size > 1
    deleted = {number for number in list_of(meta.get("deleted_frames")) if isinstance(number, int)}
    numbers = range(size) if within is None else range(within.start, min(within.stop, size - 1) + 1)
    if numbers.stop - numbers.start > most:  # len() of a range ends at 2**63
        raise too_many_frames("The task" if within is None else "The job", numbers.stop - numbers.start, most)
    if not video and len(frames) != size:
        raise BadOutput(f"CVAT lists {len(frames)} frames of a task of {size}.", hint=_NO_CVAT)
    named: dict[str, int] = {}
    found = []
    for number in numbers:
        entry = frames[0 if len(frames) == 1 else number]
        name = text_of(entry.get("name") or "") or f"frame {number}"
        if video:
            name = f"{name}#{number:06d}"
        named[name] = named.get(name, 0) + 1
        if named[name] > 1:
            name = f"{name} ({number})"
        size_of = _size_of(entry)
        if size_of is None:
            raise BadOutput(f"CVAT does not say of what size {name} is.", hint=_NO_CVAT)
        found.append(NewFrame(name, "", *size_of, number, "deleted" if number in deleted else None))
    cut = bool(meta.get("start_frame")) or bool(meta.get("frame_filter"))
    as_video = str(task.get("data_original_chunk_type") or "imageset") == "video"
    return Data(size, chunk_size, as_video, cut, found)


def first_difference(known: Sequence[StoredFrame], now: Sequence[NewFrame]) -> str | None:
    """Where the frames that were taken over once and those that CVAT lists now part, in words; None where nowhere."""
    for old, new in zip(known, now, strict=False):
        was, is_ = ((each.number, each.name, each.width, each.height) for each in (old, new))
        if was != is_:
            return (
                f"frame {old.number} was {old.name} of {old.width} x {old.height} pixels, and is {new.name} of "
                f"{new.width} x {new.height}"
                if old.number == new.number
                else f"it began with frame {old.number} and begins with frame {new.number}"
            )
    return None if len(known) == len(now) else f"there were {len(known)}, and are {len(now)}"


def _size_of(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = entry.get("width"), entry.get("height")
    if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0 and width * height < 2**31:
        return width, height
    return None


def list_of(value: object) -> list[Any]:
    """A list as it is; whatever else stands in its place holds nothing."""
    return value if isinstance(value, list) else []


def text_of(value: object) -> str:
    """As text that can be stored: JSON may hold halves of characters."""
    return str(value).replace("\0", "").encode("utf-8", "replace").decode()


_NO_CVAT = "Is the address that of a CVAT of version 2?"
