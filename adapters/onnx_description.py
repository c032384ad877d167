"""What an ONNX file or an IR says of itself, and what a file of JSON beside it adds: input, layout, labels."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.base import FloatArray
from adapters.errors import Unsupported
from adapters.graph_session import Session
from adapters.huggingface_config import unique_labels
from adapters.image_processors import CLIP_NORMAL
from adapters.letterbox import FileInput, Fit
from adapters.local import first_line
from adapters.onnx_layouts import LAYOUTS, Exported, Output, Recognised, listed, recognise

METADATA = "metadata.yaml"  # Ultralytics writes it beside an IR
_DEFAULT_SIDE = 640  # of an input whose size is open and unsaid: what the YOLO family is trained on
_MOST_LABELS = 100_000
_NORMALISE: dict[str, tuple[Sequence[float], Sequence[float]]] = {
    "none": ((0, 0, 0), (1, 1, 1)),
    "bytes": ((0, 0, 0), (1 / 255,) * 3),
    "half": ((0.5,) * 3, (0.5,) * 3),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": (CLIP_NORMAL["image_mean"], CLIP_NORMAL["image_std"]),
}


class Beside(BaseModel):
    """MODEL.json beside MODEL.onnx or MODEL.xml; every key may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: str = ""
    labels: tuple[str, ...] | None = None
    fit: Fit | None = None
    size: tuple[Annotated[int, Field(ge=1, le=8192)], Annotated[int, Field(ge=1, le=8192)]] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    channels: str = Field(default="", pattern="^(rgb|bgr|)$")
    iou: float | None = Field(default=None, ge=0, le=1)
    joints: tuple[str, ...] = ()
    threshold: float | None = Field(default=None, gt=0, lt=1)
    name: str = ""
    licence: str | None = None
    output: str = ""
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Graph:
    """Inputs and outputs of a file, and the texts that its exporter wrote into it."""

    inputs: tuple[Output, ...]
    outputs: tuple[Output, ...]
    metadata: Mapping[str, str]

    @classmethod
    def of(cls, session: Session) -> Graph:
        return cls(
            tuple(Output(each.name, each.shape) for each in session.inputs),
            tuple(Output(each.name, each.shape) for each in session.outputs),
            session.metadata,
        )


@dataclass(frozen=True, slots=True)
class Description:
    """Everything that a card and a predictor need to know of a file."""

    recognised: Recognised
    labels: tuple[str, ...]
    height: int
    width: int
    fit: Fit
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool
    iou: float
    joints: tuple[str, ...]
    per_joint: int
    threshold: float
    notes: tuple[str, ...]
    scale: float = 1.0

    def file_input(self) -> FileInput:
        std = np.array(self.std, np.float64)
        scale = (1 / 255 / std).astype(np.float32)
        bias: FloatArray = (-np.array(self.mean, np.float64) / std).astype(np.float32)
        return FileInput(self.height, self.width, self.fit, scale, bias, self.bgr)


