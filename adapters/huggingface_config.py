"""What a folder in Hugging Face layout says about its model. Pure: files' names and JSON in, a model card out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from adapters.base import Limits, ModelCard
from adapters.errors import BadOutput, Unsupported
from adapters.huggingface_kinds import check_supported
from adapters.preprocess import Preprocessor
from adapters.readers import KINDS

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
AUTO, ONNXRUNTIME, TRANSFORMERS, OPENVINO = "auto", "onnxruntime", "transformers", "openvino"
GRAPHS = (".onnx", ".xml")  # weights that need no transformers

# What a tokenizer may be made of; those that a model has are fetched where it reads texts.
TEXT_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "added_tokens.json",
)

# The first that is there; IR by the names that optimum gives it.
_ONNX_FILES = ("onnx/model.onnx", "model.onnx")
_IR_FILES = ("openvino_model.xml", "openvino/openvino_model.xml", "model.xml", "openvino/model.xml")
_SAFETENSORS = "model.safetensors"
_SAFETENSORS_INDEX = "model.safetensors.index.json"
_SAFETENSORS_FILES = (_SAFETENSORS, _SAFETENSORS_INDEX)
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_MOST_LABELS = 100_000  # ImageNet-21k has 21,843; more is no label list
_LIMITS = Limits(max_batch=8, max_concurrency=3)  # one batch prepared, one predicted, one finished


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model: path with forward slashes, size in bytes, and its SHA-256 or git's SHA-1 of it as a blob."""

    path: str
    size: int
    sha256: str | None = None
    git_sha1: str | None = None

    def __post_init__(self) -> None:
        if PurePosixPath(self.path).is_absolute() or ".." in PurePosixPath(self.path).parts:
            raise BadOutput(f"The model lists a file outside its folder: {self.path}.")

    def as_json(self) -> dict[str, Any]:
        return {"path": self.path, "size": self.size, "sha256": self.sha256, "git_sha1": self.git_sha1}


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model as its host shows it; ``location`` is what the adapter needs to find it again, as plain JSON."""

    name: str
    provider: str
    reference: str
    revision: str
    files: tuple[ModelFile, ...]
    config: Mapping[str, Any]
    preprocessor: Mapping[str, Any]
    location: Mapping[str, str]
    task_type: str | None = None
    licence: str | None = None
    gated: bool = False
    notes: tuple[str, ...] = ()
    engine_chosen: bool = False  # by the user


@dataclass(frozen=True, slots=True)
class Weights:
    """The engine, the file that it loads, and every weights file that must be there for it."""

    engine: str
    main: str
    files: tuple[str, ...]


def describe(folder: ModelFolder, weights: Weights) -> ModelCard:
    """The card of a model. Raises Unsupported, naming what the model is, where it is none that we run."""
    name = check_supported(folder.name, folder.config, folder.task_type)
    kind = KINDS[name]
    if PurePosixPath(weights.main).suffix in GRAPHS:
        if not kind.onnx:
            raise Unsupported(
                f"{folder.name} is run by {TRANSFORMERS} only.", hint=f"Add it with the engine {TRANSFORMERS}."
            )
        Preprocessor.from_config(folder.preprocessor)  # transformers has its own for what we do not know
    labels, notes = (None, ()) if kind.open_vocabulary else ((), ()) if kind.by_hand else read_labels(folder.config)
    further: dict[str, Any] = {}
    if kind.skeleton:
        experts = (folder.config.get("backbone_config") or {}).get("num_experts", 1)
        further = {"sublabels": list(labels or ()), "experts": experts}
        labels = (kind.skeleton,)
    wanted = {CONFIG, PREPROCESSOR, *weights.files, *(TEXT_FILES if kind.texts else ())}
    files = [file for file in folder.files if file.path in wanted]
    return ModelCard(
        name=folder.name,
        provider=folder.provider,
        reference=folder.reference,
        revision=folder.revision,
        task_type=kind.task_type,
        labels=labels,
        shape_types=kind.shape_types,
        engine=weights.engine,
        default_threshold=kind.threshold,
        licence=folder.licence,
        gated=folder.gated,
        weights_bytes=sum(file.size for file in files if file.path in weights.files),
        limits=_LIMITS,
        settings={
            **folder.location,
            "kind": name,
            "model_type": str(folder.config.get("model_type", "")),
            **further,
            **({"engine_chosen": True} if folder.engine_chosen else {}),
            "weights": weights.main,
            "files": [file.as_json() for file in files],
        },
        notes=folder.notes + notes,
    )


def check_layout(name: str, paths: Sequence[str]) -> None:
    """Raises Unsupported where the files are not those of a model in Hugging Face layout."""
    if CONFIG not in paths:
        onnx = next((path for path in paths if PurePosixPath(path).suffix.lower() == ".onnx"), None)
        pickles = [path for path in paths if PurePosixPath(path).suffix.lower() in _PICKLES]
        if pickles and not onnx:
            raise _pickled(name, pickles[0])
        hint = f"{onnx} may run as a single file: give its path." if onnx else ""  # in a folder here
        raise Unsupported(f"{name} has no {CONFIG}, so it is no model in transformers' format.", hint=hint)
    if PREPROCESSOR not in paths:
        raise Unsupported(f"{name} has no {PREPROCESSOR}, so nothing says how frames become its input.")


def read_labels(config: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels in the order of their ids, every name once, and notes on what had to be invented. Raises Unsupported."""
    raw = config.get("id2label")
    if not raw:
        count = config.get("num_labels", 2)  # transformers' own default
        if not isinstance(count, int) or not 0 < count <= _MOST_LABELS:
            raise Unsupported("config.json has no id2label and no usable num_labels.")
        note = "The model does not name its labels; LABEL_0, LABEL_1 ... stand in for them."
        return tuple(f"LABEL_{i}" for i in range(count)), (note,)
    try:
        names = {int(key): str(value).strip() for key, value in raw.items()}
    except (AttributeError, ValueError) as error:
        raise Unsupported("id2label in config.json is no table of ids and names.") from error
    if min(names) < 0 or max(names) >= _MOST_LABELS:
        raise Unsupported(f"id2label in config.json holds the id {max(names, key=abs)}.")
    listed = [names.get(i) or f"LABEL_{i}" for i in range(max(names) + 1)]
    missing = sum(not names.get(i) for i in range(len(listed)))
    labels, notes = unique_labels(listed)
    if missing:
        notes.append(f"{missing} of {len(labels)} label ids have no name; LABEL_<id> stands in for it.")
    elif all(name == f"LABEL_{i}" for i, name in enumerate(labels)):
        notes.append("The model's labels are only numbered (LABEL_0 ...); its page may say what they mean.")
    return tuple(labels), tuple(notes)


