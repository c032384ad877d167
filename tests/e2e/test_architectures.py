"""A random model of every architecture through ``hubbridge annotate``, in this process: torch is imported once.

What is exported is compared with what transformers' own pipeline says of the same picture; that our predictors equal
the library number by number is shown in ``tests/unit/adapters/test_transformers_models.py``.
"""

from __future__ import annotations

import json
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image
from pycocotools import mask as coco

from bridge.cli import main
from tests import architectures as known

SIZE = (120, 80)
QUERIES = 12


def picture(folder: Path) -> Path:
    folder.mkdir()
    rough = np.random.default_rng(2).integers(0, 256, (6, 8, 3), np.uint8)
    path = folder / "one.png"
    Image.fromarray(rough).resize(SIZE, Image.Resampling.BICUBIC).save(path)
    return path


def annotate(root: Path, build: Callable[[], Any], form: str, *options: str) -> tuple[Path, Path, Path]:
    """The model's folder, the picture, and the file written."""
    model = known.write(build, root / build.__name__)
    image, out = picture(root / "images"), root / f"out.{form}"
    arguments = ["annotate", str(image.parent), "--model", str(model), "--out", str(out), "--format", form, *options]
    with pytest.raises(SystemExit) as ended:
        main(["--data-dir", str(root / "data"), *arguments])
    assert ended.value.code in (0, None)
    return model, image, out


def pipeline(task: str, model: Path) -> Any:
    processor = transformers.AutoImageProcessor.from_pretrained(model, backend="pil")
    reads = (model / "tokenizer.json").exists()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model) if reads else None
    return transformers.pipeline(task, model=str(model), image_processor=processor, tokenizer=tokenizer)


@pytest.mark.parametrize("build", [build for build in known.DETECTION if build not in known.SIBLINGS])
def test_boxes_are_those_of_the_pipeline(build: Callable[[], Any], tmp_path: Path) -> None:
    model, image, out = annotate(tmp_path, build, "coco", "--threshold", "0.2")
    expected = pipeline("object-detection", model)(Image.open(image), threshold=0.2)
    # Of pairs of query and label the pipeline gives 100, and we as many as the model has queries: the best.
    expected = sorted(expected, key=lambda each: -each["score"])[:QUERIES]
    written = json.loads(out.read_text())
    names = {each["id"]: each["name"] for each in written["categories"]}
    ours = sorted((names[each["category_id"]], *each["bbox"]) for each in written["annotations"])
    theirs = []
    for each in expected:
        x1, y1 = max(0, each["box"]["xmin"]), max(0, each["box"]["ymin"])
        x2, y2 = min(SIZE[0], each["box"]["xmax"]), min(SIZE[1], each["box"]["ymax"])
        if x2 > x1 and y2 > y1:
            theirs.append((each["label"], x1, y1, x2 - x1, y2 - y1))
    assert len(ours) == len(theirs) > 0
    assert sorted(label for label, *_ in ours) == sorted(label for label, *_ in theirs)
    for _, *box in ours:  # the pipeline cuts its coordinates down to whole pixels
        assert min(np.abs(np.array(box) - np.array(other[1:])).max() for other in theirs) <= 2


@pytest.mark.parametrize("build", [*known.SEMANTIC, known.mask2former, known.maskformer, known.detr_segmentation])
def test_masks_are_those_of_the_pipeline(build: Callable[[], Any], tmp_path: Path) -> None:
    model, image, out = annotate(tmp_path, build, "coco", "--threshold", "0.5")
    options = {"threshold": 0.5, "mask_threshold": 0.5, "overlap_mask_area_threshold": 0.8}
    expected = [
        (each["label"], np.asarray(each["mask"]) > 0)
        for each in pipeline("image-segmentation", model)(Image.open(image), **options)
    ]
    written = json.loads(out.read_text())
    names = {each["id"]: each["name"] for each in written["categories"]}
    ours = [(names[each["category_id"]], dense(each["segmentation"])) for each in written["annotations"]]
    assert sorted(label for label, _ in ours) == sorted(label for label, _ in expected)
    assert ours
    for label, bits in ours:
        assert min((bits != other).mean() for name, other in expected if name == label) < 0.01


