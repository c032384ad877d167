"""Label Studio tasks, out: JSON as its import takes it; to a folder or zip together with the labelling setup.

    tasks.json          a task for each frame: shapes of models as its prediction, other shapes as an annotation
    label_config.xml    a control for each kind of shape, named after it, for the project's labelling interface

Images are addressed as files of a local storage (``/data/local-files/?d=NAME``). Places are percents of the frame. A
skeleton is a rectangle with its points as children; what a label's attributes say stands beside its region, in controls
of the attributes' names. Label Studio has no tracks or groups here, and a point is seen or not there.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from bridge.domain import LabelAttribute, Shape, Source, StoredFrame, TaskLabel
from bridge.formats.packing import Pack
from bridge.formats.writing import ExportSummary, PendingPath, Tally
from bridge.formats.xml_writing import Xml
from bridge.label_studio.config import Control, ImageTag, LabelConfig
from bridge.label_studio.labels import skeleton_controls
from bridge.label_studio.regions import Region, to_regions
from bridge.outlines import box_of

LOCAL_FILES = "/data/local-files/?d="
MODEL_VERSION = "hubbridge"
_POINTS = "points of "
# Name of the control where it is free, its tag, and the types of labels that it holds.
_CONTROLS = (
    ("rectangles", "RectangleLabels", ("any", "rectangle", "skeleton")),
    ("polygons", "PolygonLabels", ("any", "polygon")),
    ("masks", "BrushLabels", ("any", "mask")),
    ("ellipses", "EllipseLabels", ("any", "ellipse")),
    ("keypoints", "KeyPointLabels", ("any", "points")),
    ("tags", "Choices", ("any", "tag")),
)


class LabelStudioWriter:
    """Tasks go to a temporary file, and that into its place when it is whole."""

    def __init__(self, path: Path, labels: Sequence[TaskLabel]) -> None:
        self._labels = {label.name: label for label in labels}
        self._attributes = _attributes(labels)
        self._image, self._plain, self._skeletons = _configs(labels)
        self._tally = Tally()
        self._place: PendingPath | Pack = PendingPath(path) if path.suffix.lower() == ".json" else Pack(path)
        self._out: IO[bytes] = tempfile.TemporaryFile(dir=path.absolute().parent)  # noqa: SIM115
        self._out.write(b"[")

    @property
    def pack(self) -> Pack:
        """Of a folder or zip."""
        assert isinstance(self._place, Pack)
        return self._place

    def add(self, frame: StoredFrame, shapes: Sequence[Shape]) -> None:
        made = [shape for shape in shapes if shape.source is Source.AUTOMATIC]
        others = [shape for shape in shapes if shape.source is not Source.AUTOMATIC]
        task: dict[str, Any] = {"data": {"image": LOCAL_FILES + quote(frame.name)}}
        if regions := self._regions(frame, others, "a"):
            for region in regions:
                region.pop("score", None)
            task["annotations"] = [{"result": regions}]
        if regions := self._regions(frame, made, "p"):
            scores = [region["score"] for region in regions if "score" in region]
            mean = round(sum(scores) / len(scores), 6) if scores else 0.0
            task["predictions"] = [{"model_version": MODEL_VERSION, "score": mean, "result": regions}]
        self._out.write(b",\n" if self._tally.frames else b"\n")
        self._out.write(json.dumps(task, ensure_ascii=False, allow_nan=False).encode())
        self._tally.frames += 1

    def finish(self) -> ExportSummary:
        self._out.write(b"\n]\n")
        self._out.seek(0)
        if isinstance(self._place, Pack):
            self._place.put_stream("tasks.json", self._out)
            self._place.put("label_config.xml", config_xml(list(self._labels.values())))
        else:
            with self._place.path.open("wb") as file:
                shutil.copyfileobj(self._out, file, 1 << 20)
        self._out.close()
        self._place.keep()
        return self._tally.summary()

    def abort(self) -> None:
        with suppress(OSError):
            self._out.close()
        self._place.discard()

    def _regions(self, frame: StoredFrame, shapes: Sequence[Shape], stem: str) -> list[Region]:
        """With ids that are unique within the task."""
        size = (frame.width, frame.height)
        found: list[Region] = []
        tags = [shape for shape in shapes if shape.type == "tag"]
        for shape in [shape for shape in shapes if shape.type != "tag"]:
            try:
                regions = self._drawn(shape, size)
            except ValueError:
                self._tally.leave_out("unreadable mask")
                continue
            self._count(shape, regions)
            for region in regions:
                region["id"] = f"{stem}{frame.number}-{len(found)}"
                if region.pop("child", False):
                    region["parentID"] = regions[0]["id"]
                found.append(region)
            if regions:
                found += [self._attribute(regions[0], name, value) for name, value in shape.attributes.items()]
        chosen = to_regions(tags, self._plain, self._image, size) if tags else []
        for tag in tags:
            self._count(tag, chosen if tag.label in (chosen or [{}])[0].get("value", {}).get("choices", ()) else [])
        return found + [{**region, "id": f"{stem}{frame.number}-tags"} for region in chosen]

    def _count(self, shape: Shape, regions: Sequence[Region]) -> None:
        if regions:
            self._tally.shapes += 1
        else:
            self._tally.leave_out(f"empty {shape.type}" if shape.label in self._labels else "unknown label")

    def _drawn(self, shape: Shape, size: tuple[int, int]) -> list[Region]:
        if shape.type != "skeleton":
            return to_regions([shape], self._plain, self._image, size)
        config, box = self._skeletons.get(shape.label), box_of(shape, size)
        if config is None or box is None:
            return []
        (name,) = skeleton_controls(config)
        around = replace(shape, type="rectangle", points=box)
        joints = to_regions([replace(shape, label=name)], config, self._image, size)
        return to_regions([around], self._plain, self._image, size) + [{**joint, "child": True} for joint in joints]

    def _attribute(self, region: Region, name: str, value: str) -> Region:
        """What an attribute says, under the id of the region that it is said of."""
        kind, key, stored = _attribute_value(self._attributes.get(name), value)
        same = ("id", "to_name", "original_width", "original_height", "image_rotation")
        return {**{k: region[k] for k in same}, "from_name": name, "type": kind, "value": {key: stored}}


def config_xml(labels: Sequence[TaskLabel]) -> str:
    """The labelling setup of a project that holds these labels, for Label Studio's labelling interface."""
    text = io.StringIO()
    xml = Xml(text)
    names = _names(labels)
    image = names["image"]
    with xml.element("View"):
        xml.text("Image", None, {"name": image, "value": "$image"})
        for name, tag, types in _CONTROLS:
            held = [label for label in labels if label.type in types]
            more = {"choice": "multiple"} if tag == "Choices" else {}
            if held:
                with xml.element(tag, {"name": names[name], "toName": image, **more}):
                    for label in held:
                        _label(xml, label.name, label.color, tag)
        for skeleton in [label for label in labels if label.type == "skeleton"]:
            with xml.element("KeyPointLabels", {"name": names[_points_of(skeleton)], "toName": image}):
                for number, joint in enumerate(skeleton.sublabels):
                    background = {"background": skeleton.color} if skeleton.color else {}
                    xml.text("Label", None, {"value": joint, **background, "model_index": str(number)})
        for attribute in _attributes(labels).values():
            _attribute_control(xml, attribute, image)
    return text.getvalue()


