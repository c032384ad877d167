"""Settings: accounts, which are stored and never shown, and what the operator has configured."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from bridge.connection_kinds import DEFAULT_HOSTS
from bridge.web.pages.call import PageCall
from bridge.web.pages.rendering import Page

KINDS = {
    "huggingface": "Hugging Face",
    "roboflow": "Roboflow",
    "nuclio": "Nuclio",
    "cvat": "CVAT",
    "label-studio": "Label Studio",
}
REMOTE_SHOWN = 10
ENGINES = {"ONNX Runtime": "onnxruntime", "PyTorch": "torch", "transformers": "transformers", "OpenVINO": "openvino"}


async def show_settings(call: PageCall) -> Page:
    settings, registry = call.service.settings, call.service.registry
    elsewhere = await call.service.tasks.remote(before=2**63 - 1, most=REMOTE_SHOWN + 1)
    values = {
        "elsewhere": elsewhere[:REMOTE_SHOWN],
        "more_elsewhere": len(elsewhere) > REMOTE_SHOWN,
        "connections": await registry.connections(),
        "from_environment": sorted(registry.environment_secrets),
        "kinds": KINDS,
        "default_hosts": DEFAULT_HOSTS,
        "allowed_hosts": settings.network.allowed_hosts,
        "folders": settings.server.server_folders,
        "settings": settings,
        "engines": [(name, _version(package)) for name, package in ENGINES.items()],
        "python": platform.python_version(),
        "alive": call.state.worker.alive,
        "hung": registry.hung,
        "loaded": registry.loaded,
    }
    return Page("settings.html", "Settings", "settings", values)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
