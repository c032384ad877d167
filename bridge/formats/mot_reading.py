"""MOT challenge folders and zips, in: gt/gt.txt with labels.txt beside it, or det/det.txt.

Frames are known by their number. In gt.txt the seventh number is a flag, and boxes that do not count are left out; in
det.txt it is the score, where it lies between 0 and 1. Without labels.txt labels are the classes of MOT16 to MOT20.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from bridge.domain import Shape, TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.document import Document, FileShapes
from bridge.formats.unpacking import text_of, wanted_files

_HINT = "MOT is a folder or zip with gt/gt.txt and gt/labels.txt."
_MAX_FRAME = 10_000_000
# The classes of MOT16: https://arxiv.org/abs/1603.00831, table 6.
_CLASSES = (
    "Pedestrian", "Person on vehicle", "Car", "Bicycle", "Motorbike", "Non motorized vehicle", "Static person",
    "Distractor", "Occluder", "Occluder on the ground", "Occluder full", "Reflection",
)  # fmt: skip


def read_mot(path: Path) -> Document:
    """The boxes of a MOT folder, zip, or gt.txt. Raises InvalidRequest, which names the file and the line."""
    if path.is_file() and path.suffix.lower() == ".txt":
        path = path.parent
    texts = {name: text_of(body, name) for name, body in wanted_files(path, _wanted, _HINT)}
    files = [name for name in texts if name.endswith("gt.txt")] or [name for name in texts if name.endswith("det.txt")]
    if not files:
        raise InvalidRequest(f"{path.name} has no gt.txt.", hint=_HINT)
    if len(files) > 1:
        raise InvalidRequest(f"{path.name} holds several sequences.", hint="Import them one by one.")
    listed = [name for name in texts if name.endswith("labels.txt")]
    labels = [line.strip() for line in texts[listed[0]].splitlines()] if listed else _CLASSES
    frames: defaultdict[int, list[Shape]] = defaultdict(list)
    for number, line in enumerate(texts[files[0]].splitlines(), 1):
        if line.strip():
            found = _shape(line, labels, f"{files[0]}, line {number}", is_truth=files[0].endswith("gt.txt"))
            if found is not None:
                frames[found[0]].append(found[1])
    images = tuple(FileShapes(str(frame), None, None, tuple(shapes)) for frame, shapes in sorted(frames.items()))
    return Document(tuple(TaskLabel(name) for name in labels if name), images, numbered=True)


def _wanted(name: str) -> bool:
    return PurePosixPath(name).name in ("gt.txt", "det.txt", "labels.txt")


def _shape(line: str, labels: Sequence[str], where: str, *, is_truth: bool) -> tuple[int, Shape] | None:
    """The frame's number from 0, and the shape; None of a box that does not count."""
    try:
        values = [float(part) for part in line.replace(",", " ").split()]
    except ValueError as error:
        raise InvalidRequest(f"{where}: not all of it is numbers.", hint=_HINT) from error
    if not all(-1e9 < value < 1e9 for value in values):  # also NaN
        raise InvalidRequest(f"{where}: a number is not finite.")
    if len(values) < 6:
        raise InvalidRequest(f"{where}: {len(values)} numbers are no frame, track and box.", hint=_HINT)
    frame, track, left, top, width, height = values[:6]
    flag = values[6] if len(values) > 6 else 1.0
    label_id = values[7] if len(values) > 7 and is_truth else 1.0
    if not frame.is_integer() or not 1 <= frame <= _MAX_FRAME:
        raise InvalidRequest(f"{where}: {frame:g} is no frame, which count from 1.")
    if not track.is_integer():
        raise InvalidRequest(f"{where}: {track:g} is no number of a track.")
    if width < 0 or height < 0:
        raise InvalidRequest(f"{where}: the box has a negative size.")
    if label_id == -1 and len(labels) == 1:
        label_id = 1.0
    if not label_id.is_integer() or not 1 <= label_id <= len(labels) or not labels[int(label_id) - 1]:
        raise InvalidRequest(f"{where}: there is no label {label_id:g}; labels.txt has {len(labels)}.")
    if is_truth and flag == 0:
        return None
    score = flag if not is_truth and 0 <= flag <= 1 else None
    points = tuple(round(value, 2) for value in (left, top, left + width, top + height))
    label = labels[int(label_id) - 1]
    return int(frame) - 1, Shape(label, "rectangle", points, score=score, track_id=max(0, int(track)))
