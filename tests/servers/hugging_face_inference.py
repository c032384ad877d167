"""Hugging Face's hosted inference: the router's /hf-inference/models/ID, and a dedicated endpoint at any other path."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
from aiohttp import web
from PIL import Image

from tests.servers.loopback import Loopback, picture, things


class HuggingFaceInference(Loopback):
    """``tasks``: model id -> task type; every other path answers as ``endpoint_task``."""

    def __init__(
        self,
        labels: tuple[str, ...],
        tasks: dict[str, str] | None = None,
        endpoint_task: str = "object-detection",
        key: str | None = None,
    ) -> None:
        super().__init__()
        self.labels, self.tasks, self.endpoint_task, self.key = labels, tasks or {}, endpoint_task, key

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        task = self.endpoint_task
        if request.path.startswith("/hf-inference/models/"):
            known = self.tasks.get(request.path.removeprefix("/hf-inference/models/"))
            if known is None:
                return self.say(404, "Model not supported by provider hf-inference")
            task = known
        if not request.headers.get("Content-Type"):
            return self.say(400, "No content type")
        parameters: dict[str, Any] = {}
        data = body
        if request.content_type == "application/json":
            content = json.loads(body)
            data, parameters = base64.b64decode(content["inputs"]), content["parameters"]
        elif not request.content_type.startswith("image/"):
            return self.say(400, f"Content type {request.content_type} not supported")
        return web.json_response(self._predict(task, data, parameters))

    def _predict(self, task: str, data: bytes, parameters: dict[str, Any]) -> Any:
        texts = parameters.get("candidate_labels")
        labels = texts or self.labels
        if task.endswith("classification"):
            rows = {labels[thing.label]: thing.score for thing in things(data, len(labels), most=30)}
            return [{"label": label, "score": score} for label, score in rows.items()][: parameters.get("top_k", 5)]
        found = things(data, len(labels), parameters.get("threshold", 0.5))
        if task == "image-segmentation":
            found = things(data, len(labels))
            return [
                {"label": labels[each.label], "score": None if i == 0 else each.score, "mask": mask_png(data, each.box)}
                for i, each in enumerate(found)
            ]
        return [
            {
                "label": labels[each.label],
                "score": each.score,
                "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), map(int, each.box), strict=True)),
            }
            for each in found
        ]


def mask_png(data: bytes, box: tuple[float, float, float, float]) -> str:
    """A PNG of the whole picture, white within the box rounded to pixels, in base64."""
    image = picture(data)
    pixels = np.zeros((image.height, image.width), np.uint8)
    x1, y1, x2, y2 = (round(side) for side in box)
    pixels[y1:y2, x1:x2] = 255
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG")
    return base64.b64encode(packed.getvalue()).decode("ascii")
