"""A hosted model whose host fails: the same commit answers here, if the user allowed it, and everybody can see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from adapters import providers
from adapters.base import Detections, Limits, ModelCard, PredictOptions, Predictor
from adapters.errors import AccessDenied, BadOutput, PredictorError, RateLimited, Unavailable, Unsupported
from adapters.frame import Frame
from adapters.references import HuggingFaceEndpoint
from bridge.domain import JobState, Model
from bridge.errors import BridgeError, InvalidRequest
from bridge.fallback import allow_fallback, fallback_of, lent_with_fallback
from bridge.job_spec import Tiling
from bridge.viewing import viewed
from tests.unit.bridge.world import CARD, OPTIONS, FakePredictor, World, world

COMMIT = "c" * 40
HERE = replace(CARD, revision=COMMIT, engine="onnxruntime")
HOSTED = replace(
    CARD, provider="huggingface-hosted", revision=COMMIT, engine="hosted", settings={"repo_id": "org/name"}
)


@dataclass
class Host:
    """What the host does: ``error`` from the frame ``after`` on, for so many calls."""

    error: PredictorError | None = None
    after: str = ""
    times: int = 10_000
    answered: dict[str, list[str]] = field(default_factory=lambda: {"hosted": [], "here": []})

    async def behave(self, predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        where = "hosted" if predictor.card.engine == "hosted" else "here"
        await asyncio.sleep(0.001)
        if where == "hosted" and self.error is not None and self.times and frames[-1].id >= self.after:
            self.times -= 1
            raise self.error
        self.answered[where] += [frame.id for frame in frames]


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
async def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: Host) -> AsyncIterator[World]:
    options = replace(OPTIONS, patience_s=0.2)
    async with world(tmp_path, monkeypatch, frames=20, behave=host.behave, options=options, keep_loaded=1) as new:
        monkeypatch.setitem(
            providers.ADAPTERS, HuggingFaceEndpoint, ("huggingface-hosted", "tests.unit.bridge.world:InUse")
        )
        new.adapter.card = HOSTED
        new.model, _ = await new.registry.add("org/name", name="detector")
        new.adapter.card = HERE
        yield new


async def allowed(made: World) -> Model:
    made.model = await allow_fallback(made.registry, made.model)
    return made.model


async def test_the_same_commit_stands_beside_the_hosted_one_and_the_card_says_so(made: World) -> None:
    model = await allowed(made)
    spare = await fallback_of(made.registry, model.card)
    assert spare is not None
    assert (spare.name, spare.card.revision) == ("detector-local", COMMIT)
    assert spare.card.reference == f"hf://org/name@{COMMIT}"
    assert "detector-local answers in its place" in model.card.notes[-1]
    assert made.adapter.contexts[-1].run == "local"
    again = await allow_fallback(made.registry, model)
    assert again.card == model.card
    assert len(await made.registry.page()) == 3  # the world's own, the hosted one and its spare


@pytest.mark.parametrize(
    "error",
    [
        AccessDenied("Hugging Face wants payment: the account is out of credit."),
        Unavailable("Hugging Face failed on its side (HTTP 500)."),
        RateLimited("Hugging Face asks us to slow down.", retry_after=0.01),
        Unsupported("Hugging Face does not serve org/name any more."),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_job_goes_on_here_and_says_why(made: World, host: Host, error: PredictorError) -> None:
    await allowed(made)
    host.error, host.after = error, "00008.png"
    job = await made.run()
    assert (job.state, job.frames_done, job.frames_failed) == (JobState.SUCCEEDED, 20, 0)
    await made.check(job.id)
    assert sorted(host.answered["hosted"] + host.answered["here"]) == [f"{i:05}.png" for i in range(20)]
    assert host.answered["hosted"]
    assert host.answered["here"]
    assert job.resolved["fell_back"].startswith(error.message)
    assert "detector-local answered, here, at the same commit" in job.resolved["fell_back"]
    assert job.resolved["engine"] == HERE.engine


async def test_a_failure_that_passes_is_waited_for(made: World, host: Host) -> None:
    await allowed(made)
    host.error, host.times = Unavailable("The model is loading.", retry_after=0.01), 2
    job = await made.run()
    assert job.state is JobState.SUCCEEDED
    assert not host.answered["here"]
    assert "fell_back" not in job.resolved


async def test_what_is_the_models_own_fault_is_not_asked_here(made: World, host: Host) -> None:
    await allowed(made)
    host.error, host.after = BadOutput("The model answered scores outside 0 to 1."), "00018.png"
    job = await made.run()
    assert (job.frames_done, job.frames_failed) == (18, 2)
    assert not host.answered["here"]


async def test_nothing_is_replaced_that_was_not_allowed(made: World, host: Host) -> None:
    host.error = AccessDenied("No credit.")
    job = await made.run()
    assert job.state is JobState.FAILED
    assert not host.answered["here"]


async def test_what_was_answered_here_is_not_recalled_as_the_hosts(made: World, host: Host) -> None:
    await allowed(made)
    host.error, host.after = Unsupported("No longer served."), "00008.png"
    assert "fell_back" in (await made.run(recall=True)).resolved
    host.error = None
    host.answered["hosted"].clear()
    await made.run(recall=True)
    assert len(host.answered["hosted"]) == 20  # all of them: which were the host's own is not kept frame by frame
    await made.run(recall=True)
    assert len(host.answered["hosted"]) == 20


async def test_tiles_of_one_frame_are_answered_by_one_of_them() -> None:
    """The host fails between two tiles of a frame: the frame is asked for anew, as a whole."""
    asked: list[str] = []

    async def behave(predictor: FakePredictor, frames: Sequence[Frame]) -> list[Detections]:
        where = "hosted" if predictor.card.engine == "hosted" else "here"
        if where == "hosted" and len(asked) >= 6:
            raise AccessDenied("No credit.")
        asked.extend(where for _ in frames)
        return [Detections((where,), [[5, 5, 20, 20]], [0.9], [0]) for _ in frames]

    @asynccontextmanager
    async def lend(model: Model) -> AsyncIterator[Predictor]:
        predictor = FakePredictor(replace(model.card, limits=Limits(max_batch=1)), behave)
        yield viewed(predictor, None, Tiling(width=60, height=60), 4)

    async def tell(why: str) -> None:
        assert why.startswith("No credit.")

    pixels = np.zeros((80, 100, 3), np.uint8)
    pictures = [Frame(f"{i}", 100, 80, pixels=pixels) for i in range(4)]
    now = datetime.now(UTC)
    models = [Model(i, f"m{i}", card, 0.5, now, fetched=True) for i, card in enumerate((HOSTED, HERE))]
    async with lent_with_fallback(lend, models[0], models[1], 1.0, tell) as predictor:
        found = [(await predictor.predict([picture], PredictOptions()))[0] for picture in pictures]
        together = await predictor.predict(pictures, PredictOptions())
    assert [set(each.labels) for each in found] == [{"hosted"}, {"here"}, {"here"}, {"here"}]
    assert all(len(each) >= 4 and set(each.labels) == {"here"} for each in together)
    assert asked[:7] == ["hosted"] * 6 + ["here"]  # two tiles of the second frame were thrown away


async def test_a_host_that_cannot_even_be_opened_is_replaced(made: World, host: Host) -> None:
    await allowed(made)

    async def opening(card: ModelCard) -> None:
        if card.engine == "hosted":
            raise AccessDenied("There is no token.")

    made.adapter.opening = staticmethod(opening)
    job = await made.run()
    assert job.state is JobState.SUCCEEDED
    assert len(host.answered["here"]) == 20
    assert job.resolved["fell_back"].startswith("There is no token.")


async def test_where_nothing_can_answer_here_both_reasons_are_said(made: World, host: Host) -> None:
    await allowed(made)
    host.error = AccessDenied("No credit.")

    async def opening(card: ModelCard) -> None:
        if card.engine != "hosted":
            raise Unsupported("PyTorch is not installed.")

    made.adapter.opening = staticmethod(opening)
    job = await made.job()
    with pytest.raises(BridgeError, match=r"No credit\. detector-local cannot take over: PyTorch is not installed"):
        await made.jobs.run(job.id)
    assert (await made.jobs.get(job.id)).state is JobState.FAILED


async def test_a_removed_spare_is_no_spare(made: World) -> None:
    model = await allowed(made)
    spare = await fallback_of(made.registry, model.card)
    assert spare is not None
    await made.registry.remove(spare.id)
    assert await fallback_of(made.registry, model.card) is None


async def test_a_model_that_runs_here_needs_none(made: World) -> None:
    here = (await made.registry.page())[0]
    assert await allow_fallback(made.registry, here) == here


async def test_a_model_of_a_host_alone_is_refused(made: World) -> None:
    made.adapter.card = replace(HOSTED, settings={}, revision="7")
    alone, _ = await made.registry.add("org/other")
    with pytest.raises(InvalidRequest, match="at its host only"):
        await allow_fallback(made.registry, alone)


async def test_another_model_is_no_fallback(made: World) -> None:
    made.adapter.card = replace(HERE, labels=("car", "person"))
    with pytest.raises(InvalidRequest, match="not the same model"):
        await allow_fallback(made.registry, made.model)
    assert await fallback_of(made.registry, (await made.registry.get(made.model.id)).card) is None
