"""Single ONNX files in repositories of the hub: which file, whose labels, pinned by the commit, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adapters.base import Context, ModelCard, PredictOptions, Predictor
from adapters.cards import card_as_json, card_from_json
from adapters.errors import ModelNotFound, MustDownload, Unsupported
from adapters.frame import Frame
from adapters.https_file import HttpsFiles
from adapters.huggingface_local import HuggingFaceLocal
from adapters.network import HttpPolicy
from adapters.onnx_file import OnnxFile
from adapters.references import HttpsFile, HuggingFaceModel, LocalFile
from tests import models
from tests.hub import HubServer, Repository

STORAGE = HttpPolicy(frozenset({"localhost"}))
OTHERS = ("one", "two", "three", "four")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    models.write_yolo(folder / "yolo11n.onnx")
    (folder / "yolo11n.pt").write_bytes(b"\x80\x02N.")
    return folder


@pytest.fixture
def hub(repository: Path) -> Iterator[HubServer]:
    with HubServer({"street/yolo": Repository(repository, licence="agpl-3.0")}) as server:
        yield server


@pytest.fixture
def context(hub: HubServer, tmp_path: Path) -> Context:
    return Context(tmp_path / "cache", endpoints={"huggingface": hub.url}, http=STORAGE)


async def resolve(context: Context, file: str | None = None) -> ModelCard:
    return await HuggingFaceLocal().resolve(HuggingFaceModel("street/yolo", None, file), context)


async def test_it_is_the_file_that_it_would_be_here(
    repository: Path, hub: HubServer, context: Context, tmp_path: Path
) -> None:
    card = card_from_json(card_as_json(await resolve(context)))  # as the registry keeps it
    assert (card.name, card.provider, card.licence) == ("street/yolo", "huggingface", "agpl-3.0")
    assert (card.labels, card.task_type) == (models.LABELS, "object-detection")
    assert card.revision == hub.repositories["street/yolo"].commit
    assert "yolo11n.pt" not in json.dumps(card.settings)
    assert str(tmp_path) not in json.dumps(card.settings)

    frame = Frame("a", 96, 64, pixels=np.random.default_rng(1).integers(0, 255, (64, 96, 3), np.uint8))
    local = LocalFile(str(repository / "yolo11n.onnx"))
    found = []
    for adapter, made in (
        (HuggingFaceLocal(), card),
        (HuggingFaceLocal(), replace(card, settings={**card.settings, "engine_chosen": True})),
        (OnnxFile(), await OnnxFile().resolve(local, context)),
    ):
        async with await adapter.open(made, replace(context, offline=True)) as predictor:  # nothing is asked again
            assert isinstance(predictor, Predictor)
            assert str(tmp_path) not in json.dumps(predictor.card.settings) or adapter.__class__ is OnnxFile
            found += await predictor.predict([frame], PredictOptions(0.0))
    assert len(found[0])
    for other in found[1:]:
        np.testing.assert_array_equal(found[0].boxes, other.boxes)
        np.testing.assert_array_equal(found[0].label_ids, other.label_ids)


@pytest.mark.parametrize("file", ["labels.txt", "classes.txt", "obj.names", "config.json", "onnx"])
async def test_labels_that_the_file_does_not_name_lie_beside_it(repository: Path, context: Context, file: str) -> None:
    models.write_yolo(repository / "yolo11n.onnx", metadata=False)
    text = json.dumps({"id2label": dict(enumerate(OTHERS))}) if file == "config.json" else "\n".join(OTHERS) + "\n\n"
    if file == "onnx":  # in a folder of its own, with the labels above it
        (repository / "onnx").mkdir()
        (repository / "yolo11n.onnx").rename(repository / "onnx" / "model.onnx")
        file = "labels.txt"
    (repository / file).write_text(text)
    card = await resolve(context)
    assert card.labels == OTHERS
    assert f"Its labels are those of {file} beside it." in card.notes
    await HuggingFaceLocal().fetch(card, context)
    async with await HuggingFaceLocal().open(card, context) as predictor:
        assert predictor.card.labels == OTHERS


async def test_labels_of_another_number_are_told_and_left_out(repository: Path, context: Context) -> None:
    models.write_yolo(repository / "yolo11n.onnx", metadata=False)
    (repository / "labels.txt").write_text("only one\n")
    card = await resolve(context)
    assert card.labels is not None
    assert card.labels[0] == "LABEL_0"
    assert card.notes[0] == f"labels.txt names 1 labels, but the file answers {len(models.LABELS)}; it is not used."


async def test_what_the_file_says_itself_goes_before(repository: Path, context: Context) -> None:
    (repository / "labels.txt").write_text("\n".join(OTHERS))
    assert (await resolve(context)).labels == models.LABELS


async def test_a_json_of_its_name_that_is_not_ours_is_left_out(repository: Path, context: Context) -> None:
    (repository / "yolo11n.json").write_text('{"mAP": 39.5}')
    card = await resolve(context)
    assert any("yolo11n.json cannot be understood" in note for note in card.notes)
    assert "yolo11n.json" not in json.dumps(card.settings)
    async with await HuggingFaceLocal().open(card, context) as predictor:
        assert predictor.card.labels == models.LABELS


async def test_a_json_of_its_name_that_is_ours_is_read(repository: Path, context: Context) -> None:
    (repository / "yolo11n.json").write_text(json.dumps({"labels": OTHERS, "threshold": 0.4}))
    card = await resolve(context)
    assert (card.labels, card.default_threshold) == (OTHERS, 0.4)


async def test_of_several_files_one_is_named(repository: Path, context: Context) -> None:
    models.write_yolo(repository / "yolo11s.onnx")
    with pytest.raises(Unsupported, match=r"several models: yolo11n\.onnx, yolo11s\.onnx") as caught:
        await resolve(context)
    assert caught.value.hint == "Name one of them: hf://street/yolo/yolo11n.onnx"
    assert (await resolve(context, "yolo11s.onnx")).settings["weights"] == "yolo11s.onnx"
    with pytest.raises(ModelNotFound, match=r"no file yolo99\.onnx"):
        await resolve(context, "yolo99.onnx")


async def test_a_file_that_is_too_large_or_only_looked_at_is_not_downloaded(hub: HubServer, context: Context) -> None:
    with pytest.raises(Unsupported, match="at most 100 are taken"):
        await resolve(replace(context, max_bytes=100))
    with pytest.raises(MustDownload, match="only once it is here"):
        await resolve(replace(context, may_download=False))
    assert not hub.count("/resolve/")
    web = HttpsFile("https://files.example/model.onnx", "0" * 64)
    with pytest.raises(MustDownload, match="only once it is here"):
        await HttpsFiles().resolve(web, replace(context, may_download=False))


async def test_labels_beside_a_file_here_pin_it(tmp_path: Path, context: Context) -> None:
    path = models.write_yolo(tmp_path / "street.onnx", metadata=False)
    (tmp_path / "labels.txt").write_text("\n".join(OTHERS))
    card = await OnnxFile().resolve(LocalFile(str(path)), context)
    assert card.labels == OTHERS
    (tmp_path / "labels.txt").write_text("\n".join(reversed(OTHERS)))
    with pytest.raises(ModelNotFound, match="has changed"):
        await OnnxFile().open(card, context)
