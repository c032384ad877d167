"""The last step of a job that tracks: its stored shapes are linked, frame by frame, and told which track they are of.

It reads what is stored and always finds the same, so a run that ends in the middle of it is followed by one that does
it all again. Numbers are none that other shapes of the task have.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from bridge.domain import Shape, StoredFrame
from bridge.job_spec import Tracking
from bridge.outlines import Box, box_around, objects_of
from bridge.store import Store, leases, ledger
from bridge.store import shapes as shape_rows
from bridge.store.leases import Lease
from bridge.tracking import Linker

PAGE = 256  # frames read at once
CHUNK = 5000  # shapes written in one transaction


async def link_shapes(store: Store, lease: Lease, task_id: int, tracking: Tracking, lease_s: float) -> int:
    """Give the shapes of the lease's job their ``track_id``; the number of tracks. Raises LeaseLost."""
    links = _Links(tracking, lease.job_id)
    after = -1
    while True:
        async with store.read() as connection:
            page = await ledger.frames_of(connection, lease.job_id, after, PAGE)
            shapes = await shape_rows.get_shapes(connection, task_id, [frame.number for frame in page])
        if not page:
            break
        after = page[-1].number
        await asyncio.to_thread(links.add, page, shapes)
    ids, numbers = links.tracks()
    order = np.argsort(-numbers, kind="stable")  # the highest first: other jobs number on from there
    last = 0
    for start in range(0, len(order), CHUNK):
        rows = order[start : start + CHUNK]
        async with store.write() as connection:
            await leases.renew(connection, lease, lease_s)
            if not start:
                last = await shape_rows.last_track(connection, task_id, but_job=lease.job_id)
            found = np.where(numbers[rows] > 0, numbers[rows] + last, 0)
            pairs = zip(ids[rows].tolist(), found.tolist(), strict=True)
            await shape_rows.set_tracks(connection, lease.job_id, list(pairs))
    return int(numbers.max(initial=0))


class _Links:
    """What is linked so far: of each shape its id and the number of its track, two integers a shape."""

    def __init__(self, tracking: Tracking, job_id: int) -> None:
        self._linker, self._least, self._job_id = Linker(tracking), tracking.min_length, job_id
        self._scene = ""
        self._ids, self._numbers = array("q"), array("q")
        self._lengths = array("q", [0])  # of each track, by its number

    def add(self, frames: Sequence[StoredFrame], shapes: Mapping[int, Sequence[Shape]]) -> None:
        """The next frames of the job, and all shapes that are on them. Blocks."""
        for frame in frames:
            if _scene(frame) != self._scene:
                self._linker.cut()
                self._scene = _scene(frame)
            mine = [shape for shape in shapes[frame.number] if shape.job_id == self._job_id]
            objects = _boxed(mine, (frame.width, frame.height))
            boxes, kinds = [box for _, box in objects], [(parts[0].label, parts[0].type) for parts, _ in objects]
            for number, (parts, _) in zip(self._linker.link(np.array(boxes), kinds), objects, strict=True):
                if number == len(self._lengths):
                    self._lengths.append(0)
                self._lengths[number] += 1
                self._ids.extend(part.id for part in parts)
                self._numbers.extend([number] * len(parts))

    def tracks(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids of shapes and the numbers of their tracks, from 1 without gaps; 0: seen too seldom to be one."""
        kept = np.array(self._lengths, np.int64) >= self._least
        kept[0] = False
        renumbered = np.where(kept, np.cumsum(kept), 0)
        return np.array(self._ids, np.int64), renumbered[np.array(self._numbers, np.int64)]


def _scene(frame: StoredFrame) -> str:
    """What frames of one sequence have in common: their video, or the folder that their image is in."""
    return frame.path if frame.video_pts is not None else str(PurePosixPath(frame.name).parent)


def _boxed(shapes: Sequence[Shape], size: tuple[int, int]) -> list[tuple[list[Shape], Box]]:
    """Objects that have a box; the parts of one are one."""
    found = []
    for parts in objects_of(shapes):
        try:
            box = box_around(parts, size)
        except ValueError:  # a mask that cannot be read
            continue
        if box is not None:
            found.append((parts, box))
    return found
