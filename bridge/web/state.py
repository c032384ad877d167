"""What the handlers share beside the service: metrics, worker, authentication, and the sign that the server closes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from bridge.app import App
from bridge.web.authentication import Authentication
from bridge.web.client_shares import ClientShares
from bridge.web.metrics import Metrics
from bridge.web.sending import PixelRoom
from bridge.worker import Worker


@dataclass(slots=True)
class State:
    """Of one server. ``document`` is the OpenAPI document, made once."""

    service: App
    worker: Worker
    metrics: Metrics
    auth: Authentication
    shares: ClientShares
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    pixels: PixelRoom = field(default_factory=PixelRoom)
    document: dict[str, Any] = field(default_factory=dict)


STATE = web.AppKey("state", State)
