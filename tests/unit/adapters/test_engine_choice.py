"""Which engine runs a model: those that answer alike, and of them the fastest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from adapters import engine_choice, pace
from adapters.base import Context, Detections, LoadStep, Mask, ModelCard, Report, Skeleton, WholeFrame
from adapters.engine_choice import open_fastest
from adapters.errors import PredictorError, Unsupported
from adapters.frame import Frame
from adapters.graph_session import FAST
from adapters.local_model import PIXELS, Arrays, Engine, LocalModel, Outputs
from adapters.preprocess import Preprocessor, Tensor
from adapters.same_answers import difference, probes

LABELS = ("car", "person")
CARD = ModelCard("m", "local", "/m", "1", "object-detection", LABELS, ("rectangle",), "onnxruntime")
SMALL = Preprocessor.from_config({"image_processor_type": "RTDetrImageProcessor", "size": {"height": 8, "width": 8}})


@dataclass
class Fake:
    """Answers the mean of each picture plus ``off`` and takes ``cost_s`` of processor time for a frame."""

    name: str
    cost_s: float = 0.0
    off: float = 0.0
    half: bool = False
    device: str = "cpu"
    inputs: frozenset[str] = frozenset({PIXELS})
    closed: bool = False

    def run(self, feed: Arrays) -> Arrays:
        until = time.process_time() + self.cost_s * len(feed[PIXELS])
        while time.process_time() < until:
            pass
        return {"mean": feed[PIXELS].mean(axis=(1, 2, 3)) + self.off}

    def use_threads(self, threads: int) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def read(outputs: Outputs, tensor: Tensor, frame: Frame) -> Detections:
    mean = float(outputs["mean"])
    return Detections(LABELS, np.array([[0, 0, 200 * mean, 50]]), np.array([mean]), np.array([0]))


def make(engine: Engine) -> LocalModel:
    return LocalModel(CARD, SMALL, engine, read)


@dataclass
class World:
    """Engines by name and precision, and how often each was loaded."""

    context: Context
    engines: Mapping[tuple[str, str], Callable[[], Fake]]
    loaded: list[Fake] = field(default_factory=list)

    def open(self, card: ModelCard = CARD, **options: Any) -> LocalModel:
        def loader(name: str) -> Callable[[str], Engine]:
            def load(precision: str) -> Engine:
                engine = self.engines.get((name, precision), self.engines[name, "full"])()
                self.loaded.append(engine)
                return engine

            return load

        loaders = {name: loader(name) for name, _ in self.engines}
        return open_fastest(card, loaders, make, replace(self.context, **options))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WINDOW_S", 0.001)
    monkeypatch.setattr(engine_choice, "MEASURED_S", 0.02)


def world(folder: Path, *engines: Fake, **precise: Fake) -> World:
    by_name = {(engine.name, "full"): engine for engine in engines} | {(n, "fast"): e for n, e in precise.items()}
    makers = {key: lambda engine=engine: replace(engine) for key, engine in by_name.items()}  # type: ignore[misc]
    return World(Context(folder, openvino=True), makers)


def choice(model: LocalModel) -> Any:
    return model.card.settings["engine_choice"]


def test_an_equal_and_faster_engine_is_taken_and_the_others_are_closed(tmp_path: Path) -> None:
    made = world(tmp_path, Fake("onnxruntime", 0.002), Fake("openvino"))
    model = made.open()
    assert model.card.engine == "openvino"
    assert "answer alike" in choice(model)["why"]
    assert [engine for engine in made.loaded if not engine.closed] == [model.engine]
    assert model.card.settings["pace"]["batch"] in (1, 4, 8)


def test_what_takes_long_is_told_the_first_time_and_never_again(tmp_path: Path) -> None:
    made, told = world(tmp_path, Fake("onnxruntime"), Fake("openvino"), openvino=Fake("openvino", half=True)), []

    def tell(report: Report) -> None:
        assert isinstance(report, LoadStep)
        told.append(report.doing)

    made.open(progress=tell, precision=FAST)
    once = " (once on this machine, to find what is fastest)"
    assert told == [
        f"trying it with onnxruntime{once}",
        f"converting it for openvino and comparing its answers with onnxruntime's{once}",
        f"trying onnxruntime in half precision{once}",
        f"trying openvino in half precision{once}",
    ]
    made.open(progress=tell, precision=FAST)
    assert len(told) == 4


def test_a_slower_engine_is_not_taken(tmp_path: Path) -> None:
    assert world(tmp_path, Fake("onnxruntime"), Fake("openvino", 0.002)).open().card.engine == "onnxruntime"


def test_one_that_answers_otherwise_is_not_taken_and_the_reason_is_told(tmp_path: Path) -> None:
    model = world(tmp_path, Fake("onnxruntime", 0.002), Fake("openvino", off=0.01)).open()
    assert model.card.engine == "onnxruntime"
    assert "openvino answers differently from onnxruntime: a car" in choice(model)["why"]


def test_one_that_does_not_load_is_not_taken_and_the_reason_is_told(tmp_path: Path) -> None:
    made = world(tmp_path, Fake("onnxruntime"), Fake("openvino"))

    def fails() -> Fake:
        raise Unsupported("OpenVINO has no operation Foo.")

    model = World(made.context, {**made.engines, ("openvino", "full"): fails}).open()
    assert "openvino does not run this model: OpenVINO has no operation Foo" in choice(model)["why"]


def test_one_that_fails_at_work_is_not_taken(tmp_path: Path) -> None:
    class Failing(Fake):
        def run(self, feed: Arrays) -> Arrays:
            raise RuntimeError("shapes differ")

    made = world(tmp_path, Fake("onnxruntime"), Failing("openvino"))
    model = made.open()
    assert model.card.engine == "onnxruntime"
    assert "openvino fails on this model: shapes differ" in choice(model)["why"]
    assert [engine for engine in made.loaded if not engine.closed] == [model.engine]


def test_the_choice_is_remembered_and_only_that_engine_is_loaded(tmp_path: Path) -> None:
    made = world(tmp_path, Fake("onnxruntime", 0.002), Fake("openvino"))
    first = choice(made.open())
    made.loaded.clear()
    again = made.open()
    assert choice(again) == first
    assert made.loaded == [again.engine]


def test_another_version_of_an_engine_is_another_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world(tmp_path, Fake("onnxruntime", 0.002), Fake("openvino"))
    made.open()
    made.loaded.clear()
    monkeypatch.setattr(engine_choice, "versions", lambda: ["openvino 1"])
    made.open()
    assert len(made.loaded) == 3


def test_an_engine_chosen_before_that_no_longer_loads_is_chosen_anew(tmp_path: Path) -> None:
    made = world(tmp_path, Fake("onnxruntime", 0.002), Fake("openvino"))
    assert made.open().card.engine == "openvino"

    def fails() -> Fake:
        raise PredictorError("The file is gone.")

    broken = World(made.context, {**made.engines, ("openvino", "full"): fails})
    assert broken.open().card.engine == "onnxruntime"


@pytest.mark.parametrize(
    ("settings", "options"),
    [({"engine_chosen": True}, {}), ({}, {"engine": "onnxruntime"}), ({}, {"openvino": False})],
    ids=str,
)
def test_what_the_user_chose_or_switched_off_is_not_contested(
    tmp_path: Path, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    made = world(tmp_path, Fake("onnxruntime", 0.002), Fake("openvino"))
    model = made.open(replace(CARD, settings=settings), **options)
    assert model.card.engine == "onnxruntime"
    assert made.loaded == [model.engine]


def test_openvino_that_is_not_installed_is_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_choice, "installed", lambda: False)
    made = world(tmp_path, Fake("onnxruntime", 0.002), Fake("openvino"))
    assert made.open().card.engine == "onnxruntime"
    assert len(made.loaded) == 1


def test_beside_a_gpu_openvino_is_not_tried(tmp_path: Path) -> None:
    made = world(tmp_path, Fake("onnxruntime", 0.002, device="cuda"), Fake("openvino"))
    assert made.open().card.engine == "onnxruntime"


def test_half_precision_is_taken_only_where_it_was_allowed(tmp_path: Path) -> None:
    half = Fake("openvino bf16", half=True, off=0.02)
    made = world(tmp_path, Fake("onnxruntime", 0.004), Fake("openvino", 0.002), openvino=half)
    assert choice(made.open())["precision"] == "full"
    fast = made.open(precision=FAST)
    assert (choice(fast)["precision"], fast.engine.name) == ("fast", "openvino bf16")  # type: ignore[attr-defined]
    assert "onnxruntime has no half precision here" in choice(fast)["why"]


def test_half_precision_that_is_slower_is_not_taken(tmp_path: Path) -> None:
    made = world(tmp_path, Fake("onnxruntime"), onnxruntime=Fake("slow", 0.002, half=True))
    assert choice(made.open(precision=FAST, openvino=False))["precision"] == "full"


def found(score: float = 0.5, x: float = 10.0, label: int = 0, shape: Any = None) -> list[Detections]:
    shapes = () if shape is None else (shape,)
    return [Detections(LABELS, np.array([[x, 0, x + 20, 20]]), np.array([score]), np.array([label]), shapes)]


def rle(columns: int) -> Mask:
    from pycocotools import mask  # noqa: PLC0415

    dense: NDArray[np.uint8] = np.zeros((20, 100), np.uint8, "F")
    dense[:, :columns] = 1
    return Mask(20, 100, mask.encode(dense)["counts"])


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (found(), True),
        (found(score=0.504), True),
        (found(score=0.51), False),
        (found(x=10.9), True),
        (found(x=12), False),
        (found(label=1), False),
        ([Detections.empty(LABELS)], False),
    ],
)
def test_answers_are_alike_within_the_tolerances(other: list[Detections], same: bool) -> None:
    assert (difference(found(), other) is None) is same
    assert (difference(other, found()) is None) is same


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        (rle(50), rle(50), True),
        (rle(50), rle(48), False),
        (WholeFrame(), WholeFrame(), True),
        (WholeFrame(), rle(50), False),
        (Skeleton(np.zeros((2, 2)), np.ones(2)), Skeleton(np.full((2, 2), 0.5), np.ones(2)), True),
        (Skeleton(np.zeros((2, 2)), np.ones(2)), Skeleton(np.full((2, 2), 3), np.ones(2)), False),
        (Skeleton(np.zeros((2, 2)), np.ones(2)), Skeleton(np.zeros((3, 2)), np.ones(3)), False),
    ],
)
def test_shapes_are_compared_as_well(one: Any, two: Any, same: bool) -> None:
    assert (difference(found(shape=one), found(shape=two)) is None) is same


def test_equal_scores_in_another_order_are_alike() -> None:
    boxes, scores = np.array([[0, 0, 9, 9], [20, 20, 40, 40]]), np.array([0.5, 0.5])
    one = Detections(LABELS, boxes, scores, np.array([0, 1]))
    assert difference([one], [one.take([1, 0])]) is None


def test_nothing_found_proves_nothing() -> None:
    assert "nothing" in str(difference([Detections.empty(LABELS)], [Detections.empty(LABELS)]))


def test_the_test_pictures_are_the_same_every_time() -> None:
    for one, other in zip(probes(), probes(), strict=True):
        assert (one.pixels == other.pixels).all()
