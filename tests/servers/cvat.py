"""A loopback CVAT: its REST API with the quirks of a real CVAT 2.15, over tasks that live as long as the test.

Its ``state`` outlives it: a CVAT that is killed and started again at the same port holds what it held.

    python -m tests.servers.cvat FOLDER --frames 200     serves one task of these images and prints its address
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import json
import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from aiohttp import web
from PIL import Image

from tests.servers.loopback import Loopback

TOKEN = "0123456789abcdef0123456789abcdef01234567"
USER, PASSWORD = "ann", "wonderland"
TYPES = ("rectangle", "polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton")

Json = dict[str, Any]


@dataclass
class CvatJob:
    id: int
    start: int
    stop: int
    type: str = "annotation"
    tags: list[Json] = field(default_factory=list)
    shapes: list[Json] = field(default_factory=list)
    tracks: list[Json] = field(default_factory=list)


@dataclass
class CvatTask:
    """``pictures``: the uploaded files; ``sizes`` and ``names`` of each frame. ``video``: the mp4 of each chunk."""

    id: int
    name: str
    labels: list[Json]
    jobs: list[CvatJob]
    pictures: Sequence[bytes] = ()
    names: Sequence[str] = ()
    sizes: Sequence[tuple[int, int]] = ()
    chunk_size: int = 36
    video: Sequence[bytes] | None = None
    deleted: Sequence[int] = ()
    project: int | None = None
    start_frame: int = 0
    frame_filter: str = ""
    mistaken: bool = False  # frames are checked against source numbers and indexed relatively
    organization: str = ""
    gone: int = 0  # how often it was asked for since it was deleted; 0: it is there

    @property
    def size(self) -> int:
        return len(self.sizes)

    @property
    def annotations(self) -> list[Json]:
        """Everything on it, in the order of ids."""
        found = [each for job in self.jobs for each in (*job.tags, *job.shapes)]
        return sorted(found, key=lambda each: each["id"])

    def job(self, number: int) -> CvatJob:
        return next(job for job in self.jobs if job.id == number)


def picture(number: int, size: tuple[int, int] = (64, 48), form: str = "JPEG", **options: Any) -> bytes:
    """Another picture for every number."""
    width, height = size
    rng = np.random.default_rng(number)
    pixels = np.kron(rng.integers(0, 255, (6, 8, 3), np.uint8), np.ones((-(-height // 6), -(-width // 8), 1), np.uint8))
    packed = io.BytesIO()
    Image.fromarray(pixels[:height, :width]).save(packed, form, **options)
    return packed.getvalue()


def label(number: int, name: str, type_: str = "any", **more: Any) -> Json:
    common = {"id": number, "name": name, "type": type_, "color": "#33ddff", "attributes": [], "sublabels": []}
    return {**common, "parent_id": None, "has_parent": False, **more}


def images_task(
    number: int,
    frames: int,
    labels: list[Json],
    *,
    size: tuple[int, int] = (64, 48),
    segments: Sequence[tuple[int, int]] | None = None,
    **more: Any,
) -> CvatTask:
    """A task of ``frames`` JPEGs, in one job or in those that ``segments`` (first and last frame) say."""
    jobs = [CvatJob(number * 100 + i, *part) for i, part in enumerate(segments or [(0, frames - 1)])]
    names = [f"street/{i:04}.jpg" for i in range(frames)]
    pictures = [picture(i, size) for i in range(frames)]
    return CvatTask(number, f"street {number}", labels, jobs, pictures, names, [size] * frames, **more)


class State:
    """What stands in CVAT's database. Tags, tracks, and shapes with the points of skeletons, are numbered apart."""

    def __init__(self, *tasks: CvatTask) -> None:
        self.tasks = {task.id: task for task in tasks}
        self.numbers = {"tags": itertools.count(1001), "shapes": itertools.count(5001), "tracks": itertools.count(3001)}
        self.tokens = {TOKEN}
        self.logins = 0
        self.version = "2.15.0"
        self.functions: list[str] | None = None  # on the Models page; None: it runs without models
        self.creates: list[Json] = []  # every create that was carried out

    def task_of_job(self, number: int) -> CvatTask | None:
        return next((task for task in self.tasks.values() if any(job.id == number for job in task.jobs)), None)


class Refusal(Exception):
    """400: nothing at all is stored."""


