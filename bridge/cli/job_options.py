"""What commands that make jobs have in common: their options, and what these mean in a job's spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

if TYPE_CHECKING:
    from bridge.app import App
    from bridge.domain import Task
    from bridge.job_spec import JobSpec
    from bridge.profiles import Named

S = TypeVar("S")

Threshold = Annotated[
    float | None, typer.Option(min=0, max=1, help="Least score of a shape. Default: the model's threshold.")
]
LabelThreshold = Annotated[
    list[str] | None, typer.Option("--label-threshold", metavar="LABEL=SCORE", help="Threshold of one model label.")
]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="MODEL=TASK", help="Map a model label to a task label; MODEL= leaves it out."),
]
Accept = Annotated[
    float | None,
    typer.Option("--accept-suggestions", min=0, max=1, metavar="SCORE", help="Accept suggestions from this score on."),
]
Prompt = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt",
        metavar="LABEL=TEXT",
        help="What a model with an open vocabulary looks for, for a task label; may be given several times. "
        "Default: the label's name.",
    ),
]
MaskPolygons = Annotated[bool, typer.Option("--masks-as-polygons", help="Return masks as polygons.")]
NmsIou = Annotated[
    float | None,
    typer.Option("--nms", min=0, max=1, metavar="IOU", help="Of shapes of a label that overlap more, keep the best."),
]
ClassAgnostic = Annotated[bool, typer.Option("--nms-class-agnostic", help="With --nms: whatever their labels are.")]
MinSize = Annotated[
    float | None, typer.Option("--min-size", min=0, metavar="PIXELS", help="Leave out narrower or lower shapes.")
]
TopK = Annotated[int | None, typer.Option("--top-k", min=1, max=1000, help="Most tags of a frame, best first.")]
KeepManual = Annotated[
    float | None,
    typer.Option(
        "--keep-manual", min=0, max=1, metavar="IOU", help="Leave out shapes that overlap manual ones at least so much."
    ),
]
Roi = Annotated[
    str | None,
    typer.Option(
        metavar="REGION",
        help="Look only here: x,y,width,height or a polygon's x,y x,y x,y; in pixels, or all in percent (10%,0%,...).",
    ),
]
Tile = Annotated[str | None, typer.Option(metavar="WxH", help="Look at large frames in tiles of this size in pixels.")]
TileOverlap = Annotated[
    float | None,
    typer.Option(
        "--tile-overlap", min=0, max=0.75, help="With --tile: least share of a tile in common with the next; 0.2."
    ),
]
Track = Annotated[bool, typer.Option("--track", help="Link shapes of consecutive frames into tracks.")]
TrackIou = Annotated[
    float | None,
    typer.Option("--track-iou", min=0, max=1, help="With --track: least overlap with the expected place; 0.3."),
]
TrackGap = Annotated[
    int | None,
    typer.Option("--track-gap", min=0, max=1000, help="With --track: frames that an object may be out of sight; 5."),
]
First = Annotated[int, typer.Option("--from", min=0, help="First frame number.")]
Stop = Annotated[int | None, typer.Option("--to", min=1, help="Frame number to stop before.")]
Every = Annotated[int, typer.Option(min=1, help="Take every Nth frame.")]
Unannotated = Annotated[bool, typer.Option("--unannotated", help="Only frames without annotations.")]
Clean = Annotated[
    Literal["none", "model", "automatic", "all"],
    typer.Option(help="What goes where new shapes come: nothing, this model's, all automatic ones, everything."),
]


def parse_pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """``a=b`` texts as pairs; the last = parts them, so that labels may hold one."""
    pairs = {}
    for text in texts or []:
        left, equals, right = text.rpartition("=")
        if not equals or not left:
            raise typer.BadParameter(f"{text!r} is not of the form LABEL=VALUE", param_hint=option)
        pairs[left.strip()] = right.strip()
    return pairs


def parse_prompts(texts: list[str] | None) -> dict[str, list[str]]:
    """``label=text`` texts, of which several may be for one label."""
    prompts: dict[str, list[str]] = {}
    for text in texts or []:
        ((label, prompt),) = parse_pairs([text], "--prompt").items()
        if not prompt:
            raise typer.BadParameter(f"{text!r} says nothing to look for", param_hint="--prompt")
        prompts.setdefault(label, []).append(prompt)
    return prompts


def parse_scores(texts: list[str] | None, option: str = "--label-threshold") -> dict[str, float]:
    """``label=0.4`` texts as thresholds."""
    scores = {}
    for label, text in parse_pairs(texts, option).items():
        try:
            scores[label] = float(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not a number", param_hint=option) from None
    return scores


def make_spec(**values: Any) -> JobSpec:
    """A job's spec, with what is wrong in it said in one line."""
    from bridge.job_spec import JobSpec  # noqa: PLC0415  (pydantic is loaded only by commands that make jobs)

    return checked(JobSpec, **values)


def spec_for(service: App, task: Task, chosen: Named, wanted: Mapping[str, Any], **values: Any) -> JobSpec:
    """The spec of a job of a model or profile on a task: ``wanted`` as of ``ModelOptions``, and further keys."""
    values.setdefault("max_failure_rate", service.settings.jobs.max_failure_rate)
    own = chosen.job_values(task.labels, wanted)
    return make_spec(target=task.id, model_id=chosen.model.id, **own, **values)


