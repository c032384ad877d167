"""Layouts of ONNX outputs: how each is recognised, and its decoder against a plain reference on random numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from adapters.base import Context, Detections, Mask, PredictOptions, RotatedRectangle, Skeleton, WholeFrame
from adapters.errors import BadOutput, Unsupported
from adapters.frame import Frame
from adapters.letterbox import FileInput
from adapters.onnx_description import Beside, Graph, describe_graph
from adapters.onnx_file import OnnxFile
from adapters.onnx_layouts import LAYOUTS, Exported, Output, recognise
from adapters.onnx_layouts.spec import LEAST_SCORE, Spec
from adapters.preprocess import Tensor
from adapters.references import LocalFile
from tests import models

LABELS = ("car", "person", "tree")
SIDE = 64
FRAME = Frame("f", 100, 50, pixels=np.zeros((50, 100, 3), np.uint8))
SCALE = np.full(3, 1 / 255, np.float32)
NO_BIAS = np.zeros(3, np.float32)


def letterboxed() -> Tensor:
    return FileInput(SIDE, SIDE, "letterbox", SCALE, NO_BIAS)(FRAME.pixels)


def decode(layout: str, outputs: dict[str, Any], tensor: Tensor | None = None, **options: Any) -> Detections:
    spec = Spec({role: role for role in outputs}, options.pop("labels", LABELS), **options)
    found = LAYOUTS[layout].decode(outputs, spec, tensor or letterboxed(), FRAME)
    return found.inside(FRAME.width, FRAME.height).best(300)


def to_frame(x: float, y: float) -> tuple[float, float]:
    """Of the letterbox of a 100 x 50 frame in 64 x 64: 64 x 32 of picture, 16 below the top."""
    return x * 100 / 64, (y - 16) * 50 / 32


def centred(count: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.uniform(10, 54, (count, 1)), rng.uniform(20, 44, (count, 1)), rng.uniform(6, 30, (count, 2))], axis=1
    ).astype(np.float32)


def overlap(a: Any, b: Any) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def plain_reference(boxes: Any, scores: Any, iou: float) -> list[tuple[float, int, list[float]]]:
    """Centre boxes and [n, labels] scores -> (score, label id, box in the frame), by loops over single boxes."""
    rows = []
    for (x, y, width, height), row in zip(boxes.tolist(), scores.tolist(), strict=True):
        label_id = max(range(len(row)), key=row.__getitem__)
        rows.append((row[label_id], label_id, [x - width / 2, y - height / 2, x + width / 2, y + height / 2]))
    kept: list[tuple[float, int, list[float]]] = []
    for score, label_id, box in sorted(rows, key=lambda row: -row[0]):
        if score >= LEAST_SCORE and all(other != label_id or overlap(box, b) <= iou for _, other, b in kept):
            kept.append((score, label_id, box))
    placed = []
    for score, label_id, (x1, y1, x2, y2) in kept:
        (left, top), (right, bottom) = to_frame(x1, y1), to_frame(x2, y2)
        clipped = [min(max(left, 0), 100), min(max(top, 0), 50), min(max(right, 0), 100), min(max(bottom, 0), 50)]
        if clipped[2] > clipped[0] and clipped[3] > clipped[1]:
            placed.append((score, label_id, clipped))
    return placed


def same(found: Detections, expected: list[tuple[float, int, list[float]]]) -> None:
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.scores, [score for score, _, _ in expected], atol=1e-5)
    assert found.label_ids.tolist() == [label_id for _, label_id, _ in expected]
    np.testing.assert_allclose(found.boxes, [box for _, _, box in expected], atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("iou", [0.3, 0.7])
def test_yolo_v8_equals_a_plain_reference(seed: int, iou: float) -> None:
    boxes, scores = centred(120, seed), np.random.default_rng(seed).uniform(0, 1, (120, 3)).astype(np.float32) ** 2
    found = decode("yolo-v8-detect", {"rows": np.concatenate([boxes, scores], axis=1).T}, iou=iou)
    expected = plain_reference(boxes, scores, iou)
    same(found, expected)
    assert len(expected) < 120


@pytest.mark.parametrize("seed", range(4))
def test_yolo_v5_multiplies_by_the_objectness(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes, scores = centred(80, seed), rng.uniform(0, 1, (80, 3)).astype(np.float32)
    objectness = rng.uniform(0, 1, (80, 1)).astype(np.float32)
    found = decode("yolo-v5", {"rows": np.concatenate([boxes, objectness, scores], axis=1)}, iou=0.45)
    same(found, plain_reference(boxes, scores * objectness, 0.45))


def finished_rows(seed: int = 1) -> tuple[Any, Any, Any]:
    boxes = centred(6, seed)
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
    return corners, np.linspace(0.9, 0.3, 6, dtype=np.float32), np.array([0, 1, 2, 0, 1, 2])


def expected_rows(corners: Any, scores: Any, label_ids: Any) -> list[tuple[float, int, list[float]]]:
    centres = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)
    return plain_reference(centres, np.eye(3)[label_ids] * scores[:, None], iou=1.0)


def test_layouts_without_overlaps_are_only_placed() -> None:
    corners, scores, label_ids = finished_rows()
    expected = expected_rows(corners, scores, label_ids)
    column = label_ids[:, None].astype(np.float32)
    filled = np.zeros((4, 6), np.float32)
    same(
        decode("yolo-end-detect", {"rows": np.vstack([np.hstack([corners, scores[:, None], column]), filled])}),
        expected,
    )
    same(decode("yolo-v7-end", {"rows": np.hstack([np.zeros((6, 1)), corners, column, scores[:, None]])}), expected)
    separate = {"boxes": corners, "labels": label_ids, "scores": scores}
    same(decode("boxes-labels-scores", separate), expected)
    rows = np.hstack([np.zeros((6, 1)), column, scores[:, None], corners / SIDE])
    ends = np.full((2, 7), -1.0)
    same(decode("ssd", {"rows": np.vstack([rows, ends, rows])[None]}), expected)


def test_yolo_v3_with_indices_takes_what_they_point_at() -> None:
    corners, scores, label_ids = finished_rows()
    outputs = {
        "boxes": corners[:, [1, 0, 3, 2]],
        "scores": (np.eye(3)[label_ids] * scores[:, None]).T.astype(np.float32),
        "indices": np.stack([np.zeros(6), label_ids, np.arange(6)], axis=1).astype(np.int32),
    }
    same(decode("yolo-v3-indices", outputs), expected_rows(corners, scores, label_ids))
    with pytest.raises(BadOutput, match="does not have"):
        decode("yolo-v3-indices", {**outputs, "indices": np.array([[0, 0, 99]])})


def test_yolo_v3_heads_equal_a_plain_reference() -> None:
    rng = np.random.default_rng(4)
    anchors = [[(116, 90), (156, 198), (373, 326)], [(30, 61), (62, 45), (59, 119)], [(10, 13), (16, 30), (33, 23)]]
    grids = [rng.normal(-1, 1.5, (3 * 8, size, size)).astype(np.float32) for size in (2, 4, 8)]
    boxes, scores = [], []
    for grid, sizes in zip(grids, anchors, strict=True):
        cells = grid.shape[1]
        for anchor, (width, height) in enumerate(sizes):
            for row in range(cells):
                for column in range(cells):
                    x, y, w, h, is_object, *labels = grid[anchor * 8 : anchor * 8 + 8, row, column].tolist()
                    place = (
                        (1 / (1 + math.exp(-x)) + column) * SIDE / cells,
                        (1 / (1 + math.exp(-y)) + row) * SIDE / cells,
                    )
                    boxes.append([*place, math.exp(w) * width, math.exp(h) * height])
                    scores.append([1 / (1 + math.exp(-is_object)) / (1 + math.exp(-label)) for label in labels])
    found = decode("yolo-v3-heads", dict(zip(("grid", "grid2", "grid3"), reversed(grids), strict=True)), iou=0.45)
    same(found, plain_reference(np.array(boxes), np.array(scores), 0.45))


def test_detr_reads_softmax_where_there_is_a_column_for_no_object() -> None:
    rng = np.random.default_rng(0)
    boxes = (centred(5) / SIDE).astype(np.float32)
    for columns in (3, 4):
        logits = rng.normal(0, 2, (5, columns)).astype(np.float32)
        found = decode("detr", {"logits": logits, "boxes": boxes})
        best = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True))[:, :3].max() if columns == 4 else None
        assert found.scores.max() == pytest.approx(
            best if best is not None else 1 / (1 + np.exp(-logits.max())), abs=1e-5
        )


def test_masks_are_the_prototypes_cut_by_their_boxes() -> None:
    """Two prototypes over the letterbox: one positive left of its middle, one above the picture's middle."""
    grid = np.linspace(-1, 1, 32, dtype=np.float32)
    prototypes = np.stack([np.tile(-grid, (32, 1)), np.tile(-grid[:, None], (1, 32))])
    rows = np.array(
        [[32, 32, 64, 32, 0.9, 0, 0, 1, 0], [32, 32, 64, 32, 0, 0.8, 0, 0, 1], [16, 24, 8, 8, 0, 0, 0.7, -1, 0]]
    )
    for layout, outputs in (
        ("yolo-v8-segment", rows.T),
        (
            "yolo-end-segment",
            np.array([[0, 16, 64, 48, 0.9, 0, 1, 0], [0, 16, 64, 48, 0.8, 1, 0, 1], [12, 20, 20, 28, 0.7, 2, -1, 0]]),
        ),
    ):
        found = decode(layout, {"rows": outputs.astype(np.float32), "prototypes": prototypes})
        assert found.label_ids.tolist() == [0, 1]  # the third lies where its mask is negative
        left, upper = (bits(shape) for shape in found.geometry)
        assert (left == (np.arange(100) < 50)[None, :]).mean() > 0.98
        assert (upper == (np.arange(50) < 25)[:, None]).mean() > 0.98


