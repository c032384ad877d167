"""Here or at its host: the decision alone."""

from __future__ import annotations

import itertools

import pytest

from adapters.where_to_run import AUTO, HOSTED, LOCAL, Choice, choose, choose_early

USUAL = {"has_token": True, "pinned": False, "engine_chosen": False, "offline": False}


def test_auto_asks_the_host_only_where_a_token_is_there_and_nothing_was_pinned() -> None:
    assert choose_early(AUTO, **USUAL) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"has_token": False}, "no token"),
        ({"pinned": True}, "chosen revision or file"),
        ({"engine_chosen": True}, "engine that was chosen"),
        ({"offline": True}, "offline"),
    ],
)
def test_auto_stays_here_without_asking(changes: dict[str, bool], why: str) -> None:
    choice = choose_early(AUTO, **{**USUAL, **changes})
    assert choice is not None
    assert choice.place == LOCAL
    assert why in choice.why


@pytest.mark.parametrize("wanted", [LOCAL, HOSTED])
@pytest.mark.parametrize("facts", list(itertools.product((True, False), repeat=4)))
def test_what_was_asked_for_counts_before_everything(wanted: str, facts: tuple[bool, ...]) -> None:
    choice = choose_early(wanted, **dict(zip(USUAL, facts, strict=True)))
    assert choice is not None
    assert choice.place == wanted


def test_a_host_that_serves_the_model_is_preferred_and_each_choice_gives_its_reason() -> None:
    assert choose(served=True) == Choice(HOSTED, "It runs at its host, which serves it and for which there is a token.")
    assert choose(served=False) == Choice(LOCAL, "It runs here: its host does not serve it.")
