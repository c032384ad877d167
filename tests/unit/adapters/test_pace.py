"""How local models find out how they are best fed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters import pace as module
from adapters.pace import Measured, Pace, candidates, measure, remembered


class Model:
    """Takes ``call_s`` for a call and ``frame_s`` for each frame; with ``alone``, one call at a time."""

    def __init__(self, call_s: float, frame_s: float, *, alone: bool = True, largest: int = 99) -> None:
        self.call_s, self.frame_s, self.alone, self.largest = call_s, frame_s, alone, largest
        self.threads = 0
        self.measured: list[Pace] = []

    def set_threads(self, threads: int) -> None:
        self.threads = threads

    def run(self, frames: int) -> None:
        if frames > self.largest:
            raise MemoryError

    def speed(self, pace: Pace) -> float:
        assert self.threads == pace.threads
        self.measured.append(pace)
        return pace.batch / (self.call_s + self.frame_s * pace.batch) * (1 if self.alone else pace.workers)


def found(model: Model, tried: list[Pace]) -> Pace:
    measured = measure(tried, model.set_threads, model.run)
    assert measured is not None
    assert model.threads == measured.pace.threads
    return measured.pace


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speeds are computed where a Model is asked, so that no other program has a say."""
    usual = module._speed

    def speed(pace: Pace, run: Callable[[int], object]) -> float:
        model = getattr(run, "__self__", None)
        if not isinstance(model, Model):
            return usual(pace, run)
        run(pace.batch)
        return model.speed(pace)

    monkeypatch.setattr(module, "_speed", speed)


def test_a_call_that_costs_much_is_made_for_many_frames() -> None:
    assert found(Model(0.02, 0.0005), candidates(2, 8, on_cpu=True)).batch == 8


def test_batches_that_gain_nothing_are_not_made() -> None:
    assert found(Model(0, 0.02), candidates(2, 8, on_cpu=True)) == Pace(1, 2, 1)


def test_workers_that_run_beside_each_other_are_taken() -> None:
    assert found(Model(0, 0.02, alone=False), candidates(2, 8, on_cpu=True)) == Pace(2, 1, 1)


@pytest.mark.parametrize(
    ("speeds", "chosen"),
    [
        ({(1, 2, 1): 100, (2, 1, 1): 105}, (2, 1, 1)),
        ({(1, 2, 1): 100, (2, 1, 1): 102}, (1, 2, 1)),  # hardly more, for twice the memory
        ({(1, 2, 1): 100, (2, 1, 1): 95, (1, 2, 8): 108}, (1, 2, 1)),
        ({(1, 2, 1): 80, (2, 1, 1): 100, (1, 2, 8): 108, (2, 1, 8): 109}, (2, 1, 1)),
        ({(1, 2, 1): 100, (2, 1, 1): 100, (1, 2, 8): 120, (2, 1, 8): 125}, (2, 1, 8)),
    ],
)
def test_larger_batches_have_to_gain_more_than_more_workers(
    speeds: dict[tuple[int, int, int], float], chosen: tuple[int, int, int]
) -> None:
    assert module._chosen({Pace(*pace): speed for pace, speed in speeds.items()}) == Pace(*chosen)


def test_what_does_not_fit_into_memory_is_not_taken() -> None:
    assert found(Model(0.02, 0.0005, largest=4), candidates(2, 8, on_cpu=True)).batch == 4


def test_batches_of_a_slow_model_are_not_tried() -> None:
    model = Model(0, 0.2)
    assert found(model, candidates(2, 8, on_cpu=True)).batch == 1
    assert {pace.batch for pace in model.measured} == {1}


def test_all_workers_of_a_measurement_run_at_once() -> None:
    together, been = threading.Barrier(2), set[threading.Thread]()

    def run(frames: int) -> None:
        this = threading.current_thread()
        if this is not threading.main_thread() and this not in been:
            been.add(this)
            together.wait(timeout=120)

    assert module._speed(Pace(2, 1, 4), run) > 0


def test_an_error_in_a_worker_is_raised() -> None:
    def run(frames: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError

    with pytest.raises(MemoryError):
        module._speed(Pace(1, 1, 1), run)


def test_a_model_that_always_fails_has_no_pace() -> None:
    model = Model(0, 0, largest=0)
    assert measure(candidates(2, 8, on_cpu=True), model.set_threads, model.run) is None


@pytest.mark.parametrize("cores", [1, 2, 4, 64])
def test_no_candidate_uses_more_threads_than_there_are_cores(cores: int) -> None:
    tried = candidates(cores, 8, on_cpu=True)
    assert {pace.workers * pace.threads for pace in tried} == {cores}
    assert len(set(tried)) == len(tried)
    assert {pace.batch for pace in tried} == {1, 4, 8}


def test_beside_a_gpu_one_worker_is_enough() -> None:
    assert {pace.workers for pace in candidates(8, 8, on_cpu=False)} == {1}


def test_what_was_measured_is_kept_for_the_model_and_what_runs_it(tmp_path: Path) -> None:
    first, second = Measured(Pace(1, 2, 8), 12.5), Measured(Pace(2, 1, 1), 3.0)
    assert remembered(tmp_path, ("model", "engine 1"), lambda: first) == first
    assert remembered(tmp_path, ("model", "engine 1"), lambda: second) == first
    assert remembered(tmp_path, ("model", "engine 2"), lambda: second) == second


def test_a_damaged_memory_is_measured_anew(tmp_path: Path) -> None:
    first, second = Measured(Pace(1, 2, 8), 12.5), Measured(Pace(2, 1, 1), 3.0)
    remembered(tmp_path, ("model",), lambda: first)
    (file,) = tmp_path.iterdir()
    file.write_text("{")
    assert remembered(tmp_path, ("model",), lambda: second) == second
    assert remembered(tmp_path, ("model",), lambda: first) == second


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    measured = Measured(Pace(1, 1, 1), 1.0)
    assert remembered(tmp_path / "file" / "below", ("model",), lambda: measured) == measured


def test_another_window_is_another_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Measured(Pace(1, 2, 8), 12.5), Measured(Pace(2, 1, 1), 3.0)
    remembered(tmp_path, ("model",), lambda: first)
    monkeypatch.setattr(module, "WINDOW_S", 0.2)
    assert remembered(tmp_path, ("model",), lambda: second) == second