def bits(shape: Any) -> Any:
    assert isinstance(shape, Mask)
    import warnings  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools with numpy 2
        return coco.decode({"size": [shape.height, shape.width], "counts": shape.counts}).astype(bool)


@pytest.mark.parametrize("per_joint", [2, 3])
def test_joints_are_placed_in_the_frame(per_joint: int) -> None:
    joints = np.array([[10, 20, 0.9], [40, 40, 0.2]], np.float32)[:, :per_joint].ravel()
    plain = np.concatenate([[32, 32, 20, 20, 0.8], joints])[:, None]
    end = np.concatenate([[22, 22, 42, 42, 0.8, 0], joints])[None]
    for layout, rows in (("yolo-v8-pose", plain), ("yolo-end-pose", end)):
        found = decode(layout, {"rows": rows.astype(np.float32)}, labels=("person",), joints=(2, per_joint))
        (skeleton,) = found.geometry
        assert isinstance(skeleton, Skeleton)
        np.testing.assert_allclose(skeleton.points, [to_frame(10, 20), to_frame(40, 40)], atol=1e-4)
        np.testing.assert_allclose(skeleton.scores, [0.9, 0.2] if per_joint == 3 else [1, 1], atol=1e-6)


def test_turned_boxes_turn_clockwise() -> None:
    angle = math.radians(30)
    plain = np.array([[32, 32, 20, 8, 0.9, 0, 0, angle], [32, 32, 20, 8, 0.5, 0, 0, angle]], np.float32).T
    end = np.array([[32, 32, 20, 8, 0.9, 0, angle], [0, 0, 0, 0, 0, 0, 0]], np.float32)
    for layout, rows in (("yolo-v8-obb", plain), ("yolo-end-obb", end)):
        found = decode(layout, {"rows": rows})
        (shape,) = found.geometry
        assert isinstance(shape, RotatedRectangle)
        x, y = to_frame(32, 32)
        assert (shape.center_x, shape.center_y, shape.rotation) == pytest.approx((x, y, 30), abs=1e-3)
        assert (shape.width, shape.height) == pytest.approx((20 * 100 / 64, 8 * 100 / 64), abs=1e-3)
        # The first corner of a turned box, x to the right and y down: half its length along (cos, sin).
        reach = (20 * math.cos(angle) + 8 * math.sin(angle)) * 100 / 64 / 2
        assert found.boxes[0, 2] == pytest.approx(x + reach, abs=1e-2)


