"""A single ONNX file or IR in a repository of the hub that is no model in transformers' format.

What it is stands in the file, as with files here and on the web, so that resolving downloads it. Pinned by the commit.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from adapters.base import Context, ModelCard, OpenModel
from adapters.errors import MustDownload, Unsupported
from adapters.huggingface_config import CONFIG, GRAPHS, PREPROCESSOR, ModelFile
from adapters.labels_beside import places
from adapters.onnx_description import METADATA, read_beside
from adapters.onnx_file import describe_file, load_file
from adapters.references import LocalFile

_USUAL = ("model.onnx", "onnx/model.onnx")
_MOST_NAMED = 8  # files that a refusal lists


@dataclass(frozen=True, slots=True)
class FileOfHub:
    """The file that is the model, and those that are fetched with it: weights, and texts that name its labels."""

    main: ModelFile
    files: tuple[ModelFile, ...]


def is_single_file(paths: Sequence[str]) -> bool:
    """Whether there is a graph, and nothing that says in transformers' way what it is."""
    return any(_is_graph(path, paths) for path in paths) and not {CONFIG, PREPROCESSOR} <= set(paths)


def choose_file(name: str, files: Sequence[ModelFile], wanted: str | None, context: Context) -> FileOfHub:
    """The file of the reference, else the only one or the one with the usual name.

    Raises Unsupported where several could be meant or it is too large, MustDownload where it may not be downloaded.
    """
    by_path = {file.path: file for file in files}
    graphs = [path for path in by_path if _is_graph(path, by_path)]
    usual = [path for path in _USUAL if path in graphs]
    path = wanted or (graphs[0] if len(graphs) == 1 else next(iter(usual), ""))
    if path not in graphs:
        raise Unsupported(
            f"{name} holds several models: {', '.join(graphs[:_MOST_NAMED])}{', ...' * (len(graphs) > _MOST_NAMED)}.",
            hint=f"Name one of them: hf://{name}/{graphs[0]}",
        )
    stem = path.removesuffix(PurePosixPath(path).suffix)
    beside = [f"{stem}.json", *places(path)]
    if path.endswith(".xml"):
        beside += [f"{stem}.bin", (PurePosixPath(path).parent / METADATA).as_posix()]
    else:  # weights beyond protobuf's 2 GB
        beside += [each for each in by_path if each.startswith((f"{path}_data", f"{path}.data"))]
    chosen = tuple(by_path[each] for each in dict.fromkeys((path, *beside)) if each in by_path)
    size = sum(file.size for file in chosen)
    if size > context.max_bytes:
        raise Unsupported(
            f"{path} of {name} has {size:,} bytes; at most {context.max_bytes:,} are taken.",
            hint="Raise max_weights_mb in [models] of config.toml.",
        )
    if not context.may_download:
        raise MustDownload(
            f"What {path} of {name} is, is known only once it is here.", hint="Register it, which downloads it."
        )
    return FileOfHub(by_path[path], chosen)


def describe_hub_file(
    chosen: FileOfHub, folder: Path, context: Context, *, settings: Mapping[str, Any], **facts: Any
) -> ModelCard:
    """The card of the file, which lies in ``folder`` by now; ``facts`` are what the hub says of it. Blocks."""
    model = folder / chosen.main.path
    files, notes = _without_foreign(chosen.files, model)
    found = describe_file(LocalFile(str(model)), context)
    ours = {"weights": chosen.main.path, "files": [file.as_json() for file in files], **settings}
    told = {name: value for name, value in found.settings.items() if name != "file"}
    facts["notes"] = (*facts["notes"], *notes, *found.notes)
    facts["licence"] = facts["licence"] or found.licence
    return replace(found, **facts, settings={**told, **ours})


def _without_foreign(files: Sequence[ModelFile], model: Path) -> tuple[Sequence[ModelFile], tuple[str, ...]]:
    """In a repository a JSON of the model's name may be anybody's: one that is not ours to read is thrown away."""
    try:
        read_beside(model)
    except Unsupported as error:
        place = model.with_suffix(".json")
        place.unlink()
        return [file for file in files if not model.with_name(place.name).as_posix().endswith(f"/{file.path}")], (
            f"{error.message} It is left out.",
        )
    return files, ()


def is_hub_file(card: ModelCard) -> bool:
    return "layout" in card.settings


def load_hub_file(card: ModelCard, folder: Path, context: Context) -> OpenModel:
    """Blocks. Raises Unsupported."""
    here = replace(card, settings={**card.settings, "file": str(folder / card.settings["weights"])})
    model = load_file(here, context)
    # Where the cache lies is no part of what the model is.
    model.card = replace(model.card, settings={k: v for k, v in model.card.settings.items() if k != "file"})
    return model


def _is_graph(path: str, paths: Container[str]) -> bool:
    suffix = PurePosixPath(path).suffix.lower()
    return suffix in GRAPHS and (suffix != ".xml" or f"{path.removesuffix('.xml')}.bin" in paths)
