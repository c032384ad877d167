"""A single ONNX file of this machine: what it says of itself is read, and its layout of outputs recognised."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.base import Context, Detections, Limits, ModelCard, Predictor
from adapters.errors import ModelNotFound, Unsupported
from adapters.frame import Frame
from adapters.local_model import PIXELS, Arrays, LocalModel, Outputs
from adapters.model_file import check_model_file
from adapters.onnx_description import Beside, Description, Graph, describe_graph, read_beside
from adapters.onnx_layouts import LAYOUTS, listed
from adapters.onnx_layouts.spec import Spec, without_batch
from adapters.preprocess import Tensor
from adapters.references import LocalFile

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_BYTES = "tensor(uint8)"
# Further inputs that exporters add: all of them want the size of what the boxes shall be in, which is the tensor.
_SIZES = {"image_shape": (0, 1), "orig_target_sizes": (1, 0), "im_shape": (0, 1)}  # 0: height, 1: width


class OnnxFile:
    """The Adapter of ``LocalFile``. The card is pinned by a hash of the file and of the JSON beside it."""

    async def resolve(self, reference: LocalFile, context: Context) -> ModelCard:
        return await asyncio.to_thread(_resolve, reference)

    async def fetch(self, card: ModelCard, context: Context) -> None:
        """Raises ModelNotFound where the file is no longer what the card pins."""
        await asyncio.to_thread(_check, card)

    async def open(self, card: ModelCard, context: Context) -> Predictor:
        await self.fetch(card, context)
        return await asyncio.to_thread(_load, card)


def _resolve(reference: LocalFile) -> ModelCard:
    path = Path(reference.path).expanduser().absolute()
    if not path.is_file():
        raise ModelNotFound(f"There is no file {reference.path}.", hint="Give the path of an .onnx file.")
    if path.suffix.lower() != ".onnx":
        raise Unsupported(
            f"{path.name} is an OpenVINO model, which this version does not run.", hint="Give the model as .onnx."
        )
    beside = read_beside(path)
    description, _ = _described(path, beside, {})
    layout = LAYOUTS[description.recognised.layout]
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
        engine="onnxruntime",
        default_threshold=description.threshold,
        licence=beside.licence,
        weights_bytes=path.stat().st_size,
        limits=Limits(max_batch=8, max_concurrency=3),
        settings={"file": str(path), "layout": description.recognised.layout, **further},
        notes=description.notes,
    )


def _described(path: Path, beside: Beside, settings: Mapping[str, Any]) -> tuple[Description, Any]:
    from adapters.onnx_local import load_session  # noqa: PLC0415  (heavy)

    check_model_file(path)
    session = load_session(path, settings)
    return describe_graph(Graph.of(session), beside), session


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for each in (path, path.with_suffix(".json")):
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


def _load(card: ModelCard) -> Predictor:
    path = Path(card.settings["file"])
    description, session = _described(path, read_beside(path), card.settings)
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

    engine = FileEngine(session, spec.roles, whole_bytes=layout.normalise == "bytes")
    return LocalModel(card, description.file_input(), engine, read)


class FileEngine:
    """Any graph whose first input is a picture; frame by frame, for in many layouts rows do not tell their frame."""

    inputs = frozenset({PIXELS})

    def __init__(self, session: Any, roles: Mapping[str, str], *, whole_bytes: bool = False) -> None:
        """Raises Unsupported where an input is wanted that nobody can give."""
        self._session, self._roles = session, dict(roles)
        graph = Graph.of(session)
        self._picture, *others = graph.inputs
        self._type = graph.types[self._picture.name]
        if self._type not in _TYPES and self._type != _BYTES:
            raise Unsupported(f"The file takes {self._picture.name} as {self._type}, not pictures.")
        unknown = [each for each in others if each.name not in _SIZES]
        if unknown:
            raise Unsupported(f"The file wants inputs beside the picture: {listed(unknown)}.")
        self._sizes = {each.name: graph.types[each.name] for each in others}
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
            value = value.astype(_TYPES[self._type], copy=False)
        sides = pixels.shape[1:]
        feed: dict[str, NDArray[Any]] = {self._picture.name: np.ascontiguousarray(value[None])}
        for name, kind in self._sizes.items():
            numbers = [[sides[axis] for axis in _SIZES[name]]]
            feed[name] = np.array(numbers, np.int64 if "int64" in kind else np.float32)
        outputs = self._session.run(list(self._roles.values()), feed)
        return {role: without_batch(value) for role, value in zip(self._roles, outputs, strict=True)}

    def close(self) -> None:
        self._session = None


def _rows(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """One row per frame; an array of arrays where frames have different numbers of detections."""
    if len({value.shape for value in values}) == 1:
        return np.stack(values)
    rows = np.empty(len(values), object)
    for i, value in enumerate(values):
        rows[i] = value
    return rows
