"""Model files by their content: what is no safetensors, ONNX or OpenVINO file is not opened, whatever it is called."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Context
from adapters.errors import Unsupported
from adapters.huggingface_local import HuggingFaceLocal
from adapters.model_file import MAX_TEXT_BYTES, check_model_file, check_sizes
from adapters.onnx_file import OnnxFile
from adapters.references import LocalFile, LocalFolder
from tests import models


class _Runs:
    """Would make a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("/tmp/hubbridge-pickle-was-run"),)


def _torch_zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Runs()))
    return packed.getvalue()


PICKLES = {f"protocol {n}": pickle.dumps(_Runs(), protocol=n) for n in range(6)} | {
    "torch's zip": _torch_zip(),
    "torch's old form": pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps(_Runs(), protocol=2),
    "NumPy's objects": b"\x93NUMPY\x01\x00" + pickle.dumps(_Runs()),
    "Keras": b"\x89HDF\r\n\x1a\n" + b"\0" * 100,
    "gzip": b"\x1f\x8b\x08" + b"\0" * 100,
    "a script": b"#!/bin/sh\ntouch /tmp/x\n",
    "a program": b"\x7fELF" + b"\0" * 100,
    "text": b"import os\n" * 10,
    "nothing": b"",
    "a page": b"<!doctype html><html></html>",
}


@pytest.mark.parametrize("kind", PICKLES)
@pytest.mark.parametrize("suffix", [".safetensors", ".onnx", ".xml"])
def test_a_pickle_or_anything_else_is_refused_under_any_name(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(PICKLES[kind])
    with pytest.raises(Unsupported, match="not opened"):
        check_model_file(path)


def safetensors(header: object, data: bytes = b"\0" * 8) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


GOOD = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "__metadata__": {"format": "pt"}}


def test_what_is_meant_passes(tmp_path: Path) -> None:
    folder = models.write_onnx_model(tmp_path / "model")
    check_model_file(folder / "onnx" / "model.onnx")
    check_model_file(folder / "config.json")
    (tmp_path / "a.safetensors").write_bytes(safetensors(GOOD))
    check_model_file(tmp_path / "a.safetensors")
    (tmp_path / "a.xml").write_bytes(b'<?xml version="1.0"?>\n<net name="Model" version="11">')
    check_model_file(tmp_path / "a.xml")


@pytest.mark.parametrize(
    "content",
    [
        safetensors({"w": {"data_offsets": [0, 9]}}),
        safetensors({"w": {"data_offsets": [-1, 8]}}),
        safetensors({"w": {"data_offsets": [8, 0]}}),
        safetensors({"w": {"data_offsets": [0.0, 8.0]}}),
        safetensors({"w": {"data_offsets": [True, 8]}}),
        safetensors({"w": 1}),
        safetensors([]),
        (2**62).to_bytes(8, "little") + b"{}",
        b"\xff" * 100,
        (2).to_bytes(8, "little") + b"{",
        (10**5).to_bytes(8, "little") + b"[" * 10**5,
    ],
)
def test_a_header_that_leads_outside_its_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(Unsupported):
        check_model_file(tmp_path / "a.safetensors")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_model_file_or_refused(content: bytes) -> None:
    path = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path.cwd()
    for suffix in (".safetensors", ".onnx", ".xml", ".json"):
        file = path / f"hubbridge-test-any{suffix}"
        file.write_bytes(content)
        try:
            check_model_file(file)
        except Unsupported as refused:
            assert refused.message.endswith(".")
        finally:
            file.unlink()


@pytest.mark.parametrize("kind", ["protocol 2", "torch's zip", "text"])
async def test_a_pickle_under_the_name_of_weights_is_never_opened(tmp_path: Path, kind: str) -> None:
    folder = models.write_onnx_model(tmp_path / "model")
    (folder / "onnx" / "model.onnx").write_bytes(PICKLES[kind])
    context = Context(cache_dir=tmp_path / "cache")
    card = await HuggingFaceLocal().resolve(LocalFolder(str(folder)), context)
    with pytest.raises(Unsupported, match="not opened"):
        await HuggingFaceLocal().open(card, context)
    with pytest.raises(Unsupported, match="not opened"):
        await OnnxFile().resolve(LocalFile(str(folder / "onnx" / "model.onnx")), context)
    assert not Path("/tmp/hubbridge-pickle-was-run").exists()


async def test_a_checkpoint_called_safetensors_is_never_opened(tmp_path: Path) -> None:
    folder = models.write_config(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(PICKLES["torch's zip"])
    context = Context(cache_dir=tmp_path / "cache", engine="transformers")
    card = await HuggingFaceLocal().resolve(LocalFolder(str(folder)), context)
    with pytest.raises(Unsupported, match="zip"):
        await HuggingFaceLocal().open(card, context)
    assert not Path("/tmp/hubbridge-pickle-was-run").exists()


async def test_weights_that_a_link_leads_to_elsewhere_are_not_read(tmp_path: Path) -> None:
    """ONNX Runtime follows no link out of the model's folder for external data."""
    import onnx  # noqa: PLC0415  (heavy)

    folder = models.write_onnx_model(tmp_path / "model")
    graph = onnx.load(folder / "onnx" / "model.onnx")
    tensor = max(graph.graph.initializer, key=lambda each: each.ByteSize())
    (tmp_path / "secret.bin").write_bytes(tensor.raw_data)
    onnx.external_data_helper.set_external_data(tensor, location="data.bin", offset=0, length=len(tensor.raw_data))
    tensor.ClearField("raw_data")
    (folder / "onnx" / "model.onnx").write_bytes(graph.SerializeToString())
    (folder / "onnx" / "data.bin").symlink_to(tmp_path / "secret.bin")
    context = Context(cache_dir=tmp_path / "cache")
    card = await HuggingFaceLocal().resolve(LocalFolder(str(folder)), context)
    with pytest.raises(Unsupported):
        await HuggingFaceLocal().open(card, context)


def test_endless_texts_are_refused_before_they_are_downloaded(tmp_path: Path) -> None:
    check_sizes("m", [("model.safetensors", 10**12), ("config.json", 1000)])
    with pytest.raises(Unsupported, match=r"vocab\.txt"):
        check_sizes("m", [("vocab.txt", MAX_TEXT_BYTES + 1)])
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate(MAX_TEXT_BYTES + 1)
    with pytest.raises(Unsupported, match="MB"):
        check_model_file(path)


def test_the_same_array_is_no_model(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").rename(tmp_path / "a.onnx")
    with pytest.raises(Unsupported, match="NumPy"):
        check_model_file(tmp_path / "a.onnx")