class CvatServer(Loopback):
    """``unanswered``: what becomes of the next changes of annotations, whose connections break: drop (it acts first),
    late (it acts ``late_s`` later), lost (it never acts), or answered (none of it)."""

    def __init__(self, state: State, port: int = 0) -> None:
        super().__init__()
        self.state = state
        self.port = port
        self.unanswered: list[str] = []
        self.late_s = 0.5
        self.chunk_s = 0.0
        self.busy = 0
        self.busiest = 0  # chunks under way at once, at most
        self.on_change: Callable[[Json], None] = lambda body: None

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        path = request.path.rstrip("/")
        if path == "/api/server/about":
            return web.json_response({"name": "CVAT", "version": self.state.version})
        if path == "/api/auth/login":
            return self._log_in(json.loads(body))
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme not in ("Token", "Bearer") or token not in self.state.tokens:
            return web.json_response({"detail": "Invalid token."}, status=401)
        match path.split("/")[2:]:
            case ["server", "plugins"]:
                return web.json_response({"ANALYTICS": False, "MODELS": self.state.functions is not None})
            case ["lambda", "functions"] if self.state.functions is not None:
                return web.json_response([{"id": name, "kind": "detector"} for name in self.state.functions])
            case ["tasks"]:
                wanted = int(request.query.get("project_id", 0))
                found = [self._task(t) for t in self.state.tasks.values() if t.project == wanted]
                return self._page(request, found[::-1])
            case ["labels"]:
                return self._page(request, self._needed(request, int(request.query["task_id"])).labels)
            case ["jobs"]:
                task = self._needed(request, int(request.query["task_id"]))
                return self._page(request, [self._job(task, job) for job in task.jobs[::-1]])
            case ["tasks", number]:
                return web.json_response(self._task(self._needed(request, int(number))))
            case ["tasks", number, "data", "meta"]:
                return web.json_response(self._meta(self._needed(request, int(number))))
            case ["tasks", number, "data"]:
                return await self._data(self._needed(request, int(number)), request)
            case ["tasks" | "jobs" as kind, number, "annotations"]:
                return await self._annotations(kind, int(number), request, body)
        return web.json_response({"detail": "Not found."}, status=404)

    def _log_in(self, given: Json) -> web.Response:
        if (given.get("username"), given.get("password")) != (USER, PASSWORD):
            refusal = {"non_field_errors": ["Unable to log in with provided credentials."]}
            return web.json_response(refusal, status=400)
        self.state.logins += 1
        key = f"{self.state.logins:040x}"
        self.state.tokens.add(key)
        return web.json_response({"key": key})

    def _needed(self, request: web.Request, number: int) -> CvatTask:
        task = self.state.tasks.get(number)
        organization = request.headers.get("X-Organization", "")
        if task is None or task.organization != organization:
            raise web.HTTPNotFound(text='{"detail": "Not found."}')
        if task.gone:
            task.gone += 1
            if task.gone == 2:
                raise web.HTTPInternalServerError(text="<h1>Server Error (500)</h1>")
            raise web.HTTPNotFound(text='{"detail": "Not found."}')
        return task

    def _page(self, request: web.Request, entries: Sequence[Json]) -> web.Response:
        page, size = int(request.query.get("page", 1)), min(int(request.query.get("page_size", 10)), 2)
        part = entries[(page - 1) * size : page * size]
        following = None
        if page * size < len(entries):
            query = {**request.query, "page": page + 1}  # the host is the one that CVAT believes to have
            following = f"http://cvat-server:8080{request.path}?" + "&".join(f"{k}={v}" for k, v in query.items())
        return web.json_response({"count": len(entries), "next": following, "previous": None, "results": part})

    def _task(self, task: CvatTask) -> Json:
        return {
            "id": task.id,
            "name": task.name,
            "size": task.size,
            "mode": "annotation" if task.video is None else "interpolation",
            "data_chunk_size": task.chunk_size,
            "data_original_chunk_type": "imageset" if task.video is None else "video",
            "data_compressed_chunk_type": "imageset",
            "project_id": task.project,
            "status": "annotation",
        }

    def _job(self, task: CvatTask, job: CvatJob) -> Json:
        range_ = {"start_frame": job.start, "stop_frame": job.stop}
        return {"id": job.id, "task_id": task.id, "type": job.type, "stage": "annotation", "state": "new", **range_}

    def _meta(self, task: CvatTask) -> Json:
        named = [{"width": w, "height": h, "name": n} for (w, h), n in zip(task.sizes, task.names, strict=False)]
        return {
            "chunk_size": task.chunk_size,
            "size": task.size,
            "start_frame": task.start_frame,
            "stop_frame": task.start_frame + task.size - 1,
            "frame_filter": task.frame_filter,
            "frames": named if task.video is None else named[:1],
            "deleted_frames": list(task.deleted),
            "included_frames": None,
            "image_quality": 70,
        }

    async def _data(self, task: CvatTask, request: web.Request) -> web.Response:
        number, chunked = int(request.query["number"]), request.query["type"] == "chunk"
        if task.mistaken:
            source = number * task.chunk_size if chunked else number
            if source < task.start_frame:
                return web.json_response({"detail": "The frame number doesn't belong to the task"}, status=400)
        if not chunked:
            if not 0 <= number < task.size:
                return web.json_response({"detail": "The frame is out of range"}, status=400)
            if task.video is not None:
                return web.Response(body=_still(task, number), content_type="image/png")
            return web.Response(body=task.pictures[number], content_type="image/jpeg")
        first = number * task.chunk_size
        if not 0 <= first < task.size:
            return web.json_response({"detail": "The chunk is out of range"}, status=400)
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            await asyncio.sleep(self.chunk_s)
        finally:
            self.busy -= 1
        if task.video is not None:
            return web.Response(body=task.video[number], content_type="video/mp4")
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as opened:
            for place, data in enumerate(task.pictures[first : first + task.chunk_size]):
                opened.writestr(f"{place:06}.jpg", data)
        return web.Response(body=packed.getvalue(), content_type="application/zip")

    async def _annotations(self, kind: str, number: int, request: web.Request, body: bytes) -> web.StreamResponse:
        task = self.state.tasks.get(number) if kind == "tasks" else self.state.task_of_job(number)
        if task is None:
            return web.json_response({"detail": "Not found."}, status=404)
        task = self._needed(request, task.id)
        jobs = task.jobs if kind == "tasks" else [task.job(number)]
        if request.method == "GET":
            return web.json_response(_whole(jobs))
        given = json.loads(body)
        self.on_change(given)
        fault = self.unanswered.pop(0) if self.unanswered else "answered"

        def act() -> Json:
            return self._act(task, jobs, request.query.get("action", "put"), given, by_task=kind == "tasks")

        try:
            if fault == "answered":
                return web.json_response(act())
            if fault == "drop":
                act()
            elif fault == "late":
                asyncio.get_running_loop().call_later(self.late_s, act)
        except Refusal as refusal:
            return web.json_response([str(refusal)], status=400)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    def _act(self, task: CvatTask, jobs: Sequence[CvatJob], action: str, given: Json, *, by_task: bool) -> Json:
        if action == "delete":
            if not all(each["shapes"] for each in given["tracks"]):
                raise Refusal("shapes: This field is required.")
            return self._delete(jobs, given)
        _check(task, given)
        if action == "put":
            for job in jobs:
                job.tags, job.shapes, job.tracks = [], [], []
        self.state.creates.append(given)
        made: Json = {"version": 0, "tags": [], "shapes": [], "tracks": []}
        for job in jobs:
            for kind in ("tags", "shapes", "tracks"):
                new = [each for each in given[kind] if not by_task or job.start <= each["frame"] <= job.stop]
                for each in reversed(new) if by_task else new:  # by the task's route the order is lost
                    stored = self._stored(kind, each)
                    getattr(job, kind).append(stored)
                    made[kind].append(stored)
        return json.loads(json.dumps(made))

    def _stored(self, kind: str, body: Json) -> Json:
        common = {"id": next(self.state.numbers[kind]), "group": body.get("group") or 0}
        kept = {**body, **common, "source": body.get("source", "manual"), "attributes": body.get("attributes", [])}
        kept.pop("score", None)  # 2.15 does not keep it
        if kind == "tracks":
            unset = {"occluded": False, "outside": False, "z_order": 0, "rotation": 0.0, "attributes": []}
            placed = sorted(body["shapes"], key=lambda each: each["frame"])
            kept["shapes"] = [{**unset, **each, "id": next(self.state.numbers["shapes"])} for each in placed]
            kept["elements"] = body.get("elements", [])
        if kind == "shapes":
            defaults = {"occluded": False, "outside": False, "z_order": 0, "rotation": 0.0, "elements": []}
            kept = {**defaults, **kept}
            kept["elements"] = [{**part, "id": next(self.state.numbers[kind])} for part in kept["elements"]]
        return kept

    def _delete(self, jobs: Sequence[CvatJob], given: Json) -> Json:
        for job in jobs:
            for kind in ("tags", "shapes", "tracks"):
                gone = {(each["id"], each["frame"], each["label_id"], each.get("type")) for each in given[kind]}
                kept = [
                    each
                    for each in getattr(job, kind)
                    if (each.get("id"), each["frame"], each["label_id"], each.get("type")) not in gone
                ]
                setattr(job, kind, kept)
        return given


