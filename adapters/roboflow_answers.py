"""What Roboflow's models answer, in the cloud and on an inference server of one's own -> detections. Pure.

kind                          answer                                                  becomes
object-detection              predictions [{x, y: the CENTRE, width, height, ...}]    rectangles
instance-segmentation         and points [{x, y}]                                     polygons
keypoint-detection            and keypoints [{x, y, confidence, class_id}]            skeletons
single-label-classification   predictions [{class, confidence}]                       tags
multi-label-classification    predictions {name: {confidence}}                        tags
semantic-segmentation         segmentation_mask, a PNG of class ids; class_map        masks
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from adapters.base import Detections, Geometry, Polygon, Skeleton, WholeFrame
from adapters.dense_masks import mask_of
from adapters.errors import BadOutput, Unsupported
from adapters.json_reading import (
    as_label_id,
    as_list,
    as_number,
    as_object,
    as_png,
    as_score,
    as_text,
    label_index,
)
from adapters.sent_image import SentImage

CLASSIFICATION = "classification"  # as the inference server calls both kinds
SEMANTIC = "semantic-segmentation"

# Roboflow's kind of model -> (task type, shape type).
KINDS: Mapping[str, tuple[str, str]] = {
    "object-detection": ("object-detection", "rectangle"),
    "instance-segmentation": ("image-segmentation", "polygon"),
    "keypoint-detection": ("keypoint-detection", "skeleton"),
    "single-label-classification": ("image-classification", "tag"),
    "multi-label-classification": ("image-classification", "tag"),
    CLASSIFICATION: ("image-classification", "tag"),
    SEMANTIC: ("image-segmentation", "mask"),
}
DEFAULT_THRESHOLD = 0.4  # what the server takes when it is told nothing
_BACKGROUND = "background"  # a class of every semantic model, and none of its labels
_MOST_KEYPOINTS = 1000


def known_kind(kind: Any, name: str) -> str:
    """The kind of model, where we read its answers. Raises Unsupported, naming it."""
    if kind not in KINDS:
        text = f"{name} is a model for {str(kind)[:60] or 'an unnamed task'}, whose answers are no shapes or tags."
        raise Unsupported(text, hint=f"Choose a model for {', '.join(KINDS)}.")
    return str(kind)


def parse_answer(kind: str, answer: Any, image: SentImage, labels: tuple[str, ...]) -> Detections:
    """The detections in the sent picture's pixels. Raises BadOutput."""
    return _READERS[kind](as_object(answer, "answer"), image, labels)


def _rectangles(answer: Mapping[str, Any], image: SentImage, labels: tuple[str, ...]) -> Detections:
    items = _items(answer)
    return _detections(items, labels, _boxes(items, answer, image), (None,) * len(items))


def _polygons(answer: Mapping[str, Any], image: SentImage, labels: tuple[str, ...]) -> Detections:
    """An outline of fewer than 3 points is none, and its detection is left out."""
    items = [item for item in _items(answer) if len(as_list(item.get("points"), "points")) >= 3]
    scale = _scale(answer, image)
    outlines = tuple(Polygon(_points(item["points"]) * scale) for item in items)
    return _detections(items, labels, _boxes(items, answer, image), outlines)


def _skeletons(answer: Mapping[str, Any], image: SentImage, labels: tuple[str, ...]) -> Detections:
    items = _items(answer)
    scale = _scale(answer, image)
    shapes: list[Geometry] = []
    for item in items:
        joints = [as_object(each, "keypoint") for each in as_list(item.get("keypoints"), "keypoints")]
        ids = [_joint_id(each.get("class_id", i)) for i, each in enumerate(joints)]
        count = max(ids, default=-1) + 1
        points, scores = np.zeros((count, 2), np.float32), np.zeros(count, np.float32)
        if joints:
            points[ids] = _points(joints) * scale
            scores[ids] = [as_score(each.get("confidence")) for each in joints]
        shapes.append(Skeleton(points, scores))  # a joint that was not answered has the score 0
    return _detections(items, labels, _boxes(items, answer, image), tuple(shapes))


def _joint_id(value: Any) -> int:
    number = as_number(value, "class_id")
    if not 0 <= number < _MOST_KEYPOINTS:  # nor NaN
        raise BadOutput("The host answered a keypoint with an impossible class_id.")
    return int(number)


