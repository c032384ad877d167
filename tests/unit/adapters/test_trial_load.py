"""Small graphs that ask for huge memory are refused in a process of their own; usual ones pass, and are tried once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from adapters import trial_load
from adapters.errors import Unsupported
from adapters.trial_load import try_loading
from tests.models import write_colour_classifier

FLOATS = 1_500_000_000  # 6 GB
PART = 60_000_000  # 240 MB: less than what engines leave for each run
Graph = tuple[list[Any], dict[str, Any]]


def constant_of_shape() -> Graph:
    return [helper.make_node("ConstantOfShape", ["size"], ["big"])], {"size": np.array([FLOATS])}


def expand() -> Graph:
    one = np.ones(1, np.float32)
    return [helper.make_node("Expand", ["one", "size"], ["big"])], {"one": one, "size": np.array([FLOATS])}


def tile() -> Graph:
    one = np.ones(1, np.float32)
    return [helper.make_node("Tile", ["one", "size"], ["big"])], {"one": one, "size": np.array([FLOATS])}


def outer_sum() -> Graph:
    side = int(FLOATS**0.5)
    row, column = np.zeros((1, side), np.float32), np.zeros((side, 1), np.float32)
    return [helper.make_node("Add", ["row", "column"], ["big"])], {"row": row, "column": column}


def computed_size() -> Graph:
    """No number in the file is large."""
    nodes = [helper.make_node("Mul", ["size", "size"], ["product"])]
    return [*nodes, helper.make_node("ConstantOfShape", ["product"], ["big"])], {"size": np.array([int(FLOATS**0.5)])}


def branch_not_taken() -> Graph:
    """Computed while the graph is loaded, and never by a run."""
    parts = [
        helper.make_node(
            "ConstantOfShape", ["size"], [f"part{i}"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [float(i)])
        )
        for i in range(1, 6)
    ]
    sums = [helper.make_node("Add", ["x_sum", f"part{i}"], [f"s{i}"]) for i in range(1, 6)]
    tops = [helper.make_node("ReduceMax", [f"s{i}"], [f"t{i}"], keepdims=0) for i in range(1, 6)]
    total = helper.make_node("Sum", [f"t{i}" for i in range(1, 6)], ["b"])
    answer = helper.make_tensor_value_info("b", TensorProto.FLOAT, [])
    taken = helper.make_graph(
        [helper.make_node("Identity", ["x_sum"], ["a"])],
        "taken",
        [],
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, [])],
    )
    hidden = helper.make_graph([*parts, *sums, *tops, total], "hidden", [], [answer])
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["x_sum"], keepdims=0),
        helper.make_node("Greater", ["x_sum", "nothing"], ["some"]),
        helper.make_node("If", ["some"], ["big"], then_branch=taken, else_branch=hidden),
    ]
    return nodes, {"size": np.array([PART]), "nothing": np.float32(0)}


def write(path: Path, made: Graph) -> Path:
    """The graph, of which the answer depends on the picture and on ``big``."""
    nodes, constants = made
    ends = [
        helper.make_node("ReduceMax", ["big"], ["top"], keepdims=0),
        helper.make_node("Add", ["x", "top"], ["y"]),
    ]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("x", "y")]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph([*nodes, *ends], "hostile", info[:1], info[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(trial_load, "MOST_BYTES", 2**30)
    monkeypatch.setattr(trial_load, "_tried", set())
    yield


@pytest.mark.parametrize("made", [constant_of_shape, expand, tile, outer_sum, computed_size, branch_not_taken])
def test_a_small_graph_that_asks_for_huge_memory_is_refused(made: Callable[[], Graph], tmp_path: Path) -> None:
    path = write(tmp_path / "hostile.onnx", made())
    assert path.stat().st_size < 400_000
    with pytest.raises(Unsupported, match=r"hostile.onnx needs more than 1.0 GB of memory to load and run"):
        try_loading(path)


def test_models_of_like_names_beside_it_give_it_no_room(tmp_path: Path) -> None:
    path = write(tmp_path / "hostile.onnx", constant_of_shape())
    (tmp_path / "hostile2.onnx").write_bytes(bytes(200 * 2**20))
    with pytest.raises(Unsupported, match=r"more than 1.0 GB"):
        try_loading(path)


def test_what_takes_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_load, "MOST_S", 0.01)
    with pytest.raises(Unsupported, match="does not load and run within"):
        try_loading(write_colour_classifier(tmp_path / "usual.onnx"))


def test_what_crashes_its_engine_ends_the_trial_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashed: subprocess.CompletedProcess[bytes] = subprocess.CompletedProcess([], -11)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: crashed)
    with pytest.raises(Unsupported, match=r"ended the process that loaded it \(signal 11\)"):
        try_loading(write_colour_classifier(tmp_path / "usual.onnx"))


def test_a_usual_graph_passes_and_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_colour_classifier(tmp_path / "first.onnx")
    try_loading(first)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("tried again"))
    try_loading(first)
    second = tmp_path / "second.onnx"
    second.write_bytes(first.read_bytes())
    try_loading(second)  # known by its content


def test_the_memory_of_the_service_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_load, "MOST_BYTES", 2**29)
    ours = np.ones(2**30, np.uint8)  # as of a service with models in memory
    try_loading(write_colour_classifier(tmp_path / "usual.onnx"))
    assert ours.all()


def test_a_graph_that_does_not_load_is_left_to_those_who_say_why(tmp_path: Path) -> None:
    path = write_colour_classifier(tmp_path / "broken.onnx")
    path.write_bytes(path.read_bytes()[:-20])
    try_loading(path)
