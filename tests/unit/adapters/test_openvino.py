"""OpenVINO: ONNX files, IR and converted models of PyTorch answer what the models' own engines answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from adapters import engine_choice, pace
from adapters.base import Context, Detections, PredictOptions
from adapters.errors import ModelNotFound, Unsupported
from adapters.frame import Frame
from adapters.openvino_session import OpenvinoSession
from adapters.providers import adapter_for
from adapters.references import LocalFile, LocalFolder
from tests import models

EVERYTHING = PredictOptions(floor_score=0.0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WINDOW_S", 0.001)
    monkeypatch.setattr(engine_choice, "MEASURED_S", 0.01)


def frames(count: int, width: int = 40, height: int = 30) -> list[Frame]:
    rng = np.random.default_rng(1)
    return [
        Frame(f"f{i}", width, height, pixels=rng.integers(0, 60 + 30 * i, (height, width, 3)).astype(np.uint8))
        for i in range(count)
    ]


async def predict(path: Path, cache: Path, batch: list[Frame] | None = None, **options: Any) -> list[Detections]:
    reference = LocalFile(str(path)) if path.is_file() else LocalFolder(str(path))
    adapter, context = adapter_for(reference), Context(cache, **options)
    card = await adapter.resolve(reference, context)
    async with await adapter.open(card, context) as predictor:
        if "engine" in options:
            assert predictor.card.engine == options["engine"]
        return await predictor.predict(batch or frames(5), EVERYTHING)


def same(one: list[Detections], other: list[Detections]) -> None:
    assert sum(map(len, one)) > 0
    for a, b in zip(one, other, strict=True):
        assert (a.labels, a.label_ids.tolist()) == (b.labels, b.label_ids.tolist())
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)
        np.testing.assert_allclose(a.boxes, b.boxes, atol=0.02)


def to_ir(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(openvino.Core().read_model(source), target, compress_to_fp16=False)
    return target


@pytest.mark.parametrize("options", [{}, {"batch": 1}, {"batch": 4}, {"mask": ("h", "w")}], ids=str)
async def test_onnx_in_a_model_folder(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = models.write_onnx_model(tmp_path / "model", **options)
    expected = await predict(folder, tmp_path, engine="onnxruntime")
    same(expected, await predict(folder, tmp_path, engine="openvino"))


async def test_ir_in_a_model_folder_runs_without_being_asked_for(tmp_path: Path) -> None:
    plain = models.write_onnx_model(tmp_path / "plain")
    folder = models.write_config(tmp_path / "model")
    to_ir(plain / "onnx" / "model.onnx", folder / "openvino_model.xml")
    reference = LocalFolder(str(folder))
    card = await adapter_for(reference).resolve(reference, Context(tmp_path))
    assert card.engine == "openvino"
    assert {file["path"] for file in card.settings["files"]} >= {"openvino_model.xml", "openvino_model.bin"}
    same(await predict(plain, tmp_path), await predict(folder, tmp_path))


async def test_frames_of_different_sizes_share_a_call(tmp_path: Path) -> None:
    folder = models.write_onnx_model(tmp_path / "model", height="h", width="w")
    size = {"shortest_edge": 20, "longest_edge": 40}
    models.write_config(folder, preprocessor={**models.PREPROCESSOR, "size": size})
    mixed = [*frames(2, 40, 30), *frames(2, 30, 60), *frames(1, 40, 30)]
    expected = await predict(folder, tmp_path, mixed, engine="onnxruntime")
    same(expected, await predict(folder, tmp_path, mixed, engine="openvino"))


async def test_a_single_ir_file_reads_what_ultralytics_wrote_beside_it(tmp_path: Path) -> None:
    source = models.write_yolo(tmp_path / "onnx" / "yolo.onnx")
    target = to_ir(source, tmp_path / "ir" / "yolo.xml")
    said = {"task": "detect", "names": dict(enumerate(models.LABELS)), "imgsz": [64, 64]}
    target.with_name("metadata.yaml").write_text(yaml.safe_dump(said))
    same(await predict(source, tmp_path), await predict(target, tmp_path, engine="openvino"))


async def test_labels_of_openvinos_model_zoo_are_read(tmp_path: Path) -> None:
    source = models.write_yolo(tmp_path / "yolo.onnx", metadata=False)
    graph = openvino.Core().read_model(source)
    graph.set_rt_info("car person tree stop_sign", ["model_info", "labels"])
    openvino.save_model(graph, tmp_path / "yolo.xml", compress_to_fp16=False)
    (tmp_path / "yolo.json").write_text('{"layout": "yolo-v8-detect"}')
    card = await adapter_for(LocalFile("x.xml")).resolve(LocalFile(str(tmp_path / "yolo.xml")), Context(tmp_path))
    assert card.labels == models.LABELS


def write_ssd(path: Path) -> Path:
    """data [1, 3, 32, 32] -> detection_out [1, 1, 3, 7], as OpenVINO's detectors answer: two boxes, and the end."""
    rows = [[0, 1, 0.9, 0.1, 0.2, 0.5, 0.6], [0, 2, 0.7, 0.5, 0.5, 0.9, 1.0], [-1, 0, 0, 0, 0, 0, 0]]
    weights = {"rows": np.array([[rows]], np.float32), "nothing": np.zeros(1, np.float32)}
    nodes = [
        helper.make_node("ReduceMean", ["data"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Add", ["rows", "zero"], ["detection_out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "ssd",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("detection_out", TensorProto.FLOAT, [1, 1, 3, 7])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


async def test_the_ssd_layout_from_ir(tmp_path: Path) -> None:
    path = to_ir(write_ssd(tmp_path / "ssd.onnx"), tmp_path / "face.xml")
    (tmp_path / "face.json").write_text('{"labels": ["background", "face", "mask"]}')
    (found,) = await predict(path, tmp_path, frames(1, 100, 50))
    assert [found.labels[i] for i in found.label_ids] == ["face", "mask"]
    np.testing.assert_allclose(found.boxes, [[10, 10, 50, 30], [50, 25, 90, 50]], atol=1e-3)
    np.testing.assert_allclose(found.scores, [0.9, 0.7], atol=1e-6)


async def test_ir_without_its_weights_is_refused(tmp_path: Path) -> None:
    path = to_ir(models.write_yolo(tmp_path / "yolo.onnx"), tmp_path / "yolo.xml")
    path.with_suffix(".bin").unlink()
    with pytest.raises(Unsupported, match="without its weights") as caught:
        await predict(path, tmp_path)
    assert caught.value.hint == "Put yolo.bin beside it."


@pytest.mark.parametrize("content", [b"", b"<net/>", b"<html></html>", b"\x08\x07"])
async def test_what_is_no_ir_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.xml").write_bytes(content)
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(Unsupported, match=r"model\.xml(: it holds no network| is )"):
        await predict(tmp_path / "model.xml", tmp_path)


@pytest.mark.parametrize("name", ["yolo.bin", "metadata.yaml"])
async def test_ir_is_pinned_with_its_weights_and_metadata(tmp_path: Path, name: str) -> None:
    path = to_ir(models.write_yolo(tmp_path / "yolo.onnx"), tmp_path / "yolo.xml")
    reference, context = LocalFile(str(path)), Context(tmp_path)
    path.with_suffix(".json").write_text(json.dumps({"layout": "yolo-v8-detect", "labels": list(models.LABELS)}))
    card = await adapter_for(reference).resolve(reference, context)
    with (tmp_path / name).open("ab") as file:
        file.write(b"\n# more")
    with pytest.raises(ModelNotFound, match="changed"):
        await adapter_for(reference).open(card, context)


async def test_weights_outside_the_folder_are_refused(tmp_path: Path) -> None:
    folder = models.write_onnx_model(tmp_path / "model")
    graph = models.detector()
    tensor = max(graph.graph.initializer, key=lambda each: each.ByteSize())
    (folder / "secret.bin").write_bytes(tensor.raw_data)
    length = len(tensor.raw_data)
    onnx.external_data_helper.set_external_data(tensor, location="../secret.bin", offset=0, length=length)
    tensor.ClearField("raw_data")
    (folder / "onnx" / "model.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(Unsupported, match="OpenVINO cannot load"):
        await predict(folder, tmp_path, engine="openvino")


def test_full_precision_is_f32_also_where_openvino_would_take_another(tmp_path: Path) -> None:
    session = OpenvinoSession(models.write_yolo(tmp_path / "yolo.onnx"))
    assert session._compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
    assert not session.half


async def test_without_openvino_ir_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = to_ir(models.write_yolo(tmp_path / "yolo.onnx"), tmp_path / "yolo.xml")
    monkeypatch.setattr("adapters.openvino_session.installed", lambda: False)
    with pytest.raises(Unsupported) as caught:
        await predict(path, tmp_path)
    assert caught.value.hint == "pip install 'hubbridge[openvino]'"


async def test_a_model_of_pytorch_is_converted_once_and_answers_alike(tmp_path: Path) -> None:
    folder = models.write_rt_detr(tmp_path / "model")
    expected = await predict(folder, tmp_path, engine="transformers")
    same(expected, await predict(folder, tmp_path, engine="openvino"))
    (converted,) = (tmp_path / "openvino").glob("*/model.xml")
    before = converted.stat().st_mtime_ns
    same(expected, await predict(folder, tmp_path, engine="openvino"))
    assert converted.stat().st_mtime_ns == before


CONVERTS = """
import socket, sys, torch
from adapters.openvino_convert import convert
socket.getaddrinfo = socket.socket = lambda *a, **k: sys.exit("the network was asked")
class Doubles(torch.nn.Module):
    def forward(self, x):
        return type("Answer", (), {"y": x * 2})()
from pathlib import Path; import numpy as np
convert(Doubles(), {"x": np.ones((2, 3, 8, 8), np.float32)}, ("y",), any_size=True, path=Path(sys.argv[1]))
print([name for name in sys.modules if name.startswith("openvino_telemetry") and sys.modules[name]])
"""


def test_a_conversion_tells_nobody_of_it(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    environment["HOME"] = str(tmp_path / "home")
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", CONVERTS, str(tmp_path / "ir" / "model.xml")],
        check=False, env=environment, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
    assert (tmp_path / "ir" / "model.xml").is_file()
    assert list((tmp_path / "home").iterdir()) == []  # OpenVINO keeps the id that it reports under here


async def test_auto_compares_before_it_takes_openvino(tmp_path: Path) -> None:
    folder = models.write_rt_detr(tmp_path / "model")
    reference, context = LocalFolder(str(folder)), Context(tmp_path, openvino=True)
    card = await adapter_for(reference).resolve(reference, context)
    async with await adapter_for(reference).open(card, context) as predictor:
        choice = predictor.card.settings["engine_choice"]
        assert "openvino and transformers answer alike" in choice["why"]
        assert predictor.card.engine == choice["engine"] in ("openvino", "transformers")
