"""Keys that were planted everywhere stand nowhere afterwards: in no answer, log line, file, backup or metric.

Every success and every failure of a hosted model is driven with real clients against loopback hosts, some of which
repeat the key in their error text; then all that was written or answered is searched, in every spelling.
"""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from aiohttp import web

from tests import architectures, models
from tests.e2e.conftest import IMAGES
from tests.e2e.server import ServerProcess
from tests.hub import TOKEN, HubServer, Repository
from tests.servers.certificate import certificate
from tests.servers.cvat import USER, CvatServer, State, images_task, label
from tests.servers.files import FileServer, Served
from tests.servers.hugging_face_inference import HuggingFaceInference
from tests.servers.inference_server import InferenceServer
from tests.servers.label_studio import LEGACY, PERSONAL, LabelStudioServer
from tests.servers.loopback import Loopback
from tests.servers.nuclio import Deployed, Nuclio
from tests.servers.roboflow import KEY, Roboflow

PASSWORD = "c4n4ry+Password/of=Nuclio"
STORED = "hf_c4n4ryStoredForNobody1234"
CVAT = "c4n4ryTokenOfCvat&Friends"
FERNET = base64.urlsafe_b64encode(b"c4n4ry-the-key-of-stored-tokens!").decode()
CVAT_TOKEN = "c4n4ryPersonalTokenOfCvat+1234567890"
CVAT_PASSWORD = "c4n4ry+Password/of=Cvat"
FILES = "c4n4ryOfAFileServer+=1234"
CANARIES = (KEY, TOKEN, PASSWORD, STORED, CVAT, FERNET, CVAT_TOKEN, CVAT_PASSWORD, LEGACY, PERSONAL, FILES)
TOOL_FAULTS = ("401", "404", "redirect", "leak")
FAULTS = ("400", "401", "402", "403", "404", "413", "500", "502", "503", "cut", "garbage", "redirect", "leak")


def spellings(secret: str) -> set[bytes]:
    """As it is, as URLs, JSON and Basic authentication spell it."""
    forms = {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], secret[::-1]}
    encoded = {base64.b64encode(secret[i:].encode()).decode()[2:-4] for i in range(3)}
    return {form.encode() for form in forms | {each for each in encoded if len(each) > 8}} - {secret[::-1].encode()}


@dataclass
class Recorder:
    """Asks a server and keeps every answer, headers and all."""

    server: ServerProcess
    token: str
    answers: list[bytes] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type, "Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(self.server.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                status, head, content = response.status, str(response.headers), response.read()
        except urllib.error.HTTPError as error:
            status, head, content = error.code, str(error.headers), error.read()
        self.answers += [head.encode(), content]
        self.statuses.append(status)
        try:
            return json.loads(content)
        except ValueError:
            return content


class OpenStudio(LabelStudioServer):
    """Repeats what it was sent where it should not, as its debug pages do."""

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if self.telling and request.path.startswith(("/api/projects", "/api/tasks", "/data")):
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            return self.say(400, f"so it was: {token} {PERSONAL if scheme == 'Bearer' else ''}")
        return await super().answer(request, body)

    telling = False


class OpenCvat(CvatServer):
    telling = False

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if self.telling and request.path.startswith("/api/"):
            return web.json_response(
                {"detail": "so it was: " + request.headers.get("Authorization", "nobody").split()[-1]}, status=400
            )
        return await super().answer(request, body)


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.setattr("tests.servers.cvat.PASSWORD", CVAT_PASSWORD)
    model = models.write_onnx_model(tmp_path / "hub")
    models.write_colour_classifier(tmp_path / "hub" / "paint.onnx")
    cvat = OpenCvat(State(images_task(42, 3, [label(i, name) for i, name in enumerate(models.LABELS, 11)])))
    cvat.state.tokens = {CVAT_TOKEN}
    files = FileServer(
        {"/street.onnx": Served(models.write_yolo(tmp_path / "street.onnx").read_bytes())}, f"Bearer {FILES}"
    )
    files.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files.tls.load_cert_chain(*certificate(tmp_path))
    architectures.write(architectures.sam, tmp_path / "hub" / "sam")
    with ExitStack() as stack:
        opened: dict[str, Any] = {
            "hub": HubServer({"street/detector": Repository(model, served="live", private=True)}),
            "router": HuggingFaceInference(models.LABELS, {"street/detector": "object-detection"}, key=TOKEN),
            "roboflow": Roboflow(models.LABELS, {"signs": ("object-detection", {2: True})}),
            "server": InferenceServer(models.LABELS, {"signs/1": "object-detection"}),
            "cvat": cvat,
            "studio": OpenStudio(),
            "files": files,
            "nuclio": Nuclio({"f": Deployed(dict.fromkeys(models.LABELS, "rectangle"))}, f"me:{PASSWORD}"),
        }
        yield {name: stack.enter_context(host) for name, host in opened.items()}


