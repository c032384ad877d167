"""A served service with a model of a few ONNX nodes, and pictures to annotate."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientResponse, ClientSession, FormData
from PIL import Image

from adapters.base import Detections, PredictOptions
from adapters.frame import Frame
from adapters.local import LocalPredictor
from bridge.settings import Settings, load_settings
from bridge.web.server import Serving, serving
from tests.models import write_onnx_model


def picture(seed: int = 0, form: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    """A picture whose colours follow from the seed, so that each is detected differently."""
    width, height = size
    pixels = np.full((height, width, 3), np.random.default_rng(seed).integers(0, 255, 3), np.uint8)
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, form)
    return packed.getvalue()


@dataclass
class Api:
    """The server, seen from a client."""

    server: Serving
    session: ClientSession
    settings: Settings
    folder: Path

    async def raw(self, method: str, path: str, **options: Any) -> tuple[int, bytes, ClientResponse]:
        async with self.session.request(method, self.server.url + path, **options) as response:
            return response.status, await response.read(), response

    async def call(self, method: str, path: str, body: Any = None, expect: int = 200, **options: Any) -> Any:
        if body is not None:
            options["json"] = body
        async with self.session.request(method, self.server.url + path, **options) as response:
            text = await response.text()
            assert response.status == expect, f"{response.status} {text[:600]}"
            return await response.json() if response.content_type == "application/json" else text

    async def error(self, method: str, path: str, status: int, code: str, body: Any = None, **options: Any) -> str:
        """An error answer in its one shape; its message."""
        answer = await self.call(method, path, body, expect=status, **options)
        assert answer.keys() == {"error"}
        assert answer["error"].keys() == {"code", "message", "hint"}
        assert answer["error"]["code"] == code, answer
        return str(answer["error"]["message"])

    async def model(self) -> dict[str, Any]:
        folder = self.folder / "shared" / "model"
        if not folder.exists():
            await asyncio.to_thread(write_onnx_model, folder)
        body = {"reference": str(folder)}
        status, _, _ = await self.raw("POST", "/v1/models", json=body)
        assert status in (200, 201)
        found: dict[str, Any] = (await self.call("GET", "/v1/models"))["models"][-1]
        return found

    async def task(self, name: str = "street", pictures: int = 0, labels: Any = ("car", "person")) -> dict[str, Any]:
        labels = [{"name": label} for label in labels]
        made: dict[str, Any] = await self.call("POST", "/v1/tasks", {"name": name, "labels": labels}, 201)
        if pictures:
            await self.upload(made["id"], {f"{i:03}.png": picture(i) for i in range(pictures)})
        return made

    async def upload(self, task_id: int, files: dict[str, bytes], expect: int = 201, query: str = "") -> Any:
        form = FormData(quote_fields=False)
        for name, data in files.items():
            form.add_field("files", io.BytesIO(data), filename=name, content_type="application/octet-stream")
        return await self.call("POST", f"/v1/tasks/{task_id}/frames{query}", expect=expect, data=form)

    async def ended(self, job_id: int, timeout_s: float = 120) -> dict[str, Any]:
        async with asyncio.timeout(timeout_s):
            while True:
                job: dict[str, Any] = await self.call("GET", f"/v1/jobs/{job_id}")
                if job["state"] not in ("queued", "running"):
                    return job
                await asyncio.sleep(0.05)

    async def job(self, task_id: int, model_id: int, **values: Any) -> dict[str, Any]:
        body = {"target": task_id, "model_id": model_id, "threshold": 0.0, **values}
        made: dict[str, Any] = await self.call("POST", "/v1/jobs", body, 201)
        return made


def settings_for(folder: Path, **sections: dict[str, Any]) -> Settings:
    (folder / "shared").mkdir(exist_ok=True)
    given: dict[str, dict[str, Any]] = {
        "storage": {"data_dir": str(folder / "data")},
        "models": {"offline": True, "openvino": False},  # comparing engines takes seconds
        "server": {"port": 0, "server_folders": (str(folder / "shared"),)},
        "logging": {"level": "error"},
    }
    for section, values in sections.items():
        given[section] = {**given.get(section, {}), **values}
    empty = folder / "config.toml"
    empty.touch()
    return load_settings(empty, **given)


@pytest.fixture
def sections() -> dict[str, dict[str, Any]]:
    """Settings of one test, by section; parametrize it."""
    return {}


@pytest.fixture
async def api(tmp_path: Path, sections: dict[str, dict[str, Any]]) -> AsyncIterator[Api]:
    settings = settings_for(tmp_path, **sections)
    async with serving(settings) as server, ClientSession() as session:
        yield Api(server, session, settings, tmp_path)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Every prediction waits for this event."""
    go = asyncio.Event()
    predict = LocalPredictor.predict

    async def waits(self: Any, frames: Sequence[Frame], options: PredictOptions) -> list[Detections]:
        await go.wait()
        return await predict(self, frames, options)

    monkeypatch.setattr(LocalPredictor, "predict", waits)
    return go
