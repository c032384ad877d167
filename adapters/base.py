"""The types that every adapter speaks: detections, model cards, and the two protocols.

Everything here is plain data that pickles and carries no session and no secret, so that a predictor can live in
another process or on another machine. Coordinates are pixels of the upright frame, x to the right and y down.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adapters.errors import BadOutput
from adapters.frame import Frame
from adapters.network import HttpPolicy

SHAPE_TYPES = ("rectangle", "polygon", "mask", "points", "ellipse", "skeleton", "tag")
MAX_DETECTIONS = 300  # of one frame, as results are stored

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Polygon:
    """``points`` f32[n, 2], n >= 3, in order along the outline; the last is joined to the first."""

    points: FloatArray

    def __post_init__(self) -> None:
        points = np.ascontiguousarray(self.points, np.float32)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
            raise BadOutput(f"A polygon needs at least 3 points as [n, 2]; got an array of shape {points.shape}.")
        object.__setattr__(self, "points", points)


@dataclass(frozen=True, slots=True)
class Mask:
    """A mask of the whole frame as COCO's compressed run lengths (column by column, zeros first)."""

    height: int
    width: int
    counts: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """``points`` f32[k, 2] and ``scores`` f32[k], in the order of the label's sublabels."""

    points: FloatArray
    scores: FloatArray

    def __post_init__(self) -> None:
        points = np.ascontiguousarray(self.points, np.float32)
        scores = np.ascontiguousarray(self.scores, np.float32)
        if points.ndim != 2 or points.shape[1] != 2 or scores.shape != (len(points),):
            raise BadOutput(f"A skeleton needs points [k, 2] and scores [k]; got {points.shape} and {scores.shape}.")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "scores", scores)


@dataclass(frozen=True, slots=True)
class RotatedRectangle:
    """Centre, size, and rotation in degrees clockwise, as CVAT counts it."""

    center_x: float
    center_y: float
    width: float
    height: float
    rotation: float


@dataclass(frozen=True, slots=True)
class WholeFrame:
    """The label speaks of the whole frame: a tag."""