STREET = """<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">{}</RectangleLabels>
</View>""".format("".join(f'<Label value="{name}"/>' for name in models.LABELS))


def environment(hosts: dict[str, Any], folder: Path) -> dict[str, str]:
    return {
        "SSL_CERT_FILE": str(folder / "authority.pem"),
        "HUBBRIDGE_SERVER__SERVER_FOLDERS": str(folder / "hub"),
        "HF_TOKEN": TOKEN,
        "ROBOFLOW_API_KEY": KEY,
        "HUBBRIDGE_HUGGINGFACE__ENDPOINT": hosts["hub"].url,
        "HUBBRIDGE_HUGGINGFACE__ROUTER": hosts["router"].url,
        "HUBBRIDGE_ROBOFLOW__API": hosts["roboflow"].url,
        "HUBBRIDGE_ROBOFLOW__INFERENCE": hosts["roboflow"].url,
        "HUBBRIDGE_NETWORK__ALLOWED_HOSTS": "127.0.0.1,localhost",
        "HUBBRIDGE_LOGGING__LEVEL": "debug",
        "HUBBRIDGE_LOGGING__FORMAT": "json",
        "HUBBRIDGE_JOBS__PATIENCE_SECONDS": "0.5",
        "HUBBRIDGE_CVAT__SETTLE_SECONDS": "0.1",
        "HUBBRIDGE_SECRETS__KEY": FERNET,
    }


def command(server: ServerProcess, *arguments: str) -> bytes:
    """What a command says, on both streams."""
    line = [sys.executable, "-c", "from bridge.cli import main; main()", *arguments]
    done = subprocess.run(line, env=server.environment, capture_output=True, check=False, timeout=120)
    return done.stdout + done.stderr


def drive(recorder: Recorder, hosts: dict[str, Any]) -> None:
    """Add, predict, annotate and export with every host, well and with every fault."""
    ask = recorder.ask
    ask("POST", "/v1/connections", {"kind": "huggingface", "host": "elsewhere.example", "secret": STORED})
    ask("POST", "/v1/connections", {"kind": "cvat", "host": "cvat.lan", "secret": CVAT})
    ask("POST", "/v1/connections", {"kind": "cvat", "host": "cvat lan", "secret": CVAT})  # refused
    pasted = {
        "roboflow": f"https://universe.roboflow.com/street-team/signs/2?api_key={KEY}",
        "server": f"{hosts['server'].url}/signs/1?api_key={KEY}",
        "nuclio": f"http://me:{quote(PASSWORD, safe='')}@127.0.0.1:{hosts['nuclio'].port}/api/functions/f",
        "router": "street/detector",
    }
    picture = sorted(IMAGES.glob("*.jpg"))[0].read_bytes()
    task = ask("POST", "/v1/tasks", {"name": "street", "labels": [{"name": label} for label in models.LABELS]})
    ask("POST", f"/v1/tasks/{task['id']}/frames?filename=1.jpg", picture, "image/jpeg")
    for name, text in pasted.items():
        ask("POST", "/v1/models/understand", {"reference": text})
        ask("POST", "/v1/models/resolve", {"reference": text, "run": "hosted"})
        added = ask("POST", "/v1/models", {"reference": text, "run": "hosted", "name": name})
        assert recorder.statuses[-1] == 201, added
        path = f"/v1/models/{added['id']}/predict"
        ask("POST", path, picture, "image/jpeg")
        assert recorder.statuses[-1] == 200, recorder.answers[-1]
        host: Loopback = hosts[name]
        for fault in FAULTS:
            host.fail(fault)
            ask("POST", path, picture, "image/jpeg")
            if fault in ("401", "leak", "redirect"):
                ask("POST", "/v1/models/resolve", {"reference": text, "run": "hosted"})
                job = ask("POST", "/v1/jobs", {"target": task["id"], "model_id": added["id"]})
                recorder.server.token = recorder.token
                recorder.server.wait_for(job["id"], ("failed", "succeeded"))
                ask("GET", f"/v1/jobs/{job['id']}")
                ask("GET", f"/v1/jobs/{job['id']}/frames")
                ask("GET", f"/v1/jobs/{job['id']}/events")
        host.faults = []
    hosts["roboflow"].fail("429")  # once: from here on its models wait for as long as it asked
    ask("POST", "/v1/models/1/predict", picture, "image/jpeg")
    ask("POST", "/v1/models", {"reference": f"https://universe.roboflow.com/a/b/c/d?api_key={KEY}"})
    ask("POST", "/v1/models", {"reference": TOKEN})
    ask("GET", f"/v1/models?api_key={KEY}")
    for page in ("models", "connections", "tasks", "jobs", "mappings", f"tasks/{task['id']}/export", "openapi.json"):
        ask("GET", f"/v1/{page}")
    for page in ("/metrics", "/readyz", "/"):
        ask("GET", page)
    Recorder(recorder.server, STORED, recorder.answers, recorder.statuses).ask("GET", "/v1/models")


