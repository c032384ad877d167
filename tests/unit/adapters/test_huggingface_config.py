"""What config.json and the list of files say about a model."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.errors import BadOutput, Unsupported
from adapters.huggingface_config import (
    ModelFile,
    Weights,
    check_layout,
    choose_weights,
    read_labels,
)
from adapters.huggingface_kinds import check_supported, task_type_of

ONNX, SAFE = "onnx/model.onnx", "model.safetensors"
IR, IR_WEIGHTS = "openvino_model.xml", "openvino_model.bin"


@pytest.mark.parametrize(
    ("config", "labels", "note"),
    [
        ({"id2label": {"0": "car", "1": "bus"}}, ("car", "bus"), None),
        ({"id2label": {"10": "k", "2": "c", **{str(i): f"n{i}" for i in (0, 1, 3, 4, 5, 6, 7, 8, 9)}}}, None, None),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, ("LABEL_0", "LABEL_1"), "only numbered"),
        ({"id2label": {"0": "N/A", "1": "car", "2": "N/A"}}, ("N/A", "car", "N/A (2)"), "more than once"),
        ({"id2label": {"0": "a", "1": "a", "2": "a (1)"}}, ("a", "a (1)'", "a (1)"), "more than once"),
        ({"id2label": {"0": "car", "2": "bus"}}, ("car", "LABEL_1", "bus"), "1 of 3 label ids"),
        ({"id2label": {"0": " car ", "1": 7}}, ("car", "7"), None),
        ({}, ("LABEL_0", "LABEL_1"), "does not name its labels"),
        ({"num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2"), "does not name its labels"),
    ],
)
def test_labels_come_in_the_order_of_their_ids(
    config: dict[str, Any], labels: tuple[str, ...] | None, note: str | None
) -> None:
    found, notes = read_labels(config)
    if labels is None:
        assert (found[2], found[10]) == ("c", "k")
    else:
        assert found == labels
    assert len(set(found)) == len(found)
    assert (note is None and notes == ()) or (note is not None and note in notes[0])


@pytest.mark.parametrize(
    "config",
    [
        {"id2label": {"a": "b"}},
        {"id2label": ["car"]},
        {"id2label": {"-1": "car"}},
        {"id2label": {"999999999": "car"}},
        {"num_labels": "many"},
        {"num_labels": 0},
    ],
)
def test_labels_that_make_no_sense_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        read_labels(config)


@pytest.mark.parametrize(
    ("architecture", "task_type"),
    [
        ("RTDetrForObjectDetection", "object-detection"),
        ("OwlViTForZeroShotObjectDetection", "zero-shot-object-detection"),
        ("DPTForDepthEstimation", "depth-estimation"),
        ("ViTForImageClassification", "image-classification"),
        ("DetrForSegmentation", "image-segmentation"),
        ("SomethingElse", None),
    ],
)
def test_the_architecture_tells_the_task_type(architecture: str, task_type: str | None) -> None:
    assert task_type_of({"architectures": [architecture]}) == task_type


@pytest.mark.parametrize("config", [{}, {"architectures": []}, {"architectures": "x"}, {"architectures": None}])
def test_without_an_architecture_there_is_no_task_type(config: dict[str, Any]) -> None:
    assert task_type_of(config) is None


@pytest.mark.parametrize(
    ("config", "task_type", "words"),
    [
        ({"architectures": ["DPTForDepthEstimation"], "model_type": "dpt"}, None, "depth-estimation"),
        ({"architectures": ["RTDetrForObjectDetection"], "model_type": "rt_detr"}, "robotics", "robotics"),
        ({"architectures": ["ViTForImageClassification"]}, "object-detection", "image-classification"),
        ({"architectures": ["NewForObjectDetection"], "model_type": "new"}, None, "NewForObjectDetection"),
        ({"model_type": "yolov10"}, "object-detection", "yolov10"),
        ({}, "object-detection", "none"),
    ],
)
def test_models_of_other_kinds_are_refused_by_name(config: dict[str, Any], task_type: str | None, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        check_supported("org/model", config, task_type)


@pytest.mark.parametrize(
    ("paths", "file", "engine", "expected"),
    [
        ([ONNX, SAFE], None, "auto", Weights("onnxruntime", ONNX, (ONNX,))),
        ([ONNX, "model.onnx"], None, "auto", Weights("onnxruntime", ONNX, (ONNX,))),
        (["model.onnx"], None, "auto", Weights("onnxruntime", "model.onnx", ("model.onnx",))),
        ([ONNX, f"{ONNX}_data"], None, "auto", Weights("onnxruntime", ONNX, (ONNX, f"{ONNX}_data"))),
        ([ONNX, SAFE], None, "transformers", Weights("transformers", SAFE, (SAFE,))),
        ([ONNX, SAFE], SAFE, "auto", Weights("transformers", SAFE, (SAFE,))),
        ([ONNX, SAFE], "config.json", "auto", Weights("onnxruntime", ONNX, (ONNX,))),
        ([IR, IR_WEIGHTS], None, "auto", Weights("openvino", IR, (IR, IR_WEIGHTS))),
        ([IR, IR_WEIGHTS, ONNX, SAFE], None, "openvino", Weights("openvino", IR, (IR, IR_WEIGHTS))),
        ([IR, IR_WEIGHTS, ONNX, SAFE], ONNX, "openvino", Weights("openvino", ONNX, (ONNX,))),
        ([IR, IR_WEIGHTS, ONNX], None, "auto", Weights("onnxruntime", ONNX, (ONNX,))),
        ([IR, IR_WEIGHTS, SAFE], None, "auto", Weights("transformers", SAFE, (SAFE,))),
        ([IR, IR_WEIGHTS, SAFE], IR, "auto", Weights("openvino", IR, (IR, IR_WEIGHTS))),
        (["a/b.xml", "a/b.bin", ONNX], "a/b.xml", "auto", Weights("openvino", "a/b.xml", ("a/b.xml", "a/b.bin"))),
        ([ONNX, SAFE], None, "openvino", Weights("openvino", ONNX, (ONNX,))),
        ([SAFE], None, "openvino", Weights("openvino", SAFE, (SAFE,))),
        ([ONNX, "onnx/a.onnx"], "onnx/a.onnx", "auto", Weights("onnxruntime", "onnx/a.onnx", ("onnx/a.onnx",))),
        ([SAFE, "pytorch_model.bin"], None, "auto", Weights("transformers", SAFE, (SAFE,))),
        (
            [f"{SAFE}.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
            None,
            "auto",
            Weights(
                "transformers",
                f"{SAFE}.index.json",
                (f"{SAFE}.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
            ),
        ),
    ],
)
def test_the_engine_follows_from_the_files(paths: list[str], file: str | None, engine: str, expected: Weights) -> None:
    assert choose_weights("org/model", paths, file, engine, can_transform=True) == expected


@pytest.mark.parametrize(
    ("paths", "file", "engine", "words"),
    [
        (["pytorch_model.bin"], None, "auto", "pickle"),
        ([ONNX, "best.pt"], "best.pt", "auto", "pickle"),
        (["openvino.xml"], "openvino.xml", "auto", "without its weights"),
        (["a.xml", "a.bin", ONNX], "a.xml", "onnxruntime", "onnxruntime does not run"),
        (["adapter.safetensors"], "adapter.safetensors", "auto", r"not the model\.safetensors"),
        (["README.md"], None, "auto", "neither"),
        ([SAFE], None, "onnxruntime", "no ONNX"),
        ([ONNX], None, "transformers", "no safetensors"),
        ([ONNX], None, "tensorrt", "no engine"),
    ],
)
def test_weights_that_are_not_run_are_refused(paths: list[str], file: str | None, engine: str, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        choose_weights("org/model", paths, file, engine, can_transform=True)


def test_safetensors_without_torch_say_what_to_install() -> None:
    with pytest.raises(Unsupported) as caught:
        choose_weights("org/model", [SAFE], None, "auto", can_transform=False)
    assert caught.value.hint == "pip install 'hubbridge[transformers]'"


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["best.pt"], "pickle"),
        (["README.md"], r"no config\.json"),
        (["config.json"], r"no preprocessor_config\.json"),
    ],
)
def test_other_layouts_are_refused(paths: list[str], words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        check_layout("org/model", paths)


def test_a_lone_onnx_file_says_how_it_may_run() -> None:
    """As Ultralytics' repositories are: a pickle, its export, and no config.json."""
    with pytest.raises(Unsupported, match=r"no config\.json") as caught:
        check_layout("org/model", ["yolo.pt", "yolo.onnx"])
    assert caught.value.hint.startswith("yolo.onnx may run as a single file")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "onnx/../../x"])
def test_a_file_outside_the_folder_is_refused(path: str) -> None:
    with pytest.raises(BadOutput, match="outside"):
        ModelFile(path, 1)
