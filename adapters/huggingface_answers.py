"""Hugging Face's hosted inference: the request for a picture, and the detections in an answer. Pure.

task type                        answer                                        becomes
object-detection                 [{score, label, box: {xmin, ymin, ..}}]       rectangles
zero-shot-object-detection       the same; labels are the texts asked for      rectangles
image-segmentation               [{label, score or null, mask: whole PNG}]     masks
image-classification             [{label, score}]                              tags
zero-shot-image-classification   the same; labels are the texts asked for      tags
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from adapters.base import Detections, Geometry, PredictOptions, WholeFrame
from adapters.dense_masks import mask_of
from adapters.errors import Unsupported
from adapters.http_caller import Request
from adapters.json_reading import as_label_id, as_list, as_number, as_object, as_png, as_score, label_index
from adapters.sent_image import SentImage

OBJECT_DETECTION = "object-detection"
SEGMENTATION = "image-segmentation"
CLASSIFICATION = "image-classification"
ZERO_SHOT_DETECTION = "zero-shot-object-detection"
ZERO_SHOT_CLASSIFICATION = "zero-shot-image-classification"

SHAPE_TYPES: Mapping[str, str] = {
    OBJECT_DETECTION: "rectangle",
    ZERO_SHOT_DETECTION: "rectangle",
    SEGMENTATION: "mask",
    CLASSIFICATION: "tag",
    ZERO_SHOT_CLASSIFICATION: "tag",
}
OPEN = (ZERO_SHOT_DETECTION, ZERO_SHOT_CLASSIFICATION)
_MOST_TAGS = 20  # the pipelines answer the best 5 unless they are asked for more
_FEWEST_TEXTS = 2  # one text alone would always get all of the score

_MASK_SET = 128  # of 0 and 255


def build_request(task_type: str, image: SentImage, options: PredictOptions) -> Request:
    """The picture alone where the task type has no parameters, else JSON with the picture in base64.

    The floor score is sent as the threshold where the pipeline has one: its own would hide what lies below it.
    Raises Unsupported where an open vocabulary is asked without prompts.
    """
    parameters: dict[str, Any] = {}
    match task_type:
        case "object-detection":
            parameters = {"threshold": options.floor_score}
        case "image-classification":
            parameters = {"top_k": max(1, min(options.max_detections, _MOST_TAGS))}
        case "zero-shot-object-detection":
            texts = candidates(options)
            if not texts:
                raise Unsupported("This model looks for what it is told to.", hint="Give it labels to look for.")
            parameters = {"candidate_labels": list(texts), "threshold": options.floor_score}
        case "zero-shot-image-classification":
            texts = candidates(options)
            if len(texts) < _FEWEST_TEXTS:
                text = "This model chooses between labels, so it needs two of them at least."
                raise Unsupported(text, hint="Give it more labels to choose from.")
            parameters = {"candidate_labels": list(texts)}
    if not parameters:
        return Request("", headers={"Content-Type": image.content_type, "Accept": "application/json"}, body=image.data)
    content = {"inputs": base64.b64encode(image.data).decode("ascii"), "parameters": parameters}
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    return Request("", headers=headers, body=json.dumps(content).encode())


def candidates(options: PredictOptions) -> dict[str, str]:
    """Text to look for -> the label that it stands for; of a text under two labels the first counts."""
    texts: dict[str, str] = {}
    for label, prompts in options.prompts.items():
        for text in prompts or (label,):
            texts.setdefault(text, label)
    return texts


def parse_answer(
    task_type: str, answer: Any, image: SentImage, labels: Sequence[str] | None, options: PredictOptions
) -> Detections:
    """The detections in the picture's pixels. ``labels`` None: an open vocabulary, that of the prompts.

    Raises BadOutput where the answer is of another form, or names a label that was neither listed nor asked for.
    """
    items = [as_object(item, "detection") for item in as_list(answer, "detections")]
    if labels is None:
        names = tuple(options.prompts)
        known = label_index(names)
        index = {text: known[label] for text, label in candidates(options).items()}
    else:
        names = tuple(labels)
        index = label_index(names)
    return _READERS[task_type](items, image, names, index)


def _rectangles(
    items: Sequence[Mapping[str, Any]], image: SentImage, names: tuple[str, ...], index: dict[str, int]
) -> Detections:
    boxes = []
    for item in items:
        box = as_object(item.get("box"), "box")
        boxes.append([as_number(box.get(side), side) for side in ("xmin", "ymin", "xmax", "ymax")])
    return _detections(items, names, index, boxes)


def _tags(
    items: Sequence[Mapping[str, Any]], image: SentImage, names: tuple[str, ...], index: dict[str, int]
) -> Detections:
    """A tag a label, with the best score of the texts that stand for it."""
    found = _detections(items, names, index, [[0, 0, image.width, image.height]] * len(items), WholeFrame())
    best: dict[int, int] = {}
    for row, label_id in enumerate(found.label_ids.tolist()):
        if label_id not in best or found.scores[row] > found.scores[best[label_id]]:
            best[label_id] = row
    return found.take(sorted(best.values()))


def _masks(
    items: Sequence[Mapping[str, Any]], image: SentImage, names: tuple[str, ...], index: dict[str, int]
) -> Detections:
    """A mask a segment; one in which nothing is set is left out."""
    kept, boxes, masks = [], [], []
    for item in items:
        cut = mask_of(as_png(item.get("mask"), image.width, image.height, "mask") >= _MASK_SET)
        if cut is not None:
            kept.append(item)
            masks.append(cut[0])
            boxes.append(cut[1])
    found = _detections(kept, names, index, boxes)
    return Detections(found.labels, found.boxes, found.scores, found.label_ids, tuple(masks))


def _detections(
    items: Sequence[Mapping[str, Any]],
    names: tuple[str, ...],
    index: dict[str, int],
    boxes: Sequence[Sequence[float]],
    geometry: Geometry = None,
) -> Detections:
    with np.errstate(over="ignore"):
        return Detections(
            names,
            np.asarray(boxes, np.float64).astype(np.float32).reshape(-1, 4),
            np.asarray([as_score(item.get("score")) for item in items], np.float64).astype(np.float32),
            np.asarray([as_label_id(item.get("label"), index) for item in items], np.int32),
            (geometry,) * len(items),
        )


_Reader = Callable[[Sequence[Mapping[str, Any]], SentImage, tuple[str, ...], dict[str, int]], Detections]
_READERS: Mapping[str, _Reader] = {
    OBJECT_DETECTION: _rectangles,
    ZERO_SHOT_DETECTION: _rectangles,
    SEGMENTATION: _masks,
    CLASSIFICATION: _tags,
    ZERO_SHOT_CLASSIFICATION: _tags,
}