def test_classes_become_tags() -> None:
    for scores in ([0.2, 0.7, 0.1], np.log([0.2, 0.7, 0.1]) + 5):
        found = decode("classes", {"scores": np.array([scores], np.float32)})
        assert found.label_ids.tolist() == [1, 0, 2]
        np.testing.assert_allclose(found.scores, [0.7, 0.2, 0.1], atol=1e-6)
        assert all(isinstance(shape, WholeFrame) for shape in found.geometry)


def test_retinanet_anchors_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(4)
    outputs = {}
    for level in range(5):
        side = 64 // (8 * 2**level) or 1
        outputs[f"scores{level}"] = rng.uniform(0, 0.3, (27, side, side)).astype(np.float32)
        outputs[f"boxes{level}"] = rng.normal(0, 0.3, (36, side, side)).astype(np.float32)
    expected = []
    for level in range(5):
        scores, moves = outputs[f"scores{level}"], outputs[f"boxes{level}"]
        side = len(scores[0])
        stride = 64 / side
        for anchor in range(9):
            scale, ratio = 4 * 2 ** (anchor // 3 / 3), (1.0, 2.0, 0.5)[anchor % 3]
            width, height = stride * scale / math.sqrt(ratio), stride * scale * math.sqrt(ratio)
            for row in range(side):
                for column in range(side):
                    own = scores[anchor * 3 : anchor * 3 + 3, row, column]
                    dx, dy, dw, dh = moves[anchor * 4 : anchor * 4 + 4, row, column]
                    x1, y1 = column * stride + (stride - width) / 2, row * stride + (stride - height) / 2
                    x, y = x1 + (width + 1) / 2 + dx * (width + 1), y1 + (height + 1) / 2 + dy * (height + 1)
                    w, h = math.exp(dw) * (width + 1), math.exp(dh) * (height + 1)
                    box = np.array([*to_frame(x - w / 2, y - h / 2), *to_frame(x + w / 2 - 1, y + h / 2 - 1)])
                    expected.append((float(own.max()), int(own.argmax()), np.clip(box, 0, [100, 50, 100, 50])))
    expected.sort(key=lambda each: -each[0])
    found = decode("retinanet-heads", outputs, iou=1.0)
    kept = [each for each in expected if each[2][2] > each[2][0] and each[2][3] > each[2][1]][: len(found)]
    assert len(found) > 100
    np.testing.assert_allclose(found.scores, [score for score, _, _ in kept], atol=1e-6)
    assert found.label_ids.tolist() == [label for _, label, _ in kept]
    np.testing.assert_allclose(found.boxes, [box for _, _, box in kept], atol=0.01)


def test_boxes_that_carry_their_scores() -> None:
    boxes = np.array([[8, 20, 40, 44, 0.9], [10, 20, 30, 30, 0.4], [0, 0, 1, 1, 0.3]], np.float32)
    found = decode("boxes-with-scores", {"boxes": boxes, "labels": np.array([[1, 0, -1]])})
    np.testing.assert_allclose(found.scores, [0.9, 0.4])
    assert found.label_ids.tolist() == [1, 0]
    np.testing.assert_allclose(found.boxes[0], [*to_frame(8, 20), *to_frame(40, 44)], atol=1e-4)


@pytest.mark.parametrize(("answered", "scale", "said"), [(0.374, 100, "37"), (-3.0, 1, "0"), (41.6, 1, "42")])
def test_a_number_is_carried_by_a_tag(answered: float, scale: float, said: str) -> None:
    value = np.full((1, 1, 1, 1), answered, np.float32)
    found = decode("number", {"value": value}, labels=("age",), scale=scale)
    assert found.labels == ("age",)
    assert found.attributes == ({"value": said},)
    assert isinstance(found.geometry[0], WholeFrame)


def test_semantic_scores_lie_where_the_picture_lay() -> None:
    scores = np.zeros((3, 16, 16), np.float32)
    scores[0] = 1  # grey above and below the picture
    scores[1, 4:8] = 2  # the picture's upper half
    scores[2, 8:12] = 2
    found = decode("semantic", {"scores": scores})
    assert found.label_ids.tolist() == [1, 2]
    assert bits(found.geometry[0])[:24].all()
    assert not bits(found.geometry[0])[26:].any()


BAD: list[tuple[str, dict[str, Any]]] = [
    ("yolo-v8-detect", {"rows": np.zeros((6, 10))}),
    ("yolo-v5", {"rows": np.zeros((10, 7))}),
    ("yolo-v5", {"rows": np.full((10, 8), np.nan)}),
    ("yolo-end-detect", {"rows": np.zeros((10, 7))}),
    ("yolo-end-detect", {"rows": np.array([[1, 1, 9, 9, 0.5, 7]])}),
    ("yolo-v8-segment", {"rows": np.zeros((9, 4)), "prototypes": np.zeros((2, 3))}),
    ("yolo-v3-heads", {"grid": np.zeros((23, 2, 2)), "grid2": np.zeros((24, 4, 4)), "grid3": np.zeros((24, 8, 8))}),
    ("boxes-labels-scores", {"boxes": np.zeros((2, 5)), "labels": np.zeros(2), "scores": np.zeros(2)}),
    ("boxes-labels-scores", {"boxes": np.zeros((2, 4)), "labels": np.zeros(2), "scores": np.zeros(3)}),
    ("ssd", {"rows": np.zeros((1, 5, 6))}),
    ("boxes-with-scores", {"boxes": np.zeros((2, 4)), "labels": np.zeros(2)}),
    ("boxes-with-scores", {"boxes": np.zeros((2, 5)), "labels": np.zeros(3)}),
    ("number", {"value": np.zeros(2)}),
    (
        "retinanet-heads",
        {f"scores{i}": np.zeros((27, 2, 2)) for i in range(5)} | {f"boxes{i}": np.zeros((35, 2, 2)) for i in range(5)},
    ),
    ("number", {"value": np.array([np.nan])}),
    ("classes", {"scores": np.zeros(4)}),
    ("semantic", {"scores": np.zeros((4, 8, 8))}),
    ("semantic", {"scores": np.full((3, 8, 8), np.inf)}),
    ("text", {"scores": np.zeros((2, 8, 8))}),
]


@pytest.mark.parametrize(("layout", "outputs"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_numbers_that_do_not_fit_are_bad_output(layout: str, outputs: dict[str, Any]) -> None:
    with pytest.raises(BadOutput):
        decode(layout, {role: value.astype(np.float32) for role, value in outputs.items()})


NONE = None
GRIDS = ((60, 80), (30, 40), (15, 20), (8, 10), (4, 5))
PROTOTYPES = ("output1", (1, 32, 160, 160))
RECOGNISED: list[tuple[list[tuple[str, tuple[int | None, ...]]], Exported, str, int | None]] = [
    ([("output0", (1, 84, 8400))], Exported(), "yolo-v8-detect", 80),
    ([("output0", (1, 84, NONE))], Exported("detect", labels=80), "yolo-v8-detect", 80),
    ([("output0", (1, 25200, 85))], Exported(), "yolo-v5", 80),
    ([("output", (1, 25200, 85)), ("a", (1, 3, 80, 80, 85)), ("b", (1, 3, 40, 40, 85))], Exported(), "yolo-v5", 80),
    ([("output0", (1, 25200, 6))], Exported(), "yolo-v5", 1),
    ([("output0", (1, 300, 6))], Exported(), "yolo-end-detect", None),
    ([("output0", (1, 300, 6))], Exported("detect", labels=80), "yolo-end-detect", 80),
    ([("output0", (NONE, NONE, NONE))], Exported("detect", end=True, labels=80), "yolo-end-detect", 80),
    (
        [("output0", (1, 116, 8400)), PROTOTYPES],
        Exported("segment", labels=80),
        "yolo-v8-segment",
        80,
    ),
    (
        [("output0", (1, 300, 38)), PROTOTYPES],
        Exported("segment", True, 80),
        "yolo-end-segment",
        80,
    ),
    ([("output0", (1, 56, 8400))], Exported("pose", labels=1, joints=(17, 3)), "yolo-v8-pose", 1),
    ([("output0", (1, 300, 57))], Exported("pose", labels=1, joints=(17, 3)), "yolo-end-pose", 1),
    ([("output0", (1, 20, 21504))], Exported("obb", labels=15), "yolo-v8-obb", 15),
    ([("output0", (1, 300, 7))], Exported("obb", labels=15), "yolo-end-obb", 15),
    ([("output0", (1, 1000))], Exported("classify", labels=1000), "yolo-v8-classify", 1000),
    ([("output", (NONE, 7))], Exported(), "yolo-v7-end", None),
    ([("logits", (1, 300, 80)), ("pred_boxes", (1, 300, 4))], Exported(), "detr", None),
    ([("labels", (1, 300)), ("boxes", (1, 300, 4)), ("scores", (1, 300))], Exported(), "boxes-labels-scores", None),
    ([("detection_out", (1, 1, 200, 7))], Exported(), "ssd", None),
    ([("a", (1, 255, 13, 13)), ("b", (1, 255, 26, 26)), ("c", (1, 255, 52, 52))], Exported(), "yolo-v3-heads", 80),
    ([("a", (1, 255, 13, 13)), ("b", (1, 255, 26, 26))], Exported(), "yolo-v3-heads", 80),
    ([("boxes", (1, NONE, 4)), ("scores", (1, 80, NONE)), ("indices", (NONE, 3))], Exported(), "yolo-v3-indices", None),
    (
        [(f"o{i}", (1, 720, *grid)) for i, grid in enumerate(GRIDS)]
        + [(f"p{i}", (1, 36, *grid)) for i, grid in enumerate(GRIDS)],
        Exported(),
        "retinanet-heads",
        80,
    ),
    ([("dets", (1, NONE, 5)), ("labels", (1, NONE))], Exported(), "boxes-with-scores", None),
    ([("boxes", (200, 5)), ("labels", (200,))], Exported(), "boxes-with-scores", None),
    ([("logits", (1, 150, 128, 128))], Exported(), "semantic", 150),
    ([("logits", (1, 1000))], Exported(), "classes", 1000),
    ([("fetch_name_0", (NONE, 1, NONE, NONE))], Exported(), "text", 1),
]


@pytest.mark.parametrize(("outputs", "exported", "layout", "labels"), RECOGNISED, ids=lambda value: str(value)[:40])
def test_layouts_are_recognised(outputs: Any, exported: Exported, layout: str, labels: int | None) -> None:
    found = recognise([Output(*each) for each in outputs], exported)
    assert (found.layout, found.labels) == (layout, labels)
    assert set(found.roles.values()) <= {name for name, _ in outputs}


def test_every_layout_is_recognised_somewhere() -> None:
    """But for a single number, which is named: it could as well be the score of a label."""
    assert {layout for _, _, layout, _ in RECOGNISED} == set(LAYOUTS) - {"number"}


@pytest.mark.parametrize(
    "outputs",
    [
        [("x", (1, 5))] * 2,
        [("x", (1, NONE, NONE))],
        [("embedding", (1, 1))],
        [("depth", (1, 1, 64, 64))],
        [("boxes", (1, 100, 4)), ("labels", (1, 100))],
        [("a", (1, 10, 3, 3)), ("b", (1, 10, 6, 6))],
    ],
)
def test_what_is_not_recognised_is_refused_with_its_outputs(outputs: Any) -> None:
    with pytest.raises(Unsupported) as caught:
        recognise([Output(*each) for each in outputs], Exported())
    assert all(name in caught.value.message for name, _ in outputs)
    assert "layout" in caught.value.hint


def graph(shape: tuple[int | None, ...], **metadata: str) -> Graph:
    return Graph((Output("images", (1, 3, NONE, NONE)),), (Output("o", shape),), metadata)


def test_ultralytics_metadata_gives_labels_size_and_joints() -> None:
    made = describe_graph(
        graph((1, 11, 8400), names="{0: 'cow'}", task="pose", imgsz="[320, 640]", kpt_shape="[2, 3]"), Beside()
    )
    assert (made.labels, made.height, made.width) == (("cow",), 320, 640)
    assert (made.joints, made.per_joint, made.fit) == (("joint 1", "joint 2"), 3, "letterbox")


def test_repeated_labels_are_told_apart_whatever_the_others_are_called() -> None:
    beside = Beside(labels=("car", "car", "car (1)", "car"), layout="yolo-v8-detect")
    made = describe_graph(graph((1, 8, 8400)), beside)
    assert made.labels == ("car", "car (1)'", "car (1)", "car (3)")
    assert "car" in made.notes[0]


@pytest.mark.parametrize(
    ("shape", "beside", "words"),
    [
        ((1, 300, 6), {}, "how many labels"),
        ((1, 84, 8400), {"labels": ["a"]}, "layout"),
        ((1, 84, 8400), {"labels": ["a"], "layout": "yolo-v9"}, "no layout yolo-v9"),
        ((1, 84, 8400), {"layout": "yolo-v8-segment"}, "needs 2 outputs"),
        ((1, 20, 8400), {"layout": "yolo-v8-obb", "labels": ["a"], "fit": "stretch"}, "letterbox"),
        ((1, 20, 8400), {"layout": "yolo-v8-pose", "labels": ["a"]}, "joints"),
    ],
)
def test_descriptions_that_do_not_hold_together_are_refused(shape: Any, beside: dict[str, Any], words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        describe_graph(graph(shape), Beside.model_validate(beside))


async def test_the_json_beside_a_file_is_checked_and_part_of_its_revision(tmp_path: Path) -> None:
    path = models.write_yolo(tmp_path / "street.onnx")
    context = Context(tmp_path / "cache")
    plain = await OnnxFile().resolve(LocalFile(str(path)), context)
    path.with_suffix(".json").write_text('{"labels": ["a", "b", "c", "d"], "threshold": 0.4, "name": "Street"}')
    named = await OnnxFile().resolve(LocalFile(str(path)), context)
    assert plain.labels == models.LABELS
    assert (named.labels, named.default_threshold, named.name) == (("a", "b", "c", "d"), 0.4, "Street")
    assert plain.revision != named.revision
    for content, words in (("{", "no JSON"), ('{"lables": []}', "lables"), ('{"iou": 3}', "iou")):
        path.with_suffix(".json").write_text(content)
        with pytest.raises(Unsupported, match=words):
            await OnnxFile().resolve(LocalFile(str(path)), context)


async def test_a_file_without_names_gets_numbered_labels_and_a_note(tmp_path: Path) -> None:
    path = models.write_yolo(tmp_path / "street.onnx", metadata=False)
    path.with_suffix(".json").write_text('{"layout": "yolo-v8-detect", "labels": ["a", "b", "c", "d"]}')
    async with await OnnxFile().open(
        await OnnxFile().resolve(LocalFile(str(path)), Context(tmp_path)), Context(tmp_path)
    ) as predictor:
        (found,) = await predictor.predict([FRAME], PredictOptions())
    assert set(found.labels) == {"a", "b", "c", "d"}
    made = describe_graph(graph((1, 8, 8400)), Beside())
    assert made.labels == ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3")
    assert "does not name" in made.notes[0]


@pytest.mark.parametrize("fit", ["letterbox", "stretch", "shortest_edge"])
@pytest.mark.parametrize("size", [(100, 50), (50, 100), (64, 64), (33, 17), (640, 480)])
def test_geometry_is_undone_to_the_pixel(fit: Any, size: tuple[int, int]) -> None:
    """A white pixel block of the frame is found again where it was."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    reach = max(3, height // 20)
    x1, y1, x2, y2 = width // 2 - reach, height // 2 - reach, width // 2 + reach + 1, height // 2 + reach + 2
    pixels[y1:y2, x1:x2] = 255
    tensor = FileInput(96, 128, fit, SCALE, NO_BIAS, fill=0)(pixels)
    assert tensor.pixels.shape == (3, 96, 128)
    weights = tensor.pixels[0] / tensor.pixels[0].sum()
    centre = np.array(
        [[(weights.sum(0) * (np.arange(128) + 0.5)).sum(), (weights.sum(1) * (np.arange(96) + 0.5)).sum()]]
    )
    found = tensor.to_frame(centre.astype(np.float32), width, height)
    pixel = max(width / 128, height / 96)  # what one pixel of the tensor is in the frame
    np.testing.assert_allclose(found[0], [(x1 + x2) / 2, (y1 + y2) / 2], atol=max(0.6, pixel / 2))
