"""A single ONNX file or OpenVINO IR of this machine: what it says of itself, and its layout of outputs, recognised."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.base import Context, Detections, Limits, ModelCard, Predictor
from adapters.engine_choice import open_fastest
from adapters.errors import ModelNotFound, Unsupported
from adapters.frame import Frame
from adapters.graph_session import Session
from adapters.huggingface_config import AUTO, CONFIG, ONNXRUNTIME, OPENVINO
from adapters.labels_beside import labels_beside
from adapters.local_model import PIXELS, Arrays, Engine, LocalModel, Outputs
from adapters.model_file import check_model_file
from adapters.onnx_description import METADATA, Beside, Description, Graph, describe_graph, read_beside
from adapters.onnx_layouts import LAYOUTS, Output, listed
from adapters.onnx_layouts.spec import Spec, without_batch
from adapters.preprocess import Tensor
from adapters.references import LocalFile
from adapters.trial_load import try_loading

_ENGINES = {".onnx": ONNXRUNTIME, ".xml": OPENVINO}
_FLOATS = ("float32", "float16", "float64")
_BYTES = "uint8"
_NUMBERS = ("int64", "int32", "float32", "float64")
# Further inputs that exporters add: all of them want the size of what the boxes shall be in, which is the tensor.
_SIZES = {"image_shape": (0, 1), "orig_target_sizes": (1, 0), "im_shape": (0, 1)}  # 0: height, 1: width


class OnnxFile:
    """The Adapter of ``LocalFile``. The card is pinned by a hash of the file and of the JSON beside it."""

    async def resolve(self, reference: LocalFile, context: Context) -> ModelCard:
        return await asyncio.to_thread(describe_file, reference, context)

    async def fetch(self, card: ModelCard, context: Context) -> None:
        """Raises ModelNotFound where the file is no longer what the card pins."""
        await asyncio.to_thread(_check, card)

    async def open(self, card: ModelCard, context: Context) -> Predictor:
        await self.fetch(card, context)
        return await asyncio.to_thread(load_file, card, context)


def describe_file(reference: LocalFile, context: Context) -> ModelCard:
    """The card of a file of this machine; blocks. Raises ModelNotFound and Unsupported."""
    path = Path(reference.path).expanduser().absolute()
    if not path.is_file():
        raise ModelNotFound(f"There is no file {reference.path}.", hint="Give the path of an .onnx or .xml file.")
    engine = _engine(path, context.engine)
    check_model_file(path)
    try_loading(path)
    session = _session(path)
    beside, description = _described(path, session)
    session.close()
    layout = LAYOUTS[description.recognised.layout]
    chosen = {"engine_chosen": True} if context.engine != AUTO else {}
    further: dict[str, Any] = {"sublabels": list(description.joints)} if description.joints else {}
    if description.recognised.layout == "number":
        value = {"name": "value", "input_type": "number", "values": ["0", "1000000", "1"]}
        further = {
            "number": True,
            "label_specs": [{"name": label, "type": "tag", "attributes": [value]} for label in description.labels],
        }
    return ModelCard(
        name=beside.name or path.stem,
        provider="file",
        reference=LocalFile(str(path)).canonical,
        revision=_digest(path),
        task_type=layout.task_type,
        labels=description.labels,
        shape_types=layout.shape_types,
        engine=engine,
        default_threshold=description.threshold,
        licence=beside.licence,
        weights_bytes=sum(each.stat().st_size for each in _weights(path) if each.is_file()),
        limits=Limits(max_batch=8, max_concurrency=3),
        settings={"file": str(path), "layout": description.recognised.layout, **further, **chosen},
        notes=description.notes,
    )


def _engine(path: Path, wanted: str) -> str:
    suffix = path.suffix.lower()
    if suffix not in _ENGINES:
        raise Unsupported(f"{path.name} is neither ONNX nor OpenVINO IR.", hint="Give an .onnx or .xml file.")
    return OPENVINO if OPENVINO in (wanted, _ENGINES[suffix]) else ONNXRUNTIME


def _session(path: Path, threads: int = 0) -> Session:
    """In the engine of the file's own format, which knows what the exporter wrote into it."""
    check_model_file(path)
    if path.suffix.lower() == ".xml":
        from adapters.openvino_session import OpenvinoSession  # noqa: PLC0415  (heavy)

        return OpenvinoSession(path, threads)
    from adapters.onnx_session import OnnxSession  # noqa: PLC0415  (heavy)

    return OnnxSession(path, threads)


def _described(path: Path, session: Session) -> tuple[Beside, Description]:
    graph, beside = Graph.of(session), read_beside(path)
    return beside, describe_graph(graph, beside, labels_beside(path))


