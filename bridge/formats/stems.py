"""The names of files that go with frames: a frame's name without its suffix."""

from __future__ import annotations

from pathlib import PurePosixPath

from bridge.domain import StoredFrame
from bridge.errors import InvalidRequest


def stem_of(frame: StoredFrame) -> str:
    """The name without the image's suffix. A frame of a video has none: ``cam.01_000120`` is of ``cam.01.mp4``."""
    name = PurePosixPath(frame.name)
    return frame.name if frame.video_pts is not None or not name.name else str(name.with_suffix(""))


def check_name(name: str, where: str) -> None:
    """Raises InvalidRequest where a frame's name leads out of the folder. ``where``: ends the sentence."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.name or "\\" in name:
        raise InvalidRequest(f"The frame's name {name!r} cannot be a path in {where}.")


class Stems:
    """Stems of frames, each once."""

    def __init__(self, format_name: str) -> None:
        self._format = format_name
        self._taken: set[str] = set()

    def claim(self, frame: StoredFrame) -> str:
        """Raises InvalidRequest where two frames would share a file, or a name leads out of the folder."""
        check_name(frame.name, f"a {self._format} folder")
        stem = stem_of(frame)
        if stem in self._taken:
            raise InvalidRequest(
                f"{frame.name} would share its label file with a frame of the same name and another suffix.",
                hint="Export as COCO or CVAT, which know images by their whole name.",
            )
        self._taken.add(stem)
        return stem
