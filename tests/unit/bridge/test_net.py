"""Which hosts the settings allow, and where the environment's keys go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.errors import AccessDenied
from bridge.app import App, open_app
from bridge.net import endpoints, http_policy
from bridge.settings import load_settings


def test_allowed_hosts_and_the_configured_endpoints_are_trusted_and_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        '[huggingface]\nendpoint = "http://hub.lan:8080"\n[network]\nallowed_hosts = ["GPU.lan:9001", "nuclio"]\n'
    )
    policy = http_policy(load_settings(file))
    for url in ("http://gpu.lan:9001/x", "http://nuclio:8070", "http://hub.lan:8080", "https://api.roboflow.com"):
        policy.check(url)
        assert policy.trusts(url)
    for url in ("http://gpu.lan:9002", "http://hub.lan", "https://127.0.0.1"):
        with pytest.raises(AccessDenied):
            policy.check(url)
    assert not policy.trusts("https://models.example.com")


def test_every_endpoint_has_its_setting(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        '[huggingface]\nendpoint = "http://a"\nrouter = "http://b"\n[roboflow]\napi = "http://c"\ninference = "http://d"\n'
        '[label_studio]\nurl = "http://e"\n[cvat]\nurl = "http://f"\n'
    )
    assert list(endpoints(load_settings(file)).values()) == [f"http://{letter}" for letter in "abcdef"]


@pytest.fixture
async def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    monkeypatch.setenv("HF_TOKEN", "hf_fromTheEnvironment")
    monkeypatch.setenv("ROBOFLOW_API_KEY", "fromTheEnvironment")
    monkeypatch.setenv("HUBBRIDGE_HUGGINGFACE__ENDPOINT", "https://hub.lan:8443")
    async with open_app(load_settings(storage={"data_dir": str(tmp_path)})) as opened:
        yield opened


async def test_a_key_of_the_environment_goes_to_the_vendor_and_the_configured_endpoint_only(app: App) -> None:
    context = await app.registry._context()
    for host in ("huggingface.co", "hub.lan:8443"):
        assert context.secret("huggingface", host) == "hf_fromTheEnvironment"
    assert context.secret("roboflow", "roboflow.com") == "fromTheEnvironment"
    for kind, host in (
        ("huggingface", "x.endpoints.huggingface.cloud"),
        ("huggingface", "huggingface.co.example.com"),
        ("huggingface", ""),
        ("roboflow", "10.0.0.1:9001"),
        ("nuclio", "10.0.0.1:8070"),
    ):
        assert context.secret(kind, host) is None


async def test_a_stored_key_goes_to_the_host_it_was_stored_for(app: App) -> None:
    await app.registry.connect("huggingface", "x.endpoints.huggingface.cloud", "hf_itsOwn")
    context = await app.registry._context()
    assert context.secret("huggingface", "x.endpoints.huggingface.cloud") == "hf_itsOwn"
    assert context.secret("huggingface", "y.endpoints.huggingface.cloud") is None
