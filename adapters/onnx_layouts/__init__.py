"""The forms in which ONNX files answer: one table from a layout's name to how it is prepared for and read.

``recognise`` finds the layout from the outputs' names and shapes and from what the exporter wrote into the file. Where
two layouts look alike, nothing is guessed: the user names one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapters.errors import Unsupported
from adapters.letterbox import Fit
from adapters.onnx_layouts import anchors, boxes, dense, yolo
from adapters.onnx_layouts.spec import Decode

Shape = tuple[int | None, ...]  # None: not fixed


@dataclass(frozen=True, slots=True)
class Output:
    name: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Layout:
    """``roles`` are what the decoder calls the outputs, in the usual order of the outputs."""

    task_type: str
    shape_types: tuple[str, ...]
    decode: Decode
    roles: tuple[str, ...] = ("rows",)
    fit: Fit = "letterbox"
    normalise: str = "none"
    bgr: bool = False
    iou: float = 0.7
    threshold: float = 0.5
    fits: tuple[Fit, ...] = ("letterbox", "stretch")


_BOX, _MASK, _SKELETON = ("rectangle",), ("mask",), ("skeleton",)
_DETECT, _SEGMENT, _POSE = "object-detection", "image-segmentation", "keypoint-detection"
_MASKS = ("rows", "prototypes")
_ONLY_LETTERBOX: tuple[Fit, ...] = ("letterbox",)

LAYOUTS: dict[str, Layout] = {
    "yolo-v3-heads": Layout(_DETECT, _BOX, boxes.decode_yolo3_heads, ("grid", "grid2", "grid3"), iou=0.45),
    "yolo-v3-indices": Layout(_DETECT, _BOX, boxes.decode_yolo3_indices, ("boxes", "scores", "indices")),
    "yolo-v5": Layout(_DETECT, _BOX, yolo.decode_v5, iou=0.45, threshold=0.25),
    "yolo-v7-end": Layout(_DETECT, _BOX, yolo.decode_v7_end, threshold=0.25),
    "yolo-v8-detect": Layout(_DETECT, _BOX, yolo.decode_v8, threshold=0.25),
    "yolo-v8-segment": Layout(_SEGMENT, _MASK, yolo.decode_segment, _MASKS, threshold=0.25),
    "yolo-v8-pose": Layout(_POSE, _SKELETON, yolo.decode_pose, threshold=0.25),
    "yolo-v8-obb": Layout(_DETECT, _BOX, yolo.decode_obb, threshold=0.25, fits=_ONLY_LETTERBOX),
    "yolo-v8-classify": Layout(
        "image-classification",
        ("tag",),
        dense.decode_classes,
        ("scores",),
        "shortest_edge",
        fits=("shortest_edge", "stretch"),
    ),
    "yolo-end-detect": Layout(_DETECT, _BOX, yolo.decode_end, threshold=0.25),
    "yolo-end-segment": Layout(_SEGMENT, _MASK, yolo.decode_segment_end, _MASKS, threshold=0.25),
    "yolo-end-pose": Layout(_POSE, _SKELETON, yolo.decode_pose_end, threshold=0.25),
    "yolo-end-obb": Layout(_DETECT, _BOX, yolo.decode_obb_end, threshold=0.25, fits=_ONLY_LETTERBOX),
    "detr": Layout(_DETECT, _BOX, boxes.decode_detr, ("logits", "boxes"), "stretch", "imagenet"),
    "boxes-labels-scores": Layout(_DETECT, _BOX, boxes.decode_separate, ("boxes", "labels", "scores"), "stretch"),
    "retinanet-heads": Layout(
        _DETECT,
        _BOX,
        anchors.decode_retinanet_heads,
        (*anchors.SCORES, *anchors.OFFSETS),
        normalise="imagenet",
        iou=0.5,
    ),
    "boxes-with-scores": Layout(
        _DETECT, _BOX, boxes.decode_with_scores, ("boxes", "labels"), "stretch", normalise="bytes", bgr=True
    ),
    "ssd": Layout(_DETECT, _BOX, boxes.decode_ssd, fit="stretch", normalise="bytes", bgr=True),
    "semantic": Layout(_SEGMENT, _MASK, dense.decode_semantic, ("scores",), "stretch", "imagenet"),
    "classes": Layout(
        "image-classification",
        ("tag",),
        dense.decode_classes,
        ("scores",),
        "shortest_edge",
        "imagenet",
        fits=("shortest_edge", "stretch", "letterbox"),
    ),
    "number": Layout(
        "image-classification",
        ("tag",),
        dense.decode_number,
        ("value",),
        "stretch",
        "imagenet",
        fits=("stretch", "shortest_edge", "letterbox"),
    ),
    "text": Layout(
        _DETECT,
        ("polygon",),
        dense.decode_text,
        ("scores",),
        "limit_side",
        "half",
        bgr=True,
        fits=("limit_side", "stretch", "letterbox"),
    ),
}


@dataclass(frozen=True, slots=True)
class Recognised:
    """The layout's name, role -> output, and the number of labels where the shapes tell it."""

    layout: str
    roles: Mapping[str, str]
    labels: int | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """What the exporter wrote into the file: Ultralytics' ``task``, ``end2end`` or ``nms``, the joints of a pose."""

    task: str = ""
    end: bool = False
    labels: int | None = None
    joints: tuple[int, int] = (0, 0)


