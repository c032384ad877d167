"""A denial is not the thing, in whatever way it is written, and what is absent is not what is wrong."""

from __future__ import annotations

import pytest

from labelmatch import suggest
from labelmatch.polarity import opposites, polarity

OPPOSITES = [
    ("undamaged", "damaged"),
    ("unmasked", "masked"),
    ("abnormal", "normal"),
    ("inactive", "active"),
    ("asymptomatic", "symptomatic"),
    ("nondefective", "defective"),
    ("uninfected cell", "infected cell"),
    ("illegal parking", "legal parking"),
    ("nohelmet", "helmet"),
    ("NoHelmet", "helmet"),
    ("helmetless", "helmet"),
    ("helmet off", "helmet"),
    ("mask w/o valve", "mask"),
    ("kein Helm", "Helm"),
    ("sans casque", "casque"),
    ("sin casco", "casco"),
    ("без шлема", "шлема"),
    ("无头盔", "头盔"),
    ("ヘルメットなし", "ヘルメット"),
    ("incorrect mask", "mask"),
    ("incorrect mask", "no mask"),
]


@pytest.mark.parametrize(("one", "other"), OPPOSITES)
def test_opposites_never_match(one: str, other: str) -> None:
    assert suggest([one], [other], min_score=0) == suggest([other], [one], min_score=0) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("no helmet", ("absent", "helmet")),
        ("person without helmet", ("absent", "helmet")),
        ("mask weared incorrect", ("wrong", "mask")),
        ("helmet off", ("absent", "helmet")),
        ("nomask", ("absent", "mask")),
        ("no", ("absent", "no")),
        ("notebook", ("", "notebook")),
        ("wireless", ("", "wireless")),
        ("cordless phone", ("", "cordless phone")),
        ("traffic light off", ("", "traffic light off")),
        ("无人机", ("", "无人机")),
    ],
)
def test_what_words_say_of_a_thing(words: str, said: tuple[str, str]) -> None:
    assert polarity(words) == said


def test_denials_match_each_other_and_say_so() -> None:
    found = {
        one.model_label: one for one in suggest(["without_mask", "person without hard hat"], ["no mask", "NoHelmet"])
    }
    assert found["without_mask"].task_label == "no mask"
    assert found["person without hard hat"].task_label == "NoHelmet"
    assert found["person without hard hat"].reason == "both say what is absent: synonym: hard hat = helmet"


def test_three_states_of_a_mask() -> None:
    found = suggest(["with_mask", "without_mask", "mask_weared_incorrect"], ["mask", "no mask", "incorrect mask"])
    assert [(one.model_label, one.task_label) for one in found] == [
        ("with_mask", "mask"),
        ("without_mask", "no mask"),
        ("mask_weared_incorrect", "incorrect mask"),
    ]


def test_a_typing_error_is_no_opposite() -> None:
    assert opposites("unmasked", "masked")
    assert not opposites("helmt", "helmet")
    assert suggest(["refridgerator"], ["refrigerator"])
