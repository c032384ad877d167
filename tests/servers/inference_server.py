"""Roboflow's open-source inference server: models are added by name, and asked with one picture or a list of them."""

from __future__ import annotations

import base64
import json
from typing import Any

from aiohttp import web

from tests.servers.loopback import Loopback
from tests.servers.roboflow import KEY, predict

ROUTES = {
    "object_detection": ("object-detection",),
    "instance_segmentation": ("instance-segmentation",),
    "classification": ("classification", "multi-label-classification"),
    "keypoints_detection": ("keypoint-detection",),
}


class InferenceServer(Loopback):
    """``kinds``: model id -> what it does. A batch that is larger than ``most_images`` is refused."""

    def __init__(self, labels: tuple[str, ...], kinds: dict[str, str], most_images: int = 8) -> None:
        super().__init__()
        self.labels, self.kinds, self.most_images = labels, kinds, most_images
        self.loaded: list[str] = []

    def given_key(self, request: web.Request) -> str:
        return request.query.get("api_key", KEY)

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if request.method != "POST":
            return self.say(405, "Method Not Allowed")
        if parts[0] in ("model", "infer"):
            content = json.loads(body)
            if content.get("api_key") != KEY:
                return self.say(401, f"Unauthorized access with api_key={content.get('api_key')}")
            if content.get("model_id") not in self.kinds:
                return self.say(404, "Requested Roboflow resource not found.")
            if parts == ["model", "add"]:
                return self._add(content["model_id"])
            return self._infer(parts[1], content)
        model_id = "/".join(parts)
        if self.kinds.get(model_id) != "semantic-segmentation" or request.query.get("api_key") != KEY:
            return self.say(404, "Not Found")
        confidence = float(request.query["confidence"])
        return web.json_response(
            predict(
                "semantic-segmentation",
                base64.b64decode(body),
                self.labels,
                confidence / (100 if confidence >= 1 else 1),
            )
        )

    def _add(self, model_id: str) -> web.Response:
        if model_id not in self.loaded:
            self.loaded.append(model_id)
        described = [
            {"model_id": each, "task_type": self.kinds[each], "batch_size": 1, "input_height": 640, "input_width": 640}
            for each in self.loaded
        ]
        return web.json_response({"models": described})

    def _infer(self, route: str, content: dict[str, Any]) -> web.Response:
        kind = self.kinds[content["model_id"]]
        if kind not in ROUTES.get(route, ()):
            return web.json_response({"detail": [{"msg": f"{kind} is not answered at {route}"}]}, status=422)
        images = content["image"] if isinstance(content["image"], list) else [content["image"]]
        if len(images) > self.most_images:
            return self.say(400, f"Batch of {len(images)} is too large")
        answers = [
            predict(kind, base64.b64decode(image["value"]), self.labels, content["confidence"]) for image in images
        ]
        return web.json_response(answers if isinstance(content["image"], list) else answers[0])
