"""A project's label config (XML): which controls there are on which image, and their labels.

The XML is read by label-studio-sdk's own classes, which an extra brings; what they do not guard against is refused
before they see it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.errors import BridgeError, InvalidRequest

MAX_CHARS = 2**20  # of a config
MAX_LABELS = 20_000  # of all controls together

# Control tag, in lower case as it is a region's ``type`` -> type of the shapes that it holds.
SHAPE_OF: Mapping[str, str] = {
    "rectanglelabels": "rectangle",
    "polygonlabels": "polygon",
    "brushlabels": "mask",
    "keypointlabels": "points",
    "ellipselabels": "ellipse",
    "choices": "tag",
}
_VARIABLE = re.compile(r"\$[^,\s]+")
_REPEATED = "{{"  # a Repeater's index, as in image_{{idx}}
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")  # lxml takes no text that names an encoding


class LabelStudioMissing(BridgeError):
    """The extra that reads label configs is not installed."""

    status, code = 501, "label_studio_not_installed"


@dataclass(frozen=True, slots=True)
class Control:
    """A control tag on one image.

    kind       its tag in lower case: the ``type`` of its regions, and the key of their labels
    labels     what people read -> what a region holds (the label's alias, where it has one)
    multiple   several choices of it may be taken at once
    """

    name: str
    to_name: str
    kind: str
    labels: Mapping[str, str]
    multiple: bool = False

    @property
    def shape(self) -> str:
        """The type of its shapes."""
        return SHAPE_OF[self.kind]


@dataclass(frozen=True, slots=True)
class ImageTag:
    """An Image tag; ``key`` is where a task's data holds its address."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """What can be answered of a config. ``left_out``: sentences about the controls and images that cannot."""

    images: tuple[ImageTag, ...]
    controls: tuple[Control, ...]
    left_out: tuple[str, ...] = field(default=())

    def check(self) -> None:
        """Raise InvalidRequest where there is nothing that a model could fill."""
        if not self.controls:
            raise InvalidRequest(
                "The label config has no control that a model can fill on an image.",
                hint=" ".join(self.left_out) or f"Add one of {', '.join(SHAPE_OF)} on an Image.",
                code=_CODE,
            )

    def on(self, image: str) -> list[Control]:
        """The controls of an image, in the config's order."""
        return [control for control in self.controls if control.to_name == image]

    @property
    def answered_images(self) -> list[ImageTag]:
        """The images that have a control that can be answered."""
        return [image for image in self.images if self.on(image.name)]

    @property
    def label_names(self) -> list[str]:
        """Every label as people read it, once."""
        return list(dict.fromkeys(label for control in self.controls for label in control.labels))


def read_config(xml: str) -> LabelConfig:
    """What a label config says. Raises InvalidRequest where it is none, LabelStudioMissing without the extra.

    Blocks: the first call imports the SDK, which takes a second or two.
    """
    _guard(xml)
    return _read(xml)


def _guard(xml: str) -> None:
    if len(xml) > MAX_CHARS:
        raise InvalidRequest(f"The label config has {len(xml)} characters; at most {MAX_CHARS} are read.", code=_CODE)
    for forbidden in ("<!DOCTYPE", "<!ENTITY"):
        if forbidden in xml:
            raise InvalidRequest(
                f"The label config holds {forbidden}, which is not read: entities can grow without end.",
                hint="Take it out of the project's labelling interface.",
                code=_CODE,
            )


_CODE = "invalid_label_config"


def interface_class() -> Any:
    """The SDK's reader of label configs. Raises LabelStudioMissing."""
    try:
        from label_studio_sdk.label_interface import LabelInterface  # noqa: PLC0415  (an extra, and slow to import)
    except ImportError as error:
        raise LabelStudioMissing(
            "Label Studio's label configs cannot be read: label-studio-sdk is not installed.",
            hint="Install it with: pip install 'hubbridge[label-studio]'",
        ) from error
    return LabelInterface


@functools.lru_cache(maxsize=64)
def _read(xml: str) -> LabelConfig:
    reader = interface_class()
    try:
        interface = reader(_DECLARATION.sub("", xml, count=1))
        controls, objects = list(interface.controls or ()), list(interface.objects or ())
    except Exception as error:  # the SDK lets whatever goes wrong inside it come out
        reason = str(error).split("\n", 1)[0][:200]
        raise InvalidRequest(
            f"The label config cannot be read: {reason or type(error).__name__}.",
            hint="Open the project's labelling interface in Label Studio and save it again.",
            code=_CODE,
        ) from error
    return _described(controls, objects)


def _described(controls: list[Any], objects: list[Any]) -> LabelConfig:
    left_out: list[str] = []
    images: dict[str, ImageTag] = {}
    for tag in objects:
        if str(tag.tag).lower() != "image":
            continue
        value = str(tag.value or "")
        if _REPEATED in tag.name + value:
            left_out.append(
                f"Image {tag.name!r} stands in a Repeater, so how many there are differs from task to task."
            )
        elif tag.attr.get("valueList") or not _VARIABLE.fullmatch(value):
            left_out.append(f"Image {tag.name!r} is not one variable such as $image, so its picture is not known.")
        else:
            images[tag.name] = ImageTag(tag.name, value[1:])
    found: list[Control] = []
    for tag in controls:
        reason = _unanswerable(tag)
        if reason is None:
            found += [control for name in tag.to_name if (control := _control(tag, name.strip(), images, left_out))]
        elif reason:
            left_out.append(f"{tag.tag} {tag.name!r} {reason}.")
    count = sum(len(control.labels) for control in found)
    if count > MAX_LABELS:
        raise InvalidRequest(f"The label config has {count} labels; at most {MAX_LABELS} are read.", code=_CODE)
    return LabelConfig(tuple(images.values()), tuple(found), tuple(left_out))


def _unanswerable(tag: Any) -> str | None:
    """Why a control is left out; empty where that needs no word."""
    kind = str(tag.tag).lower()
    if kind not in SHAPE_OF:
        drawing = ("labels", "rectangle", "polygon", "brush", "keypoint", "ellipse", "bitmask", "vector")
        return "is of a kind that is not answered" if kind.startswith(drawing) else ""
    if tag.dynamic_value:
        return "takes its labels from each task, which are not known beforehand"
    if any(str(tag.attr.get(name, "")).lower() == "true" for name in ("perRegion", "perItem")):
        return "asks about single regions, not about the image"
    if str(tag.attr.get("allowNested", "")).lower() == "true":
        return "has nested choices"
    return None


def _control(tag: Any, to_name: str, images: Mapping[str, ImageTag], left_out: list[str]) -> Control | None:
    if to_name not in images:
        left_out.append(f"{tag.tag} {tag.name!r} is not on an image that can be read (toName={to_name!r}).")
        return None
    labels: dict[str, str] = {}
    for stored, label in (tag.labels_attrs or {}).items():
        shown = label.attr.get("value") or stored
        if stored and shown:
            labels.setdefault(shown, stored)
    if not labels:
        left_out.append(f"{tag.tag} {tag.name!r} has no labels.")
        return None
    multiple = str(tag.attr.get("choice", "single")).startswith("multiple")
    return Control(tag.name, to_name, str(tag.tag).lower(), labels, multiple)