def _label(xml: Xml, name: str, color: str, tag: str) -> None:
    background = {"background": color} if color and tag != "Choices" else {}
    xml.text("Choice" if tag == "Choices" else "Label", None, {"value": name, **background})


def _attributes(labels: Sequence[TaskLabel]) -> dict[str, LabelAttribute]:
    """Each name once: labels share the control of a name, and so its values; it is text where their kinds differ."""
    found: dict[str, LabelAttribute] = {}
    for attribute in [attribute for label in labels for attribute in label.attributes]:
        known = found.setdefault(attribute.name, attribute)
        values = tuple(dict.fromkeys((*known.values, *attribute.values)))
        kind = known.input_type if known.input_type == attribute.input_type else "text"
        found[attribute.name] = replace(known, values=values, input_type=kind)
    return found


def _names(labels: Sequence[TaskLabel]) -> dict[str, str]:
    """What each tag of ours is called, for Label Studio wants each name once, and attributes keep theirs."""
    taken = {attribute.name for label in labels for attribute in label.attributes}
    found = {}
    ours = ["image", *(name for name, _, _ in _CONTROLS)]
    for key in [*ours, *(_points_of(label) for label in labels if label.type == "skeleton")]:
        name = key.removeprefix(_POINTS)
        while name in taken:
            name += " (control)"
        taken.add(name)
        found[key] = name
    return found


def _points_of(label: TaskLabel) -> str:
    return _POINTS + label.name


def _attribute_control(xml: Xml, attribute: LabelAttribute, image: str) -> None:
    common = {"name": attribute.name, "toName": image, "perRegion": "true"}
    match attribute.input_type:
        case "text":
            xml.text("TextArea", None, common)
        case "number":
            xml.text("Number", None, common)
        case _:
            values = ("true", "false") if attribute.input_type == "checkbox" else attribute.values
            with xml.element("Choices", common):
                for value in values:
                    xml.text("Choice", None, {"value": value})


def _attribute_value(attribute: LabelAttribute | None, value: str) -> tuple[str, str, Any]:
    """Type of the control, its key in a region, and the value there."""
    if attribute is not None and attribute.input_type == "number" and value.isdecimal():
        return "number", "number", int(value)
    if attribute is not None and attribute.input_type in ("select", "radio", "checkbox"):
        return "choices", "choices", [value]
    return "textarea", "text", [value]


def _configs(labels: Sequence[TaskLabel]) -> tuple[ImageTag, LabelConfig, Mapping[str, LabelConfig]]:
    """The image, and which control holds what: of all shapes but skeletons, and of each skeleton's points."""
    names = _names(labels)
    image = ImageTag(names["image"], "image")
    plain = []
    for name, tag, types in _CONTROLS:
        held = {label.name: label.name for label in labels if label.type in types}
        plain.append(Control(names[name], image.name, tag.lower(), held, multiple=True))
    points = {
        label.name: Control(
            names[_points_of(label)], image.name, "keypointlabels", {joint: joint for joint in label.sublabels}
        )
        for label in labels
        if label.type == "skeleton"
    }
    alone = {name: LabelConfig((image,), (control,)) for name, control in points.items()}
    return image, LabelConfig((image,), tuple(plain)), alone