def read_beside(path: Path) -> Beside:
    """The JSON beside a model file, or nothing said. Raises Unsupported where it cannot be understood."""
    place = path.with_suffix(".json")
    if not place.is_file():
        return Beside()
    try:
        return Beside.model_validate(json.loads(place.read_text("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Unsupported(f"{place.name} cannot be understood: {where}: {first['msg']}.") from error
    except (OSError, ValueError) as error:
        raise Unsupported(f"{place.name} is no JSON: {first_line(error)}.") from error


def describe_graph(graph: Graph, beside: Beside, named: tuple[tuple[str, ...], Path] | None = None) -> Description:
    """``named``: labels of a file beside it, for a graph that names none.

    Raises Unsupported where the input is no picture or the layout of the outputs is not recognised.
    """
    names, joints = _ultralytics_names(graph.metadata), _joints(graph.metadata)
    given = beside.labels if beside.labels is not None else names
    exported = Exported(
        task=str(graph.metadata.get("task", "")) if names is not None else "",
        end="true" in (str(graph.metadata.get("end2end", "")) + _argument(graph.metadata, "nms")).lower(),
        labels=None if given is None else len(given),
        joints=joints,
    )
    recognised = recognise(_chosen(graph.outputs, beside.output), exported, beside.layout)
    layout = LAYOUTS[recognised.layout]
    if given is None and named is not None and recognised.layout not in ("text", "number"):
        labels, notes = _named_beside(*named, recognised)
    else:
        labels, notes = _labels(given, recognised)
    fit = beside.fit or layout.fit
    if fit not in layout.fits:
        raise Unsupported(f"The layout {recognised.layout} takes pictures by {' or '.join(layout.fits)}, not by {fit}.")
    height, width = beside.size or _size(graph, fit)
    mean, std = _NORMALISE[layout.normalise]
    names_of_joints = beside.joints or tuple(f"joint {i + 1}" for i in range(joints[0]))
    if layout.shape_types == ("skeleton",) and not names_of_joints:
        raise Unsupported("The file is a pose model, but nothing says how many joints it has.", hint="Name its joints.")
    return Description(
        recognised,
        labels,
        height,
        width,
        fit,
        beside.mean or (mean[0], mean[1], mean[2]),
        beside.std or (std[0], std[1], std[2]),
        (beside.channels == "bgr") if beside.channels else layout.bgr,
        layout.iou if beside.iou is None else beside.iou,
        names_of_joints,
        joints[1] or 3,
        beside.threshold or layout.threshold,
        notes,
        beside.scale,
    )


def _chosen(outputs: Sequence[Output], name: str) -> Sequence[Output]:
    """The output that was named, where a file answers more than one thing; all of them where none was."""
    chosen = [output for output in outputs if output.name == name] if name else outputs
    if not chosen:
        raise Unsupported(f"The file has no output {name}; it answers {listed(outputs)}.")
    return chosen


def _labels(given: Sequence[str] | None, recognised: Recognised) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if recognised.layout in ("text", "number") and given is None:
        return (recognised.layout,), ()
    if recognised.layout == "number" and given is not None and len(given) != 1:
        raise Unsupported(f"A file that answers a number has one label, but {len(given)} are named.")
    if given is None:
        if recognised.labels is None:
            raise Unsupported(
                "The file does not say how many labels it has.", hint='Name them beside it: {"labels": ["car", ...]}.'
            )
        note = "The file does not name its labels; LABEL_0, LABEL_1 ... stand in for them."
        return tuple(f"LABEL_{i}" for i in range(recognised.labels)), (note,)
    if recognised.labels is not None and recognised.labels != len(given):
        raise Unsupported(f"The file answers {recognised.labels} labels, but {len(given)} are named.")
    if not given or len(given) > _MOST_LABELS or not all(label.strip() for label in given):
        raise Unsupported("The labels of the file are empty or too many.")
    labels, notes = unique_labels(given)
    return tuple(labels), tuple(notes)


def _named_beside(names: Sequence[str], place: Path, recognised: Recognised) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """As ``_labels``; names of another number than the file answers are told and left out."""
    if recognised.labels not in (None, len(names)):
        labels, notes = _labels(None, recognised)
        unfit = f"{place.name} names {len(names)} labels, but the file answers {recognised.labels}; it is not used."
        return labels, (unfit, *notes)
    labels, notes = _labels(names, recognised)
    return labels, (f"Its labels are those of {place.name} beside it.", *notes)


def _size(graph: Graph, fit: Fit) -> tuple[int, int]:
    """Height and width of the first input: from the graph, else from what its exporter wrote, else the usual."""
    shape = graph.inputs[0].shape
    if len(shape) != 4 or not ({3} & {shape[1], shape[3]} or shape[1] is None):
        raise Unsupported(f"The file takes {graph.inputs[0].name} of shape {list(shape)}, not pictures.")
    height, width = (shape[1], shape[2]) if shape[3] == 3 and shape[1] != 3 else (shape[2], shape[3])
    wanted = _literal(graph.metadata.get("imgsz", ""))
    if isinstance(wanted, (list, tuple)) and len(wanted) == 2 and all(isinstance(side, int) for side in wanted):
        height, width = height or wanted[0], width or wanted[1]
    usual = 736 if fit == "limit_side" else _DEFAULT_SIDE
    return height or usual, width or usual


def _ultralytics_names(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """``names`` is a Python dict of id and name, as text."""
    names = _literal(metadata.get("names", ""))
    if isinstance(names, dict) and names and all(isinstance(key, int) for key in names):
        return tuple(str(names.get(i, f"LABEL_{i}")) for i in range(min(max(names) + 1, _MOST_LABELS)))
    if isinstance(names, (list, tuple)) and names:
        return tuple(str(name) for name in names)
    return None


def _joints(metadata: Mapping[str, str]) -> tuple[int, int]:
    shape = _literal(metadata.get("kpt_shape", ""))
    if isinstance(shape, (list, tuple)) and len(shape) == 2 and shape[1] in (2, 3) and isinstance(shape[0], int):
        return shape[0], shape[1]
    return 0, 0


def _argument(metadata: Mapping[str, str], name: str) -> str:
    arguments = _literal(metadata.get("args", ""))
    return str(arguments.get(name, "")) if isinstance(arguments, dict) else ""


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
