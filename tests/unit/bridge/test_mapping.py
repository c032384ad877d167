"""What becomes accepted by itself, what by a score, and what by choice."""

from __future__ import annotations

import pytest

from bridge.errors import InvalidRequest
from bridge.mapping import LabelMatch, accepted_pairs, check_choices, match_labels, replaced
from bridge.shapes import can_become
from bridge.task_labels import parse_labels
from labelmatch import Suggestion


def matches(model: str, task: str, **options: object) -> dict[str, LabelMatch]:
    found = match_labels(model.split(","), parse_labels(task), **options)  # type: ignore[arg-type]
    return {match.model_label: match for match in found}


def accepted(model: str, task: str, chosen: dict[str, str] | None = None, least: float | None = None) -> dict[str, str]:
    found = match_labels(model.split(","), parse_labels(task))
    return accepted_pairs(found, chosen or {}, accept_suggestions=least)


def test_every_model_label_has_one_entry_in_the_models_order() -> None:
    found = match_labels(["zebra", "car", "zebra", "qqqqxyz"], parse_labels("car,zebra"))
    assert [match.model_label for match in found] == ["zebra", "car", "qqqqxyz"]
    assert found[2].best is None


def test_exact_and_folded_names_are_accepted_and_nothing_looser() -> None:
    assert accepted("car,Traffic_Light,truck", "car,traffic light,trucks and lorries") == {
        "car": "car",
        "Traffic_Light": "traffic light",
    }


def test_suggestions_from_a_score_on_are_accepted_when_asked_for() -> None:
    best = matches("automobile", "car")["automobile"].best
    assert best is not None
    assert not best.accepted
    assert accepted("automobile", "car") == {}
    assert accepted("automobile", "car", least=best.score) == {"automobile": "car"}
    assert accepted("automobile", "car", least=min(1.0, best.score + 0.001)) == {}


def test_a_choice_wins_and_an_empty_one_leaves_the_label_out() -> None:
    assert accepted("car,person", "car,person", {"car": "person"}) == {"car": "person", "person": "person"}
    assert accepted("car,person", "car,person", {"car": ""}) == {"person": "person"}


def test_many_model_labels_may_become_one_task_label() -> None:
    assert accepted("car,bus,truck", "vehicle", {"car": "vehicle", "bus": "vehicle", "truck": "vehicle"}) == {
        "car": "vehicle",
        "bus": "vehicle",
        "truck": "vehicle",
    }


def test_a_learned_pair_is_accepted_and_the_last_word_on_a_label_counts() -> None:
    task = parse_labels("vehicle,thing")
    learned = [("car", "thing", True), ("car", "vehicle", True)]
    (match,) = match_labels(["car"], task, learned=learned)
    assert match.best is not None
    assert match.best.accepted
    assert match.best.task_label == "vehicle"


@pytest.mark.parametrize(("model", "task"), [("Widget", "vehicle"), ("wid-get", "VEHICLE"), ("WIDGET", "Vehicle")])
def test_a_learned_pair_holds_for_other_case_and_separators(model: str, task: str) -> None:
    learned = [("wid_get" if "-" in model else "widget", "Vehicle", True)]
    (match,) = match_labels([model], parse_labels(task), learned=learned)
    assert match.best is not None
    assert (match.best.task_label, match.best.tier, match.best.accepted) == (task, "learned", True)


def test_the_last_word_counts_whatever_the_case_it_was_said_in() -> None:
    learned = [("widget", "thing", True), ("Widget", "VEHICLE", True), ("gadget", "Thing", True)]
    assert replaced(learned) == {("widget", "thing")}
    (match,) = match_labels(["widget"], parse_labels("thing,vehicle"), learned=learned)
    assert match.best is not None
    assert match.best.task_label == "vehicle"
    (alone,) = match_labels(["widget"], parse_labels("thing"), learned=learned)  # no vehicle here: it counts again
    assert alone.best is not None
    assert alone.best.tier == "learned"


def test_a_later_refusal_in_another_case_takes_an_acceptance_back() -> None:
    learned = [("widget", "Vehicle", True), ("widget", "vehicle", False)]
    assert replaced(learned) == {("widget", "Vehicle")}
    (match,) = match_labels(["widget"], parse_labels("Vehicle"), learned=learned)
    assert match.best is None


def test_a_refused_pair_is_not_accepted_again() -> None:
    (match,) = match_labels(["car"], parse_labels("car"), learned=[("car", "car", False)])
    assert accepted_pairs([match], {}, accept_suggestions=None) == {}


def test_a_model_of_tags_is_not_put_on_rectangle_labels() -> None:
    (match,) = match_labels(["car"], parse_labels("car:rectangle"), shape_types=("tag",))
    assert match.best is None or not match.best.accepted


@pytest.mark.parametrize(
    ("chosen", "named"), [({"lorry": "car"}, "lorry"), ({"car": "lorry"}, "lorry"), ({"": "car"}, "''")]
)
def test_a_choice_of_an_unknown_label_is_refused_and_named(chosen: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named) as caught:
        check_choices(chosen, ["car"], parse_labels("car,person"))
    assert caught.value.code == "unknown_label"
    assert "car" in caught.value.hint


def test_the_hint_of_a_refusal_lists_no_thousand_labels() -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_choices({"x": ""}, [f"label{i}" for i in range(1000)], parse_labels("car"))
    assert "and 988 more" in caught.value.hint


def test_a_suggestion_without_score_enough_is_only_an_alternative() -> None:
    weak = Suggestion("a", "b", 0.4, "guessed", accepted=False, tier="fuzzy")
    assert accepted_pairs([LabelMatch("a", weak)], {}, accept_suggestions=0.5) == {}
    assert accepted_pairs([LabelMatch("a", weak)], {}, accept_suggestions=0.4) == {"a": "b"}


def test_labels_that_only_people_draw_are_kept_and_matched_by_no_model() -> None:
    task = parse_labels("car:cuboid,lane:polyline,person")
    assert [label.type for label in task] == ["cuboid", "polyline", "any"]
    assert [match.best for match in match_labels(["car", "lane"], task)] == [None, None]
    assert not can_become("rectangle", "cuboid")
