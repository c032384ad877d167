"""Annotation files, out and in. ``FORMATS`` names them; a format's code is loaded when it is used."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from bridge.domain import TaskLabel
from bridge.errors import InvalidRequest
from bridge.formats.document import Document, fit_joints, place
from bridge.formats.unpacking import single_file
from bridge.formats.with_images import PackWriter, Pictured, SingleInPack, WithImages
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
    images       where an image stands in a folder or zip of this format: ``with_images`` says what it is made of
    document     the name of its file in such a folder, where a format is a single file; empty where it is several
    """

    name: str
    suffix: str
    description: str
    writer: str
    reader: str
    options: Mapping[str, Any] = field(default_factory=dict)
    images: str = "images/{name}"
    document: str = ""

    def open(self, path: Path, labels: Sequence[TaskLabel], **options: Any) -> Writer:
        """A writer of a file that appears at ``path``, whole, when it is finished."""
        return cast(Writer, _load(self.writer)(path, labels, **{**self.options, **options}))

    async def write(
        self, path: Path, labels: Sequence[TaskLabel], frames: AsyncIterable[Annotated], **options: Any
    ) -> ExportSummary:
        """Write frames as they come; memory does not grow with their number. Nothing is left behind on failure."""
        return await write_all(lambda: self.open(path, labels, **options), frames)

    async def write_with_images(
        self, path: Path, labels: Sequence[TaskLabel], frames: AsyncIterable[Pictured], **options: Any
    ) -> ExportSummary:
        """As ``write``, to a folder or .zip that holds the images too. Raises InvalidRequest for another path."""
        self.check_holds_images(path)

        def open_writer() -> WithImages:
            if not self.document:
                return WithImages(cast(PackWriter, self.open(path, labels, **options)), self.images)
            return WithImages(
                SingleInPack(path, self.document, lambda file: self.open(file, labels, **options)), self.images
            )

        return await write_all(open_writer, frames, at_once=1)  # a picture of a video is large

    def check_holds_images(self, path: Path) -> None:
        """Raises InvalidRequest where ``path`` names a single file."""
        if self.suffix != ".zip" and path.suffix.lower() == self.suffix:
            raise InvalidRequest(
                f"{path.name} is one file, which holds no images.",
                hint=f"Name a folder or a .zip: {path.with_suffix('.zip').name}",
            )

    def read(self, path: Path) -> Document:
        """What the file holds, or the folder or zip around it. Blocks.

        Raises InvalidRequest, which names the annotation that is wrong.
        """
        if not self.document:
            return cast(Document, _load(self.reader)(path))
        with single_file(path, self.suffix) as file:
            return cast(Document, _load(self.reader)(file))


def _load(name: str) -> Any:
    module, _, member = name.partition(":")
    return getattr(importlib.import_module(f"bridge.formats.{module}"), member)


def _table(*formats: Format) -> Mapping[str, Format]:
    return {each.name: each for each in formats}


_INSTANCES, _CVAT, _YOLO = "annotations/instances_default.json", "annotations.xml", "images/train/{name}"

FORMATS = _table(
    Format(
        "coco",
        ".json",
        "COCO instances, masks as run lengths",
        "coco:CocoWriter",
        "coco:read_coco",
        document=_INSTANCES,
    ),
    Format(
        "coco-polygons",
        ".json",
        "COCO instances, masks as polygons",
        "coco:CocoWriter",
        "coco:read_coco",
        {"masks": "polygons"},
        document=_INSTANCES,
    ),
    Format(
        "coco-keypoints",
        ".json",
        "COCO keypoints",
        "coco:CocoWriter",
        "coco:read_coco",
        {"only": "skeleton"},
        document="annotations/person_keypoints_default.json",
    ),
    Format(
        "coco-panoptic",
        ".zip",
        "COCO panoptic, a picture of the masks for each image",
        "coco_panoptic:PanopticWriter",
        "coco_panoptic_reading:read_panoptic",
    ),
    Format("cvat", ".xml", "CVAT for images 1.1", "cvat_xml:CvatXmlWriter", "cvat_xml:read_cvat_xml", document=_CVAT),
    Format(
        "cvat-video",
        ".xml",
        "CVAT for video 1.1, with tracks",
        "cvat_video:CvatVideoWriter",
        "cvat_xml:read_cvat_xml",
        images="images/frame_{number:06}{suffix}",
        document=_CVAT,
    ),
    Format(
        "datumaro",
        ".zip",
        "Datumaro",
        "datumaro:DatumaroWriter",
        "datumaro_reading:read_datumaro",
        images="images/default/{name}",
    ),
    Format(
        "label-studio",
        ".json",
        "Label Studio tasks; to a .zip or folder with the labelling setup",
        "label_studio:LabelStudioWriter",
        "label_studio_reading:read_label_studio",
    ),
    Format(
        "mot",
        ".zip",
        "MOT challenge, boxes with tracks",
        "mot:MotWriter",
        "mot_reading:read_mot",
        images="img1/{count:06}{suffix}",
    ),
    Format("voc", ".zip", "Pascal VOC boxes", "voc:VocWriter", "voc_reading:read_voc", images="JPEGImages/{name}"),
    Format("yolo", ".zip", "YOLO boxes, with data.yaml", "yolo:YoloWriter", "yolo:read_yolo", images=_YOLO),
    Format(
        "yolo-seg",
        ".zip",
        "YOLO outlines, with data.yaml",
        "yolo:YoloWriter",
        "yolo:read_yolo",
        {"task": "segment"},
        images=_YOLO,
    ),
    Format(
        "yolo-obb",
        ".zip",
        "YOLO oriented boxes",
        "yolo:YoloWriter",
        "yolo:read_yolo_obb",
        {"task": "obb"},
        images=_YOLO,
    ),
    Format(
        "yolo-pose",
        ".zip",
        "YOLO poses of skeletons",
        "yolo:YoloWriter",
        "yolo:read_yolo_pose",
        {"task": "pose"},
        images=_YOLO,
    ),
)


def find(name: str) -> Format:
    """The format of this name. Raises InvalidRequest."""
    try:
        return FORMATS[name]
    except KeyError:
        raise InvalidRequest(
            f"There is no annotation format {str(name)[:40]!r}.", hint=f"Formats are {', '.join(FORMATS)}."
        ) from None
