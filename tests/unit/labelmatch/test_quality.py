"""The matcher keeps its quality on the benchmark's own truth sets; the figures stand in docs/label-matching.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labelmatch import suggest
from labelmatch.normalize import fold

SETS = sorted((Path(__file__).parents[3] / "benchmarks").glob("label_sets*/*.json"))


def counts(path: Path) -> tuple[int, int, int]:
    """(right, suggested, matched) of a set, by the best suggestion of each label."""
    data = json.loads(path.read_text(encoding="utf-8"))
    truth = {tuple(pair) for pair in data["pairs"]}
    best = {one.model_label: one.task_label for one in reversed(suggest(data["model_labels"], data["task_labels"]))}
    return len(truth & set(best.items())), len(best), len({model for model, _ in truth})


def test_precision_and_mean_f1() -> None:
    figures = [counts(path) for path in SETS]
    assert len(figures) > 20
    assert sum(right for right, _, _ in figures) / sum(suggested for _, suggested, _ in figures) >= 0.95
    assert sum(2 * right / (suggested + matched) for right, suggested, matched in figures) / len(figures) >= 0.92


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_accepted_names_are_right(path: Path) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    for one in suggest(data["model_labels"], data["task_labels"]):
        if one.accepted:
            assert fold(one.model_label) == fold(one.task_label)
            assert [one.model_label, one.task_label] in data["pairs"]