Geometry = Polygon | Mask | Skeleton | RotatedRectangle | WholeFrame | None


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What a model found on one frame, as parallel arrays of length n.

    labels       the model's label names; ``label_ids`` index them
    boxes        f32[n, 4], x1 y1 x2 y2 in pixels of the frame
    scores       f32[n], 0 to 1; 1.0 from a model that gives none
    label_ids    i32[n]
    geometry     n entries; None means that the box is the shape
    attributes   n mappings of attribute name to value, or empty where there are none
    track_ids    i32[n], or None

    Raises BadOutput where the lengths differ or a label id is out of range.
    """

    labels: tuple[str, ...]
    boxes: FloatArray
    scores: FloatArray
    label_ids: IntArray
    geometry: tuple[Geometry, ...] = ()
    attributes: tuple[Mapping[str, str], ...] = ()
    track_ids: IntArray | None = None

    def __post_init__(self) -> None:
        boxes = _array("boxes", self.boxes, np.float32)
        scores = _array("scores", self.scores, np.float32)
        label_ids = _array("label_ids", self.label_ids, np.int32)
        n = len(scores) if scores.ndim else -1
        if boxes.size == 0 and n == 0:
            boxes = boxes.reshape(0, 4)
        if scores.ndim != 1 or boxes.shape != (n, 4) or label_ids.shape != (n,):
            raise BadOutput(
                f"Detections need boxes [n, 4], scores [n], label_ids [n]; "
                f"got {boxes.shape}, {scores.shape}, {label_ids.shape}."
            )
        if n and (label_ids.min() < 0 or label_ids.max() >= len(self.labels)):
            raise BadOutput(f"A label id is outside the model's {len(self.labels)} labels.")
        geometry = tuple(self.geometry) or (None,) * n
        attributes = tuple(self.attributes)
        if len(geometry) != n or len(attributes) not in (0, n):
            raise BadOutput(f"{n} detections, but {len(geometry)} geometries and {len(attributes)} attributes.")
        if self.track_ids is not None:
            track_ids = _array("track_ids", self.track_ids, np.int32)
            if track_ids.shape != (n,):
                raise BadOutput(f"{n} detections, but track ids of shape {track_ids.shape}.")
            object.__setattr__(self, "track_ids", track_ids)
        for name, value in (
            ("labels", tuple(self.labels)),
            ("boxes", boxes),
            ("scores", scores),
            ("label_ids", label_ids),
            ("geometry", geometry),
            ("attributes", attributes),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def empty(cls, labels: Sequence[str]) -> Self:
        return cls(tuple(labels), np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: ArrayLike) -> Detections:
        """The detections that ``rows`` selects: a boolean mask of length n, or indices in the wanted order."""
        selected = np.asarray(rows)
        if selected.dtype == bool:
            if selected.shape != (len(self),):
                raise ValueError(f"a mask of {selected.shape} cannot select from {len(self)} detections")
            selected = np.flatnonzero(selected)
        selected = selected.astype(np.intp)
        return Detections(
            self.labels,
            self.boxes[selected],
            self.scores[selected],
            self.label_ids[selected],
            tuple(self.geometry[i] for i in selected),
            tuple(self.attributes[i] for i in selected) if self.attributes else (),
            None if self.track_ids is None else self.track_ids[selected],
        )

    def best(self, most: int, floor_score: float = 0.0) -> Detections:
        """At most ``most`` detections of at least ``floor_score``, best first; ties keep the model's order."""
        order = np.argsort(-self.scores, kind="stable")
        order = order[self.scores[order] >= floor_score][:most]
        return self.take(order)

    def inside(self, width: int, height: int) -> Detections:
        """Finite, clipped to the frame, without empty boxes (a tag keeps its place).

        Raises BadOutput where a number is NaN or infinite, a score is outside 0 to 1, or a box is inverted.
        """
        points = [part for shape in self.geometry for part in _numbers(shape)]
        if not all(np.isfinite(part).all() for part in (self.boxes, self.scores, *points)):
            raise BadOutput("The model answered numbers that are not finite (NaN or infinite).")
        if len(self) and (self.scores.min() < -1e-4 or self.scores.max() > 1 + 1e-4):
            raise BadOutput("The model answered scores outside 0 to 1.")
        if len(self) and (self.boxes[:, 2:] < self.boxes[:, :2]).any():
            raise BadOutput("The model answered inverted boxes (x2 < x1 or y2 < y1).")
        limit = np.array([width, height, width, height], np.float32)
        clipped = np.clip(self.boxes, 0, limit)
        whole = np.array([isinstance(shape, WholeFrame) for shape in self.geometry], bool)
        clipped[whole] = np.array([0, 0, width, height], np.float32)
        kept = whole | ((clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1]))
        geometry = tuple(_clip(shape, width, height) for shape in self.geometry)
        scores = np.clip(self.scores, 0, 1)
        return replace(self, boxes=clipped, scores=scores, geometry=geometry).take(kept)


