"""A Nuclio dashboard with CVAT's serverless functions; called at its root it is one function's own port."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.servers.loopback import Loopback, Thing, picture, things


@dataclass
class Deployed:
    """``labels``: name -> shape type. ``attributes`` and ``sublabels`` are those of every label."""

    labels: dict[str, str]
    kind: str = "detector"
    state: str = "ready"
    attributes: tuple[dict[str, Any], ...] = ()
    sublabels: tuple[str, ...] = ()

    def spec(self) -> str:
        return json.dumps(
            [
                {
                    "id": i,
                    "name": name,
                    "type": shape,
                    "attributes": list(self.attributes),
                    "sublabels": [{"name": joint, "type": "points"} for joint in self.sublabels],
                    "svg": "",
                }
                for i, (name, shape) in enumerate(self.labels.items())
            ]
        )


class Nuclio(Loopback):
    """``login``: ``user:password`` of the proxy in front of it, or None. At its root the first function answers."""

    def __init__(self, functions: dict[str, Deployed], login: str | None = None) -> None:
        super().__init__()
        self.functions, self.key = functions, login

    def given_key(self, request: web.Request) -> str:
        packed = request.headers.get("Authorization", "").removeprefix("Basic ")
        return base64.b64decode(packed).decode()

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if parts[:2] == ["api", "functions"] and request.method == "GET":
            if len(parts) == 2:
                return web.json_response({name: self._describe(name) for name in self.functions})
            if parts[2] not in self.functions:
                return self.say(404, f"Function not found: nuclio/{parts[2]}")
            return web.json_response(self._describe(parts[2]))
        if request.method != "POST" or parts not in (["api", "function_invocations"], [""]):
            return self.say(404, "Not Found")
        name = next(iter(self.functions))
        if parts != [""]:
            name = request.headers.get("x-nuclio-function-name", "")
            if name not in self.functions or request.headers.get("x-nuclio-function-namespace") != "nuclio":
                return self.say(400, "Function name must be provided")
        return web.json_response(self._invoke(self.functions[name], json.loads(body)))

    def _describe(self, name: str) -> dict[str, Any]:
        deployed = self.functions[name]
        annotations = {
            "framework": "onnx", "name": name.title(), "type": deployed.kind, "version": "2", "spec": deployed.spec()
        }  # fmt: skip
        return {
            "metadata": {"name": name, "namespace": "nuclio", "annotations": annotations},
            "spec": {"description": "A function"},
            "status": {"state": deployed.state, "httpPort": self.port},
        }

    def _invoke(self, deployed: Deployed, content: dict[str, Any]) -> list[dict[str, Any]]:
        data = base64.b64decode(content["image"])
        names = list(deployed.labels)
        return [
            shape(thing, names[thing.label], deployed, data)
            for thing in things(data, len(names), content.get("threshold", 0.0))
        ]


def shape(thing: Thing, label: str, deployed: Deployed, data: bytes) -> dict[str, Any]:
    """A thing as its label's type has it, with the score as text, as many functions send it."""
    kind = deployed.labels[label]
    kind = "rectangle" if kind == "any" else kind
    x1, y1, x2, y2 = thing.box
    item: dict[str, Any] = {"confidence": str(thing.score), "label": label, "type": kind}
    if deployed.attributes:
        item["attributes"] = [{"name": each["name"], "value": each["values"][0]} for each in deployed.attributes]
    match kind:
        case "rectangle":
            item["points"] = [x1, y1, x2, y2]
        case "polygon" | "points":
            item["points"] = [x1, y1, x2, y1, x2, y2]
        case "ellipse":
            item["points"] = [(x1 + x2) / 2, (y1 + y2) / 2, x2, y1]
        case "skeleton":
            joints = [
                {"label": joint, "type": "points", "points": [x1 + i, y1 + i], "outside": i % 2}
                for i, joint in enumerate(deployed.sublabels)
            ]
            item["elements"] = list(reversed(joints))
        case "mask":
            size = picture(data).size
            left, top = int(x1), int(y1)
            right, bottom = min(size[0] - 1, int(x2)), min(size[1] - 1, int(y2))
            item["mask"] = [1] * (right - left + 1) * (bottom - top + 1) + [left, top, right, bottom]
    return item
