"""Labels of a model file that names none: a text file of names beside it, or the config.json of its repository."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from adapters.errors import Unsupported
from adapters.huggingface_config import CONFIG, read_labels

NAMES = ("labels.txt", "classes.txt", "obj.names", "coco.names", CONFIG)  # the first that is there
_SUBFOLDERS = ("onnx", "openvino")  # beneath the folder that a repository's labels lie in
_MOST_BYTES = 4_000_000


def places(model: str) -> Iterator[str]:
    """Where labels may lie of a model at this path: beside it, then in the folder that a subfolder is part of."""
    folder = PurePosixPath(model).parent
    folders = (folder, folder.parent) if folder.name in _SUBFOLDERS else (folder,)
    return ((each / name).as_posix() for each in folders for name in NAMES)


def labels_beside(model: Path) -> tuple[tuple[str, ...], Path] | None:
    """The labels and the file that names them; None where nothing does. Raises Unsupported for an endless file."""
    for place in map(Path, places(model.as_posix())):
        if place.is_file() and (labels := _read(place)):
            return labels, place
    return None


def _read(place: Path) -> tuple[str, ...]:
    if place.stat().st_size > _MOST_BYTES:
        raise Unsupported(f"{place.name} is too large for a list of labels.")
    try:
        text = place.read_text("utf-8-sig")
        if place.name == CONFIG:
            config = json.loads(text)
            return read_labels(config)[0] if isinstance(config, dict) and config.get("id2label") else ()
    except (OSError, ValueError, Unsupported):  # it is no list of labels, then
        return ()
    return tuple(line.strip() for line in text.splitlines() if line.strip())