def dense(segmentation: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools with numpy 2
        if isinstance(segmentation["counts"], list):
            segmentation = coco.frPyObjects(segmentation, *segmentation["size"])
        return coco.decode(segmentation).astype(bool)


@pytest.mark.parametrize("build", known.CLASSIFICATION)
def test_tags_are_the_labels_of_the_pipeline(build: Callable[[], Any], tmp_path: Path) -> None:
    model, image, out = annotate(tmp_path, build, "cvat", "--threshold", "0.25")
    expected = {
        each["label"] for each in pipeline("image-classification", model)(Image.open(image)) if each["score"] >= 0.25
    }
    tags = {tag.get("label") for tag in ElementTree.parse(out).iter("tag")}
    assert tags == expected
    assert expected


@pytest.mark.parametrize("build", known.ZERO_SHOT_CLASSIFICATION)
def test_tags_of_prompts_are_those_of_the_pipeline(build: Callable[[], Any], tmp_path: Path) -> None:
    options = ("--labels", "car,tree", "--prompt", "tree=a red tree", "--threshold", "0")
    model, image, out = annotate(tmp_path, build, "cvat", *options)
    asked = {"This is a photo of car.": "car", "a red tree": "tree"}
    expected = pipeline("zero-shot-image-classification", model)(
        Image.open(image), candidate_labels=list(asked), hypothesis_template="{}"
    )
    tags = {tag.get("label") for tag in ElementTree.parse(out).iter("tag")}
    assert tags == {asked[each["label"]] for each in expected} == {"car", "tree"}
    best = max(expected, key=lambda each: float(each["score"]))
    (only,) = predicted_tags(tmp_path, model, image, best["score"] - 1e-3, options[:4])
    assert only == asked[best["label"]]


def predicted_tags(root: Path, model: Path, image: Path, threshold: float, options: tuple[str, ...]) -> set[str]:
    """The tags that are left above the threshold."""
    out = root / "again.xml"
    arguments = ["annotate", str(image), "--model", str(model), "--out", str(out), "--format", "cvat", *options]
    with pytest.raises(SystemExit):
        main(["--data-dir", str(root / "data"), *arguments, "--threshold", f"{threshold:.6f}"])
    return {str(tag.get("label")) for tag in ElementTree.parse(out).iter("tag")}


@pytest.mark.parametrize("build", known.ZERO_SHOT_DETECTION)
def test_boxes_of_prompts_have_the_tasks_labels(build: Callable[[], Any], tmp_path: Path) -> None:
    options = ("--labels", "vehicle,plant", "--prompt", "vehicle=car", "--prompt", "plant=a red tree")
    model, image, out = annotate(tmp_path, build, "coco", *options, "--threshold", "0")
    written = json.loads(out.read_text())
    assert [each["name"] for each in written["categories"]] == ["vehicle", "plant"]
    assert written["annotations"]
    if build is not known.owlvit:
        return  # the pipeline has no answer for the others that takes the same texts and the same square
    expected = pipeline("zero-shot-object-detection", model)(
        Image.open(image), candidate_labels=["car", "a red tree"], threshold=0.0
    )
    assert {each["label"] for each in expected} <= {"car", "a red tree"}
    for annotation in written["annotations"]:
        x, y, width, height = annotation["bbox"]
        ours = np.array([x, y, x + width, y + height])
        theirs = [np.clip(list(each["box"].values()), 0, [*SIZE, *SIZE]) for each in expected]
        assert min(np.abs(ours - other).max() for other in theirs) <= 2


def test_a_pose_of_the_whole_picture(tmp_path: Path) -> None:
    _, _, out = annotate(tmp_path, known.vitpose, "cvat", "--threshold", "0")
    (skeleton,) = ElementTree.parse(out).iter("skeleton")
    assert skeleton.get("label") == "person"
    assert [point.get("label") for point in skeleton.iter("points")] == list(known.JOINTS)


def test_oneformer_finds_masks(tmp_path: Path) -> None:
    _, _, out = annotate(tmp_path, known.oneformer, "coco", "--threshold", "0.1")
    written = json.loads(out.read_text())
    masks = [dense(each["segmentation"]) for each in written["annotations"]]
    assert masks
    assert np.sum(masks, axis=0).max() == 1  # panoptic: no pixel is of two


def test_an_open_vocabulary_says_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = known.write(known.clip, tmp_path / "clip")
    image = picture(tmp_path / "images")
    with pytest.raises(SystemExit) as ended:
        main(["--data-dir", str(tmp_path / "data"), "annotate", str(image.parent), "--model", str(model), "--out", "x"])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "open vocabulary" in said
    assert "--labels car,person" in said
