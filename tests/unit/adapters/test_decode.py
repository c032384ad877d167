"""Our decoding against ``post_process_object_detection`` of transformers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adapters.decode import SIGMOID, SOFTMAX, decode_queries
from adapters.errors import BadOutput

LABELS = tuple(f"label {i}" for i in range(7))
WIDTH, HEIGHT = 640, 360


def random_answer(queries: int, columns: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(0.05, 0.6, (queries, 4)).astype(np.float32)
    return rng.normal(0, 3, (queries, columns)).astype(np.float32), boxes


def reference(name: str, logits: Any, boxes: Any, **options: Any) -> dict[str, Any]:
    import torch  # noqa: PLC0415  (only this test needs it)
    import transformers  # noqa: PLC0415

    processor = getattr(transformers, f"{name}ImageProcessorPil")()
    outputs = SimpleNamespace(logits=torch.from_numpy(logits[None]), pred_boxes=torch.from_numpy(boxes[None]))
    (result,) = processor.post_process_object_detection(
        outputs, threshold=0.0, target_sizes=torch.tensor([[HEIGHT, WIDTH]]), **options
    )
    return {key: value.numpy() for key, value in result.items()}


@pytest.mark.parametrize(
    ("processor", "scores_by", "options"),
    [
        ("RTDetr", SIGMOID, {}),
        ("DeformableDetr", SIGMOID, {"top_k": 20}),
        ("ConditionalDetr", SIGMOID, {"top_k": 20}),
        ("Detr", SOFTMAX, {}),
        ("Yolos", SOFTMAX, {}),
    ],
)
def test_detections_equal_those_of_transformers(processor: str, scores_by: str, options: dict[str, Any]) -> None:
    for seed in range(5):
        logits, boxes = random_answer(20, len(LABELS) + (scores_by == SOFTMAX), seed)
        expected = reference(processor, logits, boxes, **options)
        order = np.argsort(-expected["scores"], kind="stable")
        found = decode_queries(logits, boxes, scores_by, LABELS, WIDTH, HEIGHT)
        np.testing.assert_allclose(found.scores, expected["scores"][order], atol=1e-6)
        np.testing.assert_allclose(found.boxes, expected["boxes"][order], atol=1e-3)
        assert (found.label_ids == expected["labels"][order]).all()


def test_fewer_pairs_than_queries_are_all_given() -> None:
    logits, boxes = random_answer(6, 1)
    assert len(decode_queries(logits, boxes, SIGMOID, ("one",), WIDTH, HEIGHT)) == 6


def test_no_queries_give_no_detections() -> None:
    empty = np.empty((0, 7), np.float32), np.empty((0, 4), np.float32)
    assert len(decode_queries(*empty, SIGMOID, LABELS, WIDTH, HEIGHT)) == 0


def test_extreme_logits_give_scores_of_0_and_1() -> None:
    logits = np.array([[-1e4, 1e4]], np.float32)
    boxes = np.array([[0.5, 0.5, 0.5, 0.5]], np.float32)
    assert decode_queries(logits, boxes, SIGMOID, ("a", "b"), 10, 10).scores.tolist() == [1.0]
    assert decode_queries(-logits, boxes, SOFTMAX, ("a",), 10, 10).scores.tolist() == [1.0]


@pytest.mark.parametrize(
    ("logits", "boxes", "scores_by"),
    [
        ((5, 6), (5, 4), SIGMOID),
        ((5, 7), (5, 4), SOFTMAX),  # the column for no object is missing
        ((5, 8), (5, 4), SIGMOID),
        ((5, 7), (4, 4), SIGMOID),
        ((5, 7), (5, 5), SIGMOID),
        ((7,), (5, 4), SIGMOID),
    ],
)
def test_shapes_that_do_not_fit_the_labels_are_bad_output(
    logits: tuple[int, ...], boxes: tuple[int, ...], scores_by: str
) -> None:
    with pytest.raises(BadOutput, match="need"):
        decode_queries(np.zeros(logits, np.float32), np.zeros(boxes, np.float32), scores_by, LABELS, WIDTH, HEIGHT)


def test_a_nan_among_the_scores_is_bad_output() -> None:
    logits, boxes = random_answer(20, 7)
    logits[3, 2] = np.nan
    with pytest.raises(BadOutput, match="NaN"):
        decode_queries(logits, boxes, SIGMOID, LABELS, WIDTH, HEIGHT)
