"""COCO panoptic, out (https://cocodataset.org/#format-data): a folder or, where the path ends in .zip, an archive.

    annotations/panoptic_default.json        labels, images, and the segments of each image
    annotations/panoptic_default/NAME.png    a picture of the segments: red + 256 green + 65536 blue is a segment's id

Every pixel belongs to one segment at most, so of shapes that overlap the later ones lie above, and one that is covered
whole is left out and counted. Rectangles and ellipses are filled. Every label counts as a thing. ``score`` and
``track_id`` stand beside a segment where a shape has them; skeletons, points and tags have no area, and are left out.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bridge.domain import Shape, StoredFrame, TaskLabel
from bridge.formats.coco import beside_geometry
from bridge.formats.packing import Pack
from bridge.formats.stems import Stems
from bridge.formats.writing import ExportSummary, Tally
from bridge.masks import Bits, crop_mask, mask_from_polygon
from bridge.outlines import mask_of, objects_of, outlines_of

NAME = "annotations/panoptic_default"
_FLAT = ("skeleton", "points", "tag")  # what has no area


class PanopticWriter:
    """Pictures go straight to their place; the lists of images and segments wait in files of their own."""

    def __init__(self, path: Path, labels: Sequence[TaskLabel]) -> None:
        self._ids = {label.name: number for number, label in enumerate(labels, 1)}
        self._labels = labels
        self._tally, self._stems = Tally(), Stems("COCO panoptic")
        self.pack = Pack(path)
        self._images: IO[bytes] = tempfile.TemporaryFile(dir=self.pack.beside)  # noqa: SIM115
        self._annotations: IO[bytes] = tempfile.TemporaryFile(dir=self.pack.beside)  # noqa: SIM115

    def add(self, frame: StoredFrame, shapes: Sequence[Shape]) -> None:
        """Raises InvalidRequest where two frames would share a picture, or a name leads out of the folder."""
        picture = f"{self._stems.claim(frame)}.png"
        painted, segments = self._painted(frame, shapes)
        self.pack.put(f"{NAME}/{picture}", _png(painted))
        between = b",\n" if self._tally.frames else b"\n"
        image = {"id": frame.number + 1, "file_name": frame.name, "width": frame.width, "height": frame.height}
        annotation = {"image_id": frame.number + 1, "file_name": picture, "segments_info": segments}
        self._images.write(between + _json(image))
        self._annotations.write(between + _json(annotation))
        self._tally.frames += 1

    def finish(self) -> ExportSummary:
        head = {"description": "Annotations exported by Hubbridge", "version": "1.0"}
        categories = [_category(number, label) for number, label in enumerate(self._labels, 1)]
        with tempfile.TemporaryFile(dir=self.pack.beside) as whole:
            whole.write(b'{"info": %s,\n"licenses": [],\n"categories": %s' % (_json(head), _json(categories)))
            for key, part in ((b"images", self._images), (b"annotations", self._annotations)):
                whole.write(b',\n"%s": [' % key)
                part.seek(0)
                while block := part.read(1 << 20):
                    whole.write(block)
                whole.write(b"\n]")
            whole.write(b"}\n")
            whole.seek(0)
            self.pack.put_stream(f"{NAME}.json", whole)
        self._close()
        self.pack.keep()
        return self._tally.summary()

    def abort(self) -> None:
        self._close()
        self.pack.discard()

    def _close(self) -> None:
        for file in (self._images, self._annotations):
            with suppress(OSError):
                file.close()

    def _painted(self, frame: StoredFrame, shapes: Sequence[Shape]) -> tuple[NDArray[np.uint32], list[dict[str, Any]]]:
        """u32[height, width] of segment ids, 0 where there is none, and what is told of those that can be seen."""
        painted = np.zeros((frame.height, frame.width), np.uint32)
        segments: list[tuple[list[Shape], tuple[slice, slice]]] = []
        for parts in objects_of(shapes):
            crop = self._crop(parts, frame)
            if crop is None:
                continue
            left, top, bits = crop
            window = slice(top, top + bits.shape[0]), slice(left, left + bits.shape[1])
            segments.append((parts, window))
            painted[window][bits != 0] = len(segments)
        told = []
        for number, (parts, window) in enumerate(segments, 1):
            rows, columns = np.nonzero(painted[window] == number)
            if not len(rows):
                self._tally.leave_out("shape that others cover", len(parts))
                continue
            left, top = window[1].start + int(columns.min()), window[0].start + int(rows.min())
            right, bottom = window[1].start + int(columns.max()) + 1, window[0].start + int(rows.max()) + 1
            box = [left, top, right - left, bottom - top]
            told.append(_segment(number, self._ids[parts[0].label], parts[0], box, len(rows)))
            self._tally.shapes += len(parts)
        return painted, told

    def _crop(self, parts: list[Shape], frame: StoredFrame) -> tuple[int, int, Bits] | None:
        """Left, top and pixels of an object; None, and counted, where it has none."""
        shape, size = parts[0], (frame.width, frame.height)
        if shape.label not in self._ids or shape.type in _FLAT:
            self._tally.leave_out(shape.type if shape.label in self._ids else "unknown label")
            return None
        try:
            mask = mask_of(shape, size)
            if shape.type != "mask":
                mask = mask_from_polygon([outline for part in parts for outline in outlines_of(part, size)], *size)
            crop = crop_mask(mask)
        except ValueError:
            self._tally.leave_out("unreadable mask")
            return None
        if crop is None:
            self._tally.leave_out(f"empty {shape.type}")
        return crop


def _segment(number: int, category: int, shape: Shape, box: list[int], area: int) -> dict[str, Any]:
    entry = {"id": number, "category_id": category, "area": area, "bbox": box, "iscrowd": 0}
    return entry | beside_geometry(shape)


def _category(number: int, label: TaskLabel) -> dict[str, Any]:
    digits = label.color.removeprefix("#")
    color = [int(digits[i : i + 2], 16) for i in (0, 2, 4)] if len(digits) == 6 else [0, 0, 0]
    return {"id": number, "name": label.name, "supercategory": "", "isthing": 1, "color": color}


def _png(painted: NDArray[np.uint32]) -> bytes:
    channels = np.stack([(painted >> shift) & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(channels).save(out, "PNG")
    return out.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
