"""Keys that were planted everywhere stand nowhere afterwards: in no answer, log line, file, backup or metric.

Every success and every failure of a hosted model is driven with real clients against loopback hosts, some of which
repeat the key in their error text; then all that was written or answered is searched, in every spelling.
"""

from __future__ import annotations

import base64
import json
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

from tests import models
from tests.e2e.conftest import IMAGES
from tests.e2e.server import ServerProcess
from tests.hub import TOKEN, HubServer, Repository
from tests.servers.hugging_face_inference import HuggingFaceInference
from tests.servers.inference_server import InferenceServer
from tests.servers.loopback import Loopback
from tests.servers.nuclio import Deployed, Nuclio
from tests.servers.roboflow import KEY, Roboflow

PASSWORD = "c4n4ry+Password/of=Nuclio"
STORED = "hf_c4n4ryStoredForNobody1234"
CVAT = "c4n4ryTokenOfCvat&Friends"
FERNET = base64.urlsafe_b64encode(b"c4n4ry-the-key-of-stored-tokens!").decode()
CANARIES = (KEY, TOKEN, PASSWORD, STORED, CVAT, FERNET)
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


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[dict[str, Any]]:
    model = models.write_onnx_model(tmp_path / "hub")
    with ExitStack() as stack:
        opened: dict[str, Any] = {
            "hub": HubServer({"street/detector": Repository(model, served="live", private=True)}),
            "router": HuggingFaceInference(models.LABELS, {"street/detector": "object-detection"}, key=TOKEN),
            "roboflow": Roboflow(models.LABELS, {"signs": ("object-detection", {2: True})}),
            "server": InferenceServer(models.LABELS, {"signs/1": "object-detection"}),
            "nuclio": Nuclio({"f": Deployed(dict.fromkeys(models.LABELS, "rectangle"))}, f"me:{PASSWORD}"),
        }
        yield {name: stack.enter_context(host) for name, host in opened.items()}


def environment(hosts: dict[str, Any]) -> dict[str, str]:
    return {
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


def test_no_planted_key_stands_in_anything_that_was_written_or_answered(tmp_path: Path, hosts: dict[str, Any]) -> None:
    server = ServerProcess(tmp_path, environment=environment(hosts))
    made = command(server, "token", "create", "canary", "--scope", "admin", "--json")
    token = json.loads(made)["text"]
    with server:
        recorder = Recorder(server, token)
        drive(recorder, hosts)
        said = [
            command(server, *line)
            for line in (
                ("backup", str(tmp_path / "saved.tar"), "--with-key"),
                ("doctor",),
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
    for canary in (*CANARIES, token):
        for form in spellings(canary):
            found = {place: content for place, content in everything.items() if form in content}
            near = {place: content.partition(form)[0][-200:] for place, content in found.items()}
            assert near == {}, form