def recognise(outputs: Sequence[Output], exported: Exported, layout: str = "") -> Recognised:
    """Raises Unsupported, listing the outputs, where the layout is unknown or could be two."""
    if layout:
        return _as_asked(outputs, layout)
    names = {output.name: output for output in outputs}
    if exported.task:
        return _ultralytics(outputs, exported)
    by_role = _by_names(names)
    if by_role:
        return by_role
    found = _by_shape(outputs, exported)
    if found is None:
        raise _unknown(outputs)
    return found


def _as_asked(outputs: Sequence[Output], layout: str) -> Recognised:
    if layout not in LAYOUTS:
        raise Unsupported(f"There is no layout {layout}.", hint=f"Layouts are: {', '.join(LAYOUTS)}.")
    roles = LAYOUTS[layout].roles
    if layout == "yolo-v3-heads" and len(outputs) == 2:
        roles = roles[:2]
    named = {role: output.name for role in roles for output in outputs if output.name == role}
    if len(named) < len(roles):
        if len(outputs) < len(roles):
            raise Unsupported(f"The layout {layout} needs {len(roles)} outputs; the file answers {listed(outputs)}.")
        named = {role: output.name for role, output in zip(roles, outputs, strict=False)}
    return Recognised(layout, named)


# What exporters call the outputs of one layout; all must be there.
_NAMES: tuple[tuple[str, dict[str, tuple[str, ...]]], ...] = (
    ("detr", {"logits": ("logits", "pred_logits"), "boxes": ("pred_boxes",)}),
    (
        "boxes-labels-scores",
        {
            "boxes": ("boxes", "bboxes", "dets"),
            "labels": ("labels", "classes"),
            "scores": ("scores",),
        },
    ),
    (
        "yolo-v3-indices",
        {
            "boxes": ("yolonms_layer_1", "boxes", "yolonms_layer_1:0"),
            "scores": ("yolonms_layer_1:1", "yolonms_layer_1/ExpandDims_3:0", "yolonms_layer_1_1", "scores"),
            "indices": ("yolonms_layer_1:2", "yolonms_layer_1/concat_2:0", "yolonms_layer_1_2", "indices"),
        },
    ),
    ("boxes-with-scores", {"boxes": ("dets", "boxes"), "labels": ("labels",)}),
)


def _by_names(names: Mapping[str, Output]) -> Recognised | None:
    for layout, wanted in _NAMES:
        roles = {role: next((name for name in known if name in names), None) for role, known in wanted.items()}
        found = {role: name for role, name in roles.items() if name}
        if (
            layout == "boxes-with-scores"
            and found
            and names[next(iter(found.values()))].shape[-1:] not in ((5,), (None,))
        ):
            continue  # boxes alone, whose scores are missing
        if len(found) == len(wanted) and len(set(found.values())) == len(wanted):
            return Recognised(layout, found)
    return None


def _ultralytics(outputs: Sequence[Output], exported: Exported) -> Recognised:
    """The task stands in the file; whether rows are suppressed already, in it or in the shape."""
    rows = outputs[0]
    if exported.task == "classify":
        return Recognised("yolo-v8-classify", {"scores": rows.name}, exported.labels)
    count = exported.labels or 0
    per_joint = exported.joints[0] * exported.joints[1]
    widths = {
        "detect": (4 + count, 6),
        "segment": (None, None),
        "pose": (4 + count + per_joint, 6 + per_joint),
        "obb": (5 + count, 7),
    }
    if exported.task not in widths or len(rows.shape) != 3:
        raise _unknown(outputs)
    end = exported.end or (rows.shape[2] is not None and rows.shape[2] == widths[exported.task][1] != rows.shape[1])
    if exported.task == "segment":
        if len(outputs) < 2:
            raise _unknown(outputs)
        roles = {"rows": rows.name, "prototypes": outputs[1].name}
    else:
        roles = {"rows": rows.name}
    if exported.task == "detect" and not end and rows.shape[2] == 5 + count and rows.shape[1] != 4 + count:
        return Recognised("yolo-v5", roles, exported.labels)
    return Recognised(f"yolo-{'end' if end else 'v8'}-{exported.task}", roles, exported.labels)


