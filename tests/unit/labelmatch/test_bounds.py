"""Labels that are all alike take time and memory in proportion to their number, not to its square."""

from __future__ import annotations

import tracemalloc

import pytest

from labelmatch import LearnedPair, suggest, tiers
from labelmatch.readings import read
from labelmatch.translations import coco_dictionary

SYLLABLES = [a + b + c for a in "bdfgklmn" for b in "aeiou" for c in "rstvwxyz"]

ALIKE = {
    "fold to one name": (["car" + " " * n for n in range(400)], ["car" + "_" * n for n in range(400)]),
    "differ in a number": ([f"car_{n}" for n in range(400)], [f"car_{n}" for n in range(400)]),
    "synonyms and kinds": ([f"{s} dog" for s in SYLLABLES], [f"{s}: animal" for s in SYLLABLES]),
    "one noun": ([f"dog ({s})" for s in SYLLABLES], [f"hound ({s})" for s in SYLLABLES]),
    "one noun and hints": ([f"dog ({s})" for s in SYLLABLES], [f"dog [{s} cat]" for s in SYLLABLES]),
    "share their last word": ([f"{s} zyxx" for s in SYLLABLES], [f"{s} zyxx" for s in SYLLABLES[::-1]]),
    "look alike": ([f"zyxxwvu{s}" for s in SYLLABLES], [f"zyxxwvu{s}q" for s in SYLLABLES]),
}


@pytest.mark.parametrize("case", ALIKE)
def test_candidates_grow_with_the_labels_only(case: str) -> None:
    model, task = ALIKE[case]
    mine, theirs = (read(names, coco_dictionary()) for names in (model, task))
    found = tiers.find_candidates(mine, theirs, 0.0, None, lambda index, other: True)
    most = 4 * tiers.MOST_ALIKE + tiers.MOST_BY_MEANING
    assert len(found) <= most * len(model) < len(model) * len(task)


def test_alike_labels_take_little_memory() -> None:
    names = [f"car_{n}" for n in range(1000)]
    suggest(names[:3], names[:3])
    tracemalloc.start()
    try:
        found = suggest(names, names)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60_000_000
    best = {one.model_label: one for one in reversed(found)}
    assert all(best[name].task_label == name and best[name].accepted for name in names)


def test_rejected_pairs_do_not_use_up_the_first_places() -> None:
    task = [f"car_{n:02}" for n in range(40)]
    found = suggest(["car"], task, learned=[LearnedPair("car", name, accepted=False) for name in task[:30]])
    assert [one.task_label for one in found] == task[30:]