def _tags(answer: Mapping[str, Any], image: SentImage, labels: tuple[str, ...]) -> Detections:
    """Of one label, a list; of several, a table by name. The answer's image size is not read: there it is swapped."""
    predictions = answer.get("predictions")
    if isinstance(predictions, dict):
        items = [{**as_object(value, "prediction"), "class": name} for name, value in predictions.items()]
    else:
        items = _items(answer)
    box = [0.0, 0.0, float(image.width), float(image.height)]
    return _detections(items, labels, np.array([box] * len(items)), (WholeFrame(),) * len(items))


def _masks(answer: Mapping[str, Any], image: SentImage, labels: tuple[str, ...]) -> Detections:
    """A mask a class that occurs; its score is the mean confidence over it, where the host gives that."""
    inner = answer.get("predictions", answer)
    content = as_object(inner, "predictions")
    classes = as_png(content.get("segmentation_mask"), image.width, image.height, "segmentation_mask")
    names = as_object(content.get("class_map"), "class_map")
    confidence = None
    if content.get("confidence_mask"):
        confidence = as_png(content["confidence_mask"], image.width, image.height, "confidence_mask")
    items, boxes, shapes = [], [], []
    for class_id in np.unique(classes).tolist():
        name = as_text(names.get(str(class_id), _BACKGROUND if class_id == 0 else None), f"class {class_id}")
        if name.lower() == _BACKGROUND and name not in labels:
            continue
        bits = classes == class_id
        cut = mask_of(bits)
        assert cut is not None  # it occurs
        score = 1.0 if confidence is None else float(confidence[bits].mean()) / 255
        items.append({"class": name, "confidence": score})
        shapes.append(cut[0])
        boxes.append(cut[1])
    return _detections(items, labels, np.array(boxes), tuple(shapes))


def _items(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [as_object(item, "prediction") for item in as_list(answer.get("predictions"), "predictions")]


def _boxes(items: Sequence[Mapping[str, Any]], answer: Mapping[str, Any], image: SentImage) -> Any:
    """f64[n, 4], x1 y1 x2 y2: the host names the centre."""
    sides = [[as_number(item.get(name), name) for name in ("x", "y", "width", "height")] for item in items]
    centred = np.asarray(sides, np.float64).reshape(-1, 4)
    half = centred[:, 2:] / 2
    corners = np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1)
    return corners * np.tile(_scale(answer, image), 2)


def _scale(answer: Mapping[str, Any], image: SentImage) -> Any:
    """f64[2], x and y: from the picture that the host says it looked at to the one that was sent.

    They differ where the host resized it. Width and height the other way round are a slip of the host's.
    """
    size = answer.get("image")
    if not isinstance(size, dict):
        return np.ones(2)
    width, height = as_number(size.get("width"), "width"), as_number(size.get("height"), "height")
    if not (width > 0 and height > 0) or (width, height) == (image.height, image.width):
        return np.ones(2)
    return np.array([image.width / width, image.height / height])


def _points(points: Sequence[Any]) -> Any:
    objects = [as_object(point, "point") for point in points]
    return np.array([[as_number(point.get("x"), "x"), as_number(point.get("y"), "y")] for point in objects], np.float64)


def _detections(
    items: Sequence[Mapping[str, Any]], labels: tuple[str, ...], boxes: Any, geometry: tuple[Geometry, ...]
) -> Detections:
    index = label_index(labels)
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large becomes infinite, and that is refused
        return Detections(
            labels,
            np.asarray(boxes, np.float64).astype(np.float32).reshape(-1, 4),
            np.asarray([as_score(item.get("confidence")) for item in items], np.float64).astype(np.float32),
            np.asarray([as_label_id(item.get("class"), index) for item in items], np.int32),
            geometry,
        )


_READERS: Mapping[str, Callable[[Mapping[str, Any], SentImage, tuple[str, ...]], Detections]] = {
    "object-detection": _rectangles,
    "instance-segmentation": _polygons,
    "keypoint-detection": _skeletons,
    "single-label-classification": _tags,
    "multi-label-classification": _tags,
    CLASSIFICATION: _tags,
    SEMANTIC: _masks,
}