def checked(kind: type[S], **values: Any) -> S:
    """A pydantic model of these values. Raises InvalidRequest that says the first thing which is wrong."""
    from pydantic import ValidationError  # noqa: PLC0415

    from bridge.errors import InvalidRequest  # noqa: PLC0415

    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidRequest(f"{place}: {message}." if place else f"{message[:1].upper()}{message[1:]}.") from error


def parse_region(text: str | None) -> dict[str, Any] | None:
    """``x,y,width,height``, or the points ``x,y x,y x,y`` of a polygon; in pixels, or all of them in percent."""
    if text is None:
        return None
    words = text.replace(",", " ").split()
    percent = {word.endswith("%") for word in words}
    try:
        numbers = [float(word.removesuffix("%")) for word in words]
    except ValueError:
        numbers = []
    two_points = len(numbers) == 4 and len(text.split()) == 2 and "," in text.split()[0]  # of a polygon, or of corners
    if len(percent) != 1 or len(numbers) % 2 or len(numbers) < 4 or two_points:
        form = "x,y,width,height or x,y x,y x,y ..., in pixels or all in percent"
        raise typer.BadParameter(f"{text!r} is not of the form {form}", param_hint="--roi")
    if percent == {True}:
        numbers = [number / 100 for number in numbers]
    region: dict[str, Any] = {"unit": "fraction" if percent == {True} else "pixels"}
    if len(numbers) == 4:
        return region | dict(zip(("x", "y", "width", "height"), numbers, strict=True))
    return region | {"points": tuple(zip(numbers[::2], numbers[1::2], strict=True))}


def parse_tiling(text: str | None, overlap: float | None) -> dict[str, Any] | None:
    """``640`` or ``1024x768``."""
    if text is None and overlap is not None:
        raise typer.BadParameter("needs --tile", param_hint="--tile-overlap")
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not width.isdecimal() or not (height or width).isdecimal():
        raise typer.BadParameter(f"{text!r} is not of the form WIDTHxHEIGHT", param_hint="--tile")
    tiling: dict[str, Any] = {"width": int(width), "height": int(height or width)}
    return tiling if overlap is None else tiling | {"overlap": overlap}


def parse_nms(iou: float | None, class_agnostic: bool) -> dict[str, Any] | None:
    if iou is None and class_agnostic:
        raise typer.BadParameter("needs --nms IOU", param_hint="--nms-class-agnostic")
    return None if iou is None else {"iou": iou, "class_agnostic": class_agnostic}


def parse_tracking(track: bool, iou: float | None, gap: int | None) -> dict[str, Any] | None:
    given = {key: value for key, value in (("iou", iou), ("max_gap", gap)) if value is not None}
    if given and not track:
        raise typer.BadParameter("needs --track", param_hint="--track-iou" if iou is not None else "--track-gap")
    return given if track else None


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What the model is to look at, and what is made of its answers."""

    threshold: Threshold = None
    label_threshold: LabelThreshold = None
    pairs: Map = None
    accept: Accept = None
    prompt: Prompt = None
    nms: NmsIou = None
    class_agnostic: ClassAgnostic = False
    min_size: MinSize = None
    top_k: TopK = None
    roi: Roi = None
    tile: Tile = None
    tile_overlap: TileOverlap = None
    masks_as_polygons: MaskPolygons = False
    keep_manual: KeepManual = None

    def as_spec(self) -> dict[str, Any]:
        """As keys of a job's spec. Raises BadParameter."""
        return {
            "mapping": parse_pairs(self.pairs, "--map"),
            "accept_suggestions": self.accept,
            "threshold": self.threshold,
            "label_thresholds": parse_scores(self.label_threshold),
            "nms": parse_nms(self.nms, self.class_agnostic),
            "min_size": self.min_size or 0.0,
            "top_k": self.top_k,
            "roi": parse_region(self.roi),
            "tiling": parse_tiling(self.tile, self.tile_overlap),
            "masks_as_polygons": self.masks_as_polygons,
            "keep_manual_iou": self.keep_manual,
            "prompts": parse_prompts(self.prompt),
        }


@dataclass(frozen=True, slots=True)
class TrackOptions:
    """Whether shapes become tracks, and which."""

    track: Track = False
    track_iou: TrackIou = None
    track_gap: TrackGap = None

    def as_spec(self) -> dict[str, Any]:
        """As a key of a job's spec. Raises BadParameter."""
        return {"track": parse_tracking(self.track, self.track_iou, self.track_gap)}


@dataclass(frozen=True, slots=True)
class FrameOptions:
    """Which frames of a task are meant."""

    first: First = 0
    stop: Stop = None
    every: Every = 1
    unannotated: Unannotated = False

    def as_spec(self) -> dict[str, Any]:
        """As the selection of a job's spec."""
        only = "unannotated" if self.unannotated else "all"
        return {"start": self.first, "stop": self.stop, "step": self.every, "only": only}
