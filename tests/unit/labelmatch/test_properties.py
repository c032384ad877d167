"""What holds for any labels whatever."""

from __future__ import annotations

import random
import time

from hypothesis import example, given, settings
from hypothesis import strategies as st

from labelmatch import Label, suggest
from labelmatch.normalize import fold, parse

WORDS = ["car", "cars", "vehicle", "Couch", "sofa", "bat", "animal", "ball", "NO-helmet", "helmet", "Hund", "Bank"]
NAMES = st.one_of(
    st.sampled_from(WORDS),
    st.text(max_size=30),
    st.text(alphabet="ab/-_.,()[]{}:>|& 0v\u200b\u0301ß\u0130", max_size=20),
)
LISTS = st.lists(NAMES, max_size=12)


@settings(max_examples=60)
@given(LISTS, LISTS, st.sampled_from([0.0, 0.3, 0.5, 0.9]))
@example(["\u0130"], ["i\u0307"], 0.0)
@example(["/"], ["//"], 0.0)
@example(["()"], ["(a)"], 0.0)
@example(["no"], ["no no"], 0.0)
def test_totality(model: list[str], task: list[str], min_score: float) -> None:
    found = suggest(model, task, min_score=min_score)
    order = {name: index for index, name in reversed(list(enumerate(model)))}
    assert all(one.model_label in order and one.task_label in task for one in found)
    assert all(min_score <= one.score <= 1 and one.reason and one.tier for one in found)
    assert [order[one.model_label] for one in found] == sorted(order[one.model_label] for one in found)
    assert len({(one.model_label, one.task_label) for one in found}) == len(found)
    for name in order:
        mine = [one for one in found if one.model_label == name]
        assert [one.accepted for one in mine[1:]] == [False] * len(mine[1:])


@settings(max_examples=40)
@given(LISTS, LISTS, st.randoms(use_true_random=False))
def test_order_does_not_change_the_answer(model: list[str], task: list[str], shuffler: random.Random) -> None:
    mixed_model, mixed_task = shuffler.sample(model, len(model)), shuffler.sample(task, len(task))
    one, other = suggest(model, task, min_score=0), suggest(mixed_model, mixed_task, min_score=0)
    assert set(one) == set(other)
    for name in model:
        assert [s for s in one if s.model_label == name] == [s for s in other if s.model_label == name]


@settings(max_examples=40)
@given(LISTS)
def test_identity(names: list[str]) -> None:
    best = {one.model_label: one for one in reversed(suggest(names, names))}
    assert set(best) == set(names)
    assert all(one.task_label == name and one.tier == "exact" and one.accepted for name, one in best.items())


@settings(max_examples=30)
@given(LISTS, LISTS)
def test_a_higher_threshold_only_takes_away(model: list[str], task: list[str]) -> None:
    low = [one for one in suggest(model, task, min_score=0.4) if one.score >= 0.8]
    assert suggest(model, task, min_score=0.8) == low


@settings(max_examples=200)
@given(st.text(max_size=300))
def test_parsing_never_fails(name: str) -> None:
    parsed = parse(name)
    assert fold(parsed.folded) == parsed.folded
    assert all(form.words and 0 <= form.cost < 1 for form in parsed.forms)


def test_typed_and_plain_labels_mix() -> None:
    assert suggest(["car", Label("bus")], [Label("vehicle"), "bus"])


def test_twenty_thousand_labels_in_bounded_time() -> None:
    """20,000 model labels that nobody knows against 500: the worst case of the comparison by looks."""
    model = [f"qx{n:05d}zw{'abcdefghij'[n % 10] * 6}" for n in range(20_000)]
    started = time.perf_counter()
    assert suggest(model, [f"k{name}" for name in model[:500]], min_score=0.99) == []
    assert time.perf_counter() - started < 60


def test_one_very_long_name_among_others() -> None:
    long = "car " * 2500
    found = suggest([long, "car"], ["vehicle", long.upper()])
    assert [(one.model_label, one.tier) for one in found] == [(long, "normalised"), ("car", "hypernym")]
    assert all(len(one.reason) < 200 for one in found)
