"""The frames of a Label Studio project: which of its tasks' images they are, and where their pictures come from.

A frame is one image of one task. Where a config shows one image, its number is the task's id; where it shows several,
the ids are spread so that the images of a task stand side by side. What is fetched stands in the frame's path, in a
form that is no path of this machine.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from adapters.errors import BadFrame
from adapters.frame import Frame
from bridge.domain import NewFrame, StoredFrame
from bridge.label_studio.config import LabelConfig
from bridge.patience import Patience
from bridge.remotes.label_studio.images import Images
from bridge.sources.frame_source import Picture
from bridge.sources.names import printable

MOST_NUMBER = 2**31 - 1
_SCHEME = "label-studio"
_STEP = re.compile(r"[^.\[\]]+")


@dataclass(frozen=True, slots=True)
class Place:
    """What a frame shows: an Image tag of a task, and the address that the task's data gives for it."""

    task_id: int
    image: str
    address: str

    @property
    def path(self) -> str:
        return f"{_SCHEME}:{self.task_id}:{quote(self.image, safe='')}:{self.address}"


def place_of(row: StoredFrame) -> Place:
    """What a stored frame shows. Raises BadFrame where it is no frame of Label Studio."""
    scheme, _, rest = row.path.partition(":")
    task_id, _, rest = rest.partition(":")
    image, _, address = rest.partition(":")
    if scheme != _SCHEME or not task_id.isdecimal():
        raise BadFrame(row.name, f"{row.name} is no image of a Label Studio task.")
    return Place(int(task_id), unquote(image), address)


def frames_of(task: Mapping[str, Any], config: LabelConfig) -> list[NewFrame]:
    """The frames of a task as its REST API or a call of a backend describes it; images without an address are none."""
    images, data = config.answered_images, task.get("data")
    task_id = task.get("id")
    if not isinstance(task_id, int) or isinstance(task_id, bool) or task_id < 1 or not isinstance(data, Mapping):
        return []
    annotated = bool(task.get("is_labeled")) or bool(task.get("total_annotations"))
    found = []
    for index, image in enumerate(images):
        address, number = _at(data, image.key), task_id * len(images) + index
        if not isinstance(address, str) or not _storable(address) or number > MOST_NUMBER:
            continue
        place = Place(task_id, image.name, address.strip())
        parts = [str(task_id), *([image.name] if len(images) > 1 else []), _file_name(place.address)]
        name = printable("-".join(part for part in parts if part))
        found.append(NewFrame(name, place.path, 0, 0, number, "annotated" if annotated else None))
    return found


def _storable(address: str) -> bool:
    """Whether it is an address at all, and without halves of characters, which JSON may hold."""
    return bool(address.strip()) and "\0" not in address and not any("\ud800" <= char <= "\udfff" for char in address)


def _at(data: Mapping[str, Any], key: str) -> Any:
    """What a variable of a label config stands for: ``image``, or within it as in ``image.url`` and ``pages[0]``."""
    if key in data:
        return data[key]
    found: Any = data
    for name in _STEP.findall(key):
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, Sequence) and not isinstance(found, str) and name.isdecimal() and len(name) < 10:
            found = found[int(name)] if int(name) < len(found) else None
        else:
            return None
    return found


def _file_name(address: str) -> str:
    """The last part of an address, for people to recognise the image. Of a file in a bucket Label Studio gives the
    address ``/tasks/7/resolve/?fileuri=``, and what follows is the bucket's own, in base64."""
    if address.startswith("data:"):
        return "inline"
    try:
        path = urlsplit(address)
        inside = re.search(r"(?:^|&)fileuri=([^&]+)", path.query)
        if inside and path.path.endswith(("/resolve/", "/presign/")):
            path = urlsplit(base64.urlsafe_b64decode(unquote(inside[1])).decode())
    except ValueError:
        return ""
    text = path.query.rpartition("=")[2] if path.path.endswith("/local-files/") else path.path
    return unquote(text).rstrip("/").rpartition("/")[2][-80:]


@dataclass(frozen=True, slots=True)
class ProjectFrames:
    """A ``FrameSource`` that has ``ahead`` images under way."""

    images: Images
    patience: Patience
    ahead: int = 16

    async def read(self, rows: AsyncIterable[StoredFrame]) -> AsyncGenerator[Picture, None]:
        """Each row comes back with the size of its picture, which nobody knows before."""
        under_way: deque[asyncio.Task[Picture]] = deque()
        try:
            async for row in rows:
                under_way.append(asyncio.create_task(self._picture(row)))
                if len(under_way) >= self.ahead:
                    yield await under_way.popleft()
            while under_way:
                yield await under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _picture(self, row: StoredFrame) -> Picture:
        try:
            place = place_of(row)
            data = await self.patience.ask(
                "Label Studio", lambda: self.images.fetch(row.name, place.task_id, place.address)
            )
            frame = await asyncio.to_thread(Frame.from_bytes, row.name, data)
        except BadFrame as error:
            return row, error
        return replace(row, width=frame.width, height=frame.height), frame
