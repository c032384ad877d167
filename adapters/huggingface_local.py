"""Models in Hugging Face layout that run here: from a repository of the hub, or from a folder of this machine."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import importlib.util
import json
import threading
from pathlib import Path, PurePosixPath
from typing import Any

from adapters.base import Context, ModelCard, OpenModel
from adapters.errors import ModelNotFound, PredictorError, Unsupported
from adapters.hub_file import choose_file, describe_hub_file, is_hub_file, is_single_file, load_hub_file
from adapters.huggingface_access import hub_of
from adapters.huggingface_config import (
    AUTO,
    CONFIG,
    GRAPHS,
    PREPROCESSOR,
    TEXT_FILES,
    ModelFile,
    ModelFolder,
    check_layout,
    choose_weights,
    describe,
)
from adapters.huggingface_kinds import check_supported, check_task_type
from adapters.local import first_line
from adapters.model_file import check_model_file, check_sizes
from adapters.references import HuggingFaceModel, LocalFolder


class HuggingFaceLocal:
    """The Adapter of ``HuggingFaceModel`` and ``LocalFolder``.

    A hub's model is pinned by its commit, a folder by a hash of the files that are used. ``card.settings`` holds the
    files with sizes and hashes, and may hold ``threads``, the number of threads of one forward pass.
    """

    async def resolve(self, reference: HuggingFaceModel | LocalFolder, context: Context) -> ModelCard:
        if isinstance(reference, LocalFolder):
            return await asyncio.to_thread(_resolve_folder, reference, context)
        stop = threading.Event()
        try:
            return await asyncio.to_thread(_resolve_repository, reference, context, stop)
        finally:
            stop.set()

    async def fetch(self, card: ModelCard, context: Context) -> None:
        """See ``Adapter.fetch``; raises Unsupported where a file is not what its name says, or a graph does not load.

        Cancelling stops the download; what has come stays for the next call.
        """
        await self._bring(card, context)
        await asyncio.to_thread(_check, card, _folder_of(card, context))

    async def _bring(self, card: ModelCard, context: Context) -> None:
        stop = threading.Event()
        step = _check_folder if "folder" in card.settings else _download
        try:
            await asyncio.to_thread(step, card, context, stop)
        finally:
            stop.set()

    async def open(self, card: ModelCard, context: Context) -> OpenModel:
        await self._bring(card, context)
        await asyncio.to_thread(_check_content, card, _folder_of(card, context))
        return await asyncio.to_thread(_load, card, _folder_of(card, context), context)


def _resolve_repository(reference: HuggingFaceModel, context: Context, stop: threading.Event) -> ModelCard:
    hub = hub_of(context)
    info = hub.model_info(reference.repo_id, reference.revision)
    name, commit = info.id, str(info.sha)
    notes = () if name == reference.repo_id else (f"{reference.repo_id} is now called {name}.",)
    files = tuple(
        ModelFile(
            each.rfilename, each.size or 0, each.lfs.sha256 if each.lfs else None, None if each.lfs else each.blob_id
        )
        for each in info.siblings or ()
    )
    paths = [file.path for file in files]
    if reference.file and reference.file not in paths:
        raise ModelNotFound(f"{name} has no file {reference.file}.", hint=f"Look at {hub.endpoint}/{name}/tree/main.")
    check_task_type(name, info.pipeline_tag)
    card: Any = info.card_data or {}
    licence = card.get("license")
    facts: dict[str, Any] = {
        "name": name,
        "provider": "huggingface",
        "reference": dataclasses.replace(reference, repo_id=name).canonical,
        "revision": commit,
        "licence": licence if isinstance(licence, str) else None,
        "gated": bool(info.gated),
        "notes": notes,
    }
    if is_single_file(paths):
        chosen = choose_file(name, files, reference.file, context)
        folder = _cached(name, commit, context)
        for file in chosen.files:
            hub.fetch(name, commit, file, folder / file.path, context.progress, stop)
        return describe_hub_file(chosen, folder, context, settings={"repo_id": name}, **facts)
    check_layout(name, paths)
    config = _json(name, CONFIG, hub.read(name, commit, CONFIG))  # also where a gated model says no
    check_supported(name, config, info.pipeline_tag)
    weights = choose_weights(name, paths, reference.file, context.engine, _can_transform())
    check_sizes(name, [(file.path, file.size) for file in files])
    described = ModelFolder(
        **facts,
        files=files,
        config=config,
        preprocessor=_json(name, PREPROCESSOR, hub.read(name, commit, PREPROCESSOR)),
        location={"repo_id": name},
        task_type=info.pipeline_tag,
        engine_chosen=context.engine != AUTO,
    )
    return describe(described, weights)


def _download(card: ModelCard, context: Context, stop: threading.Event) -> None:
    folder = _folder_of(card, context)
    missing = [
        file
        for file in (ModelFile(**each) for each in card.settings["files"])
        if not (folder / file.path).exists() or (folder / file.path).stat().st_size != file.size
    ]
    if missing:
        hub = hub_of(context)
        for file in missing:
            hub.fetch(card.settings["repo_id"], card.revision, file, folder / file.path, context.progress, stop)


def _resolve_folder(reference: LocalFolder, context: Context) -> ModelCard:
    root = Path(reference.path).expanduser().absolute()
    if not root.is_dir():
        raise ModelNotFound(f"There is no folder {reference.path}.", hint="Give the folder that holds config.json.")
    paths = sorted(
        path.relative_to(root).as_posix()
        for pattern in ("*", "onnx/*", "openvino/*")
        for path in root.glob(pattern)
        if path.is_file()
    )
    check_layout(root.name, paths)
    config = _read_json(root, CONFIG)
    check_supported(root.name, config, None)
    weights = choose_weights(root.name, paths, None, context.engine, _can_transform())
    files = tuple(_hashed(root, path) for path in _used(paths, weights.files))
    folder = ModelFolder(
        name=root.name,
        provider="local",
        reference=LocalFolder(str(root)).canonical,
        revision=_content_hash(files),
        files=files,
        config=config,
        preprocessor=_read_json(root, PREPROCESSOR),
        location={"folder": str(root)},
        engine_chosen=context.engine != AUTO,
    )
    return describe(folder, weights)


def _check_folder(card: ModelCard, context: Context, stop: threading.Event) -> None:
    """Raises ModelNotFound where the folder is no longer what the card pins."""
    root = _folder_of(card, context)
    try:
        files = tuple(_hashed(root, each["path"]) for each in card.settings["files"])
    except OSError as error:
        hint = "Bring it back, or add the model again."
        raise ModelNotFound(f"A file of the model {card.name} is gone: {error.filename}.", hint=hint) from error
    if _content_hash(files) != card.revision:
        raise ModelNotFound(f"The files in {root} have changed since the model was added.", hint="Add it again.")


def _check_content(card: ModelCard, folder: Path) -> None:
    """Raises Unsupported where a file is something else than its name says."""
    for file in card.settings["files"]:
        check_model_file(folder / file["path"])


def _check(card: ModelCard, folder: Path) -> None:
    """As ``_check_content``, and loads a graph once to see that it is one: nobody is to hear of it from a job."""
    _check_content(card, folder)
    if is_hub_file(card):  # it was loaded when it was described
        return
    if PurePosixPath(card.settings["weights"]).suffix in GRAPHS:
        from adapters.graph_local import check_graph  # noqa: PLC0415  (heavy)

        check_graph(card, folder)


def _load(card: ModelCard, folder: Path, context: Context) -> OpenModel:
    if is_hub_file(card):
        return load_hub_file(card, folder, context)
    if PurePosixPath(card.settings["weights"]).suffix in GRAPHS:
        from adapters.graph_local import load_graph  # noqa: PLC0415  (heavy)

        return load_graph(card, folder, context)
    if not _can_transform():
        raise Unsupported(
            f"{card.name} runs with PyTorch and transformers, which are not installed.",
            hint="pip install 'hubbridge[transformers]'",
        )
    from adapters.transformers_local import load_transformers  # noqa: PLC0415  (heavy)

    return load_transformers(card, folder, context)


def _folder_of(card: ModelCard, context: Context) -> Path:
    if "folder" in card.settings:
        return Path(card.settings["folder"])
    return _cached(card.settings["repo_id"], card.revision, context)


def _cached(repo_id: str, commit: str, context: Context) -> Path:
    return context.cache_dir / "huggingface" / repo_id.replace("/", "--") / commit


def _can_transform() -> bool:
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def _hashed(root: Path, path: str) -> ModelFile:
    with (root / path).open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    return ModelFile(path, (root / path).stat().st_size, sha256=digest)


def _used(paths: list[str], weights: tuple[str, ...]) -> list[str]:
    return sorted({CONFIG, PREPROCESSOR, *weights, *(path for path in TEXT_FILES if path in paths)})


def _content_hash(files: tuple[ModelFile, ...]) -> str:
    """SHA-256 over a line ``hash  path`` per file, in the order of the paths."""
    lines = sorted((file.path, file.sha256) for file in files)
    return hashlib.sha256("".join(f"{digest}  {path}\n" for path, digest in lines).encode()).hexdigest()


def _read_json(root: Path, path: str) -> dict[str, Any]:
    try:
        return _json(root.name, path, (root / path).read_bytes())
    except OSError as error:
        raise PredictorError(f"{root / path} cannot be read: {error.strerror}.") from error


def _json(name: str, path: str, content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise Unsupported(f"{path} of {name} is no JSON: {first_line(error)}.") from error
    if not isinstance(value, dict):
        raise Unsupported(f"{path} of {name} holds no JSON object.")
    return value
