"""CVAT's side of Nuclio: it lists, describes and calls functions as CVAT does, and stores what they answer unchecked.

Plays CVAT 2.15 and, with ``newer``, what later versions read differently. Whatever CVAT answers 500 or 404 to, or what
fails its job, is ``CvatFails``; the text of an HTTP error is what a CVAT user is shown.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

KINDS = ("detector", "interactor", "tracker", "reid")
SHAPES = ("rectangle", "polygon", "mask", "points", "ellipse", "skeleton")
TIMEOUT_S = 120
EXTRA_HEADERS = {
    "x-nuclio-project-name": "cvat",
    "x-nuclio-function-namespace": "nuclio",
    "x-nuclio-invoke-via": "domain-name",
    "X-Nuclio-Invoke-Timeout": f"{TIMEOUT_S}s",
}


class CvatFails(Exception):
    """What is shown to the CVAT user."""


@dataclass(frozen=True)
class TaskLabel:
    """A label in CVAT's database. ``attributes``: name -> (input type, values)."""

    name: str
    type: str = "any"
    attributes: Mapping[str, tuple[str, Sequence[str]]] = field(default_factory=dict)
    sublabels: Sequence[str] = ()


@dataclass(frozen=True)
class Function:
    """A function as CVAT has read it from the list."""

    id: str
    kind: str
    name: str
    labels: Sequence[Mapping[str, Any]]
    port: int | None
    annotations: Mapping[str, str]


@dataclass
class Stored:
    """What stands in the task afterwards."""

    tags: list[dict[str, Any]] = field(default_factory=list)
    shapes: list[dict[str, Any]] = field(default_factory=list)