def _weights(path: Path) -> tuple[Path, ...]:
    return (path, path.with_suffix(".bin")) if path.suffix.lower() == ".xml" else (path,)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    further = (path.with_name(METADATA),) if path.suffix.lower() == ".xml" else ()
    if (named := labels_beside(path)) is not None and named[1].name != CONFIG:
        further = (*further, named[1])
    for each in (*_weights(path), path.with_suffix(".json"), *further):
        if each.is_file():
            with each.open("rb") as source:
                digest.update(hashlib.file_digest(source, "sha256").digest())
    return digest.hexdigest()


def _check(card: ModelCard) -> None:
    path = Path(card.settings["file"])
    if not path.is_file():
        raise ModelNotFound(f"The model file {path} is gone.", hint="Bring it back, or add the model again.")
    if _digest(path) != card.revision:
        raise ModelNotFound(f"{path} has changed since the model was added.", hint="Add it again.")


def load_file(card: ModelCard, context: Context) -> Predictor:
    """The model of a card whose ``settings["file"]`` is as it was described; blocks. Raises Unsupported."""
    from adapters.openvino_session import OpenvinoSession  # noqa: PLC0415  (heavy)

    path, threads = Path(card.settings["file"]), int(card.settings.get("threads") or 0)
    session = _session(path, threads)
    description = _described(path, session)[1]
    session.close()
    layout = LAYOUTS[description.recognised.layout]
    spec = Spec(
        description.recognised.roles,
        description.labels,
        description.iou,
        (len(description.joints), description.per_joint) if description.joints else (0, 0),
        description.scale,
    )

    def read(outputs: Outputs, tensor: Tensor, frame: Frame) -> Detections:
        return layout.decode(outputs, spec, tensor, frame)

    def engine(session: Session) -> Engine:
        return FileEngine(session, spec.roles, whole_bytes=layout.normalise == "bytes")

    loaders = {
        ONNXRUNTIME: lambda precision: engine(_session(path, threads)),
        OPENVINO: lambda precision: engine(OpenvinoSession(path, threads, precision)),
    }
    return open_fastest(card, loaders, lambda engine: LocalModel(card, description.file_input(), engine, read), context)


class FileEngine:
    """Any graph whose first input is a picture; frame by frame, for in many layouts rows do not tell their frame."""

    inputs = frozenset({PIXELS})

    def __init__(self, session: Session, roles: Mapping[str, str], *, whole_bytes: bool = False) -> None:
        """Raises Unsupported where an input is wanted that nobody can give."""
        self._session, self._roles = session, dict(roles)
        self.name, self.device, self.half = session.name, session.device, session.half
        self._picture, *others = session.inputs
        self._type = self._picture.type
        if self._type not in (*_FLOATS, _BYTES):
            raise Unsupported(f"The file takes {self._picture.name} as {self._type}, not pictures.")
        unknown = [Output(each.name, each.shape) for each in others if each.name not in _SIZES]
        if unknown:
            raise Unsupported(f"The file wants inputs beside the picture: {listed(unknown)}.")
        self._sizes = {each.name: each.type for each in others}
        self._last = self._picture.shape[3] == 3 and self._picture.shape[1] != 3
        self._whole_bytes = whole_bytes

    def run(self, feed: Arrays) -> Arrays:
        answers = [self._run_one(pixels) for pixels in feed[PIXELS]]
        return {role: _rows([answer[role] for answer in answers]) for role in self._roles}

    def _run_one(self, pixels: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        value = pixels.transpose(1, 2, 0) if self._last else pixels
        if self._type == _BYTES:
            value = np.rint(value * (1 if self._whole_bytes else 255)).clip(0, 255).astype(np.uint8)
        else:
            value = value.astype(self._type, copy=False)
        sides = pixels.shape[1:]
        feed: dict[str, NDArray[Any]] = {self._picture.name: np.ascontiguousarray(value[None])}
        for name, kind in self._sizes.items():
            numbers = [[sides[axis] for axis in _SIZES[name]]]
            feed[name] = np.array(numbers, kind if kind in _NUMBERS else np.float32)
        outputs = self._session.run(list(self._roles.values()), feed)
        return {role: without_batch(value) for role, value in zip(self._roles, outputs, strict=True)}

    def use_threads(self, threads: int) -> None:
        self._session.use_threads(threads)

    def close(self) -> None:
        self._session.close()


def _rows(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """One row per frame; an array of arrays where frames have different numbers of detections."""
    if len({value.shape for value in values}) == 1:
        return np.stack(values)
    rows = np.empty(len(values), object)
    for i, value in enumerate(values):
        rows[i] = value
    return rows
