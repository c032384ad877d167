"""The network policy in force: which hosts may be asked, from the settings. The guard itself is adapters.network."""

from __future__ import annotations

from adapters.network import HttpPolicy
from bridge.errors import InvalidRequest
from bridge.settings import Settings
from bridge.web_address import web_address

# Service -> where its address is set.
_SET_BY = {
    "huggingface": "[huggingface] endpoint, or HF_ENDPOINT,",
    "huggingface-router": "[huggingface] router",
    "roboflow": "[roboflow] api",
    "roboflow-inference": "[roboflow] inference",
    "label-studio": "[label_studio] url, or LABEL_STUDIO_URL,",
    "cvat": "[cvat] url, or CVAT_URL,",
}


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
    """The allowed hosts, and those of the endpoints: what the operator configured is trusted.

    Raises InvalidRequest where one of them is no address.
    """
    configured = []
    for service, url in endpoints(settings).items():
        parts = web_address(url) if url else None
        if url and parts is None:
            raise InvalidRequest(
                f"The setting {_SET_BY[service]} is no address.", hint="For example: https://host.example:8080"
            )
        configured += [] if parts is None else [parts.netloc.rpartition("@")[2]]
    return HttpPolicy(frozenset(host.lower() for host in (*settings.network.allowed_hosts, *configured) if host))
