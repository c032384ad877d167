"""Schemathesis asks every route what its description allows and does not allow: no 5xx, and answers as described."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from bridge.web.routes import ROUTES
from tests.e2e.server import ServerProcess
from tests.models import write_onnx_model

SECONDS = 80
# Left out, each for a reason:
# positive_data_acceptance: a schema cannot say that a name is free or that a label belongs to the model;
# ensure_resource_availability: an Idempotency-Key answers again what may have been removed since.
LEFT_OUT = "positive_data_acceptance,ensure_resource_availability"


@pytest.fixture
def server(tmp_path: Path) -> ServerProcess:
    write_onnx_model(tmp_path / "shared" / "model")
    environment = {
        "HUBBRIDGE_SERVER__SERVER_FOLDERS": str(tmp_path / "shared"),
        # References to hosts are answered by nobody here; that is 503, as described, and asserted elsewhere.
        "HUBBRIDGE_MODELS__OFFLINE": "true",
    }
    return ServerProcess(tmp_path, environment=environment)


def test_no_request_makes_the_service_fail_or_answer_other_than_described(
    server: ServerProcess, tmp_path: Path
) -> None:
    tool = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert tool is not None, "it is one of the tools for tests"
    picture = io.BytesIO()
    Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(picture, "PNG")
    model = str(tmp_path / "shared" / "model")
    (tmp_path / "schemathesis.toml").write_text(
        f"""
        [[operations]]
        include-operation-id = ["addModel", "resolveModel"]
        parameters = {{ "body.reference" = {model!r} }}
        [operations.checks.not_a_server_error]
        expected-statuses = ["2xx", "4xx", 503]
        """
    )
    with server:
        server.call("POST", "/v1/models", {"reference": model})
        server.call("POST", "/v1/tasks", {"name": "street", "labels": [{"name": "car"}]})
        server.call("POST", "/v1/tasks/1/frames?filename=1.png", picture.getvalue(), content_type="image/png")
        job = server.call("POST", "/v1/jobs", {"target": 1, "model_id": 1})
        server.wait_for(job["id"], ("succeeded",))
        command = [
            *("nice", "-n", "19", tool, "run", f"{server.url}/v1/openapi.json"),
            *("--max-time", str(SECONDS), "--seed", "1", "--no-color", "--warnings", "off"),
            *("--exclude-checks", LEFT_OUT, "--request-timeout", "120"),
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=SECONDS * 12)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert server.call("GET", "/readyz")["status"] == "ready"
        with urlopen(f"{server.url}/metrics", timeout=120) as answer:
            reached = set(re.findall(r'requests_total{method="(\w+)",route="([^"]+)"', answer.read().decode()))
        assert not {(route.method, route.path) for route in ROUTES} - reached, "nobody asked for these"
        log = (tmp_path / "server.log").read_text()
    assert "failed unexpectedly" not in log
