"""Label Studio as far as an ML backend and a client of its REST API see it, from what a running 1.23.2 was seen to do.

It asks a backend exactly as Label Studio does (``retrieve``, ``open_task``, ``interactive``), with limits of time as it
has them, and it is as silent about what goes wrong: it reports success whatever it was answered. It stores what it
is given unchecked, and refuses whole batches for what Label Studio refuses them for.
"""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import numpy as np
import requests
from aiohttp import web
from PIL import Image

from tests.servers.loopback import Loopback

LEGACY = "legacy0123456789legacy0123456789legacy01"


def jwt(**claims: Any) -> str:
    """A token as Label Studio makes them; the signature is not looked at by anybody here."""

    def packed(content: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    return f"{packed({'alg': 'HS256', 'typ': 'JWT'})}.{packed(claims)}.c2lnbmF0dXJl"


PERSONAL = jwt(token_type="refresh", exp=4_000_000_000, jti="personal")


def image(seed: int, width: int = 64, height: int = 48) -> bytes:
    """A small PNG that no other seed gives."""
    rng = np.random.default_rng(seed)
    picture = Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
    packed = io.BytesIO()
    picture.save(packed, "PNG")
    return packed.getvalue()


@dataclass
class Project:
    id: int
    label_config: str
    title: str = "street"
    model_version: str = ""
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    predictions: dict[int, dict[str, Any]] = field(default_factory=dict)
    backends: list[dict[str, Any]] = field(default_factory=list)

    @property
    def key(self) -> str:
        """As it is sent to backends: the id, and when it was made."""
        return f"{self.id}.1795334111"

    def of(self, task_id: int) -> list[dict[str, Any]]:
        return [each for each in self.predictions.values() if each["task"] == task_id]


@dataclass
class Limits:
    """Seconds. Label Studio's own are 1, 3 and 100; they are longer here, for a busy machine."""

    health: float = 60.0
    setup: float = 120.0
    predict: float = 300.0


class LabelStudioServer(Loopback):
    """``legacy_tokens``: whether the organisation allows them. ``files``: path below /data -> bytes.

    ``access``: the access tokens that are good at present.
    """

    def __init__(self) -> None:
        super().__init__()
        self.projects: dict[int, Project] = {}
        self.files: dict[str, bytes] = {}
        self.presigned: dict[str, bytes] = {}  # of buckets, for which it gives out an address elsewhere
        self.proxied: dict[str, bytes] = {}  # of buckets whose files it hands on itself, without presigned addresses
        self.legacy_tokens = True
        self.limits = Limits()
        self.access: set[str] = set()
        self.refreshes = 0
        self.with_token_elsewhere: list[str] = []
        self.import_sizes: list[int] = []
        self.events: list[str] = []  # imports and removals of predictions, in their order
        self.lock = threading.RLock()
        self._next = 1000

    # What a test makes and looks at

    def project(self, label_config: str, images: int = 0, project_id: int = 7, key: str = "image") -> Project:
        made = self.projects[project_id] = Project(project_id, label_config)
        for number in range(images):
            self.add_task(made, {key: self.upload(f"{project_id}/{number:04}.png", image(number))})
        return made

    def upload(self, name: str, data: bytes) -> str:
        self.files[f"/data/upload/{name}"] = data
        return f"/data/upload/{name}"

    def add_task(self, project: Project, data: dict[str, Any], *, annotated: bool = False) -> int:
        with self.lock:
            number = self._next = self._next + 1
            annotations = [{"id": number, "result": [], "was_cancelled": False}] if annotated else []
            project.tasks[number] = {
                "id": number,
                "data": data,
                "meta": {},
                "project": project.id,
                "file_upload": None,
                "annotations": annotations,
                "is_labeled": annotated,
                "total_annotations": len(annotations),
            }
            return number

    # What Label Studio asks of a backend

    def connect(self, backend: str, project: Project, auth: tuple[str, str] | None = None) -> str:
        """Registering a backend: "" or the reason why Label Studio refuses."""
        try:
            self._get(f"{backend}/health", auth, self.limits.health).raise_for_status()
        except requests.RequestException as error:
            return f"Can't connect to ML backend: {error}"
        try:
            self._setup(backend, project, auth)
        except requests.RequestException as error:
            return f"it didn't look like a valid ML backend. Reason: {error}"
        project.backends.append({"id": 1, "url": backend, "title": "Hubbridge", "model_version": "", "state": "CO"})
        return ""

    def retrieve(self, backend: str, project: Project, auth: tuple[str, str] | None = None) -> str:
        """The Data Manager's "Retrieve predictions" for all tasks: what the user is told, whatever happened."""
        told = f"Retrieved {len(project.tasks)} predictions"
        try:
            if not self._is_up(backend, auth):
                return told
            version = self._setup(backend, project, auth)
            with self.lock:
                lacking = [
                    task
                    for number, task in project.tasks.items()
                    if not any(each["model_version"] == version for each in project.of(number))
                ]
            if lacking:
                self._predict(backend, project, lacking, auth)
        except (requests.RequestException, ValueError, KeyError, TypeError):
            pass
        return told

    def open_task(self, backend: str, project: Project, task_id: int, auth: tuple[str, str] | None = None) -> None:
        """Opening a task that has no prediction asks for it, and blocks the page."""
        try:
            if not project.of(task_id) and self._is_up(backend, auth):
                self._setup(backend, project, auth)
                self._predict(backend, project, [project.tasks[task_id]], auth)
        except (requests.RequestException, ValueError, KeyError, TypeError):
            pass

    def interactive(
        self, backend: str, project: Project, task_id: int, context: dict[str, Any], auth: tuple[str, str] | None = None
    ) -> dict[str, Any]:
        """A smart tool's click, as Label Studio's page is answered: HTTP 200 with ``data``, or with ``errors``."""
        body = self._body(project, [project.tasks[task_id]], context)
        try:
            answer = requests.post(f"{backend}/predict", json=body, auth=auth, timeout=self.limits.predict)
            answer.raise_for_status()
            return {"data": answer.json()["results"][0]}
        except (requests.RequestException, ValueError, KeyError) as error:
            return {"errors": [str(error)]}

    def _is_up(self, backend: str, auth: tuple[str, str] | None) -> bool:
        for _ in range(3):
            try:
                return self._get(f"{backend}/health", auth, self.limits.health).ok
            except requests.RequestException:
                continue
        return False

    @staticmethod
    def _get(url: str, auth: tuple[str, str] | None, seconds: float) -> requests.Response:
        return requests.get(url, auth=auth, timeout=seconds)

    def _setup(self, backend: str, project: Project, auth: tuple[str, str] | None) -> str:
        body = {
            "project": project.key,
            "schema": project.label_config,
            "hostname": self.url,
            "access_token": LEGACY,
            "extra_params": None,
        }
        answer = requests.post(f"{backend}/setup", json=body, auth=auth, timeout=self.limits.setup)
        answer.raise_for_status()
        return str(answer.json()["model_version"])

    @staticmethod
    def _body(project: Project, tasks: list[dict[str, Any]], context: Any = None) -> dict[str, Any]:
        sent = [{**task, "predictions": project.of(task["id"])} for task in tasks]
        params = {"login": None, "password": None, "context": context}
        return {"tasks": sent, "project": project.key, "label_config": project.label_config, "params": params}

    def _predict(
        self, backend: str, project: Project, tasks: list[dict[str, Any]], auth: tuple[str, str] | None
    ) -> None:
        body = self._body(project, tasks)
        answer = requests.post(f"{backend}/predict", json=body, auth=auth, timeout=self.limits.predict)
        answer.raise_for_status()
        results = answer.json()["results"]
        if len(results) != len(tasks):
            return  # nothing is stored, and nothing said
        listed = [each if isinstance(each, list) else [each] for each in results]
        items = [{"task": task["id"], **each} for task, some in zip(tasks, listed, strict=True) for each in some]
        self._store(project, items)

    def _store(self, project: Project, items: list[dict[str, Any]]) -> None:
        """All or nothing."""
        for item in items:
            score = item.get("score", 0)
            if item["result"] is None or item.get("model_version", "") is None or isinstance(score, str | bool):
                raise ValueError("the batch is rejected")
            if item["task"] not in project.tasks:
                raise ValueError("no such task")
        with self.lock:
            for item in items:
                self._next += 1
                project.predictions[self._next] = {"id": self._next, "project": project.id, **item}

    # Its own REST API

    def given_user(self, request: web.Request) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Token":
            return self.legacy_tokens and token == LEGACY
        return scheme == "Bearer" and token in self.access

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        path = request.path
        if path.startswith("/presigned/"):
            if "Authorization" in request.headers:
                self.with_token_elsewhere.append(path)
            return web.Response(body=self.presigned[path.removeprefix("/presigned/")])
        if path == "/api/version":
            return web.json_response({"release": "1.23.2"})
        if path == "/api/token/refresh/":
            return self._refresh(json.loads(body))
        if not self.given_user(request):
            return web.json_response({"detail": "Authentication credentials were not provided."}, status=401)
        if path.startswith("/data/"):
            return self._data(f"/data/local/{request.query['d']}" if path == "/data/local-files/" else path)
        if path.startswith("/tasks/") and "/resolve" in path:
            uri = base64.urlsafe_b64decode(request.query["fileuri"]).decode()
            if uri in self.proxied:
                return web.Response(body=self.proxied[uri])
            # Another name of this machine, so another host to a client.
            where = f"http://localhost:{self.port}/presigned/{quote(uri)}"
            return web.Response(status=303, headers={"Location": where})
        with self.lock:
            return self._api(request, path.removeprefix("/api").strip("/").split("/"), body)

    def _data(self, name: str) -> web.Response:
        """Of an uploaded file that it does not know, 1.23.2 fails; of a local one it says so."""
        if name in self.files:
            return web.Response(body=self.files[name])
        if name.startswith("/data/upload/"):
            return self.say(500, "'NoneType' object has no attribute 'has_permission'")
        return self.say(404, "Not found")

    def _refresh(self, given: dict[str, Any]) -> web.Response:
        if given.get("refresh") != PERSONAL:
            return web.json_response({"detail": "Token is invalid"}, status=401)
        self.refreshes += 1
        token = jwt(token_type="access", exp=time.time() + 300, jti=str(self.refreshes))
        self.access.add(token)
        return web.json_response({"access": token})

    def _api(self, request: web.Request, parts: list[str], body: bytes) -> web.Response:
        match (request.method, parts):
            case ("GET", ["current-user", "whoami"]):
                return web.json_response({"id": 1, "email": "ada@example.com"})
            case ("GET", ["projects", number]) if int(number) in self.projects:
                found = self.projects[int(number)]
                shown = {name: getattr(found, name) for name in ("id", "title", "label_config", "model_version")}
                return web.json_response({**shown, "task_number": len(found.tasks)})
            case ("POST", ["projects", number, "import", "predictions"]) if int(number) in self.projects:
                return self._import(self.projects[int(number)], json.loads(body))
            case ("GET", ["ml"]):
                return web.json_response(self.projects[int(request.query["project"])].backends)
            case ("GET", ["tasks"]):
                return self._tasks(request)
            case ("GET", ["tasks", number]):
                return self._task(int(number))
            case ("GET", ["predictions"]):
                task_id = int(request.query["task"])
                return web.json_response([each for p in self.projects.values() for each in p.of(task_id)])
            case ("DELETE", ["predictions", number]):
                for project in self.projects.values():
                    if project.predictions.pop(int(number), None) is not None:
                        self.events.append(f"remove {number}")
                        return web.Response(status=204)
        return self.say(404, "Not found.")

    def _import(self, project: Project, items: list[dict[str, Any]]) -> web.Response:
        try:
            self._store(project, [{"score": 0, "model_version": "undefined", **item} for item in items])
        except (ValueError, KeyError) as error:
            return web.json_response({"detail": str(error)}, status=400)
        self.import_sizes.append(len(items))
        self.events.append(f"import {len(items)}")
        return web.json_response({"created": len(items)}, status=201)

    def _task(self, number: int) -> web.Response:
        for project in self.projects.values():
            if number in project.tasks:
                return web.json_response({**project.tasks[number], "predictions": project.of(number)})
        return self.say(404, "Not found.")

    def _tasks(self, request: web.Request) -> web.Response:
        query = {name: values[0] for name, values in parse_qs(urlsplit(str(request.rel_url)).query).items()}
        project = self.projects.get(int(query["project"]))
        if project is None:
            return self.say(404, "Not found.")
        chosen = json.loads(query.get("query", "{}")).get("selectedItems", {"all": True, "excluded": []})
        wanted = [n for n in project.tasks if chosen["all"] or n in chosen["included"]]
        size, page = int(query.get("page_size", 30)), int(query.get("page", 1))
        cut = wanted[(page - 1) * size : page * size]
        if not cut and page > 1:
            return web.json_response({"detail": "Invalid page."}, status=404)
        rows = []
        for number in cut:
            row = dict(project.tasks[number])
            if query.get("fields") == "all":
                row["predictions"] = project.of(number)
            else:
                row.pop("annotations")
            rows.append(row)
        return web.json_response({"tasks": rows, "total": len(wanted), "total_annotations": 0})
