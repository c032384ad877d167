"""A top-down pose model: one skeleton per box, or one of the whole frame where nobody gives boxes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adapters.base import Detections, FloatArray, ModelCard, PredictOptions, Skeleton
from adapters.cards import on_device
from adapters.errors import BadOutput, Unsupported
from adapters.frame import Frame
from adapters.image_processors import plain_name, read_size, scale_and_bias
from adapters.local import LocalPredictor
from adapters.local_model import PIXELS, Engine
from adapters.preprocess import scaled
from adapters.readers.keypoints import Region, cut_out, read_heat_maps, region_of

_MAPS = "heatmaps"


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """The boxes of a frame, f32[k, 4], and what is cut out for them, f32[k, 3, h, w]."""

    boxes: FloatArray
    regions: tuple[Region, ...]
    pixels: FloatArray


Answer = tuple[FloatArray, Crops]  # heat maps f32[k, joints, h, w]


class KeypointModel(LocalPredictor[Crops, Answer]):
    """Its one label is the skeleton's; joints come in the order of ``card.settings["sublabels"]``."""

    def __init__(self, card: ModelCard, engine: Engine, config: Mapping[str, Any]) -> None:
        """``config`` is the content of preprocessor_config.json. Raises Unsupported."""
        super().__init__(on_device(card, engine.device, half=engine.half))
        if plain_name(config) != "VitPoseImageProcessor":
            raise Unsupported(f"The image processor {plain_name(config)} is not one of pose models.")
        try:
            size = read_size(config.get("size", {"height": 256, "width": 192}))
            self._height, self._width = size["height"], size["width"]
            self._scale, self._bias = scale_and_bias({"do_normalize": True, **config})
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise Unsupported(f"preprocessor_config.json cannot be understood: {error}.") from error
        self._engine = engine

    async def predict_boxes(
        self, frames: Sequence[Frame], boxes: Sequence[FloatArray], options: PredictOptions
    ) -> list[Detections]:
        """One skeleton for each box, f32[k, 4], of each frame; otherwise as ``predict``."""
        return await self.predict_with(
            _Bound(self, {id(f): b for f, b in zip(frames, boxes, strict=True)}), frames, options
        )

    def prepare(self, frame: Frame) -> Crops:
        return self.cut(frame, np.array([[0, 0, frame.width, frame.height]], np.float32))

    def cut(self, frame: Frame, boxes: FloatArray) -> Crops:
        regions = tuple(region_of(box, self._width, self._height) for box in boxes)
        pixels = [scaled(self._cut_one(frame, region), self._scale, self._bias).pixels for region in regions]
        empty = np.empty((0, 3, self._height, self._width), np.float32)
        return Crops(boxes, regions, np.stack(pixels) if pixels else empty)

    def _cut_one(self, frame: Frame, region: Region) -> Any:
        return cut_out(frame.pixels, region, self._width, self._height)

    def forward(self, batch: Sequence[Crops]) -> Sequence[Answer]:
        everything = np.concatenate([each.pixels for each in batch])
        size = self.card.limits.max_batch
        maps = [self._run_model(everything[start : start + size]) for start in range(0, len(everything), size)]
        parts = np.split(np.concatenate(maps), np.cumsum([len(each.boxes) for each in batch])[:-1]) if maps else []
        return list(zip(parts or [np.empty((0, 0, 0, 0), np.float32)] * len(batch), batch, strict=True))

    def _run_model(self, pixels: FloatArray) -> FloatArray:
        feed = {PIXELS: pixels}
        if "dataset_index" in self._engine.inputs and self.card.settings["experts"] > 1:
            feed["dataset_index"] = np.zeros(len(pixels), np.int64)  # the first expert: COCO's people
        return self._engine.run(feed)[_MAPS]

    def finish(self, raw: Answer, frame: Frame) -> Detections:
        maps, crops = raw
        labels, names = self.card.labels or (), self.card.settings["sublabels"]
        if len(maps) and maps.shape[1] != len(names):
            raise BadOutput(f"The model answered {maps.shape[1]} joints; it names {len(names)}.")
        if not np.isfinite(maps).all():
            raise BadOutput("The model answered numbers that are not finite (NaN or infinite).")
        skeletons = []
        for each, region in zip(maps, crops.regions, strict=True):
            points, scores = read_heat_maps(each, region)
            skeletons.append(Skeleton(points, np.clip(scores, 0, 1)))
        scores = np.array([each.scores.mean() for each in skeletons], np.float32)
        return Detections(labels, crops.boxes, scores, np.zeros(len(skeletons), np.int32), tuple(skeletons))

    def release(self) -> None:
        self._engine.close()


@dataclass(frozen=True, slots=True)
class _Bound:
    """The steps of a call with boxes of its own."""

    model: KeypointModel
    boxes: Mapping[int, FloatArray]

    def prepare(self, frame: Frame) -> Crops:
        return self.model.cut(frame, self.boxes[id(frame)])

    def forward(self, batch: Sequence[Crops]) -> Sequence[Answer]:
        return self.model.forward(batch)

    def finish(self, raw: Answer, frame: Frame) -> Detections:
        return self.model.finish(raw, frame)


def load_keypoints(card: ModelCard, folder: Path, engine: Engine) -> KeypointModel:
    return KeypointModel(card, engine, json.loads((folder / "preprocessor_config.json").read_text("utf-8")))