def _array(name: str, value: Any, dtype: type[np.generic]) -> NDArray[Any]:
    try:
        return np.ascontiguousarray(value, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadOutput(f"{name} is no array of numbers.") from error


def _numbers(shape: Geometry) -> tuple[NDArray[np.floating[Any]], ...]:
    match shape:
        case Polygon(points):
            return (points,)
        case Skeleton(points, scores):
            return points, scores
        case RotatedRectangle(x, y, width, height, rotation):
            return (np.array([x, y, width, height, rotation]),)
    return ()


def _clip(shape: Geometry, width: int, height: int) -> Geometry:
    """The shape within the frame. A rotated rectangle keeps its form: cutting it would make it another shape."""
    limit = np.array([width, height], np.float32)
    match shape:
        case Polygon(points):
            return Polygon(np.clip(points, 0, limit))
        case Skeleton(points, scores):
            return Skeleton(np.clip(points, 0, limit), scores)
        case Mask(mask_height, mask_width, _) if (mask_height, mask_width) != (height, width):
            raise BadOutput(f"A mask of {mask_width}x{mask_height} was answered for a frame of {width}x{height}.")
    return shape


@dataclass(frozen=True, slots=True)
class Limits:
    """How a model may be asked. Rates are per second, times in seconds, ``max_bytes`` of one encoded frame."""

    max_batch: int = 8
    max_concurrency: int = 2
    requests_per_second: float | None = None
    timeout_s: float = 120.0
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """What one call asks for.

    floor_score      detections below it are left out
    prompts          label -> texts to look for, for open-vocabulary models
    max_detections   of one frame
    """

    floor_score: float = 0.05
    prompts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    max_detections: int = MAX_DETECTIONS


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model is, as its host says: plain data, kept by the registry and read back as it was.

    reference     canonical text of where it comes from, without any key
    provider      huggingface, local, roboflow, ...
    engine        what runs it: onnxruntime, transformers, openvino, hosted ...
    labels        in the model's order; None for an open vocabulary
    revision      what pins it: a commit sha, a version number, a content hash
    weights_bytes size of what has to be fetched, None where unknown
    settings      the adapter's own plain JSON data, such as file names
    notes         sentences that a user should read, such as invented label names
    """

    name: str
    provider: str
    reference: str
    revision: str
    task_type: str
    labels: tuple[str, ...] | None
    shape_types: tuple[str, ...]
    engine: str
    default_threshold: float = 0.5
    licence: str | None = None
    gated: bool = False
    weights_bytes: int | None = None
    limits: Limits = field(default_factory=Limits)
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def engine_chosen(self) -> bool:
        """Whether somebody chose the engine; else another that answers alike may be taken in its place."""
        return bool(self.settings.get("engine_chosen"))


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """How far the download of a model's files is, in bytes."""

    file: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class LoadStep:
    """What a model that is being loaded does now, where that takes long; ``doing`` is for people."""

    doing: str


Report = DownloadProgress | LoadStep


@dataclass(frozen=True, slots=True)
class Context:
    """What an adapter may use of the world around it.

    cache_dir   folder for downloaded model files
    secret      kind of connection (``huggingface`` ...) and host -> its secret, or None
    engine      ``auto``, or the engine that the user asked for
    openvino    whether ``auto`` tries OpenVINO as well, where it is installed
    precision   ``full``: f32; ``fast``: half precision where the processor has it and is faster by it
    endpoints   provider -> base URL that the operator configured
    progress    told about downloads and long steps of loading; may be called from any thread
    run         ``auto``, ``local`` or ``hosted``: where a model runs that could run in both places
    http        which hosts may be asked, and how; without anything configured, public ones over https
    max_bytes   of a model file whose size is known only when it is fetched
    may_download    whether resolving may download a model that nothing but its file describes
    registered  cards of registered models by their names: those that a cascade names as its parts
    """

    cache_dir: Path
    secret: Callable[[str, str], str | None] = lambda kind, host: None
    engine: str = "auto"
    openvino: bool = False
    precision: str = "full"
    endpoints: Mapping[str, str] = field(default_factory=dict)
    progress: Callable[[Report], None] = lambda report: None
    offline: bool = False
    run: str = "auto"
    http: HttpPolicy = field(default_factory=HttpPolicy)
    max_bytes: int = 2**33
    may_download: bool = True
    registered: Mapping[str, ModelCard] = field(default_factory=dict)


@runtime_checkable
class OpenModel(Protocol):
    """A loaded, callable model: a ``Predictor``, or one of ``adapters.promptable``."""

    card: ModelCard

    async def close(self) -> None:
        """Free what the model holds. May be called twice."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Closing(ABC):
    """Makes a class with ``close()`` an async context manager, as every ``OpenModel`` is: leaving it closes it."""

    __slots__ = ()

    @abstractmethod
    async def close(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


@runtime_checkable
class Predictor(OpenModel, Protocol):
    """Answers frames. Safe to call concurrently up to ``card.limits.max_concurrency``."""

    async def predict(self, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        """As many results as frames, in order, finite and inside each frame. Raises PredictorError."""
        ...


class Adapter(Protocol):
    """One source of models. Found through ``adapters.providers``."""

    async def resolve(self, reference: Any, context: Context) -> ModelCard:
        """Ask the host what the model is; nothing heavy is downloaded. Raises PredictorError."""
        ...

    async def fetch(self, card: ModelCard, context: Context) -> None:
        """Make the model's files present and whole; resumes what an earlier call began. Raises PredictorError."""
        ...

    async def open(self, card: ModelCard, context: Context) -> OpenModel:
        """Load the model, fetching what is missing. Raises PredictorError."""
        ...
