"""What every adapter must do, whatever its source. The cases stand in ``cases.py``."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapters.base import Context, Detections, ModelCard, PredictOptions, Predictor
from adapters.errors import BadFrame, BadOutput, PredictorError, RateLimited, Unavailable
from adapters.frame import Frame
from adapters.providers import ADAPTERS, adapter_for, adapter_for_card
from adapters.references import BuiltIn
from tests.contract.cases import CASES, Case, Setting
from tests.contract.hosted_cases import HOSTED_CASES

ALL_CASES = (*CASES, *HOSTED_CASES)

EVERYTHING = PredictOptions(floor_score=0.0)
SIZES = ((64, 48), (33, 17), (1, 1), (5, 200), (320, 240))


@pytest.fixture(scope="module", params=ALL_CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture(scope="module")
def setting(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    with case.setting(tmp_path_factory.mktemp(case.name)) as made:
        yield made


@pytest.fixture
async def card(setting: Setting) -> ModelCard:
    return await adapter_for(setting.reference).resolve(setting.reference, setting.context)


@pytest.fixture
async def predictor(card: ModelCard, setting: Setting) -> AsyncIterator[Predictor]:
    async with await adapter_for_card(card).open(card, setting.context) as opened:
        yield opened


def picture(name: str, width: int, height: int) -> Frame:
    """A frame whose colours depend on its name."""
    rng = np.random.default_rng(list(name.encode()))
    top = rng.integers(40, 256, 3)
    pixels = rng.integers(0, top, (height, width, 3)).astype(np.uint8)
    return Frame(name, width, height, pixels=pixels)


def pictures(count: int) -> list[Frame]:
    return [picture(f"frame{i}", *SIZES[i % len(SIZES)]) for i in range(count)]


def same(one: Detections, other: Detections) -> bool:
    return (
        len(one) == len(other)
        and bool((one.label_ids == other.label_ids).all())
        and np.allclose(one.boxes, other.boxes, atol=0.01)
        and np.allclose(one.scores, other.scores, atol=1e-4)
    )


def test_every_adapter_has_a_case() -> None:
    # Models that come with the program are no predictors: test_template_tracker.py and test_reidentify.py.
    assert {each.kind for each in ALL_CASES} == set(ADAPTERS) - {BuiltIn}


def test_a_card_names_what_was_asked_for(card: ModelCard, case: Case, setting: Setting) -> None:
    assert card.engine == case.engine
    assert card.provider == ADAPTERS[case.kind][0]
    assert card.reference == setting.reference.canonical
    assert card.revision
    assert card.labels
    assert len(set(card.labels)) == len(card.labels)
    assert card.weights_bytes is None or card.weights_bytes > 0
    assert 0 < card.default_threshold < 1


async def test_resolving_twice_gives_the_same_card(card: ModelCard, setting: Setting) -> None:
    assert await adapter_for(setting.reference).resolve(setting.reference, setting.context) == card


def test_a_card_pickles(card: ModelCard) -> None:
    assert pickle.loads(pickle.dumps(card)) == card


def test_a_predictor_carries_the_card_it_was_opened_with(predictor: Predictor, card: ModelCard) -> None:
    """But for its device and how it is best fed, which a local model finds out when it is loaded."""
    found_out = ("device", "precision", "pace")
    settings = {name: value for name, value in predictor.card.settings.items() if name not in found_out}
    assert replace(predictor.card, limits=card.limits, settings=settings) == card
    assert predictor.card.limits.max_batch <= card.limits.max_batch


async def test_there_is_one_result_per_frame_in_order(predictor: Predictor) -> None:
    frames = pictures(11)
    together = await predictor.predict(frames, EVERYTHING)
    alone = [(await predictor.predict([frame], EVERYTHING))[0] for frame in frames]
    assert len(together) == len(frames)
    assert all(same(one, other) for one, other in zip(together, alone, strict=True))
    assert not same(together[0], together[5]), "the case's model must tell frames apart"


async def test_no_frames_give_no_results(predictor: Predictor) -> None:
    assert await predictor.predict([], EVERYTHING) == []


async def test_results_are_finite_inside_the_frame_and_of_the_cards_labels(predictor: Predictor) -> None:
    frames = pictures(10)
    results = await predictor.predict(frames, EVERYTHING)
    assert any(len(result) for result in results)
    for frame, result in zip(frames, results, strict=True):
        assert result.labels == predictor.card.labels
        assert np.isfinite(result.boxes).all()
        assert (result.boxes >= 0).all()
        assert (result.boxes <= [frame.width, frame.height] * 2).all()
        assert (result.boxes[:, 2:] > result.boxes[:, :2]).all()
        assert ((result.scores >= 0) & (result.scores <= 1)).all()
        assert ((result.label_ids >= 0) & (result.label_ids < len(result.labels))).all()


async def test_results_are_best_first(predictor: Predictor) -> None:
    (result,) = await predictor.predict([picture("a", 64, 48)], EVERYTHING)
    assert (np.diff(result.scores) <= 0).all()


async def test_the_floor_score_is_obeyed(predictor: Predictor) -> None:
    frame = picture("a", 64, 48)
    (all_of_them,) = await predictor.predict([frame], EVERYTHING)
    floor = float(np.median(all_of_them.scores))
    (some,) = await predictor.predict([frame], PredictOptions(floor_score=floor))
    assert 0 < len(some) < len(all_of_them)
    assert some.scores.min() >= floor


async def test_the_most_detections_are_obeyed(predictor: Predictor) -> None:
    frame = picture("a", 64, 48)
    (all_of_them,) = await predictor.predict([frame], EVERYTHING)
    (three,) = await predictor.predict([frame], PredictOptions(floor_score=0.0, max_detections=3))
    assert len(all_of_them) > 3
    assert same(three, all_of_them.take([0, 1, 2]))


async def test_one_bad_frame_in_a_batch_is_named(predictor: Predictor) -> None:
    bad = Frame("broken.jpg", 64, 48, encoded=b"this is no image")
    with pytest.raises(BadFrame, match=r"broken\.jpg") as caught:
        await predictor.predict([picture("a", 64, 48), bad, picture("b", 64, 48)], EVERYTHING)
    assert caught.value.frame_id == "broken.jpg"
    assert len(await predictor.predict([picture("a", 64, 48)], EVERYTHING)) == 1


async def test_grey_pictures_are_predicted(predictor: Predictor, tmp_path: Path) -> None:

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)).save(tmp_path / "grey.png")
    assert len(await predictor.predict([Frame.from_file("grey.png", tmp_path / "grey.png")], EVERYTHING)) == 1


async def test_concurrent_calls_give_what_calls_in_turn_give(predictor: Predictor) -> None:
    parts = [pictures(10)[i : i + 2] for i in range(0, 10, 2)]
    in_turn = [await predictor.predict(part, EVERYTHING) for part in parts]
    at_once = await asyncio.gather(*(predictor.predict(part, EVERYTHING) for part in parts))
    for one, other in zip(in_turn, at_once, strict=True):
        assert all(same(a, b) for a, b in zip(one, other, strict=True))


async def test_a_cancelled_call_leaves_the_predictor_usable(predictor: Predictor) -> None:
    frames = pictures(40)
    for _ in range(5):
        call = asyncio.create_task(predictor.predict(frames, EVERYTHING))
        await asyncio.sleep(0.002)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert len(await predictor.predict(frames[:3], EVERYTHING)) == 3


async def test_the_event_loop_runs_on_while_a_model_predicts(predictor: Predictor) -> None:
    large = [picture(f"large{i}", 1600, 1200) for i in range(4)]
    call = asyncio.create_task(predictor.predict(large, EVERYTHING))
    turns = 0
    while not call.done():
        await asyncio.sleep(0)
        turns += 1
    await call
    assert turns > 20


async def test_closing_twice_is_fine_and_predicting_afterwards_is_refused(card: ModelCard, setting: Setting) -> None:
    predictor = await adapter_for_card(card).open(card, setting.context)
    await predictor.predict(pictures(2), EVERYTHING)
    await predictor.close()
    await predictor.close()
    with pytest.raises(PredictorError, match="closed"):
        await predictor.predict(pictures(1), EVERYTHING)


async def test_closing_while_a_call_runs_ends_it_with_an_answer_or_a_predictor_error(
    card: ModelCard, setting: Setting
) -> None:
    predictor = await adapter_for_card(card).open(card, setting.context)
    calls = [asyncio.create_task(predictor.predict(pictures(20), EVERYTHING)) for _ in range(3)]
    await asyncio.sleep(0.005)
    await predictor.close()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, (list, PredictorError)) for outcome in outcomes)


async def test_fetching_twice_is_fine(card: ModelCard, setting: Setting) -> None:
    adapter = adapter_for_card(card)
    await adapter.fetch(card, setting.context)
    await adapter.fetch(card, setting.context)


async def test_what_cannot_run_is_refused_with_its_reason(setting: Setting) -> None:
    for refusal in setting.refusals:
        with pytest.raises(PredictorError) as caught:
            await adapter_for(refusal.reference).resolve(refusal.reference, setting.context)
        assert type(caught.value) is refusal.error, refusal.what
        assert all(word in caught.value.message for word in refusal.words), (refusal.what, caught.value.message)
        assert "\n" not in caught.value.message
        assert caught.value.message.endswith(".")


@pytest.mark.parametrize(("fault", "error"), [("500", Unavailable), ("429", RateLimited), ("garbage", BadOutput)])
async def test_a_failing_host_is_named_as_such(case: Case, tmp_path: Path, fault: str, error: type[Exception]) -> None:
    with case.setting(tmp_path) as setting:
        if setting.go_down is None:
            context = Context(tmp_path / "elsewhere", offline=True)  # no host: nothing may be asked
            assert await adapter_for(setting.reference).resolve(setting.reference, context)
            return
        setting.go_down(fault)
        with pytest.raises(error):
            await adapter_for(setting.reference).resolve(setting.reference, setting.context)
