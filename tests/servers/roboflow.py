"""Roboflow's cloud: the API that describes projects, and the host that predicts. One server is both."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from aiohttp import web
from PIL import Image

from tests.servers.loopback import Loopback, picture, things

KEY = "rfC4n4ryKeyThatNobodyMaySee"
WORKSPACE = "street-team"


class Roboflow(Loopback):
    """``projects``: name -> (kind, version -> whether it has a model). Every project has the same labels."""

    def __init__(
        self, labels: tuple[str, ...], projects: dict[str, tuple[str, dict[int, bool]]], most_bytes: int = 20_000_000
    ) -> None:
        super().__init__()
        self.key, self.labels, self.projects, self.most_bytes = KEY, labels, projects, most_bytes

    def given_key(self, request: web.Request) -> str:
        return request.query.get("api_key", "")

    def say(self, status: int, text: str, headers: dict[str, str] | None = None, **more: Any) -> web.Response:
        return web.json_response({"message": text, **more}, status=status, headers=headers)

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if parts == [""] and request.method == "POST":
            return web.json_response({"welcome": "Welcome to the Roboflow API.", "workspace": WORKSPACE})
        if len(parts) == 2 and request.method == "GET" and parts[0] == WORKSPACE and parts[1] in self.projects:
            return web.json_response(self._describe(parts[1]))
        if len(parts) == 2 and request.method == "POST" and parts[0] in self.projects:
            return self._predict(request, self.projects[parts[0]][0], body)
        return self.say(404, f"Nothing at {request.path}?api_key={self.given_key(request)}")

    def _describe(self, name: str) -> dict[str, Any]:
        kind, versions = self.projects[name]
        counts = {"images": 90, "splits": {"train": 63, "valid": 18, "test": 9}, "created": 1_760_000_000.0}
        return {
            "workspace": {"name": "Street Team", "url": WORKSPACE, "members": 2},
            "project": {
                "id": f"{WORKSPACE}/{name}",
                "type": kind,
                "name": name.title(),
                "classes": {label: 10 * i + 3 for i, label in enumerate(self.labels)},
                "colors": dict.fromkeys(self.labels, "#C7FC00"),
                "multilabel": kind.startswith("multi"),
                "annotation": name,
                "public": False,
                "unannotated": 0,
                "updated": 1_760_000_000.0,
                **counts,
            },
            "versions": [
                {
                    "id": f"{WORKSPACE}/{name}/{number}",
                    "augmentation": {},
                    "preprocessing": {"auto-orient": True},
                    **counts,
                    **({"model": {"id": "x", "map": "90"}} if trained else {}),
                }
                for number, trained in versions.items()
            ],
        }

    def _predict(self, request: web.Request, kind: str, body: bytes) -> web.Response:
        if request.content_type != "application/x-www-form-urlencoded":
            return self.say(400, "Could not parse the picture")
        if len(body) > self.most_bytes:
            return self.say(413, "Request entity too large")
        confidence = float(request.query.get("confidence", "0.4"))
        if confidence >= 1:
            confidence /= 100
        return web.json_response(predict(kind, base64.b64decode(body, validate=True), self.labels, confidence))


def predict(kind: str, data: bytes, labels: tuple[str, ...], confidence: float) -> dict[str, Any]:
    """The answer for a picture, as the open-source server words it."""
    image = picture(data)
    base: dict[str, Any] = {
        "inference_id": "0b1c",
        "time": 0.02,
        "image": {"width": image.width, "height": image.height},
    }
    found = things(data, len(labels), confidence)
    predictions: Any = []
    if kind == "multi-label-classification":
        base["image"] = {"width": image.height, "height": image.width}
        best = {labels[each.label]: {"confidence": each.score, "class_id": each.label} for each in found}
        return base | {"predictions": best, "predicted_classes": [n for n in best if best[n]["confidence"] > 0.4]}
    if kind.endswith("classification"):
        rows = {each.label: each.score for each in found}
        predictions = [{"class": labels[i], "class_id": i, "confidence": score} for i, score in rows.items()]
        top = max(predictions, key=lambda row: row["confidence"], default={"class": "", "confidence": 0.0})
        return base | {"predictions": predictions, "top": top["class"], "confidence": top["confidence"]}
    if kind == "semantic-segmentation":
        return base | {"predictions": semantic(image, found, labels)}
    for each in found:
        x1, y1, x2, y2 = each.box
        row = {
            "x": (x1 + x2) / 2,
            "y": (y1 + y2) / 2,
            "width": x2 - x1,
            "height": y2 - y1,
            "confidence": each.score,
            "class": labels[each.label],
            "class_id": each.label,
            "detection_id": "7f3a",
        }
        corners = [{"x": x, "y": y} for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))]
        if kind == "instance-segmentation":
            row["points"] = corners
        if kind == "keypoint-detection":
            row["keypoints"] = [
                {**corner, "confidence": 0.9 - i / 10, "class_id": i, "class": f"joint{i}"}
                for i, corner in enumerate(corners)
            ]
        predictions.append(row)
    return base | {"predictions": predictions}


def semantic(image: Image.Image, found: list[Any], labels: tuple[str, ...]) -> dict[str, Any]:
    classes = np.zeros((image.height, image.width), np.uint8)
    confidence = np.zeros_like(classes)
    for each in found:
        x1, y1, x2, y2 = (round(side) for side in each.box)
        classes[y1:y2, x1:x2] = each.label + 1
        confidence[y1:y2, x1:x2] = round(each.score * 255)
    return {
        "segmentation_mask": png(classes),
        "confidence_mask": png(confidence),
        "class_map": {"0": "background"} | {str(i + 1): label for i, label in enumerate(labels)},
    }


def png(pixels: np.ndarray) -> str:
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG")
    return base64.b64encode(packed.getvalue()).decode("ascii")