def _by_shape(outputs: Sequence[Output], exported: Exported) -> Recognised | None:
    shapes = [output.shape for output in outputs]
    if len(outputs) != 1 and not _first_is_all(shapes):
        return _heads(outputs)
    shape, name = shapes[0], outputs[0].name
    match len(shape):
        case 2:
            return _flat(shape, name)
        case 3:
            return _rows(shape, name, exported.labels)
        case 4:
            return _maps(shape, name)
    return None


def _flat(shape: Shape, name: str) -> Recognised | None:
    if shape[1] == 7 and shape[0] != 1:
        return Recognised("yolo-v7-end", {"rows": name})
    return Recognised("classes", {"scores": name}, shape[1]) if shape[1] and shape[1] > 1 else None


def _first_is_all(shapes: Sequence[Shape]) -> bool:
    """YOLO v5 and v7 may answer their raw heads, of five axes, beside the rows."""
    return len(shapes[0]) == 3 and all(len(shape) == 5 for shape in shapes[1:])


def _heads(outputs: Sequence[Output]) -> Recognised | None:
    """Two or three grids of 3 x (5 + labels) channels; or five of 9 x labels and five of 9 x 4."""
    if len(outputs) == 2 * anchors.LEVELS and all(len(output.shape) == 4 for output in outputs):
        return _retinanet(outputs)
    if len(outputs) not in (2, 3) or not all(len(output.shape) == 4 for output in outputs):
        return None
    channels = {output.shape[1] for output in outputs}
    (first,) = channels if len(channels) == 1 else (None,)
    if not first or first % 3 or first // 3 <= 5:
        return None
    roles = dict(zip(LAYOUTS["yolo-v3-heads"].roles, (output.name for output in outputs), strict=False))
    return Recognised("yolo-v3-heads", roles, first // 3 - 5)


def _retinanet(outputs: Sequence[Output]) -> Recognised | None:
    scores, offsets = outputs[: anchors.LEVELS], outputs[anchors.LEVELS :]
    wide, four = {output.shape[1] for output in scores}, {output.shape[1] for output in offsets}
    if len(wide) != 1 or four != {4 * anchors.COUNT} or (first := next(iter(wide))) is None or first % anchors.COUNT:
        return None
    names = [output.name for output in outputs]
    roles = dict(zip(LAYOUTS["retinanet-heads"].roles, names, strict=True))
    return Recognised("retinanet-heads", roles, first // anchors.COUNT)


def _maps(shape: Shape, name: str) -> Recognised | None:
    if shape[3] == 7 and shape[1] == 1:
        return Recognised("ssd", {"rows": name})
    if shape[1] and shape[1] > 1:
        return Recognised("semantic", {"scores": name}, shape[1])
    if shape[1] == 1 and name.startswith(("fetch_name", "sigmoid_0", "save_infer_model")):  # as Paddle names outputs
        return Recognised("text", {"scores": name}, 1)
    return None


def _rows(shape: Shape, name: str, labels: int | None) -> Recognised | None:
    """[1, a, b]: rows are few numbers wide and many; where either is open, or two layouts fit, nothing is guessed."""
    _, first, second = shape
    roles = {"rows": name}
    if labels is not None:
        fitting = [
            layout
            for layout, fits in (
                ("yolo-v8-detect", first == 4 + labels),
                ("yolo-v5", second == 5 + labels),
                ("yolo-end-detect", second == 6),
            )
            if fits
        ]
        return Recognised(fitting[0], roles, labels) if len(fitting) == 1 else None
    if first is None or second is None:
        return None
    if second == 6 and first <= 1000:  # a network's own best; raw rows are thousands
        return Recognised("yolo-end-detect", roles)
    if first > second > 5:
        return Recognised("yolo-v5", roles, second - 5)
    if second > first > 4:
        return Recognised("yolo-v8-detect", roles, first - 4)
    return None


def listed(outputs: Sequence[Output]) -> str:
    return ", ".join(
        f"{output.name} [{', '.join('?' if side is None else str(side) for side in output.shape)}]"
        for output in outputs
    )


def _unknown(outputs: Sequence[Output]) -> Unsupported:
    return Unsupported(
        f"The layout of the outputs is not recognised: {listed(outputs)}.",
        hint='Name it in a file beside the model, MODEL.json: {"layout": "yolo-v8-detect"}. '
        f"Layouts are: {', '.join(LAYOUTS)}.",
    )
