"""What becomes of a job's frames, whatever the model does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from adapters.base import Limits
from adapters.errors import (
    AccessDenied,
    BadFrame,
    BadOutput,
    GatewayTimeout,
    ModelNotFound,
    OutOfMemory,
    PredictorError,
    RateLimited,
    Unavailable,
    Unsupported,
)
from adapters.frame import Frame
from bridge import runner
from bridge.domain import Job, JobState
from bridge.errors import BridgeError
from bridge.job_plan import Progress
from bridge.logs import configure_logging
from bridge.sinks.local import LocalSink
from bridge.sinks.sink import FinishedFrame, Written
from tests.unit.bridge.world import OPTIONS, FakePredictor, World, detections, fail_frames, world

MonkeyPatch = pytest.MonkeyPatch


def names(*numbers: int) -> set[str]:
    return {f"{number:05}.png" for number in numbers}


def bad_frames(*numbers: int, error: Callable[[str], PredictorError] | None = None) -> Any:
    """A model that cannot read these frames; ``error`` makes what it raises, by default BadFrame with the name."""

    async def behave(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        if error is None:
            await fail_frames(frames, names(*numbers))
        for frame in frames:
            if error is not None and frame.id in names(*numbers):
                raise error(frame.id)

    return behave


async def failed(made: World, job: Job) -> dict[int, str | None]:
    """Frame -> error code."""
    rows = await made.sql("SELECT frame, error_code FROM job_frames WHERE job_id = :j AND state = 'failed'", j=job.id)
    return dict(rows)  # type: ignore[arg-type]


async def test_every_frame_gets_its_own_result_in_whatever_order_batches_end(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async def later_first(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        await asyncio.sleep(0.02 / (1 + len(predictor.calls)))

    limits = Limits(max_batch=3, max_concurrency=4)
    async with world(tmp_path, monkeypatch, frames=40, behave=later_first, limits=limits) as made:
        job = await made.run()
        assert (job.state, job.frames_done, job.frames_failed) == (JobState.SUCCEEDED, 40, 0)
        await made.check(job.id)
        for number, shapes in (await made.shapes()).items():
            found = detections(f"{number:05}.png")
            assert [shape.label for shape in shapes] == [found.labels[i] for i in found.label_ids]
            assert [shape.points for shape in shapes] == [tuple(box) for box in found.boxes.tolist()]
            assert [shape.job_id for shape in shapes] == [job.id] * len(found)


async def test_batches_are_of_the_models_size_and_no_more_than_it_allows_at_once(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    three = asyncio.Event()

    async def slowly(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        if predictor.busy == 3:
            three.set()
        await three.wait()
        await asyncio.sleep(0.005)

    limits = Limits(max_batch=4, max_concurrency=3)
    async with world(tmp_path, monkeypatch, frames=42, behave=slowly, limits=limits) as made:
        await made.run()
        (predictor,) = made.adapter.opened
        assert [len(call) for call in predictor.calls] == [4] * 10 + [2]
        assert predictor.asked == [f"{i:05}.png" for i in range(42)]
        assert predictor.busiest == 3


async def test_huge_pictures_come_a_few_at_a_time(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    """Whatever the batch: memory follows the pixels that are decoded together."""
    monkeypatch.setattr(runner, "MOST_PIXELS", 2 * 100 * 80)  # the frames of these tests have 100 x 80
    limits = Limits(max_batch=4, max_concurrency=1)
    async with world(tmp_path, monkeypatch, frames=7, limits=limits) as made:
        job = await made.run()
        (predictor,) = made.adapter.opened
        assert [len(call) for call in predictor.calls] == [2, 2, 2, 1]
        assert job.frames_done == 7
    monkeypatch.setattr(runner, "MOST_PIXELS", 10)  # none fits: each goes alone
    async with world(tmp_path / "alone", monkeypatch, frames=3, limits=limits) as made:
        job = await made.run()
        assert job.frames_done == 3


async def test_the_setting_batch_size_counts_before_the_models(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    options = replace(OPTIONS, batch_size=2)
    async with world(tmp_path, monkeypatch, frames=5, options=options) as made:
        await made.run()
        assert [len(call) for call in made.adapter.opened[0].calls] == [2, 2, 1]


async def test_a_bad_frame_fails_alone_and_is_named(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch, frames=10, behave=bad_frames(1, 2, 9)) as made:
        job = await made.run()
        assert (job.state, job.frames_done, job.frames_failed) == (JobState.SUCCEEDED, 7, 3)
        await made.check(job.id)
        rows = await made.jobs.ledger(job.id, most=100)
        bad = [row for row in rows if row.error]
        assert [(row.frame, row.error_code, row.attempts) for row in bad] == [
            (1, "bad_frame", 1),
            (2, "bad_frame", 1),
            (9, "bad_frame", 1),
        ]
        assert bad[0].error == "00001.png is damaged."


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (lambda name: PredictorError("The engine failed."), "predictor_error"),
        (lambda name: BadOutput("The model answered NaN."), "bad_output"),
        (lambda name: BadFrame("a name that is not in the batch", "Something is wrong."), "bad_frame"),
        (lambda name: ValueError("a defect of the adapter"), "bad_output"),
        (lambda name: RecursionError(), "bad_output"),
    ],
)
async def test_an_error_that_names_no_frame_splits_the_batch_until_the_frame_is_alone(
    tmp_path: Path, monkeypatch: MonkeyPatch, error: Any, code: str
) -> None:
    limits = Limits(max_batch=8, max_concurrency=2)
    behave = bad_frames(3, error=error)
    async with world(tmp_path, monkeypatch, frames=16, behave=behave, limits=limits) as made:
        job = await made.run()
        assert job.state is JobState.SUCCEEDED
        assert await failed(made, job) == {3: code}
        await made.check(job.id)
        sizes = sorted(len(call) for call in made.adapter.opened[0].calls)
        assert sizes == [1, 1, 2, 2, 4, 4, 8, 8]


async def test_a_predictors_own_traceback_is_not_shown(
    tmp_path: Path, monkeypatch: MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logging("warning", "console")
    behave = bad_frames(0, error=lambda name: ValueError("inner words"))  # type: ignore[arg-type,return-value]
    async with world(tmp_path, monkeypatch, frames=2, behave=behave) as made:
        await made.run()
    structlog.reset_defaults()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("answer", [[], None, 7, "three"])
async def test_an_answer_of_the_wrong_length_is_bad_output(
    tmp_path: Path, monkeypatch: MonkeyPatch, answer: Any
) -> None:
    async def behave(predictor: FakePredictor, frames: Sequence[Frame]) -> Any:
        if not names(5) & {frame.id for frame in frames}:
            return None
        return Nothing() if answer is None else answer

    class Nothing:
        """An answer that has no length."""

    async with world(tmp_path, monkeypatch, frames=6, behave=behave) as made:
        job = await made.run()
        assert await failed(made, job) == {5: "bad_output"}
        await made.check(job.id)


async def test_out_of_memory_halves_the_batches_that_follow(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async def small(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        if len(frames) > 3:
            raise OutOfMemory("A batch does not fit into memory.")

    limits = Limits(max_batch=8, max_concurrency=1)
    async with world(tmp_path, monkeypatch, frames=40, behave=small, limits=limits) as made:
        job = await made.run()
        assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 40)
        sizes = [len(call) for call in made.adapter.opened[0].calls]
        assert sizes[:4] == [8, 4, 2, 2]
        assert sizes.count(8) <= 3  # some may have been on their way
        assert set(sizes[16:]) == {2}
        await made.check(job.id)


async def test_a_frame_that_alone_is_too_large_for_memory_fails(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    behave = bad_frames(2, error=lambda name: OutOfMemory("It does not fit."))
    async with world(tmp_path, monkeypatch, frames=6, behave=behave) as made:
        job = await made.run()
        assert await failed(made, job) == {2: "out_of_memory"}


async def test_a_model_that_hangs_on_a_frame_is_not_waited_for_longer_than_its_limit(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async def hang(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        if names(1) & {frame.id for frame in frames}:
            await asyncio.sleep(60)

    limits = Limits(max_batch=2, max_concurrency=2, timeout_s=0.05)
    async with world(tmp_path, monkeypatch, frames=6, behave=hang, limits=limits) as made:
        job = await made.run()
        assert await failed(made, job) == {1: "predict_timeout"}
        assert job.frames_done == 5


async def test_what_passes_by_itself_is_asked_again_and_retry_after_is_obeyed(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    times: list[float] = []

    async def busy(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            raise RateLimited("Slow down.", retry_after=0.2)

    limits = Limits(max_batch=8, max_concurrency=1)
    async with world(tmp_path, monkeypatch, frames=5, behave=busy, limits=limits) as made:
        job = await made.run()
        assert (job.state, job.frames_done, job.frames_failed) == (JobState.SUCCEEDED, 5, 0)
        assert len(times) == 2
        assert times[1] - times[0] >= 0.2


async def test_a_host_that_is_gone_beyond_patience_fails_the_job_and_its_frames_stay_pending(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    gone = True

    async def down(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        if gone and len(predictor.calls) > 2:
            raise Unavailable("The host cannot be reached.")

    limits = Limits(max_batch=4, max_concurrency=1)
    options = replace(OPTIONS, patience_s=0.0)
    async with world(tmp_path, monkeypatch, frames=20, behave=down, limits=limits, options=options) as made:
        job = await made.run()
        assert job.state is JobState.FAILED
        assert job.error
        assert "cannot be reached" in job.error
        assert "resume" in job.error
        assert job.frames_failed == 0
        await made.check(job.id)
        gone = False
        job = await made.jobs.run((await made.jobs.resume(job.id)).id)
        assert (job.state, job.frames_done, job.error) == (JobState.SUCCEEDED, 20, None)
        await made.check(job.id)


async def test_a_frame_on_which_a_host_always_fails_fails_alone_while_others_are_answered(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    patience_s, answered = 0.3, list[float]()

    async def breaks_on_it(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        began = time.monotonic()
        if not {frame.id for frame in frames} & names(3):
            await asyncio.sleep(0.02)
            answered.append(time.monotonic())
            return
        # It fails when patience with it is over, and others were answered to the end of it.
        while time.monotonic() < began + patience_s or sum(at > began + patience_s / 2 for at in answered) < 2:
            await asyncio.sleep(0.005)
        raise Unavailable("The host failed on its side (HTTP 500).")

    limits, options = Limits(max_batch=1, max_concurrency=2), replace(OPTIONS, patience_s=patience_s)
    async with world(tmp_path, monkeypatch, frames=60, behave=breaks_on_it, limits=limits, options=options) as made:
        job = await made.run()
        assert (job.state, job.frames_done, job.error) == (JobState.SUCCEEDED, 59, None)
        assert await failed(made, job) == {3: "unavailable"}
        await made.check(job.id)


@pytest.mark.parametrize(("batch", "at_once"), [(1, 1), (4, 1), (4, 3)])
async def test_a_frame_on_which_a_host_always_fails_fails_alone_at_the_end_of_a_job_as_well(
    tmp_path: Path, monkeypatch: MonkeyPatch, batch: int, at_once: int
) -> None:
    """Nobody else is asked for any more, so a frame that is done is asked for again."""

    async def breaks_on_it(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        if {frame.id for frame in frames} & names(19):
            raise Unavailable("The host failed on its side (HTTP 500).")

    limits, options = Limits(max_batch=batch, max_concurrency=at_once), replace(OPTIONS, patience_s=0.3)
    async with world(tmp_path, monkeypatch, frames=20, behave=breaks_on_it, limits=limits, options=options) as made:
        job = await made.run()
        assert (job.state, job.frames_done, job.error) == (JobState.SUCCEEDED, 19, None)
        assert await failed(made, job) == {19: "unavailable"}
        await made.check(job.id)
        await made.jobs.retry(job.id)  # alone, with nothing else left to do
        job = await made.jobs.run(job.id)
        assert (job.state, job.frames_failed) == (JobState.SUCCEEDED, 1)


async def test_a_host_that_comes_back_when_patience_ends_loses_no_frame(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async def away(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        """Until it is asked for the first frame, which is done, once more."""
        if frames[0].id in names(9) and predictor.asked.count("00000.png") == 1:
            raise Unavailable("The host cannot be reached.")

    limits, options = Limits(max_batch=1, max_concurrency=1), replace(OPTIONS, patience_s=0.5)
    async with world(tmp_path, monkeypatch, frames=10, behave=away, limits=limits, options=options) as made:
        job = await made.run()
        assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 10)
        assert made.adapter.opened[0].asked.count("00000.png") == 2
        await made.check(job.id)


async def test_a_host_that_takes_too_long_is_asked_again_and_several_frames_one_by_one(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    late: dict[str, int] = {}

    async def gives_up(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        if len(frames) > 1:
            raise GatewayTimeout("The host took too long (HTTP 504).")
        name = frames[0].id
        late[name] = late.get(name, 0) + 1
        if late[name] == 1:
            raise GatewayTimeout("The host took too long (HTTP 408).", retry_after=0.05)

    limits = Limits(max_batch=4, max_concurrency=1)
    async with world(tmp_path, monkeypatch, frames=8, behave=gives_up, limits=limits) as made:
        job = await made.run()
        assert (job.state, job.frames_done, job.frames_failed) == (JobState.SUCCEEDED, 8, 0)
        assert set(late.values()) == {2}
        await made.check(job.id)


@pytest.mark.parametrize("kind", [AccessDenied, ModelNotFound, Unsupported])
async def test_an_error_that_every_frame_would_meet_stops_the_job_at_once(
    tmp_path: Path, monkeypatch: MonkeyPatch, kind: type[PredictorError]
) -> None:
    async def denied(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        raise kind("The token is wrong.", hint="Store another one.")

    limits = Limits(max_batch=2, max_concurrency=1)
    async with world(tmp_path, monkeypatch, frames=30, behave=denied, limits=limits) as made:
        job = await made.run()
        assert (job.state, job.error) == (JobState.FAILED, "The token is wrong. Store another one.")
        assert (job.frames_done, job.frames_failed) == (0, 0)
        assert len(made.adapter.opened[0].calls) == 1


async def test_more_failures_than_allowed_end_the_job_before_the_whole_task_is_tried(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch, frames=400, behave=bad_frames(*range(0, 400, 2))) as made:
        job = await made.run(max_failure_rate=0.25)
        assert job.state is JobState.FAILED
        assert job.error
        assert "25%" in job.error
        assert 20 <= job.frames_done + job.frames_failed < 400
        await made.check(job.id)


async def test_as_many_failures_as_allowed_do_not_end_it(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch, frames=60, behave=bad_frames(*range(0, 60, 4))) as made:
        job = await made.run(max_failure_rate=0.25)
        assert (job.state, job.frames_failed) == (JobState.SUCCEEDED, 15)


async def test_a_short_job_is_judged_at_its_end(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch, frames=3, behave=bad_frames(0, 1)) as made:
        job = await made.run()
        assert (job.state, job.frames_done, job.frames_failed) == (JobState.FAILED, 1, 2)


async def test_cancelling_finishes_what_is_in_flight_and_begins_nothing_more(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    go = asyncio.Event()

    async def wait(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        await go.wait()

    async with world(tmp_path, monkeypatch, frames=40, behave=wait) as made:
        job = await made.job()
        running = asyncio.create_task(made.jobs.run(job.id))
        await made.until(lambda: bool(made.adapter.opened) and len(made.adapter.opened[0].calls) == 2)
        assert (await made.jobs.cancel(job.id)).abort_requested
        go.set()
        job = await running
        assert (job.state, job.frames_done, job.abort_requested) == (JobState.CANCELLED, 8, False)
        assert len(made.adapter.opened[0].calls) == 2
        await made.check(job.id)
        job = await made.jobs.run((await made.jobs.resume(job.id)).id)
        assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 40)
        asked = [name for predictor in made.adapter.opened for name in predictor.asked]
        assert sorted(asked) == sorted(set(asked))  # nothing was asked twice


async def test_cancelling_from_another_process_is_heard(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def slowly(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        if len(predictor.calls) > 3:
            await asked.wait()
        await asyncio.sleep(0.02)

    options = replace(OPTIONS, lease_s=0.3)  # it looks every tenth of a second
    async with world(tmp_path, monkeypatch, frames=2000, behave=slowly, options=options) as made:
        job = await made.job()
        running = asyncio.create_task(made.jobs.run(job.id))
        await made.until(lambda: bool(made.adapter.opened) and len(made.adapter.opened[0].calls) > 2)
        await made.change("UPDATE jobs SET abort_requested = 1 WHERE id = :j", j=job.id)
        asked.set()
        async with asyncio.timeout(60):
            job = await running
        assert job.state is JobState.CANCELLED
        assert job.frames_done < 2000
        await made.check(job.id)


async def test_cancelling_while_a_host_is_waited_for_cancels_and_does_not_fail(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async def down(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        if names(4) & {frame.id for frame in frames}:
            raise RateLimited("Slow down.", retry_after=600)

    async with world(tmp_path, monkeypatch, frames=8, behave=down, options=replace(OPTIONS, patience_s=1000)) as made:
        job = await made.job()
        running = asyncio.create_task(made.jobs.run(job.id))
        await made.until(lambda: bool(made.adapter.opened) and len(made.adapter.opened[0].calls) == 2)
        await made.jobs.cancel(job.id)
        async with asyncio.timeout(60):
            job = await running
        assert (job.state, job.error) == (JobState.CANCELLED, None)
        assert (job.frames_done, job.frames_failed) == (4, 0)
        await made.check(job.id)


async def test_cancelling_stops_the_search_for_a_bad_frame(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    tried = asyncio.Event()
    go = asyncio.Event()

    async def broken(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        tried.set()
        await go.wait()
        raise PredictorError("The engine failed.")

    limits = Limits(max_batch=8, max_concurrency=1)
    async with world(tmp_path, monkeypatch, frames=8, behave=broken, limits=limits) as made:
        job = await made.job()
        running = asyncio.create_task(made.jobs.run(job.id))
        await tried.wait()
        await made.jobs.cancel(job.id)
        go.set()
        job = await running
        assert (job.state, job.frames_failed) == (JobState.CANCELLED, 0)
        assert len(made.adapter.opened[0].calls) == 1


async def stopped_in_the_middle(made: World, stop: Callable[[Job, asyncio.Task[Job]], Awaitable[None]]) -> Job:
    job = await made.job()
    running = asyncio.create_task(made.jobs.run(job.id))
    await made.until(lambda: bool(made.adapter.opened) and len(made.adapter.opened[0].calls) > 3)
    await stop(job, running)
    return job


async def slowly(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
    await asyncio.sleep(0.01)


async def test_a_cancelled_asyncio_task_gives_the_job_back(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch, frames=200, behave=slowly) as made:

        async def stop(job: Job, running: asyncio.Task[Job]) -> None:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

        job = await made.check((await stopped_in_the_middle(made, stop)).id)
        assert (job.state, job.owner) == (JobState.QUEUED, None)
        assert job.frames_done < 200
        job = await made.jobs.run(job.id)
        assert (job.state, job.frames_done) == (JobState.SUCCEEDED, 200)
        await made.check(job.id)


def up_to(go: asyncio.Event) -> Any:
    """A model that answers a few batches, and the others when the event is set."""

    async def behave(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        if len(predictor.calls) > 3:
            await go.wait()

    return behave


async def test_a_job_that_was_asked_to_end_is_not_given_back_but_cancelled(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch, frames=200, behave=up_to(asyncio.Event())) as made:

        async def stop(job: Job, running: asyncio.Task[Job]) -> None:
            await made.change("UPDATE jobs SET abort_requested = 1")
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

        job = await made.check((await stopped_in_the_middle(made, stop)).id)
        assert (job.state, job.abort_requested) == (JobState.CANCELLED, False)


async def test_a_job_that_was_taken_over_is_written_no_more(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    go = asyncio.Event()
    async with world(tmp_path, monkeypatch, frames=200, behave=up_to(go)) as made:
        done: list[int] = []

        async def stop(job: Job, running: asyncio.Task[Job]) -> None:
            await made.change("UPDATE jobs SET fence = fence + 1, owner = 'elsewhere/1/1'")
            done.append((await made.jobs.get(job.id)).frames_done)
            go.set()
            async with asyncio.timeout(60):
                seen = await running
            assert (seen.state, seen.owner) == (JobState.RUNNING, "elsewhere/1/1")

        job = await stopped_in_the_middle(made, stop)
        assert (await made.check(job.id)).frames_done == done[0]


async def test_frames_in_flight_are_bounded_although_the_writer_is_slow(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    asked = written = most = 0

    async def count(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        nonlocal asked, most
        asked += len(frames)
        most = max(most, asked - written)

    write = LocalSink.write

    async def slow_write(sink: LocalSink, finished: Sequence[FinishedFrame]) -> Written:
        nonlocal written
        await asyncio.sleep(0.03)
        done = await write(sink, finished)
        written += len(finished)
        return done

    monkeypatch.setattr(LocalSink, "write", slow_write)
    limits = Limits(max_batch=4, max_concurrency=2)
    options = replace(OPTIONS, read_ahead=8, commit_frames=16)
    async with world(tmp_path, monkeypatch, frames=600, behave=count, limits=limits, options=options) as made:
        job = await made.run()
        assert job.frames_done == 600
        # At the model or behind it: (2 + 8 / 4) batches; waiting: 2 batches; being written: 16 frames and a batch.
        assert most <= (2 + 2) * 4 + 2 * 4 + 16 + 4


async def test_progress_adds_up_over_the_runs_of_a_job(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    seen: list[Progress] = []
    fails = bad_frames(0, 59)
    cancelled = asyncio.Event()

    async def behave(predictor: FakePredictor, frames: Sequence[Frame]) -> None:
        if len(predictor.asked) > 40:  # so the job is not through before it is cancelled, on any machine
            await cancelled.wait()
        await fails(predictor, frames)

    async with world(tmp_path, monkeypatch, frames=60, behave=behave) as made:
        job = await made.job()

        def stop(progress: Progress) -> None:
            seen.append(progress)
            if progress.done >= 20:
                made.jobs._running[job.id].cancel()
                cancelled.set()

        await made.jobs.run(job.id, on_progress=stop)
        first = len(seen)
        assert (await made.jobs.get(job.id)).state is JobState.CANCELLED
        await made.jobs.resume(job.id)
        ended = await made.jobs.run(job.id, on_progress=seen.append)
    assert first < len(seen)
    finished = [progress.done + progress.failed for progress in seen]
    assert finished == sorted(finished)
    assert all(progress.total == 60 for progress in seen)
    last = seen[-1]
    assert (last.done, last.failed, last.shapes) == (58, 2, ended.shapes_created)
    assert last.seconds_left == 0
    assert [progress.shapes for progress in seen] == sorted(progress.shapes for progress in seen)


async def test_a_model_that_cannot_be_loaded_fails_the_job_and_says_why(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch, frames=3) as made:

        async def gated(card: Any) -> None:
            raise AccessDenied("fake is gated.", hint="Ask for access.")

        made.adapter.opening = gated
        job = await made.job()
        with pytest.raises(BridgeError) as caught:
            await made.jobs.run(job.id)
        assert caught.value.status == 403
        job = await made.check(job.id)
        assert (job.state, job.error, job.owner) == (JobState.FAILED, "fake is gated. Ask for access.", None)
        made.adapter.opening = None
        job = await made.jobs.run((await made.jobs.resume(job.id)).id)
        assert job.state is JobState.SUCCEEDED


async def test_a_lease_is_kept_while_a_model_takes_long_to_load(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch, frames=3, options=replace(OPTIONS, lease_s=0.3)) as made:

        async def slow(card: Any) -> None:
            for _ in range(2):
                await made.change("UPDATE jobs SET lease_until = 1")
                async with asyncio.timeout(60):
                    while (await made.sql("SELECT lease_until FROM jobs"))[0][0] == 1:
                        await asyncio.sleep(0.02)

        made.adapter.opening = slow
        assert (await made.run()).state is JobState.SUCCEEDED


async def test_a_task_whose_labels_are_masks_gets_masks_from_boxes(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch, frames=6, labels="car:mask,person:mask,tree:mask") as made:
        job = await made.run(mapping={"car": "car", "person": "person", "tree": "tree"})
        assert job.state is JobState.SUCCEEDED
        kinds = {shape.type for shapes in (await made.shapes()).values() for shape in shapes}
        assert kinds == {"mask"}