def _still(task: CvatTask, number: int) -> bytes:
    """One frame of a video."""
    assert task.video is not None
    with av.open(io.BytesIO(task.video[number // task.chunk_size])) as container:
        frames = itertools.islice(container.decode(video=0), number % task.chunk_size, None)
        packed = io.BytesIO()
        next(frames).to_image().save(packed, "PNG")
        return packed.getvalue()


def _whole(jobs: Sequence[CvatJob]) -> Json:
    """Of several jobs, twins in an overlap are shown once."""
    found: Json = {"version": 0, "tags": [], "shapes": [], "tracks": []}
    for kind in ("tags", "shapes", "tracks"):
        seen = set()
        for job in jobs:
            for each in getattr(job, kind):
                twin = json.dumps({k: v for k, v in each.items() if k not in ("id", "elements")}, sort_keys=True)
                if len(jobs) == 1 or twin not in seen:
                    found[kind].append(each)
                seen.add(twin)
    return found


def _check(task: CvatTask, given: Json) -> None:
    """What a real CVAT refuses, and no more than that."""
    labels = {each["id"] for each in task.labels} | {p["id"] for each in task.labels for p in each["sublabels"]}
    specs = {a["id"] for each in task.labels for a in each["attributes"]}
    specs |= {a["id"] for each in task.labels for point in each["sublabels"] for a in point["attributes"]}
    for body in (*given["tags"], *given["shapes"], *(e for s in given["shapes"] for e in s.get("elements", ()))):
        if body["label_id"] not in labels:
            raise Refusal(f"label_id {body['label_id']} is invalid")
        if any(each["spec_id"] not in specs for each in body.get("attributes", ())):
            raise Refusal("spec_id is invalid")
        if not isinstance(body["frame"], int) or body["frame"] < 0:
            raise Refusal("frame: Ensure this value is greater than or equal to 0.")
        if "id" in body:
            raise Refusal("an id was sent on create")
    _check_tracks(task, given["tracks"])
    for body in (*given["shapes"], *(placed for track in given["tracks"] for placed in track["shapes"])):
        if body.get("type") not in TYPES:
            raise Refusal(f"{body.get('type')} is not a valid choice.")
        numbers = [*body["points"], body.get("rotation", 0.0)]
        if any(isinstance(n, bool) or not isinstance(n, int | float) or not math.isfinite(n) for n in numbers):
            raise Refusal("A valid number is required.")
        if not 0 <= body.get("rotation", 0.0) <= 360:
            raise Refusal("rotation: Ensure this value is less than or equal to 360.")


def _check_tracks(task: CvatTask, tracks: Sequence[Json]) -> None:
    """Attributes that may change stand on keyframes, the others on the track. More strictly than CVAT: keyframes come
    in order, one a frame, since CVAT fails at reading others."""
    mutable = {a["id"]: bool(a.get("mutable")) for each in task.labels for a in each["attributes"]}
    for track in tracks:
        if track["label_id"] not in {each["id"] for each in task.labels}:
            raise Refusal(f"label_id `{track['label_id']}` is invalid")
        on_keyframes = [each["spec_id"] for placed in track["shapes"] for each in placed["attributes"]]
        if any(mutable.get(each["spec_id"], True) for each in track["attributes"]):
            raise Refusal("spec_id of a track is invalid")
        if not all(mutable.get(number, False) for number in on_keyframes):
            raise Refusal("spec_id of a keyframe is invalid")
        frames = [placed["frame"] for placed in track["shapes"]]
        if not frames or frames != sorted(set(frames)) or frames[0] != track["frame"] or "id" in track:
            raise Refusal("the keyframes of a track are out of order")


async def _serve(frames: int, folder: Path, name: str) -> None:
    task = images_task(42, 0, [label(1, name, "rectangle")], segments=[(0, frames - 1)])
    files = [path.read_bytes() for path in sorted(folder.iterdir())]
    size = Image.open(io.BytesIO(files[0])).size
    task.pictures = [files[i % len(files)] for i in range(frames)]
    task.names, task.sizes = [f"{i:05}.jpg" for i in range(frames)], [size] * frames
    with CvatServer(State(task)) as server:
        print(f"{server.url}/tasks/42", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="images of one size, which are repeated")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--label", default="car")
    given = parser.parse_args()
    asyncio.run(_serve(given.frames, given.folder, given.label))
