"""A folder as people have them: good images, strange ones, and files that only look like images."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.conftest import IMAGES, MODEL, Program

GOOD = sorted(IMAGES.glob("*.jpg"))[:3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "strange"
    folder.mkdir()
    for index, source in enumerate(GOOD):
        (folder / f"good_{index}.jpg").write_bytes(source.read_bytes())
    picture = Image.open(GOOD[0])
    (folder / "text.jpg").write_text("this is no image")
    (folder / "cut.jpg").write_bytes(GOOD[1].read_bytes()[:9000])
    (folder / "empty.jpg").write_bytes(b"")
    Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257).save(folder / "grey16.png")
    picture.convert("CMYK").save(folder / "cmyk.jpg", quality=92)
    frames = [picture, Image.open(GOOD[1])]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    # Stored lying on its side, with orientation 6: turn clockwise by 90 degrees to see it upright.
    exif = Image.Exif()
    exif[0x0112] = 6
    packed = io.BytesIO()
    picture.transpose(Image.Transpose.ROTATE_90).save(packed, "JPEG", quality=92, exif=exif)
    (folder / "turned.jpg").write_bytes(packed.getvalue())
    return folder


def boxes(document: dict[str, list[dict[str, object]]], name: str) -> list[tuple[object, list[float]]]:
    image = next(image for image in document["images"] if image["file_name"] == name)
    found = [a for a in document["annotations"] if a["image_id"] == image["id"]]
    return sorted(((a["category_id"], a["bbox"]) for a in found), key=str)  # type: ignore[misc]


def overlap(one: list[float], other: list[float]) -> float:
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[0] + one[2], other[0] + other[2]), min(one[1] + one[3], other[1] + other[3])
    common = max(0.0, right - left) * max(0.0, bottom - top)
    return common / (one[2] * one[3] + other[2] * other[3] - common)


def test_good_ones_are_right_bad_ones_are_named_and_the_exit_code_is_3(
    program: Program, folder: Path, tmp_path: Path
) -> None:
    program.run("model", "add", MODEL, "--name", "street")
    out = tmp_path / "out.json"
    done = program.run("annotate", folder, "--model", "street", "--out", out, code=3)
    for name in ("text.jpg", "cut.jpg", "empty.jpg"):
        assert name in done.stderr
    for name in ("good_0.jpg", "grey16.png", "turned.jpg"):
        assert name not in done.stderr

    document = json.loads(out.read_text())
    names = {image["file_name"] for image in document["images"]}
    assert names == {
        "good_0.jpg",
        "good_1.jpg",
        "good_2.jpg",
        "grey16.png",
        "cmyk.jpg",
        "moving.gif",
        "turned.jpg",
    }
    sizes = {image["file_name"]: (image["width"], image["height"]) for image in document["images"]}
    assert sizes["turned.jpg"] == (640, 480)

    # The same picture in another form shows the same objects at the same places of the upright image.
    expected = boxes(document, "good_0.jpg")
    assert len(expected) >= 5
    for name, least in (("turned.jpg", 0.9), ("cmyk.jpg", 0.9), ("moving.gif", 0.8)):
        found = boxes(document, name)
        matched = [any(label == other and overlap(box, seen) > 0.8 for other, seen in found) for label, box in expected]
        assert sum(matched) >= least * len(expected) - 0.5, name
    assert len(boxes(document, "grey16.png")) >= 3


def test_a_folder_without_any_image_is_refused_and_leaves_no_task(program: Program, tmp_path: Path) -> None:
    program.run("model", "add", MODEL, "--name", "street")
    folder = tmp_path / "nothing"
    folder.mkdir()
    (folder / "text.jpg").write_text("no image")
    done = program.run("annotate", folder, "--model", "street", "--out", tmp_path / "out.json", code=1)
    assert "text.jpg" in done.stderr
    assert "Hint:" in done.stderr
    assert program.json("task", "list")["tasks"] == []
    assert not (tmp_path / "out.json").exists()