def drive_tools(recorder: Recorder, hosts: dict[str, Any]) -> set[str]:
    """Jobs on CVAT and Label Studio, with each kind of account, well and with every fault. What was issued there."""
    ask, cvat, studio = recorder.ask, hosts["cvat"], hosts["studio"]
    studio.project(STREET, 3)
    model = next(each["id"] for each in ask("GET", "/v1/models")["models"] if each["name"] == "nuclio")
    for kind, host, path, secret in (
        ("cvat", cvat, "/tasks/42", CVAT_TOKEN),
        ("cvat", cvat, "/tasks/42", f"{USER}:{CVAT_PASSWORD}"),
        ("label-studio", studio, "/projects/7", LEGACY),
        ("label-studio", studio, "/projects/7", PERSONAL),
    ):
        ask("POST", "/v1/connections", {"kind": kind, "host": f"127.0.0.1:{host.port}", "secret": secret})
        assert recorder.statuses[-1] == 201, recorder.answers[-1]
        task = ask("POST", "/v1/tasks", {"remote": host.url + path})
        assert recorder.statuses[-1] in (200, 201), recorder.answers[-1]
        wanted = {"target": task["id"], "model_id": model, "clean": "model"}
        for fault in (None, "told", *TOOL_FAULTS):
            job = ask("POST", "/v1/jobs", wanted)
            assert recorder.statuses[-1] == 201, recorder.answers[-1]
            host.telling = fault == "told"
            if fault not in (None, "told"):
                host.fail(fault)
            ended = recorder.server.wait_for(job["id"], ("failed", "succeeded"))
            assert fault is not None or ended["state"] == "succeeded", ended
            for what in ("", "/frames", "/events"):
                ask("GET", f"/v1/jobs/{job['id']}{what}")
            ask("GET", f"/v1/tasks/{task['id']}/frames/0/image")
            ask("POST", "/v1/tasks", {"remote": host.url + path + "0"})
            if fault in (None, "told"):
                ask("POST", f"/v1/jobs/{job['id']}/undo")
            else:
                ask("POST", "/v1/jobs", wanted)
            host.telling, host.faults = False, []
            for left in ask("GET", "/v1/jobs")["jobs"]:
                if left["state"] in ("queued", "running"):
                    ask("POST", f"/v1/jobs/{left['id']}/cancel")
                    recorder.server.wait_for(left["id"], ("failed", "succeeded", "cancelled"))
        for form in ("coco", "cvat", "yolo"):
            ask("GET", f"/v1/tasks/{task['id']}/export?format={form}")
    return {*studio.access, *(cvat.state.tokens - {CVAT_TOKEN})}


def drive_file(recorder: Recorder, files: FileServer) -> None:
    """A model file on the web that wants the key: fetched, run, and gone wrong in every way."""
    ask, picture = recorder.ask, sorted(IMAGES.glob("*.jpg"))[0].read_bytes()
    digest = hashlib.sha256(files.files["/street.onnx"].content).hexdigest()
    address = f"{files.url}/street.onnx#sha256="
    for fault in (*TOOL_FAULTS, "cut", "garbage"):
        files.fail(fault)
        ask("POST", "/v1/models", {"reference": address + digest})
        assert recorder.statuses[-1] >= 400, recorder.answers[-1]
    files.faults = []
    ask("POST", "/v1/models", {"reference": address + "0" * 64})
    assert recorder.statuses[-1] >= 400, recorder.answers[-1]
    added = ask("POST", "/v1/models", {"reference": address + digest, "name": "web-street"})
    assert recorder.statuses[-1] == 201, recorder.answers[-1]
    assert len(files.seen) >= 7
    assert {each.headers["Authorization"] for each in files.seen} == {f"Bearer {FILES}"}
    ask("POST", f"/v1/models/{added['id']}/predict", picture, "image/jpeg")
    assert recorder.statuses[-1] == 200, recorder.answers[-1]


def drive_clicks(recorder: Recorder, folder: Path, picture: bytes) -> None:
    """SAM, asked by clicks and boxes, rightly and wrongly."""
    ask = recorder.ask
    added = ask("POST", "/v1/models", {"reference": str(folder), "name": "clicks"})
    assert recorder.statuses[-1] == 201, recorder.answers[-1]
    path = f"/v1/models/{added['id']}/segment"
    for query in ("positive=[[5,5]]", "box=[5,5,60,60]"):
        ask("POST", f"{path}?{query}", picture, "image/jpeg")
        assert recorder.statuses[-1] == 200, recorder.answers[-1]
    for query, content in (("", picture), ("positive=[[5,5]]", b"no picture")):
        ask("POST", f"{path}?{query}", content, "image/jpeg")
        assert recorder.statuses[-1] in (400, 422), recorder.answers[-1]


