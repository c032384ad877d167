"""Annotation files, out and in. ``FORMATS`` names them; a format's code is loaded when it is used."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bridge.domain import TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.document import Document, fit_joints, place
from bridge.formats.writing import Annotated, ExportSummary, Writer, write_all

__all__ = ["FORMATS", "Annotated", "Document", "ExportSummary", "Format", "Writer", "find", "fit_joints", "place"]


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write annotations to a file and to read them.

    name         what users type
    suffix       of the file, as ``.json``
    description  one line for people
    writer       ``module:class`` in ``bridge.formats``, a ``Writer``
    reader       ``module:function``: path -> Document
    options      what the writer is given
    """

    name: str
    suffix: str
    description: str
    writer: str
    reader: str
    options: Mapping[str, Any]

    def open(self, path: Path, labels: Sequence[TaskLabel], **options: Any) -> Writer:
        """A writer of a file that appears at ``path``, whole, when it is finished."""
        return cast(Writer, _load(self.writer)(path, labels, **{**self.options, **options}))

    async def write(
        self, path: Path, labels: Sequence[TaskLabel], frames: AsyncIterable[Annotated], **options: Any
    ) -> ExportSummary:
        """Write frames as they come; memory does not grow with their number. Nothing is left behind on failure."""
        return await write_all(lambda: self.open(path, labels, **options), frames)

    def read(self, path: Path) -> Document:
        """What the file holds. Blocks. Raises InvalidRequest, which names the annotation that is wrong."""
        return cast(Document, _load(self.reader)(path))


def _load(name: str) -> Any:
    module, _, member = name.partition(":")
    return getattr(importlib.import_module(f"bridge.formats.{module}"), member)


def _table(*rows: tuple[str, str, str, str, str, Mapping[str, Any]]) -> Mapping[str, Format]:
    return {row[0]: Format(*row) for row in rows}


FORMATS = _table(
    ("coco", ".json", "COCO instances, masks as run lengths", "coco:CocoWriter", "coco:read_coco", {}),
    (
        "coco-polygons",
        ".json",
        "COCO instances, masks as polygons",
        "coco:CocoWriter",
        "coco:read_coco",
        {"masks": "polygons"},
    ),
    ("coco-keypoints", ".json", "COCO keypoints", "coco:CocoWriter", "coco:read_coco", {"only": "skeleton"}),
    (
        "coco-panoptic",
        ".zip",
        "COCO panoptic, a picture of the masks for each image",
        "coco_panoptic:PanopticWriter",
        "coco_panoptic_reading:read_panoptic",
        {},
    ),
    ("cvat", ".xml", "CVAT for images 1.1", "cvat_xml:CvatXmlWriter", "cvat_xml:read_cvat_xml", {}),
    (
        "cvat-video",
        ".xml",
        "CVAT for video 1.1, with tracks",
        "cvat_video:CvatVideoWriter",
        "cvat_xml:read_cvat_xml",
        {},
    ),
    ("datumaro", ".zip", "Datumaro", "datumaro:DatumaroWriter", "datumaro_reading:read_datumaro", {}),
    (
        "label-studio",
        ".json",
        "Label Studio tasks; to a .zip or folder with the labelling setup",
        "label_studio:LabelStudioWriter",
        "label_studio_reading:read_label_studio",
        {},
    ),
    ("mot", ".zip", "MOT challenge, boxes with tracks", "mot:MotWriter", "mot_reading:read_mot", {}),
    ("voc", ".zip", "Pascal VOC boxes", "voc:VocWriter", "voc_reading:read_voc", {}),
    ("yolo", ".zip", "YOLO boxes, with data.yaml", "yolo:YoloWriter", "yolo:read_yolo", {}),
    ("yolo-seg", ".zip", "YOLO outlines, with data.yaml", "yolo:YoloWriter", "yolo:read_yolo", {"task": "segment"}),
    ("yolo-obb", ".zip", "YOLO oriented boxes", "yolo:YoloWriter", "yolo:read_yolo_obb", {"task": "obb"}),
    ("yolo-pose", ".zip", "YOLO poses of skeletons", "yolo:YoloWriter", "yolo:read_yolo_pose", {"task": "pose"}),
)


def find(name: str) -> Format:
    """The format of this name. Raises InvalidRequest."""
    try:
        return FORMATS[name]
    except KeyError:
        raise InvalidRequest(
            f"There is no annotation format {str(name)[:40]!r}.", hint=f"Formats are {', '.join(FORMATS)}."
        ) from None
