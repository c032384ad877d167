"""ONNX files of every layout that is run, and of those that are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from adapters.base import Context, Detections, ModelCard, PredictOptions, Predictor
from adapters.errors import BadOutput, ModelNotFound, Unsupported
from adapters.frame import Frame
from adapters.huggingface_local import HuggingFaceLocal
from adapters.references import LocalFolder
from tests import models

EVERYTHING = PredictOptions(floor_score=0.0)


async def resolve(folder: Path, **options: Any) -> ModelCard:
    return await HuggingFaceLocal().resolve(LocalFolder(str(folder)), Context(folder / "cache", **options))


async def opened(folder: Path) -> Predictor:
    return await HuggingFaceLocal().open(await resolve(folder), Context(folder / "cache"))


def frames(count: int, width: int = 40, height: int = 30) -> list[Frame]:
    rng = np.random.default_rng(1)
    return [
        Frame(f"f{i}", width, height, pixels=rng.integers(0, 60 + 30 * i, (height, width, 3)).astype(np.uint8))
        for i in range(count)
    ]


async def predict(folder: Path, batch: list[Frame]) -> list[Detections]:
    async with await opened(folder) as predictor:
        return await predictor.predict(batch, EVERYTHING)


@pytest.mark.parametrize(
    "options",
    [{"batch": 1}, {"batch": 4}, {"mask": ("h", "w")}, {"mask": (7, 7)}, {"input_type": TensorProto.FLOAT16}],
    ids=str,
)
async def test_every_layout_gives_the_boxes_of_the_plain_one(tmp_path: Path, options: dict[str, Any]) -> None:
    plain = await predict(models.write_onnx_model(tmp_path / "plain"), frames(5))
    other = await predict(models.write_onnx_model(tmp_path / "other", **options), frames(5))
    half = "input_type" in options
    for one, two in zip(plain, other, strict=True):
        if "mask" in options:  # the mask of a whole picture shifts every score alike, and keeps their order
            assert (one.label_ids == two.label_ids).all()
        else:
            np.testing.assert_allclose(one.scores, two.scores, atol=1e-2 if half else 1e-6)
        np.testing.assert_allclose(one.boxes, two.boxes, atol=0.5 if half else 1e-3)


async def test_frames_of_different_tensor_sizes_share_a_call(tmp_path: Path) -> None:
    folder = models.write_onnx_model(tmp_path / "model", height="h", width="w")
    size = {"shortest_edge": 20, "longest_edge": 40}
    models.write_config(folder, preprocessor={**models.PREPROCESSOR, "size": size})
    mixed = [*frames(2, 40, 30), *frames(2, 30, 60), *frames(1, 40, 30)]
    together = await predict(folder, mixed)
    for frame, result in zip(mixed, together, strict=True):
        (alone,) = await predict(folder, [frame])
        np.testing.assert_allclose(result.boxes, alone.boxes, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"outputs": ("scores", "boxes")}, "answers scores, boxes"),
        ({"outputs": ("logits", "boxes")}, "answers logits, boxes"),
        ({"height": 48}, "takes 48 x 32"),
    ],
)
async def test_other_layouts_are_refused_with_what_they_hold(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(Unsupported, match=words):
        await opened(models.write_onnx_model(tmp_path / "model", **options))


async def test_a_graph_with_other_inputs_is_refused(tmp_path: Path) -> None:
    folder = models.write_onnx_model(tmp_path / "model")
    graph = models.detector()
    graph.graph.input.append(onnx.helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, ["batch", 2]))
    (folder / "onnx" / "model.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(Unsupported, match="orig_target_sizes"):
        await opened(folder)


async def test_a_fixed_input_with_pictures_of_any_size_is_refused(tmp_path: Path) -> None:
    folder = models.write_onnx_model(tmp_path / "model")
    models.write_config(folder, preprocessor={"image_processor_type": "DetrImageProcessor"})
    with pytest.raises(Unsupported, match="any size"):
        await opened(folder)


async def test_what_is_no_onnx_is_refused(tmp_path: Path) -> None:
    folder = models.write_onnx_model(tmp_path / "model")
    (folder / "onnx" / "model.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(Unsupported, match=r"model\.onnx is no ONNX graph"):
        await opened(folder)


def _damaged(graph: bytes) -> bytes:
    return graph[: len(graph) // 2]


def _of_another_form(graph: bytes) -> bytes:
    return models.detector(outputs=("scores", "boxes")).SerializeToString()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda graph: b"version https://git-lfs.github.com/spec/v1\n", "no ONNX graph"),
        (_damaged, r"cannot load model\.onnx"),
        (_of_another_form, "answers scores, boxes"),
    ],
    ids=["pointer", "damaged", "other"],
)
async def test_a_graph_that_cannot_run_is_found_when_the_files_are_fetched(
    tmp_path: Path, change: Callable[[bytes], bytes], words: str
) -> None:
    """So `model add` says it, and not the first job."""
    folder = models.write_onnx_model(tmp_path / "model")
    file = folder / "onnx" / "model.onnx"
    file.write_bytes(change(file.read_bytes()))
    card = await resolve(folder)
    with pytest.raises(Unsupported, match=words):
        await HuggingFaceLocal().fetch(card, Context(folder / "cache"))


async def test_scores_that_are_nan_are_bad_output(tmp_path: Path) -> None:
    with pytest.raises(BadOutput, match="NaN"):
        await predict(models.write_onnx_model(tmp_path / "model", poison=True), frames(1))


async def test_another_number_of_labels_is_bad_output(tmp_path: Path) -> None:
    with pytest.raises(BadOutput, match="4 labels"):
        await predict(models.write_onnx_model(tmp_path / "model", columns=9), frames(1))


def outside(name: str) -> Callable[[onnx.ModelProto], None]:
    """Moves the largest weights into the file ``name``."""

    def change(model: onnx.ModelProto) -> None:
        tensor = max(model.graph.initializer, key=lambda each: each.ByteSize())
        onnx.external_data_helper.set_external_data(tensor, location=name, offset=0, length=len(tensor.raw_data))
        tensor.ClearField("raw_data")

    return change


@pytest.mark.parametrize(
    ("place", "loads"), [("model.onnx_data", True), ("../secret.bin", False), ("{folder}/secret.bin", False)]
)
async def test_weights_beside_the_graph_load_and_weights_elsewhere_are_refused(
    tmp_path: Path, place: str, loads: bool
) -> None:
    folder = models.write_onnx_model(tmp_path / "model")
    graph = models.detector()
    weights = max(graph.graph.initializer, key=lambda each: each.ByteSize()).raw_data
    place = place.format(folder=folder)
    (folder / "onnx" / place).write_bytes(weights)
    outside(place)(graph)
    (folder / "onnx" / "model.onnx").write_bytes(graph.SerializeToString())
    if not loads:
        with pytest.raises(Unsupported, match="outside its folder"):
            await opened(folder)
        return
    expected = await predict(models.write_onnx_model(tmp_path / "plain"), frames(2))
    found = await predict(folder, frames(2))
    assert all(np.allclose(a.boxes, b.boxes) for a, b in zip(expected, found, strict=True))


async def test_a_folder_is_pinned_by_its_content(tmp_path: Path) -> None:
    first = await resolve(models.write_onnx_model(tmp_path / "one"))
    second = await resolve(models.write_onnx_model(tmp_path / "two"))
    assert first.revision == second.revision
    (tmp_path / "two" / "README.md").write_text("not part of the model")
    assert (await resolve(tmp_path / "two")).revision == first.revision
    models.write_config(tmp_path / "two", {**models.CONFIG, "id2label": {"0": "a", "1": "b", "2": "c", "3": "d"}})
    assert (await resolve(tmp_path / "two")).revision != first.revision


async def test_a_folder_that_changed_since_is_not_opened(tmp_path: Path) -> None:
    folder = models.write_onnx_model(tmp_path / "model")
    card = await resolve(folder)
    (folder / "onnx" / "model.onnx").write_bytes(models.detector(poison=True).SerializeToString())
    with pytest.raises(ModelNotFound, match="changed"):
        await HuggingFaceLocal().open(card, Context(tmp_path))
    (folder / "onnx" / "model.onnx").unlink()
    with pytest.raises(ModelNotFound, match="gone"):
        await HuggingFaceLocal().open(card, Context(tmp_path))


async def test_the_engine_that_was_asked_for_is_used_or_refused(tmp_path: Path) -> None:
    folder = models.write_onnx_model(tmp_path / "model")
    assert (await resolve(folder, engine="onnxruntime")).engine == "onnxruntime"
    with pytest.raises(Unsupported, match="ships ONNX but no safetensors"):
        await resolve(folder, engine="transformers")
    with pytest.raises(Unsupported, match="no engine tensorrt"):
        await resolve(folder, engine="tensorrt")


async def test_without_torch_safetensors_are_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.write_config(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unsupported) as caught:
        await resolve(tmp_path / "model")
    assert caught.value.hint == "pip install 'hubbridge[transformers]'"
