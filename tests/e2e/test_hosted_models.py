"""Models at their hosts, through the whole program: added by what people paste, and annotated with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import models
from tests.e2e.conftest import IMAGES, Program
from tests.hub import TOKEN, HubServer, Repository
from tests.servers.hugging_face_inference import HuggingFaceInference
from tests.servers.inference_server import InferenceServer
from tests.servers.nuclio import Deployed, Nuclio
from tests.servers.roboflow import KEY, Roboflow

LOGIN = "me:c4n4ryPassword"
SECRETS = (TOKEN, KEY, "c4n4ryPassword")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    model = models.write_onnx_model(tmp_path_factory.mktemp("hub") / "model")
    repositories = {"street/detector": Repository(model, served="live")}
    functions = {"onnx.street": Deployed(dict.fromkeys(models.LABELS, "mask"))}
    with (
        HubServer(repositories) as hub,
        HuggingFaceInference(models.LABELS, {"street/detector": "object-detection"}, key=TOKEN) as router,
        Roboflow(models.LABELS, {"signs": ("instance-segmentation", {1: True, 2: True})}) as roboflow,
        InferenceServer(models.LABELS, {"signs/1": "object-detection"}) as server,
        Nuclio(functions, LOGIN) as nuclio,
    ):
        yield {"hub": hub, "router": router, "roboflow": roboflow, "server": server, "nuclio": nuclio}


@pytest.fixture
def program(tmp_path: Path, hosts: dict[str, Any]) -> Program:
    return Program(
        tmp_path / "data",
        {
            "HF_TOKEN": TOKEN,
            "ROBOFLOW_API_KEY": KEY,
            "HUBBRIDGE_HUGGINGFACE__ENDPOINT": hosts["hub"].url,
            "HUBBRIDGE_HUGGINGFACE__ROUTER": hosts["router"].url,
            "HUBBRIDGE_ROBOFLOW__API": hosts["roboflow"].url,
            "HUBBRIDGE_ROBOFLOW__INFERENCE": hosts["roboflow"].url,
            "HUBBRIDGE_NETWORK__ALLOWED_HOSTS": "127.0.0.1",
        },
    )


def pasted(hosts: dict[str, Any], what: str) -> str:
    return {
        "hugging face": "street/detector",
        "roboflow": "https://universe.roboflow.com/street-team/signs",
        "inference server": f"{hosts['server'].url}/signs/1",
        "nuclio": f"http://{LOGIN}@127.0.0.1:{hosts['nuclio'].port}/api/functions/onnx.street",
    }[what]


@pytest.mark.parametrize(
    ("what", "revision", "shape"),
    [
        ("hugging face", None, "bbox"),
        ("roboflow", "2", "segmentation"),
        ("inference server", "1", "bbox"),
        ("nuclio", None, "segmentation"),
    ],
)
def test_what_people_paste_annotates_their_images(
    program: Program, hosts: dict[str, Any], tmp_path: Path, what: str, revision: str | None, shape: str
) -> None:
    added = program.run("model", "add", pasted(hosts, what), "--name", "hosted", "--json")
    model = json.loads(added.stdout)["model"]
    assert model["card"]["engine"] == "hosted"
    assert revision is None or model["card"]["revision"] == revision
    out = tmp_path / "out.json"
    images = sorted(IMAGES.glob("*.jpg"))[:4]
    done = program.run("annotate", *images, "--model", "hosted", "--out", out, "--threshold", 0.3)
    exported = json.loads(out.read_text())
    assert len(exported["images"]) == 4
    assert exported["annotations"]
    assert all(each[shape] for each in exported["annotations"])
    shown = added.stdout + added.stderr + done.stdout + done.stderr
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    for secret in SECRETS:
        assert secret not in shown
        assert secret.encode() not in stored


def test_a_model_that_is_loading_is_waited_for_and_the_user_is_told(
    program: Program, hosts: dict[str, Any], tmp_path: Path
) -> None:
    hosts["router"].fail("503-soon", times=2)
    images = sorted(IMAGES.glob("*.jpg"))[:2]
    done = program.run("annotate", *images, "--model", "street/detector", "--out", tmp_path / "out.json")
    assert "The model is loading" in done.stderr
    assert json.loads((tmp_path / "out.json").read_text())["annotations"]


def test_where_the_host_fails_the_same_commit_runs_here_and_the_user_is_told(
    program: Program, hosts: dict[str, Any], tmp_path: Path
) -> None:
    added = program.run("model", "add", "street/detector", "--run", "hosted", "--fallback", "--name", "detector")
    assert "detector-local answers in its place" in added.stdout
    hosts["router"].fail("402")
    try:
        images = sorted(IMAGES.glob("*.jpg"))[:3]
        done = program.run(
            "annotate", *images, "--model", "detector", "--out", tmp_path / "out.json", "--threshold", 0.1
        )
    finally:
        hosts["router"].faults = []
    assert len(json.loads((tmp_path / "out.json").read_text())["images"]) == 3
    said = " ".join(done.stdout.split())
    assert "out of credit" in said
    assert "detector-local answered, here, at the same commit" in said
    job = program.json("job", "show", 1)["job"]
    assert (job["frames_done"], job["frames_failed"]) == (3, 0)
    models_ = {each["name"]: each["card"] for each in program.json("model", "list")["models"]}
    assert models_["detector"]["revision"] == models_["detector-local"]["revision"]


def test_an_address_in_the_own_network_is_refused_until_it_is_allowed(program: Program, hosts: dict[str, Any]) -> None:
    del program.variables["HUBBRIDGE_NETWORK__ALLOWED_HOSTS"]
    before = len(hosts["nuclio"].seen)
    # Configured endpoints are on this machine too, but at ports of their own.
    refused = program.run("model", "add", f"{hosts['nuclio'].url}/api/functions/onnx.street", code=1)
    assert "allowed_hosts" in refused.stderr
    assert len(hosts["nuclio"].seen) == before


def test_a_dashboard_lists_its_functions(program: Program, hosts: dict[str, Any]) -> None:
    url = f"http://{LOGIN}@127.0.0.1:{hosts['nuclio'].port}/api/functions"
    refused = program.run("model", "add", url, code=1)
    assert "api/functions/onnx.street" in refused.stderr