def drive_rest(recorder: Recorder, server: ServerProcess, hosts: dict[str, Any], folder: Path) -> list[bytes]:
    """Profiles, clicks, cascades with a hosted detector, and files on the web. What commands said."""
    ask, files = recorder.ask, hosts["files"]
    model = next(each["id"] for each in ask("GET", "/v1/models")["models"] if each["name"] == "nuclio")
    picture = sorted(IMAGES.glob("*.jpg"))[0].read_bytes()
    labels = [{"name": name} for name in models.LABELS]
    profile = ask("POST", "/v1/profiles", {"name": "mine", "model_id": model, "labels": labels})
    assert recorder.statuses[-1] == 201, recorder.answers[-1]
    ask("POST", "/v1/connections", {"kind": "https", "host": f"127.0.0.1:{files.port}", "secret": FILES})
    assert recorder.statuses[-1] == 201, recorder.answers[-1]
    quoted = quote(FILES, safe="")
    paint = f"paint={folder / 'hub' / 'paint.onnx'}"
    said = [command(server, "model", "cascade", "painted", "--detector", "nuclio", "--classifier", paint)]
    # Refused, or without the file, or with another one than is pinned.
    for start in (f"http://127.0.0.1:{files.port}", files.url, f"https://x:{quoted}@files.lan"):
        pasted = f"{start}/m.onnx?token={quoted}#sha256=unknown"
        said.append(command(server, "--debug", "model", "add", pasted))
        ask("POST", "/v1/models/understand", {"reference": pasted})
        ask("POST", "/v1/models", {"reference": pasted})
    drive_file(recorder, files)
    drive_clicks(recorder, folder / "hub" / "sam", picture)
    cascade = next(each["id"] for each in ask("GET", "/v1/models")["models"] if each["name"] == "painted")
    for fault in (None, *TOOL_FAULTS):
        if fault is not None:
            hosts["nuclio"].fail(fault)
        ask("POST", f"/v1/profiles/{profile['id']}/predict", picture, "image/jpeg")
        assert fault is not None or recorder.statuses[-1] == 200, recorder.answers[-1]
        ask("POST", f"/v1/models/{cascade}/predict", picture, "image/jpeg")
        assert fault is not None or recorder.statuses[-1] == 200, recorder.answers[-1]
        ask("POST", f"/v1/models/{model}/segment?positive=[[5,5]]", picture, "image/jpeg")
    hosts["nuclio"].faults = []
    for page in ("profiles", "connections", "models"):
        ask("GET", f"/v1/{page}")
    ask("GET", "/metrics")
    return said


def test_no_planted_key_stands_in_anything_that_was_written_or_answered(tmp_path: Path, hosts: dict[str, Any]) -> None:
    server = ServerProcess(tmp_path, environment=environment(hosts, tmp_path))
    made = command(server, "token", "create", "canary", "--scope", "admin", "--json")
    token = json.loads(made)["text"]
    with server:
        recorder = Recorder(server, token)
        drive(recorder, hosts)
        recorder.server.token = token
        said = drive_rest(recorder, server, hosts, tmp_path)
        issued = drive_tools(recorder, hosts)
        assert len(issued) > 1  # sessions of CVAT and access tokens of Label Studio
        said += [
            command(server, *line)
            for line in (
                ("backup", str(tmp_path / "saved.tar"), "--with-key"),
                ("doctor",),
                ("cvat", "check", f"{hosts['cvat'].url}/tasks/42"),
                ("label-studio", "check", f"{hosts['studio'].url}/projects/7"),
                ("task", "list"),
                ("profile", "list"),
                ("connection", "list"),
                ("token", "list"),
                ("job", "list"),
                ("model", "list", "--json"),
                ("--debug", "model", "add", f"https://universe.roboflow.com/a/b/c/d?api_key={KEY}"),
            )
        ]
        server.stop()
    assert len(recorder.statuses) > 90
    assert {200, 201, 400, 401, 403, 404, 429, 502, 503} <= set(recorder.statuses)
    for name in ("roboflow", "router", "nuclio"):  # the keys really were used
        assert hosts[name].seen
    written = {
        str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "hub" not in path.parts
    }
    assert "failed unexpectedly" not in written[str(tmp_path / "server.log")].decode()
    everything = {**written, "answers": b"\n".join(recorder.answers), "commands": b"\n".join(said)}
    searched = sum(map(len, everything.values()))
    assert searched > 100_000
    for canary in (*CANARIES, *issued, token):
        for form in spellings(canary):
            found = {place: content for place, content in everything.items() if form in content}
            near = {place: content.partition(form)[0][-200:] for place, content in found.items()}
            assert near == {}, form
