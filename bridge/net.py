"""The network policy in force: which hosts may be asked, from the settings. The guard itself is adapters.network."""

from __future__ import annotations

from urllib.parse import urlsplit

from adapters.network import HttpPolicy
from bridge.settings import Settings


def endpoints(settings: Settings) -> dict[str, str]:
    """Service -> base URL, as adapters ask for it; empty where none is configured."""
    return {
        "huggingface": settings.huggingface.base_url,
        "huggingface-router": settings.huggingface.router,
        "roboflow": settings.roboflow.api,
        "roboflow-inference": settings.roboflow.inference,
        "label-studio": settings.label_studio.base_url,
        "cvat": settings.cvat.base_url,
    }


def http_policy(settings: Settings) -> HttpPolicy:
    """The allowed hosts, and those of the endpoints: what the operator configured is trusted."""
    configured = (urlsplit(url).netloc.rpartition("@")[2] for url in endpoints(settings).values())
    return HttpPolicy(frozenset(host.lower() for host in (*settings.network.allowed_hosts, *configured) if host))
