"""`hubbridge backup` and `doctor` beside a server at work, and a start from the backup in a fresh folder."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.e2e.conftest import IMAGES
from tests.e2e.server import ServerProcess
from tests.servers.inference_server import InferenceServer
from tests.servers.roboflow import KEY

NAMES = ("car", "bus", "person", "tree")
LABELS = [{"name": name} for name in NAMES]
COPIES = 12  # of the 16 example images
# Small batches and transactions, so that a backup falls between many; a dead run's job is taken over soon.
VARIABLES = {
    "HUBBRIDGE_JOBS__BATCH_SIZE": "2",
    "HUBBRIDGE_JOBS__COMMIT_FRAMES": "2",
    "HUBBRIDGE_JOBS__COMMIT_MS": "2",
    "HUBBRIDGE_JOBS__LEASE_SECONDS": "5",
    "HUBBRIDGE_NETWORK__ALLOWED_HOSTS": "127.0.0.1",
}


class SlowHost(InferenceServer):
    """Takes a second for each answer, so that jobs are still at work when a command has come up."""

    answer_s = 1.0

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if request.method == "POST":
            await asyncio.sleep(self.answer_s)
        return await super().answer(request, body)


def command(server: ServerProcess, *arguments: object) -> dict[str, Any]:
    """What a command that went well says as JSON."""
    line = [sys.executable, "-c", "from bridge.cli import main; main()", *map(str, arguments), "--json"]
    done = subprocess.run(line, env=server.environment, capture_output=True, text=True, check=False, timeout=600)
    assert "Traceback" not in done.stderr, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def wrong(server: ServerProcess) -> set[str]:
    found = command(server, "doctor")["findings"]
    return {each["check"] for each in found if not each["well"]} - {"disk"}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def pictures() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for copy in range(COPIES):
            for image in sorted(IMAGES.glob("*.jpg")):
                archive.write(image, f"{copy:02}_{image.name}")
    return packed.getvalue()


def shapes(server: ServerProcess, task: int) -> Any:
    """The whole task, as it leaves."""
    coco = server.call("GET", f"/v1/tasks/{task}/export?format=coco")
    found = json.loads(coco) if isinstance(coco, str) else coco
    boxes = [
        (each["image_id"], each["category_id"], [round(x, 1) for x in each["bbox"]]) for each in found["annotations"]
    ]
    return [image["file_name"] for image in found["images"]], sorted(boxes)


def test_a_backup_of_a_busy_server_starts_elsewhere_and_its_jobs_go_on(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    saved = tmp_path / "saved.tar"
    packed = pictures()
    with (
        SlowHost(NAMES, {"signs/1": "object-detection"}) as host,
        ServerProcess(tmp_path / "one", environment=VARIABLES) as server,
    ):
        pasted = f"{host.url}/signs/1?api_key={KEY}#labels={','.join(NAMES)}"  # the key is stored, and goes along
        model = server.call("POST", "/v1/models", {"reference": pasted, "run": "hosted"})["id"]
        tasks = [server.call("POST", "/v1/tasks", {"name": name, "labels": LABELS})["id"] for name in ("a", "b", "c")]
        for task in tasks[:2]:
            server.call("POST", f"/v1/tasks/{task}/frames?filename=1.zip", packed, content_type="application/zip")
        jobs = [server.call("POST", "/v1/jobs", {"target": task, "model_id": model})["id"] for task in tasks[:2]]
        until(lambda: server.call("GET", f"/v1/jobs/{jobs[0]}")["frames_done"] >= 4)
        summary = command(server, "backup", saved, "--with-key")["backup"]
        assert wrong(server) == set()
        then = server.call("GET", f"/v1/jobs/{jobs[-1]}")
        assert then["state"] in ("queued", "running"), "the server was not busy any more"
        host.answer_s = 0.0
        server.call("POST", f"/v1/tasks/{tasks[2]}/frames?filename=late.zip", packed, content_type="application/zip")
        for job in jobs:
            server.wait_for(job, ("succeeded",), timeout_s=300)
        expected = [shapes(server, task) for task in tasks[:2]]

        frames = 16 * COPIES
        assert (summary["files"], summary["missing"], summary["elsewhere"]) == (2 * frames, 0, 0)
        fresh = ServerProcess(tmp_path / "two", environment=VARIABLES)
        assert command(fresh, "restore", saved)["restored"] == summary
        before = {job["id"]: job for job in command(fresh, "job", "list")["jobs"]}
        assert sum(job["frames_done"] for job in before.values()) < 2 * frames
        assert "running" in {job["state"] for job in before.values()}
        with fresh:
            for job in jobs:
                ended = fresh.wait_for(job, ("succeeded", "failed"), timeout_s=300)
                assert (ended["state"], ended["frames_done"], ended["frames_failed"]) == ("succeeded", frames, 0)
            assert [shapes(fresh, task) for task in tasks[:2]] == expected
            assert fresh.call("GET", f"/v1/tasks/{tasks[2]}")["frame_count"] == 0  # what came later
            assert wrong(fresh) == set()
