"""Small models for tests: ONNX graphs of a few nodes that behave as detection transformers do, and a random RT-DETR.

``write_onnx_model`` needs no torch. Its detector is a real function of the picture: every query's box and scores
follow from the picture's mean brightness and colours, so that different frames give different detections.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LABELS = ("car", "person", "tree", "stop sign")
QUERIES = 12
HEIGHT, WIDTH = 24, 32  # of the input

CONFIG = {
    "architectures": ["RTDetrForObjectDetection"],
    "model_type": "rt_detr",
    "id2label": {str(i): name for i, name in enumerate(LABELS)},
}
PREPROCESSOR = {
    "image_processor_type": "RTDetrImageProcessor",
    "size": {"height": HEIGHT, "width": WIDTH},
    "do_rescale": True,
    "do_normalize": False,
}


def write_config(folder: Path, config: dict[str, Any] = CONFIG, preprocessor: dict[str, Any] = PREPROCESSOR) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def write_onnx_model(folder: Path, **options: Any) -> Path:
    """A model folder whose onnx/model.onnx is ``detector(**options)``."""
    write_config(folder)
    path = folder / "onnx" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(detector(**options).SerializeToString())
    return folder


def detector(
    *,
    batch: int | str = "batch",
    height: int | str = HEIGHT,
    width: int | str = WIDTH,
    outputs: tuple[str, str] = ("logits", "pred_boxes"),
    mask: tuple[int | str, int | str] | None = None,
    columns: int = len(LABELS),
    poison: bool = False,
    input_type: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """pixel_values [n, 3, h, w] -> mean of each channel [n, 3] -> a matrix -> logits and boxes.

    mask     adds an input pixel_mask [n, *mask] of 64-bit integers, whose mean shifts the logits
    poison   divides the logits by nothing, so that they are NaN
    """
    rng = np.random.default_rng(3)
    weights = {
        "to_logits": rng.normal(0, 6, (3, QUERIES * columns)).astype(np.float32),
        "to_boxes": rng.normal(0, 2, (3, QUERIES * 4)).astype(np.float32),
        "logits_shape": np.array([-1, QUERIES, columns], np.int64),
        "boxes_shape": np.array([-1, QUERIES, 4], np.int64),
        "spatial": np.array([2, 3], np.int64),
        "zero": np.zeros(1, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["pixel_values"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "spatial"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "to_logits"], ["flat_logits"]),
        helper.make_node("Reshape", ["flat_logits", "logits_shape"], ["plain_logits"]),
        helper.make_node("MatMul", ["means", "to_boxes"], ["flat_boxes"]),
        helper.make_node("Reshape", ["flat_boxes", "boxes_shape"], ["box_logits"]),
        helper.make_node("Sigmoid", ["box_logits"], [outputs[1]]),
    ]
    inputs = [helper.make_tensor_value_info("pixel_values", input_type, [batch, 3, height, width])]
    last = "plain_logits"
    if mask is not None:
        inputs.append(helper.make_tensor_value_info("pixel_mask", TensorProto.INT64, [batch, *mask]))
        weights["mask_sides"] = np.array([1, 2], np.int64)
        nodes += [
            helper.make_node("Cast", ["pixel_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["mask", "mask_sides"], ["share"], keepdims=1),
            helper.make_node("Add", [last, "share"], ["shifted"]),
        ]
        last = "shifted"
    if poison:
        nodes.append(helper.make_node("Mul", [last, "zero"], ["nothing"]))
        nodes.append(helper.make_node("Div", ["nothing", "zero"], ["poisoned"]))
        last = "poisoned"
    nodes.append(helper.make_node("Identity", [last], [outputs[0]]))
    graph = helper.make_graph(
        nodes,
        "detector",
        inputs,
        [
            helper.make_tensor_value_info(outputs[0], TensorProto.FLOAT, [batch, QUERIES, columns]),
            helper.make_tensor_value_info(outputs[1], TensorProto.FLOAT, [batch, QUERIES, 4]),
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def write_yolo(path: Path, *, metadata: bool = True) -> Path:
    """A single file as Ultralytics exports one: images [1, 3, h, w] -> output0 [1, 4 + labels, QUERIES]."""
    size = 64
    rng = np.random.default_rng(5)
    rows = 4 + len(LABELS)
    scale = np.array([size, size, size / 3, size / 3, *[1] * len(LABELS)], np.float32)
    weights = {
        "spatial": np.array([2, 3], np.int64),
        "to_rows": rng.normal(0, 4, (3, rows * QUERIES)).astype(np.float32),
        "shape": np.array([1, rows, QUERIES], np.int64),
        "scale": scale[None, :, None],
    }
    nodes = [
        helper.make_node("ReduceMean", ["images", "spatial"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "to_rows"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["plain"]),
        helper.make_node("Sigmoid", ["plain"], ["shares"]),
        helper.make_node("Mul", ["shares", "scale"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "yolo",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, rows, QUERIES])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if metadata:
        said = {"task": "detect", "names": str(dict(enumerate(LABELS))), "imgsz": f"[{size}, {size}]", "stride": "32"}
        helper.set_model_props(model, said)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def write_colour_classifier(path: Path, labels: tuple[str, ...] = ("red", "green", "blue")) -> Path:
    """A single file that says which channel of a picture is brightest on the mean; its labels stand beside it.

    A second output, ``brightness`` [1, 1], is the mean of all channels, 0 to 1.
    """
    size = 16
    weights = {
        "spatial": np.array([2, 3], np.int64),
        "gain": np.array([50], np.float32),
        "all": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("ReduceMean", ["images", "spatial"], ["means"], keepdims=0),
        helper.make_node("Mul", ["means", "gain"], ["scores"]),
        helper.make_node("ReduceMean", ["means", "all"], ["brightness"], keepdims=1),
    ]
    graph = helper.make_graph(
        nodes,
        "colour",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, size, size])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3]),
            helper.make_tensor_value_info("brightness", TensorProto.FLOAT, [1, 1]),
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    plain = {"fit": "stretch", "mean": [0, 0, 0], "std": [1, 1, 1], "labels": list(labels)}
    path.with_suffix(".json").write_text(json.dumps({"layout": "classes", "output": "scores", **plain}))
    return path


def write_brightness(path: Path) -> Path:
    """The same file for its other output: a tag ``brightness`` with a number, 0 to 100."""
    write_colour_classifier(path)
    plain = {"fit": "stretch", "mean": [0, 0, 0], "std": [1, 1, 1], "labels": ["brightness"]}
    said = {"layout": "number", "output": "brightness", "scale": 100, **plain}
    path.with_suffix(".json").write_text(json.dumps(said))
    return path


def write_rt_detr(folder: Path) -> Path:
    """A random RT-DETR of transformers in safetensors, some 100,000 parameters; needs torch."""
    import torch  # noqa: PLC0415  (the other models need none)
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig  # noqa: PLC0415

    torch.manual_seed(0)
    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=[16, 16, 16],
        encoder_hidden_dim=16,
        encoder_ffn_dim=16,
        encoder_layers=1,
        encoder_attention_heads=2,
        hidden_expansion=0.5,
        decoder_in_channels=[16, 16, 16],
        d_model=16,
        decoder_layers=1,
        decoder_ffn_dim=16,
        decoder_attention_heads=2,
        num_queries=QUERIES,
        num_denoising=0,
        freeze_backbone_batch_norms=False,
        id2label=dict(enumerate(LABELS)),
        label2id={name: i for i, name in enumerate(LABELS)},
    )
    model = RTDetrForObjectDetection(config).eval()
    with torch.no_grad():  # as it starts, all scores are alike, and hardly depend on the picture
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.fill_(1.0)
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    write_config(folder, preprocessor={**PREPROCESSOR, "size": {"height": 64, "width": 96}})
    model.save_pretrained(folder)
    return folder