class LambdaManager:
    """``url``: CVAT_NUCLIO_HOST and PORT; a user and a secret may stand in it, or come from a NETRC file."""

    def __init__(self, url: str, *, netrc: Path | None = None, direct: bool = False, newer: bool = False) -> None:
        self.url, self.direct, self.newer, self._netrc = url.rstrip("/"), direct, newer, netrc

    def list(self) -> list[Function]:
        """The Models page: one function that cannot be read takes all of them away."""
        found = self._ask("GET", self.url + "/api/functions")
        if not isinstance(found, dict):
            raise CvatFails("500: the list is no object")
        return [read_function(entry) for entry in found.values()]

    def get(self, function_id: str) -> Function:
        if not re.fullmatch(r"[a-zA-Z0-9_.-]+", function_id):
            raise CvatFails("404: no such page")
        return read_function(self._ask("GET", f"{self.url}/api/functions/{function_id}"))

    def call(self, function: Function, body: Mapping[str, Any]) -> Any:
        if self.direct:
            return self._ask("POST", f"http://localhost:{function.port}", body, {})
        headers = {**EXTRA_HEADERS, "x-nuclio-function-name": function.id, "x-nuclio-path": "/"}
        return self._ask("POST", self.url + "/api/function_invocations", body, headers)

    def detect(self, function_id: str, image: bytes, threshold: float | None = None) -> list[dict[str, Any]]:
        """The raw answer to one frame. A threshold of 0, or none, is left out."""
        function = self.get(function_id)
        body: dict[str, Any] = {"threshold": threshold} if threshold else {}
        body["image"] = base64.b64encode(image).decode("utf-8")
        answer: list[dict[str, Any]] = self.call(function, body)
        return answer

    def annotate(
        self,
        function_id: str,
        frames: Sequence[bytes],
        task: Sequence[TaskLabel],
        *,
        threshold: float | None = None,
        polygons: bool = False,
    ) -> Stored:
        """A run over a task with the mapping that the dialog fills in by itself; "Return masks as polygons"."""
        stored = Stored()
        mapping = prefilled(self.get(function_id).labels, task)
        by_name = {label.name: label for label in task}
        for number, image in enumerate(frames):
            for item in self.detect(function_id, image, threshold):
                target = mapping.get(item["label"])
                if target is None:
                    continue
                parsed = self._parse(item, by_name[target], number, polygons)
                (stored.tags if item["type"].lower() == "tag" else stored.shapes).append(parsed)
        serialized = json.loads(json.dumps(stored.shapes, allow_nan=True))
        assert "NaN" not in json.dumps(serialized)
        return stored

    def interact(
        self,
        function_id: str,
        image: bytes,
        positive: Sequence[Sequence[float]],
        negative: Sequence[Sequence[float]] = (),
        box: Sequence[Sequence[float]] | None = None,
    ) -> dict[str, Any]:
        """A click in the interactor tool. Newer versions send the box by itself; 2.15 knows none without a flag."""
        function = self.get(function_id)
        if len(positive) < int(function.annotations.get("min_pos_points", 1)):
            raise CvatFails("the page sends nothing before there are so many points, whether there is a box or not")
        body: dict[str, Any] = {"image": base64.b64encode(image).decode(), "pos_points": [list(p) for p in positive]}
        body |= {"neg_points": [list(p) for p in negative], "obj_bbox": None}
        if self.newer and box is not None:
            body["obj_bbox"] = [list(corner) for corner in box]
        answer: dict[str, Any] = self.call(function, body)
        rows = answer["mask"]
        if not any(any(row) for row in rows):
            raise CvatFails("the page cannot take a mask of zeros")
        if {value for row in rows for value in row} - {0, 255}:
            raise CvatFails("the page wants 0 and 255")
        return answer

    def track(self, function_id: str, frames: Sequence[bytes], boxes: Sequence[Sequence[float]]) -> list[list[Any]]:
        """Boxes over frames: the first call begins, each later one carries the states of the one before."""
        function = self.get(function_id)
        shapes, states = [list(box) for box in boxes], []
        seen = []
        for image in frames:
            sent: list[Any] = [None] * len(shapes) if self.newer and states else shapes
            body = {"image": base64.b64encode(image).decode(), "shapes": sent, "states": states}
            answer = self.call(function, body)
            shapes, states = answer["shapes"], json.loads(json.dumps(answer["states"]))
            if not len(shapes) == len(states) == len(boxes):
                raise CvatFails("one shape and one state for each object")
            seen.append(shapes)
        return seen

    def reidentify(
        self,
        function_id: str,
        images: tuple[bytes, bytes],
        boxes: tuple[Sequence[Any], Sequence[Any]],
        **options: float,
    ) -> list[int]:
        """Which boxes of two frames are one object; a box is CVAT's whole shape."""
        function = self.get(function_id)
        body: dict[str, Any] = dict(options)
        for key, image, row in zip("01", images, boxes, strict=True):
            body[f"image{key}"] = base64.b64encode(image).decode()
            body[f"boxes{key}"] = [
                {"id": i, "label_id": 1, "type": "rectangle", "frame": int(key), "group": 0, "source": "manual",
                 "occluded": False, "rotation": 0.0, "points": list(box), "attributes": []}
                for i, box in enumerate(row)
            ]  # fmt: skip
        answer: list[int] = self.call(function, body)
        if len(answer) != len(boxes[0]) or not all(isinstance(n, int) and -1 <= n < len(boxes[1]) for n in answer):
            raise CvatFails("the job fails")
        return answer

    def _parse(self, item: Mapping[str, Any], label: TaskLabel, frame: int, polygons: bool) -> dict[str, Any]:
        shape: dict[str, Any] = {
            "frame": frame,
            "label": label.name,
            "type": item["type"],
            "source": "auto",
            "attributes": [
                {"name": each["name"], "value": each["value"]}
                for each in item.get("attributes", [])
                if each["name"] in label.attributes and keeps(each["value"], label.attributes[each["name"]])
            ],
            "group": item.get("group_id"),
        }
        if item["type"].lower() == "tag":
            return shape
        if item["type"] not in SHAPES:
            raise CvatFails(f"{item['type']!r} is not a valid choice")
        points = item["mask"] if item["type"] == "mask" else item.get("points", [])
        if item["type"] == "mask" and "points" in item and polygons:
            shape["type"], points = "polygon", item["points"]
        elif item["type"] == "mask":
            *bits, left, top, right, bottom = points
            points = [*run_lengths(bits), left, top, right, bottom]
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in points):
            raise CvatFails("points: a valid number is required")
        shape["points"] = points
        if item["type"] in ("rectangle", "ellipse"):
            shape["rotation"] = item.get("rotation", 0)
        if item["type"] == "skeleton":
            found = {each["label"]: each for each in item["elements"]}
            middle = [sum(e["points"][axis] for e in found.values()) / (len(found) or 1) for axis in (0, 1)]
            shape["elements"] = [
                {
                    "label": joint,
                    "type": found[joint]["type"] if joint in found else "points",
                    "points": found[joint]["points"] if joint in found else middle,
                    "outside": bool(found[joint].get("outside", False)) if joint in found else True,
                }
                for joint in label.sublabels
            ]
        return shape

    def _ask(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """A connection of its own each time, and what CVAT makes of everything that is no answer."""
        headers = EXTRA_HEADERS if headers is None else headers
        with netrc_file(self._netrc), requests.Session() as session:
            session.headers["User-Agent"] = "CVAT Server"
            session.headers["Connection"] = "close"
            try:
                reply = session.request(method, url, headers=dict(headers), timeout=TIMEOUT_S, json=body)
                reply.raise_for_status()
                return reply.json()
            except requests.HTTPError as error:
                raise CvatFails(str(error)) from error
            except requests.RequestException as error:
                raise CvatFails(f"503: {error}") from error


@contextmanager
def netrc_file(path: Path | None) -> Any:
    """requests looks for the file in the environment of CVAT's server and workers."""
    if path is None:
        yield
        return
    os.environ["NETRC"] = str(path)
    try:
        yield
    finally:
        del os.environ["NETRC"]


def read_function(entry: Mapping[str, Any]) -> Function:
    """As both readers of CVAT want it: the one of 2.15, and the later one, which looks into types and joints."""
    try:
        annotations = entry["metadata"]["annotations"]
        labels = read_labels(json.loads(annotations.get("spec") or "[]"))
        int(annotations.get("version", "1")), int(annotations.get("min_pos_points", 1))
        if annotations["type"] not in KINDS:
            raise CvatFails(f"unknown type {annotations['type']}")
        assert isinstance(entry["spec"]["description"], str)
        assert isinstance(entry["status"]["state"], str)
        assert isinstance(annotations["framework"], str)
        return Function(
            entry["metadata"]["name"],
            annotations["type"],
            annotations.get("name", entry["metadata"]["name"]),
            labels,
            entry["status"].get("httpPort"),
            annotations,
        )
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise CvatFails(f"500: {type(error).__name__} {error}") from error


def read_labels(spec: Any) -> list[dict[str, Any]]:
    labels = []
    for label in spec:
        attributes = [{key: each[key] for key in ("name", "input_type", "values")} for each in label["attributes"]]
        if len({each["name"] for each in attributes}) < len(attributes):
            raise CvatFails("404: non-unique attributes")
        if label["type"] not in (*SHAPES, "tag", "any", "unknown"):
            raise CvatFails(f"unknown label type {label['type']}")
        read = {"name": label["name"], "type": label["type"], "attributes": attributes}
        if read["type"] == "skeleton":
            read |= {"sublabels": read_labels(label["sublabels"]), "svg": label["svg"]}
        labels.append(read)
    if len({label["name"] for label in labels}) < len(labels):
        raise CvatFails("404: non-unique labels")
    return labels


def prefilled(model: Sequence[Mapping[str, Any]], task: Sequence[TaskLabel]) -> dict[str, str]:
    """What the dialog pairs by itself: equal names, and types that fit."""
    return {
        theirs["name"]: ours.name
        for theirs in model
        for ours in task
        if theirs["name"] == ours.name and fits(theirs["type"], ours.type)
    }


def fits(model: str, task: str) -> bool:
    return (
        model == task
        or (task == "any" and model != "skeleton")
        or (model == "unknown" and task != "skeleton")
        or {model, task} == {"mask", "polygon"}
    )


def keeps(value: Any, attribute: tuple[str, Sequence[str]]) -> bool:
    """Whether CVAT keeps an attribute's value; a value that is no text fails the job."""
    if not isinstance(value, str):
        raise CvatFails(f"{type(value).__name__} object has no attribute 'isnumeric'")
    kind, values = attribute
    match kind:
        case "number":
            return value.isnumeric()
        case "checkbox":
            return value in ("true", "false")
        case "select" | "radio":
            return value in values
    return True


def run_lengths(bits: Sequence[int]) -> list[int]:
    """Zeros first."""
    runs, current, count = [], 0, 0
    for bit in bits:
        if bit != current:
            runs.append(count)
            current, count = bit, 0
        count += 1
    return [*runs, count]
