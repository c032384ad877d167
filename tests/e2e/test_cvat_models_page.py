"""`hubbridge serve` with its face for CVAT, as a process, listed and called as CVAT does; and cvat-sdk beside it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import ServerProcess
from tests.servers.cvat_lambda_manager import CvatFails, LambdaManager, TaskLabel

STREET = Path(__file__).parents[2] / "examples" / "street"
LABELS = ("car", "bus", "truck", "person", "bicycle", "tree", "traffic light", "stop sign")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    environment = {"HUBBRIDGE_CVAT__LISTEN": "127.0.0.1:0", "HUBBRIDGE_CVAT__SECRET": "s3cret"}
    environment["HUBBRIDGE_SERVER__SERVER_FOLDERS"] = str(STREET)
    with ServerProcess(tmp_path_factory.mktemp("cvat"), environment=environment) as running:
        running.call("POST", "/v1/models", {"reference": str(STREET / "model"), "name": "street"})
        yield running


@pytest.fixture(scope="module")
def cvat(server: ServerProcess) -> LambdaManager:
    assert server.process.stdout is not None
    line = server.process.stdout.readline()
    found = re.search(r"CVAT finds the models at http://(127\.0\.0\.1:\d+);", line)
    assert found, line
    return LambdaManager(f"http://cvat:s3cret@{found[1]}")


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return [path.read_bytes() for path in sorted((STREET / "images").iterdir())[:4]]


def test_the_embedded_model_stands_on_the_models_page_and_annotates_a_task(
    cvat: LambdaManager, pictures: list[bytes]
) -> None:
    (function,) = cvat.list()
    assert (function.id, function.kind, function.name) == ("street", "detector", "street")
    assert tuple(label["name"] for label in function.labels) == LABELS
    stored = cvat.annotate("street", pictures, [TaskLabel(name, "rectangle") for name in LABELS])
    assert {shape["frame"] for shape in stored.shapes} == {0, 1, 2, 3}
    assert len(stored.shapes) > 8
    assert {shape["type"] for shape in stored.shapes} == {"rectangle"}


def test_a_profile_made_over_http_fills_in_the_dialog(
    server: ServerProcess, cvat: LambdaManager, pictures: list[bytes]
) -> None:
    model = server.call("GET", "/v1/models")["models"][0]
    body = {
        "name": "street-traffic", "title": "Street for Traffic", "model_id": model["id"],
        "labels": [{"name": "Vehicle", "type": "rectangle"}, {"name": "Person", "type": "polygon"}],
        "mapping": {"car": "Vehicle", "bus": "Vehicle", "truck": "Vehicle", "person": "Person"},
    }  # fmt: skip
    server.call("POST", "/v1/profiles", body)
    assert {function.name for function in cvat.list()} == {"street", "Street for Traffic"}
    task = [TaskLabel("Vehicle", "rectangle"), TaskLabel("Person", "polygon")]
    stored = cvat.annotate("street-traffic", pictures, task, threshold=0.3)
    assert {(shape["label"], shape["type"]) for shape in stored.shapes} <= {
        ("Vehicle", "rectangle"),
        ("Person", "polygon"),
    }
    assert any(shape["label"] == "Vehicle" for shape in stored.shapes)


def test_wrong_calls_are_told_and_the_server_lives(cvat: LambdaManager, pictures: list[bytes]) -> None:
    with pytest.raises(CvatFails, match=r"422 .*What CVAT sent is not an image"):
        cvat.detect("street", b"no image")
    with pytest.raises(CvatFails, match=r"401 .*NETRC"):
        LambdaManager(cvat.url.replace("s3cret", "wrong")).list()
    assert cvat.detect("street", pictures[0], 0.3)


def test_cvat_cli_finds_the_same_model_in_a_process_of_its_own(server: ServerProcess, pictures: list[bytes]) -> None:
    """As an agent does: the module is imported and ``create`` called in a spawned process, beside the server."""
    code = """
import io, sys
from types import SimpleNamespace
import PIL.Image
import bridge.cvat_function as module
function = module.create(model="street", data_dir=sys.argv[1])
context = SimpleNamespace(frame_name="a.jpg", conf_threshold=None, conv_mask_to_poly=False)
image = PIL.Image.open(io.BytesIO(sys.stdin.buffer.read()))
print(len(function.spec.labels), len(function.detect(context, image)))
"""
    environment = {**os.environ, "HUBBRIDGE_CONFIG": str(server.folder / "config.toml")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(server.folder / "data")],
        input=pictures[0], env=environment, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    labels, shapes = map(int, done.stdout.split())
    assert labels == len(LABELS)
    assert shapes > 0
