"""The main job over HTTP alone, through kill -9 and a new start; and a client generated from the description."""

from __future__ import annotations

import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.e2e.server import ServerProcess
from tests.models import write_onnx_model

FRAMES = 400


def archive_of_pictures(count: int) -> bytes:
    """Pictures of different colours, and so with different detections."""
    rng = np.random.default_rng(0)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(count):
            picture = io.BytesIO()
            Image.fromarray(np.full((120, 160, 3), rng.integers(0, 255, 3), np.uint8)).save(picture, "PNG")
            archive.writestr(f"{number:04}.png", picture.getvalue())
    return packed.getvalue()


def events_of(text: str) -> list[tuple[str, Any]]:
    blocks = [
        dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if "event" in block
    ]
    return [(block["event"], json.loads(block["data"])) for block in blocks]


def comparable(exported: str) -> list[tuple[Any, ...]]:
    """What an export says, whatever the order in which shapes were stored."""
    document = json.loads(exported)
    names = {image["id"]: image["file_name"] for image in document["images"]}
    rows = [
        (names[entry["image_id"]], entry["category_id"], tuple(round(value, 2) for value in entry["bbox"]))
        for entry in document["annotations"]
    ]
    return sorted(rows)


@pytest.fixture
def server(tmp_path: Path) -> ServerProcess:
    write_onnx_model(tmp_path / "model")
    slowly = {"HUBBRIDGE_JOBS__BATCH_SIZE": "1", "HUBBRIDGE_JOBS__COMMIT_FRAMES": "4"}
    return ServerProcess(tmp_path, environment={"HUBBRIDGE_SERVER__SERVER_FOLDERS": str(tmp_path), **slowly})


def test_a_job_survives_kill_9_and_everything_else_goes_over_http(server: ServerProcess) -> None:
    reference = {"reference": str(server.folder / "model")}
    with server:
        assert server.call("POST", "/v1/models/resolve", reference)["task_type"] == "object-detection"
        model = server.call("POST", "/v1/models", reference)
        labels = [{"name": "vehicle", "type": "rectangle"}, {"name": "person"}, {"name": "tree"}]
        task = server.call("POST", "/v1/tasks", {"name": "street", "labels": labels})
        archive = archive_of_pictures(FRAMES)
        added = server.call("POST", f"/v1/tasks/{task['id']}/frames", archive, content_type="application/zip")
        assert added["added"] == FRAMES
        matches = server.call("POST", "/v1/label-matches", {"model_id": model["id"], "task_id": task["id"]})["matches"]
        assert {m["model_label"]: m["task_label"] for m in matches}["car"] == "vehicle"
        spec = {"target": task["id"], "model_id": model["id"], "mapping": {"car": "vehicle"}, "threshold": 0.1}
        job = server.call("POST", "/v1/jobs", spec)
        while (now := server.call("GET", f"/v1/jobs/{job['id']}"))["frames_done"] < FRAMES // 8:
            assert now["state"] in ("queued", "running")
        server.kill()
    with server:  # the job is found to be crashed, and goes on
        events = events_of(server.call("GET", f"/v1/jobs/{job['id']}/events"))
        assert events[-1][0] == "state"
        assert events[-1][1]["state"] == "succeeded"
        ended = server.call("GET", f"/v1/jobs/{job['id']}")
        assert (ended["frames_done"], ended["frames_failed"]) == (FRAMES, 0)
        survived = comparable(server.call("GET", f"/v1/tasks/{task['id']}/export?format=coco"))
        assert len(survived) == ended["shapes_created"] > 0
        undone = server.call("POST", f"/v1/jobs/{job['id']}/undo")
        assert undone == {"removed": ended["shapes_created"], "restored": 0, "kept": 0}
        undisturbed = server.call("POST", "/v1/jobs", spec)
        server.wait_for(undisturbed["id"], ("succeeded",))
        assert comparable(server.call("GET", f"/v1/tasks/{task['id']}/export?format=coco")) == survived
        assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_cleanly_with_its_job_queued(server: ServerProcess, number: signal.Signals) -> None:
    with server:
        model = server.call("POST", "/v1/models", {"reference": str(server.folder / "model")})
        task = server.call("POST", "/v1/tasks", {"name": "street", "labels": [{"name": "person"}]})
        server.call(
            "POST", f"/v1/tasks/{task['id']}/frames", archive_of_pictures(FRAMES), content_type="application/zip"
        )
        job = server.call("POST", "/v1/jobs", {"target": task["id"], "model_id": model["id"]})
        server.wait_for(job["id"], ("running",))
        os.kill(server.process.pid, number)
        assert server.process.wait(20) == 0
    assert not (server.folder / "data" / "server.json").exists()
    assert "Traceback" not in (server.folder / "server.log").read_text()
    with server:
        ended = server.wait_for(job["id"], ("succeeded",))
        assert ended["frames_done"] == FRAMES


def test_a_generated_client_does_a_whole_job(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server:
        description = tmp_path / "openapi.json"
        description.write_text(json.dumps(server.call("GET", "/v1/openapi.json")))
        generator = shutil.which("openapi-python-client", path=str(Path(sys.executable).parent))
        assert generator is not None, "it is one of the tools for tests"
        command = [
            generator,
            "generate",
            "--path",
            str(description),
            "--output-path",
            str(tmp_path / "out"),
            "--meta",
            "none",
        ]
        made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert made.returncode == 0, made.stdout + made.stderr
        (tmp_path / "out").rename(tmp_path / "hubbridge_client")
        monkeypatch.syspath_prepend(str(tmp_path))
        _annotate_with_generated_client(server)


def _annotate_with_generated_client(server: ServerProcess) -> None:
    def part(name: str) -> Any:
        return importlib.import_module(f"hubbridge_client.{name}")

    with part("client").Client(base_url=server.url, raise_on_unexpected_status=True) as client:
        _whole_job(server, client, part)


def _whole_job(server: ServerProcess, client: Any, part: Callable[[str], Any]) -> None:
    models, types = part("models"), part("types")
    add = models.AddModel(reference=str(server.folder / "model"))
    model = part("api.models.add_model").sync(client=client, body=add)
    label = models.LabelIn(name="person")
    task = part("api.tasks.create_task").sync(client=client, body=models.CreateTask(name="t", labels=[label]))
    picture = types.File(payload=io.BytesIO(archive_of_pictures(3)), file_name="a.zip")
    files = models.AddFramesFilesBody(files=[picture])
    added = part("api.frames.add_frames").sync(task.id, client=client, body=files)
    assert added.added == 3
    spec = models.JobSpec(target=task.id, model_id=model.id, threshold=0.0)
    job = part("api.jobs.create_job").sync(client=client, body=spec)
    server.wait_for(job.id, ("succeeded",))
    ended = part("api.jobs.get_job").sync(job.id, client=client)
    assert (ended.state, ended.frames_done) == (models.JobState.SUCCEEDED, 3)
    page = part("api.annotations.list_annotations").sync(task.id, client=client)
    assert sum(len(frame.shapes) for frame in page.frames) == ended.shapes_created > 0
    missing = part("api.tasks.get_task").sync(99, client=client)
    assert missing.error.code == "not_found"
