"""What a model file is by its content, whatever it is called: before anything reads it, a pickle is refused.

A name says nothing: a PyTorch checkpoint renamed model.safetensors is still a pickle. So a file must be of the kind
that its ending names, and what is of no known kind is not opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from adapters.errors import Unsupported
from adapters.file_content import PICKLE, foreign

MAX_HEADER = 100 * 2**20  # bytes, as the safetensors library has it
MAX_TEXT_BYTES = 64 * 2**20  # a configuration or a vocabulary; weights are bounded by themselves
_TEXTS = (".json", ".txt", ".model")
_HEAD = 4096


def check_model_file(path: Path) -> None:
    """Raises Unsupported where the file is not of the kind that its ending names; OSError where it cannot be read."""
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        _check_safetensors(path)
    elif suffix == ".onnx":
        _refuse_foreign(path)
        if not _looks_like_protobuf(_head(path)):
            raise _other(path, "no ONNX graph")
    elif suffix == ".xml":
        _refuse_foreign(path)
        if b"<net" not in _head(path):
            raise _other(path, "no OpenVINO model")
    elif suffix in _TEXTS and path.stat().st_size > MAX_TEXT_BYTES:
        raise _other(path, f"larger than the {MAX_TEXT_BYTES // 2**20} MB that a text file may have")


def check_sizes(name: str, files: Iterable[tuple[str, int]]) -> None:
    """Path and size of files as a hub names them, before any is downloaded. Raises Unsupported for endless texts."""
    for path, size in files:
        if PurePosixPath(path).suffix.lower() in _TEXTS and size > MAX_TEXT_BYTES:
            raise Unsupported(f"{path} of {name} has {size} bytes; a text of a model has at most {MAX_TEXT_BYTES}.")


def _check_safetensors(path: Path) -> None:
    """The header of the format: its length, then JSON of names, types, shapes and places that lie inside the file."""
    head = _head(path)
    if not head.startswith(PICKLE):  # its first bytes are a length, and any byte may be one
        _refuse_foreign(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= min(MAX_HEADER, size - 8):
            raise _other(path, "no safetensors file")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            raise _other(path, "no safetensors file") from None
    if not isinstance(header, dict):
        raise _other(path, "no safetensors file")
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        places = entry.get("data_offsets") if isinstance(entry, dict) else None
        if (
            not isinstance(places, list)
            or [type(place) for place in places] != [int, int]
            or not 0 <= places[0] <= places[1] <= size - 8 - length
        ):
            raise _other(path, "a safetensors file whose header leads outside it")


def _refuse_foreign(path: Path) -> None:
    if what := foreign(_head(path)):
        raise _other(path, what)


def _looks_like_protobuf(head: bytes) -> bool:
    """Whether the file begins with a field of ONNX's ModelProto: numbers 1 to 25, as varint or of a length."""
    return bool(head) and head[0] & 7 in (0, 2) and 1 <= head[0] >> 3 <= 31


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _other(path: Path, what: str) -> Unsupported:
    return Unsupported(
        f"{path.name} is {what}; it is not opened.",
        hint="Only safetensors, ONNX and OpenVINO files are loaded: they hold numbers, and a pickle can run any code.",
    )
