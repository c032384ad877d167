"""A detector and classifiers on its crops through the whole program: attributes in the files that come out."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
from PIL import Image

from tests import models
from tests.e2e.conftest import IMAGES, MODEL, Program

COLOURS = ("red", "green", "blue")
LABELS = json.dumps(
    [
        {
            "name": "vehicle",
            "type": "rectangle",
            "attributes": [
                {"name": "paint", "input_type": "select", "values": ["Blue", "Red", "Green"]},
                {"name": "brightness", "input_type": "number", "values": ["0", "100", "1"]},
            ],
        },
        {"name": "tree", "type": "rectangle", "attributes": []},
    ]
)


def test_attributes_are_what_the_crops_show(program: Program, tmp_path: Path) -> None:
    """The embedded street detector, and a classifier whose answer can be worked out: the mean colour of a crop."""
    models.write_colour_classifier(tmp_path / "paint.onnx", COLOURS)
    models.write_brightness(tmp_path / "brightness.onnx")
    program.run("model", "add", MODEL, "--name", "street")
    program.run("model", "add", tmp_path / "paint.onnx", "--name", "paint")
    made = program.json(
        "model", "cascade", "painted", "--detector", "street", "--classifier", "paint=paint",
        "--classifier", f"brightness:number={tmp_path / 'brightness.onnx'}",
        "--on", "paint=car,bus", "--on", "brightness=car,bus", "--least", "paint=0.34",
    )  # fmt: skip
    assert made["model"]["card"]["provider"] == "cascade"
    assert made["new"]
    shown = program.run("model", "show", "painted").stdout
    assert "says the attribute paint" in shown

    out = tmp_path / "out.xml"
    images = sorted(IMAGES.glob("*.jpg"))[:4]
    mapped = ("--labels", LABELS, "--map", "car=vehicle", "--map", "bus=vehicle", "--map", "tree=tree")
    program.run("annotate", *images, "--model", "painted", *mapped, "--out", out, "--format", "cvat")
    checked = 0
    for image in ElementTree.parse(out).getroot().iter("image"):
        pixels = np.asarray(Image.open(IMAGES / image.get("name", "")).convert("RGB")).astype(float)
        for box in image.iter("box"):
            said = {each.get("name"): each.text for each in box.iter("attribute")}
            if box.get("label") == "tree":
                assert said == {}
                continue
            x1, y1, x2, y2 = (float(box.get(side, "")) for side in ("xtl", "ytl", "xbr", "ybr"))
            crop = pixels[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))]
            means = crop.reshape(-1, 3).mean(axis=0)
            assert abs(int(said["brightness"] or -99) - means.mean() / 255 * 100) <= 2
            first, second = np.sort(means)[::-1][:2]
            if first - second > 6:  # the classifier sees the crop at 16 x 16
                assert said["paint"] == COLOURS[means.argmax()].title()
                checked += 1
    assert checked >= 4


def test_without_labels_of_ones_own_the_task_gets_the_models_attributes(program: Program, tmp_path: Path) -> None:
    models.write_colour_classifier(tmp_path / "paint.onnx", COLOURS)
    reference = "cascade:" + json.dumps(
        {"detector": str(MODEL), "attributes": [{"attribute": "paint", "model": str(tmp_path / "paint.onnx")}]}
    )
    out = tmp_path / "out.xml"
    program.run("annotate", IMAGES / "street_00.jpg", "--model", reference, "--out", out, "--format", "cvat")
    boxes = list(ElementTree.parse(out).getroot().iter("box"))
    assert boxes
    assert all({each.get("name"): each.text for each in box.iter("attribute")}["paint"] in COLOURS for box in boxes)


def test_what_a_cascade_cannot_be_is_said_before_anything_is_registered(program: Program, tmp_path: Path) -> None:
    models.write_colour_classifier(tmp_path / "paint.onnx", COLOURS)
    paint = f"paint={tmp_path / 'paint.onnx'}"
    refused = program.run(
        "model", "cascade", "x", "--detector", MODEL, "--classifier", paint, "--on", "paint=ship", code=1
    )
    assert "no label 'ship'" in refused.stderr
    refused = program.run(
        "model", "cascade", "x", "--detector", MODEL, "--classifier", paint, "--on", "hue=car", code=2
    )
    assert "no classifier says 'hue'" in refused.stderr
    assert program.json("model", "list")["models"] == []