def unique_labels(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names in their order, each once: a repeated one carries its id. And a note on that, where there is one."""
    listed, used, repeated = set(names), set[str](), set[str]()
    labels = []
    for label_id, name in enumerate(names):
        label = name
        if name in used:
            repeated.add(name)
            label = f"{name} ({label_id})"
            while label in used or label in listed:
                label += "'"
        used.add(label)
        labels.append(label)
    if not repeated:
        return labels, []
    examples = ", ".join(sorted(repeated)[:3])
    return labels, [f"Some label names occur more than once ({examples}); the later ones carry their id."]


def choose_weights(name: str, paths: Sequence[str], file: str | None, engine: str, can_transform: bool) -> Weights:
    """Which engine runs which files.

    file           the file that the reference names, or None
    engine         ``auto``: ONNX Runtime where there is ONNX, else transformers, else OpenVINO; or one of the three.
                   OpenVINO runs all of their files: IR first, then ONNX, then safetensors, which it converts
    can_transform  whether torch and transformers are installed

    Raises Unsupported, saying what is missing.
    """
    if engine not in (AUTO, ONNXRUNTIME, TRANSFORMERS, OPENVINO):
        raise Unsupported(
            f"There is no engine {engine}.", hint=f"Use auto, {ONNXRUNTIME}, {TRANSFORMERS} or {OPENVINO}."
        )
    suffix = PurePosixPath(file).suffix.lower() if file else ""
    if suffix in _PICKLES:
        raise _pickled(name, str(file))
    if suffix == ".safetensors" and file != _SAFETENSORS:
        raise Unsupported(f"{file} is not the {_SAFETENSORS} that transformers loads.", hint="Paste the model's page.")
    if suffix == ".xml" and engine not in (AUTO, OPENVINO):
        raise Unsupported(f"{file} is an OpenVINO model, which {engine} does not run.", hint=f"Use {OPENVINO} or auto.")
    if suffix == ".xml":
        return _ir_weights(name, paths, str(file))
    onnx = file if suffix == ".onnx" else _first(_ONNX_FILES, paths)
    ir = None if suffix in (".onnx", ".safetensors") else _first(_IR_FILES, paths)
    if ir and (engine == OPENVINO or (engine == AUTO and not onnx and not _first(_SAFETENSORS_FILES, paths))):
        return _ir_weights(name, paths, ir)
    if engine == ONNXRUNTIME or (onnx and engine != TRANSFORMERS and suffix != ".safetensors"):
        weights = _onnx_weights(name, paths, onnx)
    else:
        weights = _safetensors_weights(name, paths, can_transform)
    return replace(weights, engine=OPENVINO) if engine == OPENVINO else weights


def _first(wanted: Sequence[str], paths: Sequence[str]) -> str | None:
    return next((path for path in wanted if path in paths), None)


def _ir_weights(name: str, paths: Sequence[str], ir: str) -> Weights:
    weights = str(PurePosixPath(ir).with_suffix(".bin"))
    if weights not in paths:
        raise Unsupported(f"{name} ships {ir} without its weights, {weights}.")
    return Weights(OPENVINO, ir, (ir, weights))


def _onnx_weights(name: str, paths: Sequence[str], onnx: str | None) -> Weights:
    if onnx is None:
        hint = f"Choose the engine {TRANSFORMERS}, or export the model to ONNX as {_ONNX_FILES[0]}."
        raise Unsupported(f"{name} ships no ONNX file.", hint=hint)
    # Weights beyond protobuf's 2 GB stand beside the graph, under one of the names that exporters give them.
    beside = [path for path in paths if path.startswith((f"{onnx}_data", f"{onnx}.data"))]
    return Weights(ONNXRUNTIME, onnx, (onnx, *beside))


def _safetensors_weights(name: str, paths: Sequence[str], can_transform: bool) -> Weights:
    if _SAFETENSORS in paths:
        files: tuple[str, ...] = (_SAFETENSORS,)
    elif _SAFETENSORS_INDEX in paths:
        shards = [path for path in paths if path.startswith("model-") and path.endswith(".safetensors")]
        files = (_SAFETENSORS_INDEX, *shards)
    else:
        pickles = [path for path in paths if PurePosixPath(path).suffix.lower() in _PICKLES]
        if pickles:
            raise _pickled(name, pickles[0])
        if any(path in paths for path in _ONNX_FILES):
            raise Unsupported(f"{name} ships ONNX but no safetensors.", hint=f"Choose the engine {ONNXRUNTIME}.")
        raise Unsupported(f"{name} ships neither safetensors nor ONNX weights.")
    if not can_transform:
        raise Unsupported(
            f"{name} ships no ONNX file, and PyTorch with transformers is not installed to run its safetensors.",
            hint="pip install 'hubbridge[transformers]'",
        )
    return Weights(TRANSFORMERS, files[0], files)


def _pickled(name: str, file: str) -> Unsupported:
    return Unsupported(
        f"{name} ships {file}, a pickle; loading one can run any code, so it is never loaded.",
        hint="Look for a revision with safetensors among its pull requests (refs/pr/N), or ask its authors for one.",
    )
